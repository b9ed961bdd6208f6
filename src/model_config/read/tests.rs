//! Tests of the rules on values, each by the whole error.

use super::*;
use crate::model_config::InstanceKind;
use cresset_protocol::Datatype;

#[track_caller]
fn assert_refused(text: &str, message: &str) {
    let error = ModelConfig::from_pbtxt(text, "m").unwrap_err();
    assert_eq!(error.to_string(), format!("config.pbtxt: field {message}"), "{text}");
}

/// An input with these fields, in a model that batches.
fn input(fields: &str) -> String {
    format!("max_batch_size: 8 input {{ name: 'x' {fields} }}")
}

#[test]
fn the_name_is_the_directorys() {
    assert_refused("name: 'n'", "'name': expected the name of its directory, 'm', or none, got 'n'");
    assert_eq!(ModelConfig::from_pbtxt("", "m").unwrap().name, "m");
}

#[test]
fn only_pytorch_is_served() {
    for text in ["platform: 'libtorch'", "backend: 'pytorch'", "runtime: 'libtriton_pytorch.so'"] {
        assert!(ModelConfig::from_pbtxt(text, "m").is_ok(), "{text}");
    }
    assert_refused(
        "backend: 'python'",
        "'backend': expected 'pytorch_libtorch' or 'pytorch' (only TorchScript models are served), \
         got 'python'",
    );
    assert_refused(
        "platform: 'torch_aoti'",
        "'platform' can't be honoured: AOTInductor packages are not served yet",
    );
    assert_refused(
        "platform: 'ensemble'",
        "'platform' can't be honoured: ensembles are not offered: call the models one by one",
    );
    assert_refused(
        "runtime: 'model.py'",
        "'runtime' can't be honoured: 'model.py' is no runtime of TorchScript: \
         remove the field and export the model with torch.jit",
    );
}

#[test]
fn tensors_have_a_name_a_datatype_and_dims() {
    assert_refused("input { }", "'input[0].data_type': expected a datatype, got none");
    assert_refused("output { data_type: TYPE_FP32 dims: 1 }", "'output[0].name': expected a name, got none");
    assert_refused(
        &input("data_type: TYPE_FP32"),
        "'input[0].dims': expected one dimension or more, and dims: [ 1 ] with reshape: { shape: [ ] } if a row \
         is one number, got none",
    );
    assert_refused(
        &input("data_type: TYPE_FP32 dims: [ 1, 0 ]"),
        "'input[0].dims': expected dimensions of 1 or more, or -1 for one that varies, got 0",
    );
    assert_refused(
        &input("data_type: TYPE_FP32 dims: [ -2 ]"),
        "'input[0].dims': expected dimensions of 1 or more, or -1 for one that varies, got -2",
    );
    assert_refused(
        &input("data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 1, 2 ]"),
        "'input[0].dims': expected three dimensions, as its format is FORMAT_NHWC, got [1, 2]",
    );
    assert_refused(
        "input [ { name: 'x' data_type: TYPE_FP32 dims: 1 }, { name: 'x' data_type: TYPE_FP32 dims: 1 } ]",
        "'input[1].name': expected each name once, got 'x' again",
    );
}

#[test]
fn every_datatype_is_taken() {
    for datatype in Datatype::all() {
        let name = if datatype == Datatype::Bytes { "STRING" } else { datatype.name() };
        let config =
            ModelConfig::from_pbtxt(&input(&format!("data_type: TYPE_{name} dims: 1")), "m").unwrap();
        assert_eq!(config.inputs[0].datatype, datatype);
    }
    assert_refused(&input("data_type: 99 dims: 1"), "'input[0].data_type': expected a datatype, got 99");
    assert_refused(
        &input("data_type: TYPE_INVALID dims: 1"),
        "'input[0].data_type': expected a datatype, got none",
    );
}

#[test]
fn a_reshape_holds_the_same_elements() {
    let reshape = |dims: &str, shape: &str| {
        input(&format!("data_type: TYPE_FP32 dims: {dims} reshape {{ shape: {shape} }}"))
    };
    for (dims, shape) in [("[ 6 ]", "[ 2, 3 ]"), ("[ 1, 1 ]", "[ ]"), ("[ -1, 4 ]", "[ -1, 2, 2 ]")] {
        assert!(ModelConfig::from_pbtxt(&reshape(dims, shape), "m").is_ok(), "{dims} {shape}");
    }
    assert_refused(
        &reshape("[ 6 ]", "[ 2, 4 ]"),
        "'input[0].reshape': expected as many elements as dims [6], around each -1, got [2, 4]",
    );
    assert_refused(
        &reshape("[ 2, -1, 3 ]", "[ 3, -1, 2 ]"),
        "'input[0].reshape': expected as many elements as dims [2, -1, 3], around each -1, got [3, -1, 2]",
    );
    assert_refused(
        &reshape("[ 2 ]", "[ ]"),
        "'input[0].reshape': expected as many elements as dims [2], around each -1, got []",
    );
    assert_refused(
        &reshape("[ 9223372036854775807, 2 ]", "[ 1 ]"),
        "'input[0].reshape': expected a number of elements below 2^63, got more",
    );
    assert_refused(
        "output { name: 'y' data_type: TYPE_FP32 dims: 1 reshape { } }",
        "'output[0].reshape': expected one dimension or more, as max_batch_size is 0, got an empty shape",
    );
}

