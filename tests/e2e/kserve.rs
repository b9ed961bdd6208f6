//! KServe's first protocol.

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
        ("{}".to_owned(), "the request has no 'instances'"),
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
    let listed = get(&server.url("/v1/models")).await;
    assert_eq!(listed, (200, json!({"models": ["efficientnet_lite0", "simple"]})));
    let model = get(&server.url("/v1/models/simple")).await;
    assert_eq!(model, (200, json!({"name": "simple", "ready": true})));
    assert_eq!(get(&server.url("/v1/models/nope")).await.0, 404);
}
