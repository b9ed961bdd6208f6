use super::*;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_backend::{DeclaredTensor, Dimension};
use cresset_protocol::Datatype;

fn args(file: &Path, inputs: &[&str]) -> InspectArgs {
    InspectArgs {
        file: file.to_owned(),
        input: inputs.iter().map(|input| input.parse().unwrap()).collect(),
        name: None,
        max_batch: 8,
        size: 4,
        op_library: Vec::new(),
        output: None,
        force: false,
    }
}

/// The configuration that is written for a mock.
fn written(backend: &MockBackend, inputs: &[&str]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("config.pbtxt");
    let file = folder.path().join("models/echo/1/model.pt");
    let args = InspectArgs { output: Some(output.clone()), ..args(&file, inputs) };
    run(&args, backend)?;
    Ok(fs::read_to_string(output)?)
}

#[test]
fn a_batch_and_what_varies_are_found() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    assert_eq!(
        written(&backend, &["x:INT16:-1,2,-1"]).unwrap(),
        "name: \"echo\"\nplatform: \"pytorch_libtorch\"\nmax_batch_size: 8\n\
         input [\n  { name: \"x\" data_type: TYPE_INT16 dims: [ 2, -1 ] }\n]\n\
         output [\n  { name: \"OUTPUT__0\" data_type: TYPE_INT16 dims: [ 2, -1 ] }\n]\n\
         dynamic_batching { }\n"
    );
    // Rows alone, so many together that no dimension is as large, other values, and a larger size.
    assert_eq!(backend.control().batches(), [1, 1, 1, 1, 1, 3, 5, 1, 1, 1, 1, 1]);
    let fixed = written(&backend, &["x:FP32:3,4"]).unwrap();
    assert!(fixed.contains("max_batch_size: 0") && fixed.contains("TYPE_FP32 dims: [ 3, 4 ] }"), "{fixed}");
}

#[test]
fn rows_that_do_not_come_back_are_no_batch() {
    let backend = MockBackend::new(Behaviour::WrongRows, &["x"]);
    let text = written(&backend, &["x:FP32:-1,2"]).unwrap();
    assert!(text.contains("max_batch_size: 0") && !text.contains("dynamic_batching"), "{text}");
    assert!(
        text.contains("output [\n  { name: \"OUTPUT__0\" data_type: TYPE_FP32 dims: [ -1, 2 ] }"),
        "{text}"
    );
}

#[test]
fn a_model_that_keeps_state_has_one_instance() {
    let text = written(&MockBackend::new(Behaviour::Identity, &["x"]).stateful(), &["x:FP32:-1,2"]).unwrap();
    assert!(
        text.contains("max_batch_size: 8") && text.ends_with("instance_group [ { count: 1 } ]\n"),
        "{text}"
    );
}

#[test]
fn inputs_that_are_not_the_model_s_are_named() {
    let backend = MockBackend::new(Behaviour::Identity, &["x", "y"]);
    let error = written(&backend, &["x:FP32:-1,2"]).unwrap_err().to_string();
    assert!(error.contains("configuration expects 1 inputs, model provides 2: forward(x, y)"), "{error}");
    let error = written(&backend, &["x:FP32:-1,2", "y:BYTES:-1,1"]).unwrap_err().to_string();
    assert!(error.contains("forward's argument 'y' takes tensors"), "{error}");
}

#[test]
fn a_file_that_is_there_is_kept_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("config.pbtxt");
    fs::write(&output, "mine").unwrap();
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let mut args =
        InspectArgs { output: Some(output.clone()), ..args(Path::new("model.pt"), &["x:FP32:-1,2"]) };
    let error = run(&args, &backend).unwrap_err().to_string();
    assert!(error.ends_with("is there already: --force writes over it"), "{error}");
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
    args.force = true;
    run(&args, &backend).unwrap();
    let text = fs::read_to_string(&output).unwrap();
    assert!(text.starts_with("platform: "), "no name where no directory tells one: {text}");
    args.input.clear();
    assert!(run(&args, &backend).unwrap_err().to_string().starts_with("--output needs --input"));
}

#[test]
fn the_name_is_that_of_the_model_s_directory() {
    assert_eq!(name_of(Path::new("/models/m/1/model.pt")), Some("m".to_owned()));
    assert_eq!(name_of(Path::new("/models/m/latest/model.pt")), None);
    assert_eq!(name_of(Path::new("/model.pt")), None);
}

#[test]
fn what_a_file_declares_is_reported() {
    let model = MockBackend::new(Behaviour::Identity, &["x"]);
    assert_eq!(
        report::of_file(Path::new("m.pt"), &model),
        "m.pt: TorchScript\n\nforward takes\n  x: Tensor\n\nstate: keeps none: instances share it\n\
         devices: none is written into its code\n"
    );
    let batch = |max| Dimension::Symbol { name: "batch".to_owned(), min: 1, max };
    let tensor = |name: &str, max| DeclaredTensor {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![batch(max), Dimension::Fixed(3)],
    };
    let told = report::of_file(
        Path::new("m.pt"),
        &model.declaring(vec![tensor("x", Some(8))], vec![tensor("y", None)]),
    );
    let expected = "it declares of its inputs\n  x: FP32 [batch (1 to 8), 3]\n\
                    it declares of its outputs\n  y: FP32 [batch (1 or more), 3]\n\nstate: ";
    assert!(told.contains(expected), "{told}");
}
