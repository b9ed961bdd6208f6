//! The protocol's paths, with whole bodies.

use serde_json::{Value, json};

use crate::server::{Server, get, post};

#[tokio::test]
async fn the_server_and_its_models_say_what_they_are() {
    let server = Server::with_default_models(&[]);
    assert!(server.announced.contains("simple version 1: cpu, "), "{}", server.announced);

    let (status, body) = get(&server.url("/v2")).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({"name": "cresset", "version": env!("CARGO_PKG_VERSION"), "extensions":
            ["classification", "model_repository", "model_repository(unload_dependents)", "schedule_policy",
             "model_configuration", "binary_tensor_data", "statistics", "logging"]})
    );
    let model = json!({"name": "simple", "ready": true});
    for (path, answer) in [
        ("/v2/health/live", json!({"live": true})),
        ("/v2/health/ready", json!({"ready": true})),
        ("/v2/models/simple/ready", model.clone()),
        ("/v2/models/simple/versions/1/ready", model),
    ] {
        assert_eq!(get(&server.url(path)).await, (200, answer), "{path}");
    }
    assert_eq!(get(&server.url("/ping")).await, (200, json!({"status": "Healthy"})));
    assert_eq!(
        get(&server.url("/v2/models/nope/ready")).await,
        (400, json!({"name": "nope", "ready": false}))
    );

    let simple = json!({
        "name": "simple", "versions": ["1"], "platform": "pytorch_libtorch",
        "inputs": [
            {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]},
            {"name": "INPUT1", "datatype": "INT32", "shape": [-1, 16]}],
        "outputs": [
            {"name": "OUTPUT0", "datatype": "INT32", "shape": [-1, 16]},
            {"name": "OUTPUT1", "datatype": "INT32", "shape": [-1, 16]}]
    });
    assert_eq!(get(&server.url("/v2/models/simple")).await, (200, simple.clone()));
    assert_eq!(get(&server.url("/v2/models/simple/versions/1")).await, (200, simple));

    let head = reqwest::Client::new().head(server.url("/v2/health/ready")).send().await.unwrap();
    assert_eq!(head.status(), 200, "what a load balancer asks");

    // The metrics listener answers probes too.
    for (path, expected) in [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/health", 200),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/v2", 404),
    ] {
        let url = format!("http://{}{path}", server.metrics);
        assert_eq!(reqwest::get(url).await.unwrap().status(), expected, "{path}");
    }
}

