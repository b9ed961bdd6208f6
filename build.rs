//! Builds what isn't Rust: the protocol's messages, and the shim over libtorch.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "libtorch")]
    libtorch()?;
    protobuf()
}

/// Compiles `proto/` without a `protoc` binary: the messages as Rust types,
/// and their descriptors, which the text format of `config.pbtxt` is parsed by.
fn protobuf() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.open_files(["model_config.proto"])?;
    // Without source positions: at run time only names and numbers count.
    fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;

    compiler.include_source_info(true);
    prost_build::Config::new().btree_map(["."]).out_dir(out).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Compiles the shim against the libtorch that `tch` links, and lets binaries
/// find its libraries without an environment.
#[cfg(feature = "libtorch")]
fn libtorch() -> Result<(), Box<dyn Error>> {
    use std::path::Path;

    const SHIM: &str = "src/backend/libtorch";
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    for file in ["shim.h", "shim.cc"] {
        println!("cargo::rerun-if-changed={SHIM}/{file}");
    }
    let named = env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default();
    // Through the checkout's link to where the folder is: the binary goes on
    // finding it when the link is changed or the checkout is gone.
    let folder = named
        .canonicalize()
        .map_err(|_| format!("libtorch isn't at LIBTORCH='{}': run scripts/libtorch cpu", named.display()))?;
    let include = folder.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .flag_if_supported("-Wno-unused-parameter")
        .opt_level(2)
        .file(Path::new(SHIM).join("shim.cc"))
        .try_compile("cresset_shim")?;
    // In images the libraries lie beside the binary, or in lib beside bin.
    for rpath in [folder.join("lib").display().to_string(), "$ORIGIN".to_owned(), "$ORIGIN/../lib".to_owned()]
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{rpath}");
    }
    Ok(())
}
