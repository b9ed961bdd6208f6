//! Models that Triton's back end refuses and Cresset serves: containers of
//! outputs by key path, Python's numbers, tensors beside a dictionary,
//! arguments left to their defaults.

use cresset::grpc::proto::ModelInferRequest;
use cresset_protocol::Datatype;
use serde_json::{Value, json};

use crate::grpc::client;
use crate::server::{get, post};
use crate::surfaces::{asked, both, floats, message, repository, start, strings, tensor};

#[tokio::test]
async fn containers_are_taken_apart_and_named_by_key_path() {
    let configured = "max_batch_size: 8
        input [ { name: 'x' data_type: TYPE_FP32 dims: [ 2 ] } ]
        output [ { name: 'double' data_type: TYPE_FP32 dims: [ 2 ] } ]";
    let some = "input [ { name: 'x' data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: '2.right' data_type: TYPE_FP32 dims: [ 1 ] },
                 { name: '1.b.1.0' data_type: TYPE_FP32 dims: [ 1 ] } ]";
    let root =
        repository(&[("nested", "nested", ""), ("some", "nested", some), ("double", "fields", configured)]);
    let server = start(root.path());
    let x = |value: f32| floats("x", &[1], &[value]);

    let outputs = both(&server, "nested", &[x(1.0)]).await.unwrap();
    let named: Vec<_> =
        outputs.iter().map(|output| (&*output.name, output.datatype, &output.shape[..])).collect();
    assert_eq!(
        named,
        [
            ("OUTPUT__0", Datatype::Fp32, &[1][..]),
            ("1.b.0", Datatype::Fp32, &[1]),
            ("1.b.1.0", Datatype::Fp32, &[1]),
            ("1.b.1.1", Datatype::Fp32, &[1]),
            ("1.a.0", Datatype::Fp32, &[1]),
            ("2.left", Datatype::Fp32, &[1]),
            ("2.right", Datatype::Fp32, &[1]),
            ("OUTPUT__7", Datatype::Int64, &[]),
            ("OUTPUT__8", Datatype::Fp64, &[]),
            ("OUTPUT__9", Datatype::Bool, &[]),
        ]
    );
    assert_eq!(outputs[3], floats("1.b.1.1", &[1], &[4.0]));

    // The configuration's order, and only what it names.
    let outputs = both(&server, "some", &[x(1.0)]).await.unwrap();
    assert_eq!(outputs, [floats("2.right", &[1], &[7.0]), floats("1.b.1.0", &[1], &[3.0])]);
    let request = ModelInferRequest { outputs: vec![asked("1.b.1.0")], ..message("some", "", &[x(2.0)]) };
    let response = client(&server).await.model_infer(request).await.unwrap().into_inner();
    assert_eq!(response.raw_output_contents, [4.0_f32.to_le_bytes().to_vec()]);

    let outputs = both(&server, "double", &[floats("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])]).await.unwrap();
    assert_eq!(outputs, [floats("double", &[2, 2], &[2.0, 4.0, 6.0, 8.0])]);
}

#[tokio::test]
async fn numbers_and_strings_of_python_s_are_tensors_without_dimensions_unless_configured() {
    let output = |name: &str, kind: &str| format!("{{ name: '{name}' data_type: TYPE_{kind} dims: [ 1 ] }}");
    let configured = format!(
        "input [ {{ name: 'x' data_type: TYPE_FP32 dims: [ -1 ] }} ] output [ {}, {}, {}, {} ]",
        output("n", "INT64"),
        output("sum", "FP64"),
        output("positive", "BOOL"),
        output("text", "STRING")
    );
    let root = repository(&[("scalars", "scalars", ""), ("configured", "scalars", &configured)]);
    let server = start(root.path());
    let x = [floats("x", &[2], &[1.5, 2.0])];
    for (model, shape, names) in [
        ("scalars", &[][..], ["OUTPUT__0", "OUTPUT__1", "OUTPUT__2", "OUTPUT__3"]),
        ("configured", &[1], ["n", "sum", "positive", "text"]),
    ] {
        let expected = [
            tensor(names[0], Datatype::Int64, shape, 2_i64.to_le_bytes().to_vec()),
            tensor(names[1], Datatype::Fp64, shape, 3.5_f64.to_le_bytes().to_vec()),
            tensor(names[2], Datatype::Bool, shape, vec![1]),
            strings(names[3], shape, &[b"of 2"]),
        ];
        assert_eq!(both(&server, model, &x).await.unwrap(), expected, "{model}");
    }
    let body =
        json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2]}]}).to_string();
    let (_, answer) = post(&server.url("/v2/models/scalars/infer"), body).await;
    let data: Vec<&Value> =
        answer["outputs"].as_array().unwrap().iter().map(|output| &output["data"]).collect();
    assert_eq!(data, [&json!([2]), &json!([3.5]), &json!([true]), &json!(["of 2"])]);
}

