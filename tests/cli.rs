//! The part of the command line that needs no model runtime.
// A test may say what it expects.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;

fn cresset(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cresset")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_command_has_its_page() {
    let (code, help, _) = cresset(&["--help"]);
    assert_eq!(code, Some(0));
    for command in ["serve", "bench", "inspect", "healthcheck"] {
        assert!(help.contains(&format!("  {command} ")), "{help}");
        let (code, page, _) = cresset(&[command, "--help"]);
        assert!(code == Some(0) && page.contains(&format!("Usage: cresset {command}")), "{page}");
    }
}

#[cfg(not(feature = "libtorch"))]
#[test]
fn a_build_without_libtorch_says_what_it_cannot_do() {
    let why = "this build has no libtorch, so it can't";
    let (code, _, error) = cresset(&["inspect", "model.pt"]);
    assert_eq!(code, Some(1));
    assert_eq!(error, format!("cresset: {why} inspect a model; build with the default features\n"));
    let (code, _, error) = cresset(&["serve", "--model-repository=models"]);
    assert!(code == Some(1) && error.contains(&format!("{why} serve")), "{error}");
}

/// libtorch's MKL calls the program's function instead of its own only if it
/// can see it.
#[cfg(feature = "libtorch")]
#[test]
fn matrix_products_ask_the_program_what_processor_this_is() {
    let symbols = std::process::Command::new("nm")
        .args(["--dynamic", "--defined-only", env!("CARGO_BIN_EXE_cresset")])
        .output()
        .unwrap();
    assert!(symbols.status.success(), "{symbols:?}");
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    assert!(symbols.lines().any(|line| line.ends_with(" T mkl_serv_intel_cpu_true")), "{symbols}");
}
