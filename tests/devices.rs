//! `cresset devices`, and the metrics of GPUs, on a machine without one: with
//! nothing, and with `tests/devices/*.c` in place of the driver's libraries.

// A test may say what it expects; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A folder of libraries, made of C sources.
fn libraries(names: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (source, library) in names {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/devices").join(source);
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .arg(folder.path().join(library))
            .arg(source)
            .arg(format!("-Wl,-soname,{library}"))
            .status()
            .expect("a C compiler");
        assert!(made.success(), "{library}");
    }
    folder
}

const DRIVER: (&str, &str) = ("driver.c", "libcuda.so.1");
const NVML: (&str, &str) = ("nvml.c", "libnvidia-ml.so.1");

/// `cresset devices` with a loader that looks into `folder` first.
fn devices(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cresset"));
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(folder)).chain(std::env::split_paths(&before));
    command.arg("devices").env("LD_LIBRARY_PATH", std::env::join_paths(folders).unwrap());
    command.env_remove("CUDA_VISIBLE_DEVICES").env_remove("NVIDIA_VISIBLE_DEVICES");
    command
}

fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&text(command.arg("--json"))).unwrap()
}

/// Whether this machine has a driver of its own, which the loader finds.
fn has_driver() -> bool {
    let listed = Command::new("ldconfig").arg("-p").output();
    listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("libcuda.so.1"))
}

#[test]
fn a_machine_without_a_driver_shows_its_processors_and_says_what_is_missing() {
    if has_driver() {
        return;
    }
    let nothing = libraries(&[]);
    let seen = json(&mut devices(nothing.path()));
    assert_eq!(seen["gpus"], serde_json::json!([]));
    assert_eq!(seen["driver_version"], Value::Null);
    let processors = &seen["processors"];
    let allowed = std::thread::available_parallelism().unwrap().get();
    assert_eq!(processors["allowed"], allowed);
    assert!(processors["machine"].as_u64() >= processors["allowed"].as_u64(), "{processors}");
    assert!(seen["default_instances"][0].as_str().unwrap().starts_with(&format!("cpu, {allowed} ")));
    assert_eq!(seen["not_used"][0]["why"], "no NVIDIA driver (libcuda.so.1 was not found)");
    assert!(!seen["not_used"][0]["advice"].as_str().unwrap().is_empty());
    let shown = text(&mut devices(nothing.path()));
    assert!(shown.contains("\nnot used    GPU: no NVIDIA driver (libcuda.so.1 was not found)\n"), "{shown}");

    if cfg!(feature = "libtorch") {
        assert!(seen["library"]["name"].as_str().unwrap().starts_with("libtorch 2."), "{seen}");
        assert!(seen["library"]["vectors"].is_string(), "{seen}");
        assert_eq!(seen["library"]["uses_gpus"], false);
    } else {
        assert_eq!(seen["library"], Value::Null);
        assert_eq!(seen["not_used"][1]["what"], "libtorch");
    }
}

#[test]
fn gpus_are_shown_as_the_driver_numbers_them_with_what_nvml_knows() {
    let both = libraries(&[DRIVER, NVML]);
    let seen = json(&mut devices(both.path()));
    assert_eq!((&seen["driver_version"], &seen["driver_cuda"]), (&"580.65.06".into(), &"13.1".into()));
    let told = |gpu: &Value| {
        let gib = |name: &str| gpu[name].as_u64().unwrap() >> 30;
        let name = gpu["name"].as_str().unwrap().to_owned();
        (gpu["cuda"].as_u64().unwrap(), name, gib("memory_total_bytes"), gib("memory_free_bytes"))
    };
    let told: Vec<_> = seen["gpus"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, [(0, "Fast GPU".to_owned(), 80, 76), (1, "Slow GPU".to_owned(), 24, 20)]);
    assert_eq!(seen["gpus"][1]["compute_capability"], "7.5");
    let shown = text(&mut devices(both.path()));
    assert!(
        shown.contains(
            "cuda:0      Fast GPU, 77824 MiB of 81920 MiB free, compute capability 9.0, GPU-aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa\n"
        ),
        "{shown}"
    );
    if cfg!(feature = "libtorch") {
        // Nothing is missing but libtorch's own part.
        let why = seen["not_used"][0]["why"].as_str().unwrap();
        assert!(why.starts_with("this libtorch is for processors only"), "{why}");
    }
}

#[test]
fn a_driver_alone_and_nvml_alone_are_told_as_far_as_they_go() {
    let alone = libraries(&[DRIVER]);
    let seen = json(&mut devices(alone.path()));
    assert_eq!(seen["gpus"][1]["uuid"], "GPU-bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb");
    assert_eq!(seen["gpus"][1]["memory_free_bytes"], Value::Null);

    let hidden = libraries(&[DRIVER, NVML]);
    let seen = json(devices(hidden.path()).env("FAKE_GPUS", "1"));
    assert_eq!((&seen["gpus"][0]["cuda"], &seen["gpus"][1]["cuda"]), (&0.into(), &Value::Null));
    let none = json(devices(hidden.path()).env("FAKE_GPUS", "0").env("CUDA_VISIBLE_DEVICES", ""));
    assert_eq!(none["not_used"][0]["why"], "the NVIDIA driver sees no device");
    assert!(none["not_used"][0]["advice"].as_str().unwrap().starts_with("CUDA_VISIBLE_DEVICES is ''"));
}

#[test]
fn a_driver_that_does_not_start_is_told_with_its_cure() {
    let driver = libraries(&[DRIVER]);
    let seen = json(devices(driver.path()).env("FAKE_CU_INIT", "803"));
    assert_eq!(
        seen["not_used"][0]["why"],
        "the NVIDIA driver failed in cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
    );
    assert!(seen["not_used"][0]["advice"].as_str().unwrap().contains("restart the machine"));

    let broken = tempfile::tempdir().unwrap();
    std::fs::write(broken.path().join("libcuda.so.1"), "no library").unwrap();
    let seen = json(&mut devices(broken.path()));
    let why = seen["not_used"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("the NVIDIA driver's libcuda.so.1 can't be opened: "), "{why}");
}
