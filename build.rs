//! Builds what isn't Rust: the shim over libtorch.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    protobuf();
    #[cfg(feature = "libtorch")]
    libtorch();
}

/// Compiles the configuration's messages, by a compiler in Rust: no build
/// needs a protoc. The descriptors go along, for reading the text format.
#[allow(clippy::expect_used)]
fn protobuf() {
    const PROTO: &str = "proto/model_config.proto";
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"]).expect("the messages compile");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let bytes = prost::Message::encode_to_vec(&descriptors);
    std::fs::write(out.join("model_config.bin"), bytes).expect("OUT_DIR can be written");
    prost_build::Config::new().btree_map(["."]).compile_fds(descriptors).expect("the messages make Rust");
}

/// Compiles the shim against the libtorch that `tch` links, and lets binaries
/// find its libraries without an environment.
#[cfg(feature = "libtorch")]
fn libtorch() {
    use std::path::{Path, PathBuf};

    const SHIM: &str = "src/backend/libtorch";
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    for file in ["shim.h", "shim.cc"] {
        println!("cargo:rerun-if-changed={SHIM}/{file}");
    }
    let folder = std::env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default();
    // Through the checkout's link to where the folder is: the binary goes on
    // finding it when the link is changed or the checkout is gone.
    let Ok(folder) = folder.canonicalize() else {
        println!("cargo:error=libtorch isn't at LIBTORCH='{}': run scripts/libtorch cpu", folder.display());
        return;
    };
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
        .compile("cresset_shim");
    // In images the libraries lie beside the binary, or in lib beside bin.
    for rpath in [folder.join("lib").display().to_string(), "$ORIGIN".to_owned(), "$ORIGIN/../lib".to_owned()]
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{rpath}");
    }
}