#[tokio::test]
async fn health_and_metrics_are_where_platforms_look_for_them() {
    let server = Server::with_default_models(&[]);
    assert_eq!(get(&server.url("/health")).await, (200, json!({"ready": true})));
    assert_eq!(get(&server.url("/healthz")).await, (200, json!({"live": true})));
    let response = reqwest::get(server.url("/metrics")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
    let text = response.text().await.unwrap();
    assert!(text.contains(r#"nv_inference_request_success{model="simple",version="1"} 0"#), "{text}");
    drop(server);

    // A model that can't be served: live, and not ready.
    let repository = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(repository.path().join("broken/1")).unwrap();
    std::fs::write(repository.path().join("broken/1/model.pt"), "no model").unwrap();
    let server = Server::start(repository.path(), &["--exit-on-error=false", "--http-metrics=false"]);
    assert_eq!(get(&server.url("/health")).await, (503, json!({"ready": false})));
    assert_eq!(get(&server.url("/healthz")).await.0, 200);
    let (status, answer) = get(&server.url("/metrics")).await;
    assert_eq!(status, 404);
    let why = "there are no metrics on this port (--http-metrics=false): they are on --metrics-port";
    assert_eq!(answer, json!({ "error": why }));
    let elsewhere = reqwest::get(format!("http://{}/metrics", server.metrics)).await.unwrap();
    assert_eq!(elsewhere.status(), 200);
}

#[tokio::test]
async fn simple_adds_and_subtracts_as_json_and_as_binary() {
    let server = Server::with_default_models(&[]);
    let url = server.url("/v2/models/simple/infer");
    let ones = [1; 16];
    let count: Vec<i32> = (0..16).collect();
    let request = json!({"id": "42", "inputs": [
        {"name": "INPUT1", "shape": [1, 16], "datatype": "INT32", "data": ones},
        {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": [count]}]});
    let sum: Vec<i32> = (1..17).collect();
    let difference: Vec<i32> = (-1..15).collect();
    let (status, body) = post(&url, request.to_string()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body,
        json!({"model_name": "simple", "model_version": "1", "id": "42", "outputs": [
            {"name": "OUTPUT0", "datatype": "INT32", "shape": [1, 16], "data": sum},
            {"name": "OUTPUT1", "datatype": "INT32", "shape": [1, 16], "data": difference}]})
    );

    // Binary in; one output as binary and first, the other as JSON.
    let header = json!({
        "inputs": [
            {"name": "INPUT0", "shape": [2, 16], "datatype": "INT32", "parameters": {"binary_data_size": 128}},
            {"name": "INPUT1", "shape": [2, 16], "datatype": "INT32", "parameters": {"binary_data_size": 128}}],
        "outputs": [{"name": "OUTPUT1", "parameters": {"binary_data": true}}, {"name": "OUTPUT0"}]
    })
    .to_string();
    let tensor = |values: Vec<i32>| values.into_iter().flat_map(i32::to_le_bytes).collect::<Vec<u8>>();
    let body = [header.as_bytes(), &tensor((0..32).collect()), &tensor(vec![10; 32])].concat();
    let response = reqwest::Client::new()
        .post(server.url("/v2/models/simple/versions/1/infer"))
        .header("Inference-Header-Content-Length", header.len())
        .header("x-request-id", "seen-again")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "seen-again");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    let length: usize =
        response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let bytes = response.bytes().await.unwrap();
    let outputs: Value = serde_json::from_slice(&bytes[..length]).unwrap();
    assert_eq!(outputs["outputs"][0]["name"], "OUTPUT1");
    assert_eq!(outputs["outputs"][0]["parameters"]["binary_data_size"], 128);
    assert_eq!(outputs["outputs"][1]["data"], json!((10..42).collect::<Vec<i32>>()));
    assert_eq!(bytes[length..], tensor((-10..22).collect()));
}

#[tokio::test]
async fn numbers_without_ceremony_are_answered_in_kind() {
    let server = Server::with_default_models(&["--model-name=simple"]);
    let request = json!({"INPUT0": [vec![1; 16]], "INPUT1": [vec![2; 16]]}).to_string();
    let expected = json!({"OUTPUT0": [vec![3; 16]], "OUTPUT1": [vec![-1; 16]]});
    for path in ["/predict", "/predictions/simple", "/predictions/simple/1"] {
        assert_eq!(post(&server.url(path), request.clone()).await, (200, expected.clone()), "{path}");
    }
}

#[tokio::test]
async fn errors_name_what_was_expected_and_what_came() {
    let server = Server::with_default_models(&[]);
    let infer = "/v2/models/simple/infer";
    let tensor = |name: &str, shape: &str, datatype: &str, data: &str| {
        format!(r#"{{"name":"{name}","shape":{shape},"datatype":"{datatype}","data":{data}}}"#)
    };
    let sixteen = format!("{:?}", [1; 16]);
    let good = tensor("INPUT1", "[1,16]", "INT32", &sixteen);
    let with = |first: String| format!(r#"{{"inputs":[{first},{good}]}}"#);
    for (path, body, status, message) in [
        (infer, String::new(), 400, "the body is empty: expected an inference request"),
        (
            infer,
            "{\"inputs\": [".to_owned(),
            400,
            "invalid JSON at byte 12: expected an object, got the end of the text",
        ),
        ("/v2/models/nope/infer", "{}".to_owned(), 404, "Request for unknown model: 'nope' is not found"),
        (
            "/v2/models/simple/versions/9/infer",
            "{}".to_owned(),
            404,
            "Request for unknown model: 'simple' version 9 is not found; served: 1",
        ),
        (
            "/v2/models/simple/versions/x/infer",
            "{}".to_owned(),
            404,
            "'x' is no version: versions are whole numbers",
        ),
        (
            infer,
            with(tensor("INPUT7", "[1,16]", "INT32", &sixteen)),
            400,
            "unexpected inference input 'INPUT7' for model 'simple', which takes inputs 'INPUT0', 'INPUT1'",
        ),
        (
            infer,
            format!(r#"{{"inputs":[{good}]}}"#),
            400,
            "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT1'], but missing required \
             input(s) ['INPUT0']. Please provide all required input(s).",
        ),
        (
            infer,
            with(tensor("INPUT0", "[1,16]", "FP32", &sixteen)),
            400,
            "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'",
        ),
        (
            infer,
            with(tensor("INPUT0", "[16]", "INT32", &sixteen)),
            400,
            "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [16]. \
             The first dimension is the batch, because max_batch_size isn't zero",
        ),
        (
            infer,
            with(tensor("INPUT0", "[1,16]", "INT32", "[1,2]")),
            400,
            "input 'INPUT0': shape [1, 16] holds 16 elements, 'data' has 2",
        ),
        (
            infer,
            with(tensor("INPUT0", "[4611686018427387904,16]", "INT32", &sixteen)),
            400,
            "input 'INPUT0': shape [4611686018427387904, 16] holds more elements than can be addressed",
        ),
        (
            infer,
            with(tensor("INPUT0", "[2,16]", "INT32", &format!("{:?}", [1; 32]))),
            400,
            "input 'INPUT1' batch size does not match other inputs for 'simple': it has 1 rows, another has 2",
        ),
        (
            infer,
            format!(
                r#"{{"inputs":[{},{}]}}"#,
                tensor("INPUT0", "[9,16]", "INT32", &format!("{:?}", [1; 144])),
                tensor("INPUT1", "[9,16]", "INT32", &format!("{:?}", [1; 144]))
            ),
            400,
            "inference request batch-size must be <= 8 for 'simple', got 9",
        ),
        (
            infer,
            with(tensor("INPUT0", "[1,16]", "INT32", "[NaN]")),
            400,
            "input 'INPUT0': expected numbers of datatype INT32, got NaN",
        ),
        (
            infer,
            format!(
                r#"{{"inputs":[{good},{}],"outputs":[{{"name":"Y"}}]}}"#,
                tensor("INPUT0", "[1,16]", "INT32", &sixteen)
            ),
            400,
            "unexpected inference output 'Y' for model 'simple', which gives outputs 'OUTPUT0', 'OUTPUT1'",
        ),
        ("/no/such", String::new(), 404, "no such path: POST /no/such"),
        ("/v2/models/simple", String::new(), 405, "Method Not Allowed: use GET"),
        (
            "/predictions/simple",
            "abc".to_owned(),
            400,
            "the body isn't JSON: expected an object of arrays by input name",
        ),
    ] {
        let (got, answer) = post(&server.url(path), body.clone()).await;
        assert_eq!((got, answer), (status, json!({ "error": message })), "{path} {body}");
    }
}

#[tokio::test]
async fn what_is_logged_is_shown_and_changed_and_traces_are_off() {
    let server = Server::with_default_models(&["--id=triton", "--log-info=false"]);
    assert_eq!(get(&server.url("/v2")).await.1["name"], "triton");
    let (status, shown) = get(&server.url("/v2/logging")).await;
    assert_eq!((status, &shown["log_info"], &shown["log_warning"]), (200, &json!(false), &json!(true)));
    let (status, shown) = post(&server.url("/v2/logging"), json!({"log_verbose_level": 1}).to_string()).await;
    assert_eq!((status, &shown["log_verbose_level"]), (200, &json!(1)));
    let (status, wrong) =
        post(&server.url("/v2/logging"), json!({"log_file": "/tmp/elsewhere"}).to_string()).await;
    let fixed = json!({"error": "log file location can not be updated through network protocol"});
    assert_eq!((status, wrong), (400, fixed));
    let (status, traces) = get(&server.url("/v2/models/simple/trace/setting")).await;
    assert_eq!((status, &traces["trace_level"]), (200, &json!(["OFF"])));
    let (status, wrong) =
        post(&server.url("/v2/trace/setting"), json!({"trace_level": ["TIMESTAMPS"]}).to_string()).await;
    assert_eq!(status, 400, "{wrong}");
}
