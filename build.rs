//! Builds what isn't Rust: the gRPC service; and tells the linker where binaries
//! find libtorch.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(lib) = env::var_os("DEP_CRESSET_SHIM_LIB") {
        find_libtorch(Path::new(&lib));
    }
    service()
}

/// Compiles the service of `crates/protocol/proto` without a `protoc` binary;
/// its messages are compiled there.
fn service() -> Result<(), Box<dyn Error>> {
    const PROTO: &str = "crates/protocol/proto";
    const SERVICE: &str = "grpc_service.proto";
    println!("cargo::rerun-if-changed={PROTO}");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("grpc");
    fs::create_dir_all(&out)?;
    let mut compiler = protox::Compiler::new([PROTO])?;
    compiler.include_imports(true).include_source_info(true).open_files([SERVICE])?;
    let files = compiler.file_descriptor_set();
    let mut builder = tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::Codec")
        .generate_default_stubs(true)
        .build_transport(false);
    for file in &files.file {
        let module = if file.name() == SERVICE { "inference" } else { "config" };
        let names = file.message_type.iter().map(|message| message.name());
        for name in names.chain(file.enum_type.iter().map(|known| known.name())) {
            let known = format!("::cresset_protocol::messages::{module}::{name}");
            builder = builder.extern_path(format!(".inference.{name}"), known);
        }
    }
    builder.out_dir(out).compile_fds(files)?;
    Ok(())
}

/// Lets binaries find libtorch's libraries without an environment.
fn find_libtorch(lib: &Path) {
    // In images the libraries lie in lib beside bin, or beside the binary.
    for place in [lib.to_string_lossy().as_ref(), "$ORIGIN/../lib", "$ORIGIN"] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{place}");
    }
    // What we answer in MKL's place must be seen by MKL, in the program and in
    // the bare loops that we measure it beside.
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
}
