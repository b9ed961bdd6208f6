//! GPUs as a server sees them, with libraries in place of the driver's and of
//! libtorch's part of CUDA.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Server, checkout, command, post};

/// A folder of libraries, made of sources in `tests/devices`.
fn libraries(names: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let torch = std::env::var_os("LIBTORCH").map_or_else(|| checkout(".libtorch"), Into::into);
    for (source, library) in names {
        let mut compiler = Command::new(if source.ends_with(".cc") { "c++" } else { "cc" });
        if source.ends_with(".cc") {
            compiler.args(["-std=c++17", "-isystem"]).arg(torch.join("include"));
            compiler.arg("-isystem").arg(torch.join("include/torch/csrc/api/include"));
        }
        compiler.args(["-shared", "-fPIC", &format!("-Wl,-soname,{library}"), "-o"]);
        let source = checkout("tests/devices").join(source);
        assert!(
            compiler.arg(folder.path().join(library)).arg(source).status().unwrap().success(),
            "{library}"
        );
    }
    folder
}

/// `LD_LIBRARY_PATH` with this folder in front.
fn in_front(folder: &Path) -> OsString {
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&before));
    std::env::join_paths(folders).unwrap()
}

#[tokio::test]
async fn the_metrics_show_what_nvml_tells_under_tritons_names() {
    let folder = libraries(&[("nvml.c", "libnvidia-ml.so.1")]);
    let libraries = in_front(folder.path());
    let server = Server::start_with(&checkout("models"), &["--device=auto"], |command| {
        command.env("LD_LIBRARY_PATH", &libraries);
    });

    let fast = r#"gpu_uuid="GPU-aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa""#;
    let slow = r#"gpu_uuid="GPU-bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb""#;
    let gib = f64::from(1 << 30);
    for (name, labels, value) in [
        ("nv_gpu_memory_total_bytes", fast, 80.0 * gib),
        ("nv_gpu_memory_used_bytes", fast, 4.0 * gib),
        ("nv_gpu_memory_total_bytes", slow, 24.0 * gib),
        ("nv_gpu_utilization", fast, 0.75),
        ("nv_gpu_utilization", slow, 0.1),
        ("nv_gpu_power_usage", fast, 350.5),
        ("nv_gpu_power_limit", fast, 700.0),
    ] {
        let shown = server.metric(name, labels).await;
        assert!((shown - value).abs() < 1e-9, "{name} {labels}: {shown}");
    }
    // Two joules more with each reading, the one at the start included; readings are a second apart.
    let energy = server.metric("nv_energy_consumption", fast).await;
    assert!(energy >= 2.0, "{energy}");
    // What a GPU doesn't tell isn't made up.
    let text =
        reqwest::get(format!("http://{}/metrics", server.metrics)).await.unwrap().text().await.unwrap();
    for name in ["nv_gpu_power_usage", "nv_gpu_power_limit", "nv_energy_consumption"] {
        assert!(!text.lines().any(|line| line.starts_with(name) && line.contains(slow)), "{name}\n{text}");
    }

    let without = Server::start_with(&checkout("models"), &["--device=cpu"], |command| {
        command.env("LD_LIBRARY_PATH", &libraries);
    });
    let text =
        reqwest::get(format!("http://{}/metrics", without.metrics)).await.unwrap().text().await.unwrap();
    assert!(!text.contains("nv_gpu_"), "on the processors no GPU is watched\n{text}");
}

