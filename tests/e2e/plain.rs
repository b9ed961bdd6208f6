//! Plain JSON as people write it by hand.

use serde_json::{Value, json};

use crate::server::{Server, checkout, post};
use crate::surfaces::{repository, start};

const WORDS: &str = r#"max_batch_size: 8 input [ { name: "words" data_type: TYPE_STRING dims: [ 1 ] } ]
    output [ { name: "letters" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ] dynamic_batching { }"#;

const LOG: &str = r#"max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ] dynamic_batching { }"#;

#[tokio::test]
async fn texts_need_no_ceremony_where_there_is_one_input_for_them() {
    let root = repository(&[("words", "words", WORDS), ("bare", "words", "")]);
    let server = start(root.path());
    let url = server.url("/predictions/words");
    for (body, letters) in [
        (r#"{"words": [["a"], ["bcd"]]}"#, json!([[1], [3]])),
        (r#"{"words": ["a", "bcd"]}"#, json!([[1], [3]])),
        (r#"{"words": "bcd"}"#, json!([[3]])),
        (r#"{"text": "bcd"}"#, json!([[3]])),
        (r#"{"inputs": ["a", "bcd"]}"#, json!([[1], [3]])),
        (r#"["a", "bcd"]"#, json!([[1], [3]])),
        (r#""bcd""#, json!([[3]])),
    ] {
        assert_eq!(post(&url, body).await, (200, json!({"letters": letters})), "{body}");
    }
    let (status, answer) = post(&server.url("/predictions/bare"), r#"["a", "bcd"]"#).await;
    assert_eq!((status, answer), (200, json!({"OUTPUT__0": [1, 3]})));
    let rows = post(&server.url("/v1/models/words:predict"), r#"{"instances": ["a", "bcd"]}"#).await;
    assert_eq!(rows, (200, json!({"predictions": [[1], [3]]})));
    for (body, why) in [
        (r#"{"other": "bcd"}"#, "unexpected inference input 'other'"),
        (r#"[1, 2]"#, "input 'words'"),
        ("bcd", "the body isn't JSON"),
    ] {
        let (status, answer) = post(&url, body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(why), "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_row_needs_no_batch_around_it() {
    let root = repository(&[("log", "log", LOG)]);
    let server = start(root.path());
    let url = server.url("/predictions/log");
    let one = json!({"y": [[0.0, 0.0, 0.0]]});
    assert_eq!(post(&url, r#"{"x": [[1, 1, 1]]}"#).await, (200, one.clone()));
    assert_eq!(post(&url, r#"{"x": [1, 1, 1]}"#).await, (200, one));
    for body in [r#"{"x": [1, 1]}"#, r#"{"x": 1}"#, r#"{"x": [[[1, 1, 1]]]}"#] {
        let (status, answer) = post(&url, body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().starts_with("unexpected shape for input 'x'"), "{answer}");
    }
}

#[tokio::test]
async fn an_array_for_several_inputs_is_told_for_what_it_is() {
    let server = Server::start(&checkout("models"), &[]);
    let (status, answer): (u16, Value) = post(&server.url("/predictions/simple"), "[[1, 2, 3, 4]]").await;
    assert_eq!(status, 400);
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.contains("an object by input name was expected") && error.contains("an array came"),
        "{error}"
    );
}
