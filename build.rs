//! Compiles the shim over libtorch, and tells the binaries where libtorch is.

fn main() {
    #[cfg(feature = "libtorch")]
    libtorch();
}

/// Compiles `src/backend/libtorch/*.cc` against the folder that `LIBTORCH`
/// names (`.cargo/config.toml` sets it to `.libtorch`).
#[cfg(feature = "libtorch")]
fn libtorch() {
    use std::path::PathBuf;

    const SHIM: &str = "src/backend/libtorch";

    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rerun-if-changed={SHIM}");

    let folder = std::env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default();
    let (include, lib) = (folder.join("include"), folder.join("lib"));
    if !include.join("torch").is_dir() || !lib.join("libtorch_cpu.so").is_file() {
        println!(
            "cargo:error=no libtorch in '{}' (LIBTORCH): run `scripts/libtorch cpu` first, \
             or build with --no-default-features",
            folder.display()
        );
        std::process::exit(1);
    }

    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).warnings(true).extra_warnings(true);
    build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
    // It stands on the path of every request, in tests as well.
    build.opt_level(2);
    // As system headers: their warnings aren't ours.
    for headers in [include.clone(), include.join("torch/csrc/api/include")] {
        build.flag("-isystem").flag(headers);
    }
    for file in ["shim.cc", "outputs.cc", "writes.cc"] {
        build.file(format!("{SHIM}/{file}"));
    }
    build.compile("cresset_shim");

    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    println!("cargo:rustc-link-lib=dylib=c10");
    // Where a binary looks for libtorch: here, where it was built; then in
    // `lib` beside its own folder, and beside itself, as images have it.
    let lib = std::path::absolute(&lib).unwrap_or(lib);
    for place in [lib.to_string_lossy().as_ref(), "$ORIGIN/../lib", "$ORIGIN"] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
}
