//! KServe's first protocol, and TensorFlow Serving's of the same paths.

use serde_json::json;

use crate::server::{Server, checkout, get, post};

#[tokio::test]
async fn rows_go_in_and_predictions_come_out() {
    let server = Server::with_default_models(&[]);
    let url = server.url("/v1/models/simple:predict");
    let row = |a: i32, b: i32| json!({"INPUT0": vec![a; 16], "INPUT1": vec![b; 16]});
    let (status, answer) = post(&url, json!({"instances": [row(1, 2), row(5, 3)]}).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let expected =
        |sum: i32, difference: i32| json!({"OUTPUT0": vec![sum; 16], "OUTPUT1": vec![difference; 16]});
    assert_eq!(answer, json!({"predictions": [expected(3, -1), expected(8, 2)]}));

    for (body, message) in [
        ("{}".to_owned(), "the request has neither 'instances' nor 'inputs'"),
        (
            r#"{"instances": [[1, 2]]}"#.to_owned(),
            "the model hasn't just one input: expected each of 'instances' to be an object by input name",
        ),
        (
            json!({"instances": [{"INPUT0": vec![1; 16]}]}).to_string(),
            "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required \
             input(s) ['INPUT1']. Please provide all required input(s).",
        ),
    ] {
        assert_eq!(post(&url, body.clone()).await, (400, json!({ "error": message })), "{body}");
    }
    assert_eq!(get(&url).await.0, 405);
    assert_eq!(post(&server.url("/v1/models/nope:predict"), r#"{"instances": []}"#).await.0, 404);
}

#[tokio::test]
async fn a_model_of_one_input_and_one_output_takes_and_gives_arrays() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let url = server.url("/v1/models/identity:predict");
    let (status, answer) = post(&url, r#"{"instances": [[1, 2.5], [3, 4]]}"#).await;
    assert_eq!((status, answer.to_string()), (200, r#"{"predictions":[[1.0,2.5],[3.0,4.0]]}"#.to_owned()));
    assert_eq!(post(&url, r#"{"instances": []}"#).await.0, 400);
}

#[tokio::test]
async fn models_are_listed_and_say_that_they_are_ready() {
    let server = Server::with_default_models(&[]);
    let listed = json!({"models": ["efficientnet_lite0", "simple"]});
    for path in ["/v1/models", "/v2/models"] {
        assert_eq!(get(&server.url(path)).await, (200, listed.clone()), "{path}");
    }
    let one =
        json!({"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}});
    let known = json!({"name": "simple", "ready": true, "model_version_status": [one]});
    for path in ["/v1/models/simple", "/v1/models/simple/versions/1"] {
        assert_eq!(get(&server.url(path)).await, (200, known.clone()), "{path}");
    }
    for path in ["/v1/models/nope", "/v1/models/simple/versions/2", "/v1/models/simple/versions/x"] {
        assert_eq!(get(&server.url(path)).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn columns_go_in_and_come_out() {
    let server = Server::with_default_models(&[]);
    let body = json!({"signature_name": "serving_default",
        "inputs": {"INPUT0": [vec![1; 16], vec![5; 16]], "INPUT1": [vec![2; 16], vec![3; 16]]}});
    let expected = json!({"outputs": {
        "OUTPUT0": [vec![3; 16], vec![8; 16]], "OUTPUT1": [vec![-1; 16], vec![2; 16]]}});
    for path in ["/v1/models/simple:predict", "/v1/models/simple/versions/1:predict"] {
        assert_eq!(post(&server.url(path), body.to_string()).await, (200, expected.clone()), "{path}");
    }
    let url = server.url("/v1/models/simple:predict");
    for (body, message) in [
        (
            r#"{"inputs": [[1, 2]]}"#,
            "the model hasn't just one input: expected 'inputs' to be an object by input name",
        ),
        (
            r#"{"signature_name": "train", "inputs": {}}"#,
            "'signature_name' is 'train': a model has one signature, 'serving_default'",
        ),
        (
            r#"{"inputs": {}}"#,
            "expected 2 inputs but got 0 inputs for model 'simple'. Got input(s) [], but missing required input(s) ['INPUT0','INPUT1']. Please provide all required input(s).",
        ),
    ] {
        assert_eq!(post(&url, body).await, (400, json!({ "error": message })), "{body}");
    }
    let missing = post(&server.url("/v1/models/simple/versions/7:predict"), body.to_string()).await;
    assert_eq!(missing.0, 404, "{missing:?}");
    drop(server);

    let server = Server::start(&checkout("tests/models"), &[]);
    let url = server.url("/v1/models/identity:predict");
    let (status, answer) = post(&url, r#"{"inputs": [[1, 2.5], [3, 4]]}"#).await;
    assert_eq!((status, answer.to_string()), (200, r#"{"outputs":[[1.0,2.5],[3.0,4.0]]}"#.to_owned()));
    let (status, answer) = post(&url, r#"{"inputs": {"INPUT0": [[1, 2.5]]}}"#).await;
    assert_eq!((status, answer.to_string()), (200, r#"{"outputs":[[1.0,2.5]]}"#.to_owned()));
}

#[tokio::test]
async fn metadata_is_told_in_tensorflows_words() {
    let server = Server::with_default_models(&[]);
    let tensor = |name: &str| {
        json!({"name": name, "dtype": "DT_INT32", "tensor_shape":
            {"dim": [{"size": "-1", "name": ""}, {"size": "16", "name": ""}], "unknown_rank": false}})
    };
    let expected = json!({
        "model_spec": {"name": "simple", "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": {
            "inputs": {"INPUT0": tensor("INPUT0"), "INPUT1": tensor("INPUT1")},
            "outputs": {"OUTPUT0": tensor("OUTPUT0"), "OUTPUT1": tensor("OUTPUT1")},
            "method_name": "tensorflow/serving/predict"}}}}
    });
    for path in ["/v1/models/simple/metadata", "/v1/models/simple/versions/1/metadata"] {
        assert_eq!(get(&server.url(path)).await, (200, expected.clone()), "{path}");
    }
    assert_eq!(get(&server.url("/v1/models/nope/metadata")).await.0, 404);
}

#[tokio::test]
async fn what_takes_no_tensors_says_that_it_is_not_offered() {
    let server = Server::with_default_models(&[]);
    for (verb, why) in [
        ("explain", "explainers are not offered: a model answers :predict"),
        ("classify", "tf.Example is not offered: send tensors to :predict"),
        ("regress", "tf.Example is not offered: send tensors to :predict"),
    ] {
        let url = server.url(&format!("/v1/models/simple:{verb}"));
        assert_eq!(post(&url, "{}").await, (501, json!({ "error": why })), "{verb}");
    }
}
