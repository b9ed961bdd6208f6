//! Generates the protocol's messages; links what the shim needs.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
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
