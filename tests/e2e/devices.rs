//! GPUs in the metrics of a server, with a library that stands in for NVML.

use std::process::Command;

use crate::server::{Server, checkout};

#[tokio::test]
async fn the_metrics_show_what_nvml_tells_under_tritons_names() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o"])
        .arg(folder.path().join("libnvidia-ml.so.1"))
        .arg(checkout("tests/devices/nvml.c"))
        .status()
        .expect("a C compiler");
    assert!(made.success());
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(folder.path().to_owned()).chain(std::env::split_paths(&before));
    let libraries = std::env::join_paths(folders).unwrap();
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
