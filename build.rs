//! Builds what isn't Rust: the protocol's messages, and the shim over libtorch.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "libtorch")]
    libtorch()?;
    protobuf()
}

/// Compiles `proto/` without a `protoc` binary: the messages as Rust types,
/// the gRPC service, and the descriptors, by which the text format of
/// `config.pbtxt` is parsed and gRPC reflection answers.
fn protobuf() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.open_files(["model_config.proto"])?;
    // Without source positions: at run time only names and numbers count.
    fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;

    compiler.include_source_info(true);
    let config = compiler.file_descriptor_set();
    prost_build::Config::new().btree_map(["."]).out_dir(&out).compile_fds(config)?;
    grpc(&out.join("grpc"))
}

/// The service, in a folder of its own: its messages are of the same package.
fn grpc(out: &Path) -> Result<(), Box<dyn Error>> {
    const SERVICE: &str = "grpc_service.proto";
    fs::create_dir_all(out)?;
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files([SERVICE])?;
    fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;

    compiler.include_source_info(true);
    let files = compiler.file_descriptor_set();
    let mut builder = tonic_prost_build::configure()
        // Tensors are slices of the message that they came in.
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::grpc::codec::Codec")
        .generate_default_stubs(true)
        .build_transport(false);
    // The configuration's messages are compiled already.
    for file in files.file.iter().filter(|file| file.name() != SERVICE) {
        let messages = file.message_type.iter().map(|message| message.name());
        for name in messages.chain(file.enum_type.iter().map(|known| known.name())) {
            let (message, known) =
                (format!(".inference.{name}"), format!("crate::model_config::proto::{name}"));
            builder = builder.extern_path(message, known);
        }
    }
    builder.out_dir(out).compile_fds(files)?;
    Ok(())
}

/// Compiles `src/backend/libtorch/*.cc` against the folder that `LIBTORCH`
/// names (`.cargo/config.toml` sets it to `.libtorch`), and lets binaries find
/// its libraries without an environment.
#[cfg(feature = "libtorch")]
fn libtorch() -> Result<(), Box<dyn Error>> {
    const SHIM: &str = "src/backend/libtorch";
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");

    let named = env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default();
    // Through the checkout's link to where the folder is: the binary goes on
    // finding it when the link is changed or the checkout is gone.
    let folder = named.canonicalize().ok().filter(|folder| folder.join("lib/libtorch_cpu.so").is_file());
    let folder = folder.ok_or_else(|| {
        format!(
            "no libtorch in '{}' (LIBTORCH): run `scripts/libtorch cpu` first, or build with --no-default-features",
            named.display()
        )
    })?;
    let (include, lib) = (folder.join("include"), folder.join("lib"));
    // Another libtorch in the same place has other headers.
    println!("cargo::rerun-if-changed={}", folder.join("lib/libtorch_cpu.so").display());

    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).warnings(true).extra_warnings(true);
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
    // It stands on the path of every request, in tests as well.
    build.opt_level(2);
    // As system headers: their warnings aren't ours.
    for headers in [include.clone(), include.join("torch/csrc/api/include")] {
        build.flag("-isystem").flag(headers);
    }
    // Each by name, not their directory: what is Rust in it needs none of this again.
    const PARTS: [&str; 10] = [
        "shim",
        "arguments",
        "devices",
        "lane",
        "memory",
        "operators",
        "outputs",
        "precision",
        "string_lists",
        "writes",
    ];
    for name in PARTS {
        println!("cargo::rerun-if-changed={SHIM}/{name}.h");
        println!("cargo::rerun-if-changed={SHIM}/{name}.cc");
        build.file(format!("{SHIM}/{name}.cc"));
    }
    build.try_compile("cresset_shim")?;

    println!("cargo::rustc-link-search=native={}", lib.display());
    println!("cargo::rustc-link-lib=dylib=torch_cpu");
    println!("cargo::rustc-link-lib=dylib=c10");
    // In images the libraries lie in lib beside bin, or beside the binary.
    for place in [lib.to_string_lossy().as_ref(), "$ORIGIN/../lib", "$ORIGIN"] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{place}");
    }
    // What we answer in MKL's place must be seen by MKL, in the program and in
    // the bare loops that we measure it beside.
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
    Ok(())
}