#[test]
fn batches_stay_within_their_maximum() {
    assert_refused("max_batch_size: -1", "'max_batch_size': expected 0 or more, got -1");
    assert_refused(
        "dynamic_batching { }",
        "'max_batch_size': expected 1 or more, as dynamic_batching is set, got 0",
    );
    for size in ["0", "-4", "9"] {
        assert_refused(
            &format!("max_batch_size: 8 dynamic_batching {{ preferred_batch_size: [ 4, {size} ] }}"),
            &format!(
                "'dynamic_batching.preferred_batch_size': \
                 expected sizes from 1 to max_batch_size, 8, got {size}"
            ),
        );
    }
    assert_refused(
        "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 18446744073709551615 }",
        "'dynamic_batching.max_queue_delay_microseconds': \
         expected at most 3600000000, got 18446744073709551615",
    );
}

#[test]
fn instance_groups_name_devices_that_fit_their_kind() {
    assert_refused(
        "instance_group [ { }, { count: -1 } ]",
        "'instance_group[1].count': expected 0 or more, got -1",
    );
    assert_refused(
        "instance_group { kind: KIND_CPU gpus: [ 0 ] }",
        "'instance_group[0].gpus': expected none, as its kind is KIND_CPU, got [0]",
    );
    assert_refused(
        "instance_group { kind: KIND_GPU gpus: [ 0, -1 ] }",
        &format!(
            "'instance_group[0].gpus': expected numbers of {} devices, got -1",
            cresset_backend::AcceleratorKind::titles()
        ),
    );
    assert_refused(
        "instance_group { kind: 7 }",
        "'instance_group[0].kind': expected a kind of instance, got 7",
    );
    let group = ModelConfig::from_pbtxt("instance_group { }", "m").unwrap().instance_groups.remove(0);
    assert_eq!((group.count, group.kind, group.gpus), (None, InstanceKind::Auto, vec![]));
}

#[test]
fn versions_count_from_one() {
    assert_refused(
        "version_policy { latest { } }",
        "'version_policy.latest.num_versions': expected 1 or more, got 0",
    );
    assert_refused(
        "version_policy { specific { } }",
        "'version_policy.specific.versions': expected one version or more, got none",
    );
    assert_refused(
        "version_policy { specific { versions: [ 1, 0 ] } }",
        "'version_policy.specific.versions': expected versions of 1 or more, got 0",
    );
}

#[test]
fn files_stay_in_their_directories() {
    for filename in ["../model.pt", "a/model.pt", "/model.pt", "..", ".", "model.pt/"] {
        assert_refused(
            &format!("default_model_filename: '{filename}'"),
            &format!(
                "'default_model_filename': expected a file's name, without a directory, got '{filename}'"
            ),
        );
    }
    let of = |capability: &str, filename: &str| {
        format!("cc_model_filenames {{ key: '{capability}' value: '{filename}' }}")
    };
    assert_refused(
        &of("8.0", "../model.pt"),
        "'cc_model_filenames['8.0']': expected a file's name, without a directory, got '../model.pt'",
    );
    assert_refused(
        &of("sm_80", "model.pt"),
        "'cc_model_filenames': expected compute capabilities as '8.0', got 'sm_80'",
    );
    for filename in ["../labels.txt", "/etc/passwd", "a/../../labels.txt"] {
        assert_refused(
            &format!("output {{ name: 'y' data_type: TYPE_FP32 dims: 1 label_filename: '{filename}' }}"),
            &format!(
                "'output[0].label_filename': expected a file inside the model's directory, got '{filename}'"
            ),
        );
    }
}

#[test]
fn switches_have_values_that_can_be_read() {
    let parameter =
        |key: &str, value: &str| format!("parameters {{ key: '{key}' value {{ string_value: '{value}' }} }}");
    assert_refused(
        &parameter("INFERENCE_MODE", "maybe"),
        "'parameters['INFERENCE_MODE']': expected 'true' or 'false', got 'maybe'",
    );
    assert_refused(
        &parameter("INTRA_OP_THREAD_COUNT", "0"),
        "'parameters['INTRA_OP_THREAD_COUNT']': expected a number of 1 or more, got '0'",
    );
}

#[test]
fn files_that_are_no_text_are_refused_and_missing_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join(CONFIG_FILENAME);
    let read = || ModelConfig::read(directory.path(), "m").map_err(|error| error.to_string());
    assert_eq!(read(), Ok(ModelConfig::undeclared("m")));

    fs::write(&config, b"name: '\xff'").unwrap();
    assert_eq!(read(), Err("config.pbtxt: is not UTF-8 text: byte 7 is 0xff".to_owned()));
    fs::write(&config, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(read(), Err("config.pbtxt: is longer than 1048576 bytes".to_owned()));
    fs::write(&config, vec![b'#'; 1 << 20]).unwrap();
    assert!(read().unwrap().declared);
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    assert_eq!(read(), Err("config.pbtxt: is not a plain file".to_owned()));
}
