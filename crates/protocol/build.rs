//! Compiles `proto/` without a `protoc` binary: the messages as Rust types, and
//! the descriptors. The text format of `config.pbtxt` and gRPC reflection use
//! the descriptors.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    config(&out.join("config"))?;
    service(&out.join("service"))
}

fn config(out: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(out)?;
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.open_files(["model_config.proto"])?;
    // Without source positions: only names and numbers are used at run time.
    fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;

    compiler.include_source_info(true);
    let files = compiler.file_descriptor_set();
    prost_build::Config::new().btree_map(["."]).out_dir(out).compile_fds(files)?;
    Ok(())
}

fn service(out: &Path) -> Result<(), Box<dyn Error>> {
    const SERVICE: &str = "grpc_service.proto";
    fs::create_dir_all(out)?;
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files([SERVICE])?;
    fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;

    compiler.include_source_info(true);
    let files = compiler.file_descriptor_set();
    let mut messages = prost_build::Config::new();
    // Tensors are slices of the received message.
    messages.bytes(["."]).btree_map(["."]).out_dir(out);
    // The configuration's messages are compiled already.
    for file in files.file.iter().filter(|file| file.name() != SERVICE) {
        let names = file.message_type.iter().map(|message| message.name());
        for name in names.chain(file.enum_type.iter().map(|known| known.name())) {
            messages.extern_path(format!(".inference.{name}"), format!("crate::messages::config::{name}"));
        }
    }
    messages.compile_fds(files)?;
    Ok(())
}
