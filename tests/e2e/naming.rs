//! Names and shapes of inputs and outputs in configurations: each of Triton's
//! ways, on both surfaces.

use crate::server::get;
use crate::surfaces::{assert_alike, both, floats, repository, start, tensor};
use cresset_protocol::{Datatype, Tensor};

/// `multi_io` takes `vector`, `matrix` and `scale`, and gives three outputs;
/// its names are `names`, in that order, and it is configured in `order`.
fn config(names: [&str; 3], order: [usize; 3], outputs: [&str; 3]) -> String {
    let dims = ["4", "2, 3", "1"];
    let input = |place: usize| {
        format!("{{ name: '{}' data_type: TYPE_FP32 dims: [ {} ] }}", names[place], dims[place])
    };
    let kinds = [("FP32", "5"), ("FP32", "2, 3"), ("INT64", "1")];
    let output = |place: usize| {
        let (kind, dims) = kinds[place];
        format!("{{ name: '{}' data_type: TYPE_{kind} dims: [ {dims} ] }}", outputs[place])
    };
    format!(
        "max_batch_size: 4 input [ {} ] output [ {} ]",
        order.map(input).join(", "),
        order.map(output).join(", ")
    )
}

#[tokio::test]
async fn every_convention_binds_the_same_arguments_and_results() {
    let arguments = ["vector", "matrix", "scale"];
    let indices = ["INPUT__0", "INPUT__1", "INPUT__2"];
    let outputs = ["OUTPUT__0", "OUTPUT__1", "OUTPUT__2"];
    let others = ["a", "b", "c"];
    let root = repository(&[
        ("arguments", "multi_io", &config(arguments, [2, 0, 1], outputs)),
        ("indices", "multi_io", &config(indices, [1, 2, 0], outputs)),
        // Neither: the order counts.
        ("order", "multi_io", &config(others, [0, 1, 2], ["x", "y", "z"])),
        ("mixed", "multi_io", &config(["scale", "INPUT__0", "x"], [0, 1, 2], ["x", "OUTPUT__0", "z"])),
        ("file", "multi_io", ""),
    ]);
    let server = start(root.path());
    let (vector, matrix, scale) = ([0.5, -1.0, 2.0, 0.25], [1.0, 2.0, 3.0, -4.0, 5.0, 0.125], [3.0]);
    let mut answers = Vec::new();
    for (model, names) in [
        ("arguments", arguments),
        ("indices", indices),
        ("order", others),
        ("mixed", ["scale", "INPUT__0", "x"]),
        ("file", arguments),
    ] {
        let inputs = [
            floats(names[0], &[1, 4], &vector),
            floats(names[1], &[1, 2, 3], &matrix),
            floats(names[2], &[1, 1], &scale),
        ];
        let mut outputs = both(&server, model, &inputs).await.unwrap();
        // The configuration's order; the names tell which is which.
        outputs.sort_by(|a, b| a.name.cmp(&b.name));
        if model == "mixed" {
            outputs.swap(0, 1);
        }
        // Each convention names them otherwise.
        let unnamed = outputs.into_iter().map(|output| Tensor { name: "".into(), ..output });
        answers.push(unnamed.collect::<Vec<_>>());
    }
    assert_eq!(answers[0][1].shape, [1, 2, 3]);
    for (index, answer) in answers.iter().enumerate() {
        assert_alike(answer, &answers[0], &index.to_string());
    }
}

#[tokio::test]
async fn reshape_and_whole_shapes_and_dictionaries() {
    let reshaped = "max_batch_size: 4
        input [ { name: 'INPUT0' data_type: TYPE_FP32 dims: [ 6 ] reshape { shape: [ 2, 3 ] } } ]
        output [ { name: 'y' data_type: TYPE_FP32 dims: [ 3, 2 ] reshape { shape: [ 2, 3 ] } } ]
        dynamic_batching { }";
    let whole = "max_batch_size: 0
        input [ { name: 'INPUT0' data_type: TYPE_FP32 dims: [ 2, -1 ] } ]
        output [ { name: 'y' data_type: TYPE_FP32 dims: [ 2, -1 ] } ]";
    let keys = "max_batch_size: 4
        input [ { name: 'right' data_type: TYPE_FP32 dims: [ 1 ] }, { name: 'left' data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: 'y' data_type: TYPE_FP32 dims: [ 1 ] } ]";
    let root = repository(&[
        ("reshaped", "identity", reshaped),
        ("whole", "identity", whole),
        ("keys", "dict_input", keys),
        // No batch in front: a matrix's rows are no requests.
        ("transposes", "views", ""),
    ]);
    let server = start(root.path());
    let six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let outputs = both(&server, "reshaped", &[floats("INPUT0", &[1, 6], &six)]).await.unwrap();
    assert_eq!(outputs, [floats("y", &[1, 3, 2], &six)]);
    let outputs = both(&server, "whole", &[floats("INPUT0", &[2, 3], &six)]).await.unwrap();
    assert_eq!(outputs, [floats("y", &[2, 3], &six)]);
    let refused = both(&server, "whole", &[floats("INPUT0", &[3, 2], &six)]).await.unwrap_err();
    assert_eq!(
        refused,
        "400 unexpected shape for input 'INPUT0' for model 'whole'. Expected [2,-1], got [3,2]"
    );
    let inputs = [floats("left", &[1, 1], &[10.0]), floats("right", &[1, 1], &[0.5])];
    assert_eq!(both(&server, "keys", &inputs).await.unwrap(), [floats("y", &[1, 1], &[11.0])]);
    let outputs = both(&server, "transposes", &[floats("x", &[2, 2], &six[..4])]).await.unwrap();
    assert_eq!(outputs[1], floats("OUTPUT__1", &[2, 2], &[1.0, 3.0, 2.0, 4.0]));
}

#[tokio::test]
async fn the_file_is_the_one_that_is_named() {
    let config = "default_model_filename: 'net v2.pt'
        input [ { name: 'x' data_type: TYPE_INT8 dims: [ 2 ] } ]
        output [ { name: 'y' data_type: TYPE_INT8 dims: [ 2 ] } ]";
    let root = repository(&[("named", "identity", config)]);
    let version = root.path().join("named/1");
    std::fs::rename(version.join("model.pt"), version.join("net v2.pt")).unwrap();
    let server = start(root.path());
    let sent = tensor("x", Datatype::Int8, &[2], vec![1, 255]);
    assert_eq!(
        both(&server, "named", &[sent]).await.unwrap(),
        [tensor("y", Datatype::Int8, &[2], vec![1, 255])]
    );
    assert_eq!(get(&server.url("/v2/models/named/config")).await.1["default_model_filename"], "net v2.pt");
}
