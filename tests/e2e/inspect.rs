//! `cresset inspect`: its configurations serve like handmade ones.

use std::path::Path;
use std::process::{Command, Output};

use cresset_protocol::{Datatype, Tensor};
use serde_json::Value;

use crate::server::{Server, checkout, get};
use crate::surfaces::{assert_alike, both, over_http, tensor};

fn inspect(file: &Path, arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cresset")).arg("inspect").arg(file).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `(datatype, shape)` of what a model's metadata lists.
fn listed(metadata: &Value, what: &str) -> Vec<(String, Datatype, Vec<i64>)> {
    let tensors = metadata[what].as_array().unwrap().iter();
    tensors
        .map(|tensor| {
            let shape = tensor["shape"].as_array().unwrap().iter().map(|dim| dim.as_i64().unwrap()).collect();
            let text = |key: &str| tensor[key].as_str().unwrap();
            (text("name").to_owned(), text("datatype").parse().unwrap(), shape)
        })
        .collect()
}

/// Two rows of small numbers that every model here takes.
fn sample(name: &str, datatype: Datatype, shape: &[i64]) -> Tensor {
    let shape: Vec<i64> = match shape {
        [-1, rest @ ..] => {
            [2].into_iter().chain(rest.iter().map(|dim| if *dim < 0 { 5 } else { *dim })).collect()
        }
        shape => shape.to_vec(),
    };
    let count = shape.iter().product::<i64>();
    let data = (0..count).flat_map(|index| match datatype {
        Datatype::Fp32 => ((index % 17) as f32 / 8.0).to_le_bytes().to_vec(),
        Datatype::Int32 => (index as i32).to_le_bytes().to_vec(),
        Datatype::Int64 => (index % 2).to_le_bytes().to_vec(),
        other => panic!("{other}"),
    });
    tensor(name, datatype, &shape, data.collect())
}

/// Inspects every model of `repository` that has a configuration, by its own
/// inputs, and compares what both configurations serve.
async fn compare(repository: &Path) {
    let by_hand = Server::start(repository, &[]);
    let root = tempfile::tempdir().unwrap();
    let mut models = Vec::new();
    for entry in std::fs::read_dir(repository).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.join("config.pbtxt").exists() {
            continue;
        }
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let (_, metadata) = get(&by_hand.url(&format!("/v2/models/{name}"))).await;
        let made = root.path().join(&name);
        std::fs::create_dir_all(made.join("1")).unwrap();
        let file = made.join("1/model.pt");
        std::fs::copy(directory.join("1/model.pt"), &file).unwrap();
        // Padding has no field in Triton's configuration: it is nothing to inspect.
        let settings = std::fs::read_to_string(directory.join("cresset.toml")).unwrap_or_default();
        if settings.contains("[padding]") {
            std::fs::write(made.join("cresset.toml"), settings).unwrap();
        }
        let mut arguments = vec![format!("--output={}", made.join("config.pbtxt").display())];
        for (input, datatype, shape) in listed(&metadata, "inputs") {
            let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
            arguments.push(format!("--input={input}:{datatype}:{}", dims.join(",")));
        }
        let done = inspect(&file, &arguments);
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        assert!(text(&done.stdout).contains("batch: dimension 0"), "{name}: {}", text(&done.stdout));
        models.push((name, metadata));
    }
    assert!(models.len() >= 2);

    let made = Server::start(root.path(), &[]);
    for (name, by_hand_metadata) in models {
        let (_, metadata) = get(&made.url(&format!("/v2/models/{name}"))).await;
        assert_eq!(listed(&metadata, "inputs"), listed(&by_hand_metadata, "inputs"), "{name}");
        let unnamed = |metadata: &Value| {
            let outputs = listed(metadata, "outputs").into_iter();
            outputs.map(|(_, datatype, shape)| (datatype, shape)).collect::<Vec<_>>()
        };
        assert_eq!(unnamed(&metadata), unnamed(&by_hand_metadata), "{name}");
        let inputs: Vec<Tensor> = listed(&metadata, "inputs")
            .iter()
            .map(|(input, datatype, shape)| sample(input, *datatype, shape))
            .collect();
        // They may be named otherwise.
        let values = |outputs: Vec<Tensor>| -> Vec<Tensor> {
            outputs.into_iter().map(|output| Tensor { name: "".into(), ..output }).collect()
        };
        if name == "stateful" {
            // Once: its second answer is another.
            let client = reqwest::Client::new();
            let first = over_http(&client, &made, &name, "", &inputs).await.unwrap().1;
            assert_eq!(
                values(first),
                values(over_http(&client, &by_hand, &name, "", &inputs).await.unwrap().1)
            );
            continue;
        }
        let (made, by_hand) = (both(&made, &name, &inputs).await, both(&by_hand, &name, &inputs).await);
        assert_alike(&values(made.unwrap()), &values(by_hand.unwrap()), &name);
    }
}

#[tokio::test]
async fn the_default_models_are_configured_as_by_hand() {
    compare(&checkout("models")).await;
}

#[tokio::test]
async fn the_odd_models_are_configured_as_by_hand() {
    compare(&checkout("tests/models")).await;
}

