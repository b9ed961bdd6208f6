//! Whole configurations, and what is said of wrong ones.

use std::time::Duration;

use super::*;

fn read(text: &str) -> Result<ModelConfig, String> {
    ModelConfig::parse(text, "m").map_err(|error| error.to_string())
}

#[test]
fn a_configuration_in_tritons_spelling_is_read_whole() {
    let config = read(
        r#"
        # A comment with [ and { and "quotes".
        name: "m"
        platform: "pytorch_libtorch";
        max_batch_size: 16
        input [
          { name: "a:[b]" data_type: TYPE_INT64 dims: [ -1, 3 ] },
          { name: 'c' data_type: TYPE_FP16, dims: 1 reshape { shape: [ ] } }
        ]
        output { name: "o1" data_type: TYPE_BF16 dims: [ 2 ] label_filename: "labels.txt" }
        output { name: "o2" data_type: TYPE_BOOL dims: [ 4, 4 ] }
        instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0, 1 ] } ]
        dynamic_batching {
          preferred_batch_size: [ 8, 4 ]
          max_queue_delay_microseconds: 250
          default_queue_policy { max_queue_size: 7 }
        }
        version_policy: { specific { versions: [ 1, 3 ] } }
        parameters { key: "INFERENCE_MODE" value: { string_value: "false" } }
        parameters: { key: "ELSE" value: { string_value: "x" } }
        optimization { graph { level: 1 } }
        "#,
    )
    .unwrap();
    assert_eq!(config.max_batch_size, 16);
    assert_eq!(config.inputs[0].name, "a:[b]");
    assert_eq!(
        (config.inputs[0].datatype, config.inputs[0].dims.as_slice()),
        (Datatype::Int64, &[-1, 3][..])
    );
    assert_eq!(config.inputs[1].reshape, Some(vec![]));
    assert_eq!(config.outputs[0].label_filename.as_deref(), Some("labels.txt"));
    assert_eq!(config.outputs[1].datatype, Datatype::Bool);
    assert_eq!(
        config.instance_groups,
        [
            InstanceGroup { count: Some(2), kind: InstanceKind::Cpu, gpus: vec![] },
            InstanceGroup { count: None, kind: InstanceKind::Gpu, gpus: vec![0, 1] },
        ]
    );
    let batching = config.dynamic_batching.unwrap();
    assert_eq!(batching.preferred_batch_sizes, [4, 8]);
    assert_eq!(batching.max_queue_delay, Duration::from_micros(250));
    assert_eq!(batching.max_queue_size, 7);
    assert_eq!(config.version_policy, VersionPolicy::Specific(vec![1, 3]));
    assert_eq!(config.parameters["INFERENCE_MODE"], "false");
    assert_eq!(config.warnings, ["optimization has no effect here", "parameters: 'ELSE' has no effect here"]);
    assert!(config.declared);
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let tensor = |inner: &str| format!("input {{ name: \"x\" {inner} }}");
    for (text, message) in [
        ("name: \"other\"", "config.pbtxt: name: expected 'm', the directory's name, got 'other'"),
        (
            "platform: \"onnxruntime_onnx\"",
            "config.pbtxt: platform: expected pytorch_libtorch, got 'onnxruntime_onnx'",
        ),
        ("backend: \"python\"", "config.pbtxt: backend: expected pytorch, got 'python'"),
        ("max_batch_size: -1", "config.pbtxt: max_batch_size: expected zero or more, got -1"),
        (&tensor("dims: [ 1 ]"), "config.pbtxt: input 'x': it has no data_type"),
        (
            &tensor("data_type: TYPE_FP32"),
            "config.pbtxt: input 'x': it has no dims; a scalar is dims: [ 1 ] with reshape: { shape: [ ] }",
        ),
        (
            &tensor("data_type: TYPE_FP32 dims: [ 0 ]"),
            "config.pbtxt: input 'x': dims: expected -1 or more than zero, got 0",
        ),
        (
            &tensor("data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 3 ] }"),
            "config.pbtxt: input 'x': dims [4] hold 4 elements, reshape [3] holds 3",
        ),
        (
            &tensor("data_type: TYPE_FP32 dims: [ 4 ] allow_ragged_batch: true"),
            "config.pbtxt: input 'x': allow_ragged_batch isn't served",
        ),
        (
            "input [ { name: \"x\" data_type: TYPE_FP32 dims: 1 }, { name: \"x\" data_type: TYPE_FP32 dims: 1 } ]",
            "config.pbtxt: input: 'x' is declared twice",
        ),
        ("dynamic_batching { }", "config.pbtxt: dynamic_batching: it needs a max_batch_size of 1 or more"),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 8 ] }",
            "config.pbtxt: dynamic_batching: preferred_batch_size: expected 1 to max_batch_size (4), got 8",
        ),
        ("sequence_batching { }", "config.pbtxt: sequence_batching: sequences aren't served"),
        ("ensemble_scheduling { }", "config.pbtxt: ensemble_scheduling: ensembles aren't served"),
        (
            "instance_group { count: -2 }",
            "config.pbtxt: instance_group: count: expected zero or more, got -2",
        ),
        (
            "instance_group { kind: KIND_CPU gpus: [ 0 ] }",
            "config.pbtxt: instance_group: gpus go with KIND_GPU or KIND_AUTO",
        ),
        (
            "version_policy { specific { } }",
            "config.pbtxt: version_policy: specific: expected versions above zero, got []",
        ),
        (
            "default_model_filename: \"../model.pt\"",
            "config.pbtxt: default_model_filename: expected the name of a file in the version's directory, got '../model.pt'",
        ),
        (
            "model_transaction_policy { decoupled: true }",
            "config.pbtxt: model_transaction_policy: decoupled models aren't served",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), message, "{text}");
    }
    let located = read("max_batch_size: 4\n  nonsense: 1").unwrap_err();
    assert_eq!(located, "config.pbtxt:2:3: field 'nonsense' not found for message 'inference.ModelConfig'");
    assert!(read("max_batch_size: \"four\"").unwrap_err().starts_with("config.pbtxt:1:17: "));
}

#[test]
fn without_a_file_nothing_is_declared_and_nothing_is_batched() {
    let directory = tempfile::tempdir().unwrap();
    let config = ModelConfig::read(directory.path(), "m").unwrap();
    assert!(!config.declared && config.max_batch_size == 0 && config.dynamic_batching.is_none());
    assert_eq!(config.model_filename, "model.pt");
}
