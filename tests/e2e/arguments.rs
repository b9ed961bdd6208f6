//! The arguments of `forward`, and its errors.

use serde_json::{Value, json};

use crate::server::{Server, checkout, get, post};
use crate::surfaces::{both, floats, strings, tensor};
use cresset_protocol::Datatype;

/// Models of `tests/arguments`, each with its configuration if it has one.
fn repository(models: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, file, config) in models {
        let directory = root.path().join(name);
        std::fs::create_dir_all(directory.join("1")).unwrap();
        let file = checkout("tests/arguments").join(format!("{file}.pt"));
        std::fs::copy(file, directory.join("1/model.pt")).unwrap();
        if !config.is_empty() {
            std::fs::write(directory.join("config.pbtxt"), config).unwrap();
        }
    }
    root
}

#[tokio::test]
async fn a_traced_model_says_what_was_wrong() {
    let root = repository(&[("emb", "traced_embedding", "")]);
    let server = Server::start(root.path(), &[]);
    let request =
        json!({"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 4], "data": [1, 2, 3, 99]}]});
    let (status, answer): (u16, Value) = post(&server.url("/v2/models/emb/infer"), request.to_string()).await;
    assert_eq!(status, 500);
    let cause = "RuntimeError: index out of range in self";
    assert!(answer["error"].as_str().unwrap().ends_with(cause), "{answer}");
    let data = [1_i64, 2, 3, 99].iter().flat_map(|id| id.to_le_bytes()).collect();
    let refused = both(&server, "emb", &[tensor("ids", Datatype::Int64, &[1, 4], data)]).await.unwrap_err();
    assert!(refused.ends_with(cause), "{refused}");
}

/// One input of a JSON request.
fn input(name: &str, datatype: &str, shape: &[i64], data: &Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

/// Asks by HTTP; the first output's numbers, or what is wrong.
async fn ask(server: &Server, model: &str, inputs: &[Value], parameters: Value) -> Result<Vec<f64>, String> {
    let body = json!({"inputs": inputs, "parameters": parameters}).to_string();
    let (status, answer) = post(&server.url(&format!("/v2/models/{model}/infer")), body).await;
    if status != 200 {
        return Err(format!("{status}: {}", answer["error"].as_str().unwrap_or_default()));
    }
    let data = answer["outputs"][0]["data"].as_array().unwrap().iter();
    Ok(data.map(|number| number.as_f64().unwrap()).collect())
}

fn near(got: &[f64], expected: &[f64]) -> bool {
    got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[tokio::test]
async fn numbers_go_as_tensors_of_one_element_or_as_parameters() {
    let root = repository(&[("rate", "rate", ""), ("scale", "scale", ""), ("kinds", "kinds", "")]);
    let server = Server::start(root.path(), &[]);
    let x = input("x", "FP32", &[2], &json!([1.6, 3.2]));
    for (inputs, parameters) in [
        (vec![x.clone(), input("sr", "INT64", &[1], &json!([16000]))], json!({})),
        (vec![x.clone(), input("sr", "INT32", &[], &json!(16000))], json!({})),
        (vec![x.clone()], json!({"sr": 16000})),
    ] {
        let got = ask(&server, "rate", &inputs, parameters).await.unwrap();
        assert!(near(&got, &[0.0001, 0.0002]), "{got:?}");
    }
    let refused = ask(&server, "rate", std::slice::from_ref(&x), json!({})).await.unwrap_err();
    assert_eq!(
        refused,
        "400: expected 2 inputs but got 1 inputs for model 'rate'. Got input(s) ['x'], but missing required \
         input(s) ['sr']. Please provide all required input(s)."
    );
    for (sr, why) in [
        (input("sr", "FP32", &[1], &json!([1.5])), "is one int, got FP32"),
        (input("sr", "INT64", &[2], &json!([1, 2])), "shape [2] with values that differ"),
        (input("sr", "INT64", &[0], &json!([])), "which has none"),
        (input("sr", "BYTES", &[1], &json!(["16000"])), "is one int, got BYTES"),
    ] {
        let refused = ask(&server, "rate", &[x.clone(), sr], json!({})).await.unwrap_err();
        assert!(refused.starts_with("400: ") && refused.ends_with(why), "{refused}");
    }

    let x = input("x", "FP32", &[1, 2], &json!([1, 2]));
    let scale = input("scale", "FP32", &[1], &json!([5]));
    assert_eq!(ask(&server, "scale", &[x.clone(), scale], json!({})).await.unwrap(), [5.0, 10.0]);
    assert_eq!(ask(&server, "scale", std::slice::from_ref(&x), json!({})).await.unwrap(), [2.0, 4.0]);

    // Any of them, in any company.
    for (parameters, expected) in [
        (json!({"count": 1}), [3.0, 5.0]),
        (json!({"count": 1, "factor": 0.5}), [1.5, 2.0]),
        (json!({"count": 0, "negate": true}), [-2.0, -4.0]),
        (json!({"count": 2, "unit": "metres", "factor": 3}), [5.0, 8.0]),
    ] {
        let got = ask(&server, "kinds", std::slice::from_ref(&x), parameters.clone()).await;
        assert_eq!(got.unwrap(), expected, "{parameters}");
    }
    let (status, answer) =
        post(&server.url("/predictions/kinds"), r#"{"x": [[1, 2]], "count": 1, "unit": "mm"}"#.to_owned())
            .await;
    assert_eq!((status, answer), (200, json!({"OUTPUT__0": [[3.0, 5.0]], "OUTPUT__1": 2})));
    let refused = ask(&server, "kinds", &[x], json!({"count": 1, "negate": 1})).await.unwrap_err();
    assert_eq!(refused, "400: input 'negate' of model 'kinds' is one bool, got INT64");

    // On both surfaces, as tensors.
    let tensors = [
        floats("x", &[1, 2], &[1.0, 2.0]),
        tensor("count", Datatype::Int64, &[1], 4_i64.to_le_bytes().to_vec()),
        strings("unit", &[1], &[b"km"]),
    ];
    let outputs = both(&server, "kinds", &tensors).await.unwrap();
    assert_eq!(outputs[0], floats("OUTPUT__0", &[1, 2], &[6.0, 8.0]));
}

#[tokio::test]
async fn any_argument_with_a_default_may_be_left_out() {
    let text = |name: &str| format!(r#"{{ name: "{name}" data_type: TYPE_INT64 dims: [ -1 ] "#);
    let output = r#"output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ] dynamic_batching { }"#;
    let two =
        format!("max_batch_size: 8 input [ {}}}, {}}} ] {output}", text("input_ids"), text("token_type_ids"));
    let all = format!(
        "max_batch_size: 8 input [ {}}}, {} optional: true }}, {} optional: true }} ] {output}",
        text("input_ids"),
        text("attention_mask"),
        text("token_type_ids")
    );
    let root = repository(&[("bare", "optional", ""), ("two", "optional", &two), ("all", "optional", &all)]);
    let server = Server::start(root.path(), &[]);
    let ids = input("input_ids", "INT64", &[1, 2], &json!([1, 2]));
    let types = input("token_type_ids", "INT64", &[1, 2], &json!([1, 1]));
    for model in ["bare", "two", "all"] {
        let got = ask(&server, model, &[ids.clone(), types.clone()], json!({})).await.unwrap();
        assert_eq!(got, [101.0, 102.0], "{model}");
    }
    for model in ["bare", "all"] {
        let got = ask(&server, model, std::slice::from_ref(&ids), json!({})).await.unwrap();
        assert_eq!(got, [1.0, 2.0], "{model}");
    }
    let refused = ask(&server, "two", std::slice::from_ref(&ids), json!({})).await.unwrap_err();
    assert!(refused.contains("expected 2 inputs but got 1 inputs for model 'two'"), "{refused}");
    let refused = ask(&server, "all", std::slice::from_ref(&types), json!({})).await.unwrap_err();
    assert_eq!(
        refused,
        "400: expected number of inputs between 1 and 3 but got 1 inputs for model 'all'. Got input(s) \
         ['token_type_ids'], but missing required input(s) ['input_ids']. Please provide all required input(s)."
    );
    let (_, config) = get(&server.url("/v2/models/all/config")).await;
    assert_eq!(config["input"][1]["optional"], true);
}

#[tokio::test]
async fn values_within_tuples_lists_and_dictionaries_have_their_path_as_their_name() {
    let models = ["rnn", "listed", "nested", "keyed"].map(|name| (name, name, ""));
    let root = repository(&models);
    let server = Server::start(root.path(), &[]);
    let x = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1];
    let rnn = [
        input("x", "FP32", &[1, 2, 5], &json!(x)),
        input("state.0", "FP32", &[1, 1, 4], &json!([0.25, 0.25, 0.25, 0.25])),
        input("state.1", "FP32", &[1, 1, 4], &json!([-0.5, -0.5, -0.5, -0.5])),
    ];
    let expected = [-0.18637, -0.12608, -0.21473, 0.16739, -0.20524, -0.02542, -0.2196, 0.24913];
    let got = ask(&server, "rnn", &rnn, json!({})).await.unwrap();
    assert!(near(&got, &expected), "{got:?}");
    let refused = ask(&server, "rnn", &rnn[..2], json!({})).await.unwrap_err();
    assert!(refused.contains("missing required input(s) ['state.1']"), "{refused}");

    let part = |name: &str, value: f64| input(name, "FP32", &[1], &json!([value]));
    // More than ten, so that their order isn't that of their names.
    let parts: Vec<Value> =
        (0..12).rev().map(|index| part(&format!("parts.{index}"), f64::from(index))).collect();
    assert_eq!(ask(&server, "listed", &parts, json!({})).await.unwrap(), [66.0]);
    let refused = ask(&server, "listed", &[part("parts.0", 1.0), part("parts.2", 1.0)], json!({})).await;
    assert!(refused.unwrap_err().contains("lacks input 'parts.1', but has one behind it"));
    let refused = ask(&server, "listed", &[part("parts.x", 1.0)], json!({})).await.unwrap_err();
    assert!(refused.contains("unexpected inference input 'parts.x'"), "{refused}");

    let sizes = input("sizes", "INT64", &[3], &json!([1, 2, 3]));
    let nested: Vec<Value> = [
        ("x", 1.0),
        ("state.h", 10.0),
        ("state.c", 100.0),
        ("weights.a.0", 1000.0),
        ("weights.a.1", 10_000.0),
        ("more.0", 0.5),
    ]
    .map(|(name, value)| part(name, value))
    .into_iter()
    .chain([sizes])
    .collect();
    assert_eq!(ask(&server, "nested", &nested, json!({})).await.unwrap(), [10_917.5]);
    let without: Vec<Value> = nested.iter().filter(|input| input["name"] != "more.0").cloned().collect();
    assert_eq!(ask(&server, "nested", &without, json!({})).await.unwrap(), [10_917.0]);
    let mut lone = without.clone();
    lone.push(part("more.1", 1.0));
    let refused = ask(&server, "nested", &lone, json!({})).await.unwrap_err();
    assert!(refused.contains("missing required input(s) ['more.0']"), "{refused}");

    let keyed = [part("left.a", 5.0), part("right.a", 2.0)];
    assert_eq!(ask(&server, "keyed", &keyed, json!({})).await.unwrap(), [3.0]);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_the_way_out() {
    let root = repository(&[("placed", "placed", ""), ("rate", "rate", "")]);
    let server = Server::start(root.path(), &["--exit-on-error=false"]);
    let (_, index) = post(&server.url("/v2/repository/index"), String::new()).await;
    let reason =
        index.as_array().unwrap().iter().find(|model| model["name"] == "placed").unwrap()["reason"].clone();
    let reason = reason.as_str().unwrap();
    assert!(reason.contains("forward's argument 'where' is of type"), "{reason}");
    assert!(reason.contains("Save the module within another one"), "{reason}");
}

/// What is proved of one value says nothing of another: with `turn` this model
/// turns the rows of its batch around.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_share_batches_only_with_their_like() {
    let config = |more: &str| {
        format!(
            r#"max_batch_size: 8 input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }} {more} ]
               output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }} ]
               dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
               instance_group [ {{ count: 1 kind: KIND_CPU }} ]"#
        )
    };
    let mask = r#", { name: "mask" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
        , { name: "bias" data_type: TYPE_FP32 dims: [ 1 ] optional: true }"#;
    let root = repository(&[
        ("switch", "switch", &config("")),
        ("shifted", "shifted", &config("")),
        ("masked", "masked", &config(mask)),
    ]);
    let server = std::sync::Arc::new(Server::start(root.path(), &[]));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..24_u32 {
        let server = std::sync::Arc::clone(&server);
        callers.spawn(async move {
            for round in 0..25_u32 {
                let own = f64::from(caller * 1000 + round);
                let x = input("x", "FP32", &[1, 1], &json!([own]));
                let turn = caller % 2 == 1;
                let got = ask(&server, "switch", std::slice::from_ref(&x), json!({"turn": turn})).await;
                assert_eq!(got.unwrap(), [own + 1.0], "turn: {turn}");
                let by = caller % 3;
                let got = ask(&server, "shifted", std::slice::from_ref(&x), json!({"by": by})).await;
                assert_eq!(got.unwrap(), [own + f64::from(by)], "by: {by}");
                let (mut inputs, mut expected) = (vec![x], own);
                if caller % 2 == 0 {
                    inputs.push(input("mask", "FP32", &[1, 1], &json!([2])));
                    expected *= 2.0;
                }
                if caller % 4 < 2 {
                    inputs.push(input("bias", "FP32", &[1, 1], &json!([0.5])));
                    expected += 0.5;
                }
                let got = ask(&server, "masked", &inputs, json!({})).await;
                assert_eq!(got.unwrap(), [expected], "{inputs:?}");
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // Once it is proved that outputs are rows, requests run together.
    for model in ["shifted", "masked"] {
        let (_, statistics) = get(&server.url(&format!("/v2/models/{model}/stats"))).await;
        let statistics = &statistics["model_stats"][0];
        let (rows, runs) = (statistics["inference_count"].as_u64(), statistics["execution_count"].as_u64());
        assert_eq!(rows, Some(600), "{model}");
        assert!(runs < rows, "{model}: {statistics}");
    }
}

#[tokio::test]
async fn a_default_that_forward_writes_to_is_each_calls_own() {
    let config = r#"input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]"#;
    let root = repository(&[("bare", "defaults", ""), ("configured", "defaults", config)]);
    let server = Server::start(root.path(), &[]);
    for model in ["bare", "configured"] {
        for value in [3.0, 5.0, 3.0] {
            let x = input("x", "FP32", &[1], &json!([value]));
            assert_eq!(ask(&server, model, &[x], json!({})).await.unwrap(), [value], "{model}");
        }
    }
}

#[tokio::test]
async fn what_is_incomplete_or_no_value_is_told_before_the_model_runs() {
    let part = |name: &str, value: f64| input(name, "FP32", &[1], &json!([value]));
    let listed = r#"input [ { name: "parts.0" data_type: TYPE_FP32 dims: [ 1 ] },
        { name: "parts.1" data_type: TYPE_FP32 dims: [ 1 ] optional: true },
        { name: "parts.2" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ]
        output [ { name: "sum" data_type: TYPE_FP32 dims: [ 1 ] } ]"#;
    let root = repository(&[("deep", "deep", ""), ("listed", "listed", listed), ("rate", "rate", "")]);
    let server = Server::start(root.path(), &[]);
    let whole = [part("x", 1.0), part("pairs.0.0", 2.0), part("pairs.0.1", 3.0), part("box.0", 10.0)];
    for (more, parameters, expected) in [
        (vec![], json!({"counts.a": 100}), Ok(117.0)),
        (vec![part("box.1.0", 0.5)], json!({"counts.a": 100, "somebody": {"else": 1}}), Ok(117.5)),
        (vec![input("timeout", "INT64", &[1], &json!([1000]))], json!({"timeout": 9_000_000}), Ok(1017.0)),
        (vec![part("pairs.1.0", 1.0)], json!({}), Err("missing required input(s) ['pairs.1.1']")),
        (vec![part("pairs.2.0", 1.0), part("pairs.2.1", 1.0)], json!({}), Err("lacks input 'pairs.1'")),
        (vec![part("x.", 1.0)], json!({}), Err("unexpected inference input 'x.'")),
        (vec![part("box.1.0.", 1.0)], json!({}), Err("unexpected inference input 'box.1.0.'")),
        (
            vec![],
            json!({"counts.a": {"b": 1}}),
            Err("'counts.a' of the request for model 'deep' is no number"),
        ),
        (vec![], json!({"x": 1}), Err("parameter 'x' of the request for model 'deep' is a tensor")),
        (vec![], json!({"counts.a": 1.5}), Err("'counts.a' of model 'deep' is one int, got FP64")),
    ] {
        let inputs = [whole.to_vec(), more].concat();
        match (ask(&server, "deep", &inputs, parameters.clone()).await, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, [expected], "{parameters}"),
            (Err(got), Err(expected)) => assert!(got.starts_with("400") && got.contains(expected), "{got}"),
            (got, expected) => panic!("{got:?} for {expected:?}"),
        }
    }
    let gap = ask(&server, "listed", &[part("parts.0", 1.0), part("parts.2", 1.0)], json!({})).await;
    assert!(gap.unwrap_err().contains("lacks input 'parts.1'"));
    let two = ask(&server, "listed", &[part("parts.0", 1.0), part("parts.1", 5.0)], json!({})).await;
    assert_eq!(two.unwrap(), [6.0]);
    let x = input("x", "FP32", &[1], &json!([1]));
    let large = input("sr", "UINT64", &[1], &json!([u64::MAX]));
    let refused = ask(&server, "rate", &[x.clone(), large], json!({})).await.unwrap_err();
    assert!(refused.contains("an int is at most 9223372036854775807"), "{refused}");
    let sr = input("sr", "INT64", &[1], &json!([2]));
    let refused = ask(&server, "rate", &[x, sr], json!({"sr": 3})).await.unwrap_err();
    assert!(refused.contains("is also one of its inputs"), "{refused}");
}

#[tokio::test]
async fn what_a_whole_batch_shares_is_no_length_that_the_server_makes() {
    let config = r#"max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] },
        { name: "by" data_type: TYPE_INT64 dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ] dynamic_batching { }"#;
    let root = repository(&[("shifted", "shifted", config), ("rate", "rate", "")]);
    let settings = "[padding]\nlength = \"by\"\n\n[padding.inputs]\nx = {}\n";
    std::fs::write(root.path().join("shifted/cresset.toml"), settings).unwrap();
    let server = Server::start(root.path(), &["--exit-on-error=false"]);
    let (_, index) = post(&server.url("/v2/repository/index"), String::new()).await;
    let model = index.as_array().unwrap().iter().find(|model| model["name"] == "shifted").unwrap();
    let reason = model["reason"].as_str().unwrap();
    assert!(reason.contains("[padding] names input 'by', which is the same for all rows"), "{reason}");
}