/// On two GPUs on which nothing can be computed: a model on the processors.
#[tokio::test]
async fn the_allocator_of_gpus_takes_its_settings_and_gives_memory_back() {
    let folder = libraries(&[("driver.c", "libcuda.so.1"), ("torch_cuda.cc", "libtorch_cuda.so")]);
    let libraries = in_front(folder.path());
    let repository = tempfile::tempdir().unwrap();
    let model = repository.path().join("identity");
    std::fs::create_dir_all(model.join("1")).unwrap();
    let from = checkout("tests/models/identity");
    std::fs::copy(from.join("1/model.pt"), model.join("1/model.pt")).unwrap();
    let config = std::fs::read_to_string(from.join("config.pbtxt")).unwrap()
        + "instance_group { kind: KIND_CPU count: 1 }
           parameters { key: \"ENABLE_CACHE_CLEANING\" value { string_value: \"true\" } }";
    std::fs::write(model.join("config.pbtxt"), config).unwrap();
    // A trial of its code's other form would empty them, too.
    std::fs::write(model.join("cresset.toml"), "[optimize]\nfor_inference = false\n").unwrap();

    let settings = "--cuda-allocator-settings=max_split_size_mb:64,backend:native";
    let server = Server::start_with(repository.path(), &["--device=cuda", settings], |command| {
        command.env("LD_LIBRARY_PATH", &libraries);
    });
    assert!(server.announced.contains("on 2 GPUs and "), "{}", server.announced);
    for device in [r#"device="cuda:0""#, r#"device="cuda:1""#] {
        let reserved = server.metric("cresset_device_memory_reserved_bytes", device).await;
        assert!((reserved - f64::from(64 << 20)).abs() < 0.5, "max_split_size_mb came as {reserved}");
    }
    // Metrics are read once a second.
    let a_second = std::time::Duration::from_millis(1100);
    // Its own runs, of further sizes, are over when it stays as it is.
    let mut emptied = f64::NAN;
    loop {
        let now = server.metric("cresset_device_memory_allocated_bytes", r#"device="cuda:0""#).await;
        if (now - emptied).abs() < 0.5 {
            break;
        }
        emptied = now;
        tokio::time::sleep(a_second).await;
    }
    let body =
        json!({"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]});
    for _ in 0..3 {
        let (status, answer) = post(&server.url("/v2/models/identity/infer"), body.to_string()).await;
        assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([1.0, 2.0])), "{answer}");
    }
    tokio::time::sleep(a_second).await;
    let more = server.metric("cresset_device_memory_allocated_bytes", r#"device="cuda:0""#).await - emptied;
    assert!((more - 3.0).abs() < 0.5, "caches were emptied {more} times in 3 runs");
    drop(server);

    for (on_unload, times) in [("release", 1.0), ("keep", 0.0)] {
        let arguments =
            ["--device=cuda", "--model-control-mode=explicit", "--load-model=*", "--on-unload", on_unload];
        let server = Server::start_with(repository.path(), &arguments, |command| {
            command.env("LD_LIBRARY_PATH", &libraries);
        });
        let allocated = || server.metric("cresset_device_memory_allocated_bytes", r#"device="cuda:0""#);
        let before = allocated().await;
        let (status, answer) = post(&server.url("/v2/repository/models/identity/unload"), "").await;
        assert_eq!(status, 200, "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        while post(&server.url("/v2/repository/index"), "").await.1[0]["reason"] != "unloaded" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let more = allocated().await - before;
        assert!((more - times).abs() < 0.5, "{on_unload}: caches were emptied {more} times");
    }

    for (settings, why) in [
        ("backend:nonsense", "Unknown allocator backend"),
        ("max_split_size:64", "Unrecognized key 'max_split_size'"),
    ] {
        let refused = command(repository.path(), &["--cuda-allocator-settings", settings])
            .env("LD_LIBRARY_PATH", &libraries)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("cresset: --cuda-allocator-settings '{settings}': {why}")), "{said}");
    }

    let seen = Command::new(env!("CARGO_BIN_EXE_cresset"))
        .args(["devices", "--json"])
        .env("LD_LIBRARY_PATH", &libraries)
        .output()
        .unwrap();
    let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(seen["library"]["uses_gpus"], true, "{seen}");
    assert_eq!(
        seen["default_instances"],
        json!(["cuda:0, 1 instance x 1 thread", "cuda:1, 1 instance x 1 thread"])
    );
    assert_eq!(seen["not_used"], json!([]));
}

#[test]
fn a_device_that_a_file_names_is_told_once_when_it_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("traced/1")).unwrap();
    let file = checkout("tests/backend/traced_on_gpu.pt");
    std::fs::copy(file, root.path().join("traced/1/model.pt")).unwrap();
    let log = root.path().with_extension("log");
    let server = Server::start_with(root.path(), &["--device=cpu", "--log=warn"], |command| {
        command.stderr(std::fs::File::create(&log).unwrap());
    });
    drop(server);
    let told = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    assert_eq!(told.matches("its code names cuda:0").count(), 1, "{told}");
}
