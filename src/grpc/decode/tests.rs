//! Messages, good and bad.

use super::*;
use crate::admission::Admission;
use cresset_protocol::Tensor;

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

fn typed_input(shape: &[i64], values: &[f32]) -> InferInputTensor {
    let contents = InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() };
    InferInputTensor { contents: Some(contents), ..input("x", "FP32", shape) }
}

fn message(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
    let raw_input_contents = raw.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    let (model_name, id) = ("m".to_owned(), "7".to_owned());
    ModelInferRequest { model_name, inputs, raw_input_contents, id, ..Default::default() }
}

fn decode(message: ModelInferRequest) -> Result<InferenceRequest, String> {
    let permit = Admission::new(100).admit(0).unwrap();
    request(message, permit).map_err(|error| error.message().to_owned())
}

fn parameters(name: &str, choice: ParameterChoice) -> Parameters {
    [(name.to_owned(), InferParameter { parameter_choice: Some(choice) })].into()
}

#[test]
fn raw_contents_are_slices_that_hold_their_memory() {
    const A: &[u8] = &[1, 0, 2, 0];
    let admission = Admission::new(100);
    let permit = admission.admit(100).unwrap();
    let inputs = vec![input("a", "INT16", &[2]), input("b", "BYTES", &[1])];
    let request = request(message(inputs, &[A, b"\x02\0\0\0hi"]), permit).unwrap();
    assert_eq!(request.id, "7");
    assert_eq!(request.default_form, OutputForm::Binary);
    let seen: Vec<_> =
        request.inputs.iter().map(|t| (&*t.name, t.datatype, t.shape.clone(), &t.data[..])).collect();
    assert_eq!(
        seen,
        [("a", Datatype::Int16, vec![2], A), ("b", Datatype::Bytes, vec![1], b"\x02\0\0\0hi".as_slice())]
    );
    assert_eq!(request.inputs[0].data.as_ptr(), A.as_ptr(), "no copy");

    let last: Tensor = request.inputs.into_iter().next_back().unwrap();
    assert!(admission.admit(1).is_err(), "one tensor is left");
    drop(last);
    assert!(admission.admit(100).is_ok());
}

#[test]
fn typed_contents_become_bytes() {
    let request = decode(message(vec![typed_input(&[1, 2], &[1.0, -2.0])], &[])).unwrap();
    assert_eq!(request.inputs[0].data, [1.0f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat());
    let empty = decode(message(vec![input("x", "FP32", &[0, 3])], &[])).unwrap();
    assert_eq!(empty.inputs[0].data.len(), 0);
}

#[test]
fn what_is_wrong_is_named() {
    let float = || input("x", "FP32", &[1]);
    let shared = || parameters("shared_memory_region", ParameterChoice::StringParam("r".to_owned()));
    let output = |parameters| ModelInferRequest {
        outputs: vec![InferRequestedOutputTensor { name: "y".to_owned(), parameters }],
        ..message(vec![float()], &[&[0; 4]])
    };
    let twice = ModelInferRequest {
        outputs: vec![
            InferRequestedOutputTensor { name: "y".to_owned(), ..Default::default() },
            InferRequestedOutputTensor { name: "y".to_owned(), ..Default::default() },
        ],
        ..message(vec![], &[])
    };
    for (message, expected) in [
        (
            message(vec![float(), float()], &[&[0; 4]]),
            "the request has 2 inputs and 1 raw_input_contents: expected one for each input, in their order",
        ),
        (
            message(vec![typed_input(&[1], &[1.0])], &[&[0; 4]]),
            "input 'x' has contents beside the request's raw_input_contents: one of them, for all inputs",
        ),
        (message(vec![input("", "FP32", &[1])], &[&[0; 4]]), "an input has no 'name'"),
        (message(vec![input("x", "FLOAT", &[1])], &[&[0; 4]]), "input 'x': unknown datatype 'FLOAT'"),
        (
            message(vec![float()], &[]),
            "input 'x' has no data: expected raw_input_contents in the request, or contents in the input",
        ),
        (
            message(vec![typed_input(&[3], &[1.0, 2.0])], &[]),
            "input 'x': shape [3] holds 3 elements, 'contents' has 2",
        ),
        (
            message(vec![float()], &[&[0; 3]]),
            "input byte size mismatch for input 'x' for model 'm'. Expected 4, got 3: FP32 of shape [1]",
        ),
        (message(vec![float(), float()], &[&[0; 4], &[0; 4]]), "input 'x' is given twice"),
        (
            message(vec![input("x", "FP32", &[-1])], &[&[0; 4]]),
            "input 'x': shape [-1] has a negative dimension; a request gives whole shapes",
        ),
        (
            message(vec![input("x", "FP32", &[16, 1_152_921_504_606_846_978])], &[&[0; 4]]),
            "input 'x': shape [16, 1152921504606846978] holds more elements than can be addressed",
        ),
        (
            message(vec![input("x", "FP32", &[1; 65])], &[&[0; 4]]),
            "input 'x': a shape of more than 64 dimensions",
        ),
        (
            message(vec![InferInputTensor { parameters: shared(), ..float() }], &[]),
            "input 'x': the shared memory extensions are not offered: tensors travel in the messages",
        ),
        (
            output(shared()),
            "output 'y': the shared memory extensions are not offered: tensors travel in the messages",
        ),
        (
            output(parameters("classification", ParameterChoice::BoolParam(true))),
            "output 'y': 'classification' is a number of classes",
        ),
        (twice, "output 'y' already exists in request"),
    ] {
        assert_eq!(decode(message), Err(expected.to_owned()));
    }
    let classes = |count| {
        decode(output(parameters("classification", count))).map(|request| request.outputs[0].classification)
    };
    assert_eq!(classes(ParameterChoice::Int64Param(3)), Ok(3));
    assert_eq!(classes(ParameterChoice::Int64Param(-1)), Ok(0));
    assert_eq!(classes(ParameterChoice::Uint64Param(u64::MAX)), Ok(u32::MAX));
}

#[test]
fn the_scheduler_is_asked_by_parameters() {
    let asked = |key: &str, choice: ParameterChoice| {
        let mut message = message(vec![typed_input(&[1], &[1.0])], &[]);
        message.parameters = parameters(key, choice);
        decode(message).map(|request| request.schedule)
    };
    assert_eq!(asked("priority", ParameterChoice::Uint64Param(3)), Ok(Schedule::new(3, 0)));
    assert_eq!(asked("timeout", ParameterChoice::Int64Param(1500)), Ok(Schedule::new(0, 1500)));
    assert_eq!(asked("mine", ParameterChoice::Int64Param(-1)), Ok(Schedule::default()));
    assert_eq!(
        asked("priority", ParameterChoice::Int64Param(-1)).unwrap_err(),
        "invalid value for 'priority', expected value >= 0, got -1"
    );
    assert_eq!(
        asked("timeout", ParameterChoice::StringParam("soon".to_owned())).unwrap_err(),
        "invalid value type for 'timeout' parameter, expected int64_param or uint64_param"
    );
}
