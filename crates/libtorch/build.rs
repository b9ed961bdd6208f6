//! Compiles `src/*.cc` against the folder in `LIBTORCH` (`.cargo/config.toml`
//! sets it to `.libtorch`), and links its libraries.

use std::env;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    const SHIM: &str = "src";
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");

    let named = env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default();
    // The link in the checkout is resolved, so that the binary still finds the
    // folder after the link is changed or the checkout is deleted.
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
    // It is on the path of every request, in tests as well.
    build.opt_level(2);
    // As system headers: their warnings aren't ours.
    for headers in [include.clone(), include.join("torch/csrc/api/include")] {
        build.flag("-isystem").flag(headers);
    }
    // File by file, not the whole directory: changes of Rust files need no new
    // build of these.
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
    // This crate's own tests find them without an environment; nothing that
    // links this crate inherits the argument.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    // Tells the server's build script where they are.
    println!("cargo::metadata=lib={}", lib.display());
    Ok(())
}
