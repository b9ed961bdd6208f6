//! Statistics beside the metrics: both count the same events.

use serde_json::{Value, json};

use crate::server::{Server, checkout, get, post};

fn request(rows: usize, value: f32) -> String {
    json!({"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": vec![value; rows * 4]}]})
        .to_string()
}

fn number(statistics: &Value, path: &str) -> u64 {
    statistics.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {statistics}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_and_metrics_tell_the_same() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let (status, before) = get(&server.url("/v2/models/fails/stats")).await;
    assert_eq!(status, 200, "{before}");
    let none = json!({"count": 0, "ns": 0});
    let untouched = json!({"success": none, "fail": none, "queue": none, "compute_input": none,
        "compute_infer": none, "compute_output": none, "cache_hit": none, "cache_miss": none});
    assert_eq!(
        before,
        json!({"model_stats": [{"name": "fails", "version": "1", "last_inference": 0, "inference_count": 0,
            "execution_count": 0, "inference_stats": untouched, "batch_stats": []}]}),
        "warm-up isn't counted"
    );

    let url = server.url("/v2/models/fails/infer");
    for rows in [1, 3, 3] {
        assert_eq!(post(&url, request(rows, 1.0)).await.0, 200);
    }
    assert_eq!(post(&url, request(1, -1.0)).await.0, 500, "the model fails");
    assert_eq!(post(&url, request(9, 1.0)).await.0, 400, "refused before it is queued");

    let (_, all) = get(&server.url("/v2/models/fails/stats")).await;
    assert_eq!(get(&server.url("/v2/models/fails/versions/1/stats")).await, (200, all.clone()));
    let told = &all["model_stats"][0];
    assert_eq!(number(told, "/inference_count"), 7);
    assert_eq!(number(told, "/execution_count"), 4);
    assert_eq!(number(told, "/inference_stats/success/count"), 3);
    assert_eq!(number(told, "/inference_stats/fail/count"), 2);
    assert!(number(told, "/last_inference") > 1_600_000_000_000, "milliseconds since 1970");
    let sizes: Vec<_> = told["batch_stats"].as_array().unwrap().iter().map(|b| &b["batch_size"]).collect();
    assert_eq!(sizes, [&json!(1), &json!(3)]);
    assert_eq!(number(told, "/batch_stats/1/compute_infer/count"), 2);

    let parts = ["queue", "compute_input", "compute_infer", "compute_output"];
    let sum: u64 = parts.iter().map(|part| number(told, &format!("/inference_stats/{part}/ns"))).sum();
    assert!(sum > 0 && sum <= number(told, "/inference_stats/success/ns"), "{told}");
    for part in parts {
        assert_eq!(number(told, &format!("/inference_stats/{part}/count")), 3, "{part}");
    }

    let label = "model=\"fails\"";
    assert_eq!(server.metric("nv_inference_request_success", label).await, 3.0);
    assert_eq!(server.metric("nv_inference_request_failure", label).await, 2.0);
    assert_eq!(server.metric("nv_inference_count", label).await, 7.0);
    assert_eq!(server.metric("nv_inference_exec_count", label).await, 4.0);
}

#[tokio::test]
async fn every_model_is_told_of_at_once() {
    let server = Server::with_default_models(&[]);
    let (status, all) = get(&server.url("/v2/models/stats")).await;
    assert_eq!(status, 200);
    let names: Vec<_> = all["model_stats"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, [&json!("efficientnet_lite0"), &json!("simple")]);
    for path in ["/v2/models/nope/stats", "/v2/models/simple/versions/4/stats"] {
        assert_eq!(get(&server.url(path)).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn latencies_have_quantiles_if_they_are_asked_for() {
    let text = async |server: &Server| {
        let url = format!("http://{}/metrics", server.metrics);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    let plain = Server::with_default_models(&[]);
    assert!(!text(&plain).await.contains("summary"));
    assert!(plain.metric("nv_model_load_duration_secs", r#"model="simple""#).await > 0.0);
    drop(plain);

    let server = Server::with_default_models(&["--metrics-config", "summary_latencies=true"]);
    let body = json!({"INPUT0": [vec![1; 16]], "INPUT1": [vec![2; 16]]}).to_string();
    for _ in 0..5 {
        assert_eq!(post(&server.url("/predictions/simple"), body.clone()).await.0, 200);
    }
    let text = text(&server).await;
    assert!(text.contains("# TYPE nv_inference_request_summary_us summary"), "{text}");
    let quantile = |name: &str, quantile: &str| {
        let label = format!(r#"model="simple",version="1",quantile="{quantile}""#);
        let line = format!("nv_inference_{name}_summary_us{{{label}}} ");
        let value = text.lines().find_map(|told| told.strip_prefix(&line));
        value.unwrap_or_else(|| panic!("{line} in {text}")).parse::<f64>().unwrap()
    };
    for name in ["request", "queue", "compute_input", "compute_infer", "compute_output"] {
        let all = ["0.5", "0.9", "0.95", "0.99", "0.999"].map(|at| quantile(name, at));
        assert!(all.is_sorted(), "{name}: {all:?}");
    }
    assert!(quantile("request", "0.999") >= quantile("compute_infer", "0.5"));
    assert!(
        text.contains(r#"nv_inference_request_summary_us_count{model="simple",version="1"} 5"#),
        "{text}"
    );
}
