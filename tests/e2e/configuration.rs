//! A model's configuration as Triton's clients ask for it.

use serde_json::json;

use crate::server::{Server, checkout, get, post};

#[tokio::test]
async fn a_model_answers_its_configuration_as_it_is_in_effect() {
    let server = Server::with_default_models(&[]);
    let (status, config) = get(&server.url("/v2/models/simple/config")).await;
    assert_eq!(status, 200, "{config}");
    assert_eq!(get(&server.url("/v2/models/simple/versions/1/config")).await, (200, config.clone()));

    assert_eq!(config["name"], "simple");
    assert_eq!((&config["platform"], &config["backend"]), (&json!("pytorch_libtorch"), &json!("pytorch")));
    assert_eq!(config["max_batch_size"], 8);
    assert_eq!(config["version_policy"], json!({"latest": {"num_versions": 1}}));
    assert_eq!(config["default_model_filename"], "model.pt");
    assert_eq!(config["input"].as_array().map(Vec::len), Some(2));
    assert_eq!(config["input"][0]["data_type"], "TYPE_INT32");
    assert_eq!(config["input"][0]["format"], "FORMAT_NONE");
    assert_eq!(config["input"][0]["dims"], json!([16]), "64-bit integers are numbers");
    assert_eq!(config["output"][1]["name"], "OUTPUT1");
    assert!(config["dynamic_batching"].is_object(), "{config}");
    let group = &config["instance_group"][0];
    assert_eq!(group["kind"], "KIND_CPU");
    assert!(group["count"].as_u64().is_some_and(|count| count >= 1), "the count in effect: {group}");

    for (path, status) in [("/v2/models/nope/config", 404), ("/v2/models/simple/versions/7/config", 404)] {
        assert_eq!(get(&server.url(path)).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_model_without_a_configuration_answers_what_stands_for_it() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let (status, config) = get(&server.url("/v2/models/no_config/config")).await;
    assert_eq!(status, 200, "{config}");
    assert_eq!(config["name"], "no_config");
    assert_eq!(config["max_batch_size"], 0);
    assert_eq!((&config["input"], &config["output"]), (&json!([]), &json!([])));
    assert_eq!(config["default_model_filename"], "model.pt");
    assert!(config.get("dynamic_batching").is_none(), "{config}");

    // It keeps state: whatever its file asks for, it isn't batched.
    let (_, config) = get(&server.url("/v2/models/stateful/config")).await;
    assert!(config.get("dynamic_batching").is_none(), "{config}");
    assert_eq!(config["instance_group"][0]["count"], 1);
}

/// A hundred thousand threads: their stacks would end the process.
#[tokio::test]
async fn instances_beyond_all_machines_keep_one_model_out_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    for model in ["many", "fine"] {
        std::fs::create_dir_all(root.path().join(model).join("1")).unwrap();
        let file = checkout("tests/arguments/shifted.pt");
        std::fs::copy(file, root.path().join(model).join("1/model.pt")).unwrap();
    }
    std::fs::write(root.path().join("many/config.pbtxt"), "instance_group [ { count: 100000 } ]").unwrap();
    let mut server = Server::start(root.path(), &["--exit-on-error=false"]);
    let (_, index) = post(&server.url("/v2/repository/index"), String::new()).await;
    let reason = |name: &str| {
        let model = index.as_array().unwrap().iter().find(|model| model["name"] == name).unwrap();
        model["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert!(reason("many").contains("instance_group asks for 100000 instances"), "{index}");
    assert_eq!(reason("fine"), "");
    assert!(server.is_running());
}