#[test]
fn the_file_alone_tells_arguments_state_and_devices() {
    let told = |name: &str| {
        let done = inspect(&checkout(name), &[]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    };
    let optionals = told("tests/backend/optionals.pt");
    for line in ["  x: Tensor\n", "  mask: Tensor, may be left out\n", "  scale: float, may be left out\n"] {
        assert!(optionals.contains(line), "{optionals}");
    }
    assert!(optionals.contains("devices: none is written into its code"), "{optionals}");
    let stateful = told("tests/models/stateful/1/model.pt");
    assert!(stateful.contains("state: forward changes its attribute 'count' in place"), "{stateful}");
    assert!(stateful.contains("frozen: its attributes stay variables"), "{stateful}");
    let cuda = told("tests/backend/wants_cuda.pt");
    assert!(cuda.contains("devices: its code names cuda:0"), "{cuda}");
}

#[test]
fn a_trial_finds_what_a_file_does_not_tell() {
    let made = |name: &str, inputs: &[&str]| {
        let arguments: Vec<String> = inputs.iter().map(|input| format!("--input={input}")).collect();
        let done = inspect(&checkout(&format!("tests/backend/{name}.pt")), &arguments);
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        (text(&done.stdout), text(&done.stderr))
    };
    let (config, report) = made("mixes_rows", &["x:FP32:-1,4"]);
    assert!(config.contains("max_batch_size: 0") && config.contains("dims: [ -1, 4 ]"), "{config}");
    assert!(
        report.contains("batch: none: output 'OUTPUT__0' of a row depends on the rows beside it"),
        "{report}"
    );

    let (config, _) = made("picture", &["x:FP32:-1,3,-1,-1"]);
    for line in [
        r#"{ name: "x" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }"#,
        r#"{ name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ -1 ] }"#,
        r#"{ name: "OUTPUT__1" data_type: TYPE_FP32 dims: [ 2 ] }"#,
        r#"{ name: "OUTPUT__2" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }"#,
        "dynamic_batching { }",
    ] {
        assert!(config.contains(line), "{line} in {config}");
    }

    let (config, _) = made("echo", &["words:BYTES:-1,1"]);
    let string = r#"data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] }"#;
    assert_eq!(config.matches(string).count(), 2, "{config}");

    let (config, report) =
        made("beside_dict", &["x:BF16:-1,2", "left:BF16:-1,2", "right:BF16:-1,2", "y:BF16:-1,2"]);
    assert!(config.contains(r#"{ name: "sum" data_type: TYPE_BF16 dims: [ 2 ] }"#), "{config}");
    assert!(report.contains("note: 'sum' is BF16, which Triton's PyTorch backend refuses"), "{report}");
}

#[test]
fn what_goes_wrong_is_said_with_an_exit_code() {
    let failed = |file: &str, arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let done = inspect(&checkout(file), &arguments);
        assert_eq!(text(&done.stdout), "");
        (done.status.code().unwrap(), text(&done.stderr))
    };
    let (code, error) = failed("README.md", &[]);
    assert!(code == 1 && error.contains("not a TorchScript file"), "{code} {error}");
    let (code, error) = failed("tests/models/mlp/1/model.pt", &["--input=INPUT__0:FP32:-1,785"]);
    assert!(code == 1 && error.contains("the model fails on these inputs"), "{code} {error}");
    assert!(error.contains("mat1 and mat2 shapes cannot be multiplied"), "{error}");
    let (code, error) = failed("tests/models/mlp/1/model.pt", &["--input=INPUT__0"]);
    assert!(code == 2 && error.contains("expected NAME:DATATYPE:DIMS"), "{code} {error}");
    let config = checkout("models/simple/config.pbtxt");
    let before = std::fs::read(&config).unwrap();
    let (code, error) = failed(
        "models/simple/1/model.pt",
        &[
            "--input=INPUT0:INT32:-1,16",
            "--input=INPUT1:INT32:-1,16",
            &format!("--output={}", config.display()),
        ],
    );
    assert!(code == 1 && error.contains("is there already: --force writes over it"), "{code} {error}");
    assert_eq!(std::fs::read(&config).unwrap(), before);
}

#[test]
fn nobody_is_asked_to_describe_what_is_not_served() {
    let refused = inspect(&checkout("tests/arguments/placed.pt"), &[]);
    assert!(!refused.status.success());
    let (told, wrong) = (text(&refused.stdout), text(&refused.stderr));
    assert!(told.contains("where: Device") && !told.contains("--input"), "{told}");
    assert!(wrong.contains("Save the module within another one"), "{wrong}");
    let served = inspect(&checkout("tests/arguments/kinds.pt"), &[]);
    assert!(served.status.success());
    assert!(text(&served.stdout).contains("Describe its inputs"), "{}", text(&served.stdout));
}

#[test]
fn numbers_and_values_within_arguments_are_described_as_they_are_sent() {
    for (file, inputs, lines) in [
        (
            "shifted",
            &["x:FP32:-1,2", "by:INT64:1"][..],
            &["max_batch_size: 8", r#"{ name: "by" data_type: TYPE_INT64 dims: [ 1 ] }"#][..],
        ),
        (
            "switch",
            &["x:FP32:-1,1"],
            &["max_batch_size: 8", r#"{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }"#],
        ),
        (
            "rnn",
            &["x:FP32:1,2,5", "state.0:FP32:1,1,4", "state.1:FP32:1,1,4"],
            &["max_batch_size: 0", r#"{ name: "state.1" data_type: TYPE_FP32 dims: [ 1, 1, 4 ] }"#],
        ),
        (
            "keyed",
            &["left.a:FP32:-1,3", "right.a:FP32:-1,3"],
            &["max_batch_size: 8", r#"{ name: "left.a" data_type: TYPE_FP32 dims: [ 3 ] }"#],
        ),
    ] {
        let described: Vec<String> =
            inputs.iter().flat_map(|input| ["--input".to_owned(), (*input).to_owned()]).collect();
        let found = inspect(&checkout(&format!("tests/arguments/{file}.pt")), &described);
        let (config, report) = (text(&found.stdout), text(&found.stderr));
        assert!(found.status.success(), "{file}: {report}");
        for line in lines {
            assert!(config.contains(line), "{file}: {line} in {config}");
        }
    }
}