#[tokio::test]
async fn tensors_stand_beside_a_dictionary() {
    let input = |name: &str| format!("{{ name: '{name}' data_type: TYPE_FP32 dims: [ 2 ] }}");
    let configured = format!(
        "max_batch_size: 8 input [ {}, {}, {}, {} ] output [ {}, {} ] dynamic_batching {{ }}",
        input("right"),
        input("y"),
        input("left"),
        input("x"),
        input("y"),
        input("sum")
    );
    let root = repository(&[("open", "beside_dict", ""), ("configured", "beside_dict", &configured)]);
    let server = start(root.path());
    let x = floats("x", &[1, 2], &[1.0, 2.0]);
    let (left, right) = (floats("left", &[1, 2], &[10.0, 20.0]), floats("right", &[1, 2], &[0.5, 0.25]));
    let y = floats("y", &[1, 2], &[7.0, 8.0]);
    let sum = floats("sum", &[1, 2], &[12.0, 22.5]);
    let inputs = [left.clone(), y.clone(), right, x.clone()];
    assert_eq!(both(&server, "open", &inputs).await.unwrap(), [sum.clone(), y.clone()]);
    assert_eq!(both(&server, "configured", &inputs).await.unwrap(), [y.clone(), sum]);
    assert_eq!(
        both(&server, "configured", &[left, y, x]).await.unwrap_err(),
        "400 expected 4 inputs but got 3 inputs for model 'configured'. Got input(s) ['left','y','x'], but missing \
         required input(s) ['right']. Please provide all required input(s)."
    );
}

#[tokio::test]
async fn the_last_arguments_may_be_left_to_their_defaults() {
    let input = |name: &str| format!("{{ name: '{name}' data_type: TYPE_FP32 dims: [ 2 ] }}");
    let output = "output [ { name: 'y' data_type: TYPE_FP32 dims: [ 2 ] } ]";
    let one = format!("input [ {} ] {output}", input("x"));
    let two = format!("input [ {}, {} ] {output}", input("mask"), input("x"));
    let root =
        repository(&[("one", "optionals", &one), ("two", "optionals", &two), ("file", "optionals", "")]);
    let server = start(root.path());
    let x = floats("x", &[2], &[1.0, 2.0]);
    assert_eq!(both(&server, "one", &[x.clone()]).await.unwrap(), [floats("y", &[2], &[2.0, 4.0])]);
    let mask = floats("mask", &[2], &[0.0, 1.0]);
    let masked = [mask.clone(), x.clone()];
    assert_eq!(both(&server, "two", &masked).await.unwrap(), [floats("y", &[2], &[0.0, 2.0])]);
    assert_eq!(
        both(&server, "two", &[x.clone()]).await.unwrap_err(),
        "400 expected 2 inputs but got 1 inputs for model 'two'. Got input(s) ['x'], but missing required input(s) \
         ['mask']. Please provide all required input(s).",
        "what is configured is asked for"
    );
    // Without a configuration each request decides.
    assert_eq!(both(&server, "file", &masked).await.unwrap(), [floats("OUTPUT__0", &[2], &[0.0, 2.0])]);
    assert_eq!(both(&server, "file", &[x]).await.unwrap(), [floats("OUTPUT__0", &[2], &[2.0, 4.0])]);
    assert_eq!(
        both(&server, "file", &[mask]).await.unwrap_err(),
        "400 expected number of inputs between 1 and 4 but got 1 inputs for model 'file'. Got input(s) ['mask'], but \
         missing required input(s) ['x']. Please provide all required input(s)."
    );
    assert_eq!(get(&server.url("/v2/models/two")).await.1["inputs"][0]["name"], "mask");
}
