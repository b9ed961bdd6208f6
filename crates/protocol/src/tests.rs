//! The wire, both ways.
#![allow(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};
use proptest::prelude::*;

use super::*;

fn decode(text: &str) -> Result<InferenceRequest, String> {
    decode_request("m", &Bytes::copy_from_slice(text.as_bytes()), None).map_err(|error| error.to_string())
}

fn tensor(name: &str, datatype: Datatype, shape: &[i64], data: &[u8]) -> Tensor {
    Tensor { name: Arc::from(name), datatype, shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }
}

#[test]
fn a_json_request_is_read_whichever_way_its_keys_are_ordered() {
    let expected = InferenceRequest {
        id: "7".to_owned(),
        inputs: vec![tensor("x", Datatype::Uint8, &[2, 2], &[1, 2, 3, 4])],
        outputs: vec![RequestedOutput {
            name: "y".to_owned(),
            form: Some(OutputForm::Binary),
            classification: 3,
        }],
        default_form: OutputForm::Json,
        non_finite: None,
        schedule: Schedule::default(),
        ..InferenceRequest::default()
    };
    let typed = r#"{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"UINT8","data":[1,2,3,4]}],
        "outputs":[{"name":"y","parameters":{"binary_data":true,"classification":3}}]}"#;
    let untyped = r#"{"outputs":[{"parameters":{"classification":3,"binary_data":true},"name":"y"}],"unknown":{"a":[null]},
        "inputs":[{"data":[[1,2],[3,4]],"datatype":"UINT8","shape":[2,2],"name":"x"}],"id":"7"}"#;
    assert_eq!(decode(typed), Ok(expected.clone()));
    assert_eq!(decode(untyped), Ok(expected));
}

#[test]
fn a_request_may_say_its_priority_and_its_time() {
    let asked = |parameters: &str| {
        let inputs = r#"[{"name":"x","shape":[1],"datatype":"UINT8","data":[1]}]"#;
        decode(&format!(r#"{{"parameters":{parameters},"inputs":{inputs}}}"#)).map(|request| request.schedule)
    };
    let timeout = |microseconds| Some(std::time::Duration::from_micros(microseconds));
    let both = Schedule { priority: 2, timeout: timeout(1500), deadline: None };
    assert_eq!(asked(r#"{"priority":2,"timeout":1500,"mine":"x"}"#), Ok(both));
    assert_eq!(asked(r#"{"timeout":0}"#), Ok(Schedule::default()), "zero is none");
    let largest = Schedule { priority: u64::MAX, timeout: timeout(u64::MAX), deadline: None };
    assert_eq!(asked(r#"{"priority":18446744073709551615,"timeout":18446744073709551615}"#), Ok(largest));
    for bad in [r#"{"priority":-1}"#, r#"{"timeout":"soon"}"#, r#"{"timeout":1.5}"#] {
        let error = asked(bad).unwrap_err().to_string();
        assert!(error.starts_with("the 'parameters' of the request: invalid"), "{bad}: {error}");
    }
}

#[test]
fn a_region_in_the_place_of_a_tensor_is_refused() {
    let with = |input: &str, output: &str| {
        let body = format!(
            r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"UINT8"{input}}}],
                "outputs":[{{"name":"y"{output}}}]}}"#
        );
        decode(&body).unwrap_err().to_string()
    };
    let region = r#","parameters":{"shared_memory_region":"r","shared_memory_byte_size":1}"#;
    let words = "the shared memory extensions are not offered";
    assert!(with(region, "").contains(words));
    assert!(with(r#","data":[1]"#, region).contains(words));
}

#[test]
fn binary_tensors_are_slices_of_the_body() {
    let header = r#"{"inputs":[
        {"name":"a","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},
        {"name":"j","shape":[1],"datatype":"BOOL","data":[true]},
        {"name":"b","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}],
        "parameters":{"binary_data_output":true}}"#;
    let body = [header.as_bytes(), &[1, 0, 2, 0], &[2, 0, 0, 0], b"hi"].concat();
    let body = Bytes::from(body);
    let request = decode_request("m", &body, Some(header.len())).unwrap();
    assert_eq!(request.default_form, OutputForm::Binary);
    assert_eq!(
        request.inputs,
        [
            tensor("a", Datatype::Int16, &[2], &[1, 0, 2, 0]),
            tensor("j", Datatype::Bool, &[1], &[1]),
            tensor("b", Datatype::Bytes, &[1], b"\x02\0\0\0hi"),
        ]
    );
    assert_eq!(request.inputs[0].data.as_ptr(), body[header.len()..].as_ptr(), "no copy");
}

#[test]
fn what_is_wrong_is_named() {
    for (text, message) in [
        ("", "the body is empty: expected an inference request"),
        ("[]", "invalid JSON at byte 0: expected an object, got '['"),
        ("{\"inputs\":", "invalid JSON at byte 10: expected an array, got the end of the text"),
        ("{}", "the request has no 'inputs'"),
        (r#"{"inputs":[{"shape":[1]}]}"#, "an input has no 'name'"),
        (r#"{"inputs":[{"name":"x","datatype":"FP32","data":[1]}]}"#, "input 'x' has no 'shape'"),
        (r#"{"inputs":[{"name":"x","shape":[1],"data":[1]}]}"#, "input 'x' has no 'datatype'"),
        (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}"#, "input 'x' has no 'data'"),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}}]}"#,
            "input 'x': the shared memory extensions are not offered: tensors travel in the bodies",
        ),
        (
            r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]}"#,
            "output 'y': the shared memory extensions are not offered: tensors travel in the bodies",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FLOAT","data":[1]}]}"#,
            "input 'x': unknown datatype 'FLOAT'",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,2]}]}"#,
            "input 'x': shape [3] holds 3 elements, 'data' has 2",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[16,1152921504606846978],"datatype":"FP32","data":[1]}]}"#,
            "input 'x': shape [16, 1152921504606846978] holds more elements than can be addressed",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}]}"#,
            "input 'x': shape [-1] has a negative dimension; a request gives whole shapes",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]},{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#,
            "input 'x' is given twice",
        ),
        (r#"{"inputs":[],"outputs":[{"name":"y"},{"name":"y"}]}"#, "output 'y' already exists in request"),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#,
            "input 'x': binary_data_size is 4, but only 0 bytes are left in the body",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-4}}]}"#,
            "the 'parameters' of an input: invalid value: integer `-4`, expected usize at line 1 column 22",
        ),
        (
            r#"{"inputs":[{"name":"x","shape":[1.5],"datatype":"FP32","data":[1]}]}"#,
            "invalid JSON at byte 32: expected a dimension as an integer of 64 bits, got 1.5",
        ),
    ] {
        assert_eq!(decode(text), Err(message.to_owned()), "{text}");
    }
    let body = Bytes::from_static(br#"{"inputs":[]}  x"#);
    assert_eq!(
        decode_request("m", &body, Some(13)).unwrap_err().to_string(),
        "3 bytes are left over behind the last input's data"
    );
    assert_eq!(
        decode_request("m", &body, Some(99)).unwrap_err().to_string(),
        "Inference-Header-Content-Length is 99, but the body has 16 bytes"
    );
}

#[test]
fn a_huge_shape_allocates_nothing() {
    let text = r#"{"inputs":[{"name":"x","shape":[4000000000],"datatype":"FP32","data":[1]}]}"#;
    assert_eq!(
        decode(text),
        Err("input 'x': shape [4000000000] holds 4000000000 elements, 'data' has 1".to_owned())
    );
}

#[test]
fn a_response_is_written_in_the_forms_asked_for() {
    let response = InferenceResponse {
        model_name: Arc::from("m"),
        model_version: 3,
        id: "a\"b".to_owned(),
        outputs: vec![
            tensor("f", Datatype::Fp32, &[1, 3], &[1.5f32, f32::NAN, -0.1].map(f32::to_le_bytes).concat()),
            tensor("s", Datatype::Bytes, &[2], b"\x02\0\0\0hi\0\0\0\0"),
            tensor("e", Datatype::Int64, &[0], &[]),
        ],
    };
    let json = encode_response(&response, &[OutputForm::Json; 3], NonFinite::Words);
    assert_eq!(json.header_length, None);
    assert_eq!(
        std::str::from_utf8(&json.parts[0]).unwrap(),
        r#"{"model_name":"m","model_version":"3","id":"a\"b","outputs":[{"name":"f","datatype":"FP32","shape":[1,3],"data":[1.5,NaN,-0.1]},{"name":"s","datatype":"BYTES","shape":[2],"data":["hi",""]},{"name":"e","datatype":"INT64","shape":[0],"data":[]}]}"#
    );
    let mixed = encode_response(
        &response,
        &[OutputForm::Binary, OutputForm::Json, OutputForm::Json],
        NonFinite::Words,
    );
    assert_eq!(mixed.header_length, Some(mixed.parts[0].len()));
    assert_eq!(mixed.parts.len(), 2);
    assert_eq!(mixed.parts[1].as_ptr(), response.outputs[0].data.as_ptr(), "no copy");
    assert!(
        std::str::from_utf8(&mixed.parts[0])
            .unwrap()
            .contains(r#""name":"f","datatype":"FP32","shape":[1,3],"parameters":{"binary_data_size":12}}"#)
    );
}

#[test]
fn what_json_has_no_number_for_is_written_by_rule() {
    let values = [1.0f64, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let tensors = [
        tensor("a", Datatype::Fp16, &[2, 2], &values.map(|v| f16::from_f64(v).to_le_bytes()).concat()),
        tensor("b", Datatype::Bf16, &[2, 2], &values.map(|v| bf16::from_f64(v).to_le_bytes()).concat()),
        tensor("c", Datatype::Fp32, &[2, 2], &values.map(|v| (v as f32).to_le_bytes()).concat()),
        tensor("d", Datatype::Fp64, &[2, 2], &values.map(f64::to_le_bytes).concat()),
    ];
    for tensor in tensors {
        let tensor = std::slice::from_ref(&tensor);
        for (rule, expected) in [
            (NonFinite::Words, "[[1.0,NaN],[Infinity,-Infinity]]"),
            (NonFinite::Null, "[[1.0,null],[null,null]]"),
            (NonFinite::Text, r#"[[1.0,"NaN"],["Infinity","-Infinity"]]"#),
        ] {
            rule.check(tensor).unwrap();
            let text = String::from_utf8(json::write_named_tensors(tensor, rule)).unwrap();
            assert_eq!(text.split_once(':').unwrap().1.trim_end_matches('}'), expected);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), rule != NonFinite::Words);
        }
        let refused = NonFinite::Error.check(tensor).unwrap_err();
        assert_eq!((refused.value, &refused.place[..]), ("NaN", &[0, 1][..]));
    }
    let asking = |rule: &str| {
        let text = format!(r#"{{"parameters": {{"non_finite": {rule}}}, "inputs": []}}"#);
        decode_request("m", &Bytes::from(text), None)
            .map(|request| request.non_finite)
            .map_err(|e| e.to_string())
    };
    assert_eq!(asking("\"text\""), Ok(Some(NonFinite::Text)));
    assert_eq!(asking("null"), Ok(None));
    assert!(asking("\"nan\"").unwrap_err().contains("expected one of `null`, `text`, `error`"));
}

#[test]
fn every_datatype_comes_back_from_json_as_it_went() {
    let f16s: Vec<u8> =
        [0.1f32, -65504.0, 6e-8].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
    let bf16s: Vec<u8> =
        [0.1f32, 3e38, -1e-38].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
    for datatype in Datatype::all() {
        let data: Vec<u8> = match datatype {
            Datatype::Fp16 => f16s.clone(),
            Datatype::Bf16 => bf16s.clone(),
            Datatype::Bool => vec![0, 1, 1],
            Datatype::Bytes => b"\x01\0\0\0a\0\0\0\0\x02\0\0\0\"\\".to_vec(),
            Datatype::Fp32 => [f32::MIN_POSITIVE, 0.1, f32::MAX].map(f32::to_le_bytes).concat(),
            Datatype::Fp64 => [f64::MIN_POSITIVE, 0.1, f64::MAX].map(f64::to_le_bytes).concat(),
            integer => {
                let size = integer.size().unwrap();
                [vec![0; size], vec![0x7f; size], vec![0xff; size]].concat()
            }
        };
        let sent = tensor("x", datatype, &[3], &data);
        let response = InferenceResponse {
            model_name: Arc::from("m"),
            model_version: 1,
            id: String::new(),
            outputs: vec![sent.clone()],
        };
        let encoded = encode_response(&response, &[OutputForm::Json], NonFinite::Words);
        let text = std::str::from_utf8(&encoded.parts[0]).unwrap().replace("outputs", "inputs");
        assert_eq!(decode(&text).unwrap().inputs, [sent], "{datatype}");
    }
}

proptest! {
    #[test]
    fn floats_keep_every_bit(bits in prop::collection::vec(any::<u32>(), 1..20)) {
        let bits: Vec<u32> = bits.into_iter().filter(|b| !f32::from_bits(*b).is_nan()).collect();
        let data: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        let sent = tensor("x", Datatype::Fp32, &[bits.len() as i64], &data);
        let text = String::from_utf8(json::write_named_tensors(std::slice::from_ref(&sent), NonFinite::Words)).unwrap();
        let got = json::decode_named_tensors(text.as_bytes(), |_| Some(Datatype::Fp32)).unwrap();
        prop_assert_eq!(got, vec![sent]);
    }

    #[test]
    fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), header in prop::option::of(0usize..250)) {
        let _ = decode_request("m", &Bytes::from(bytes), header);
    }

    #[test]
    fn no_text_of_the_right_kind_panics(
        text in r#"\{"inputs":\[\{("name":"x",)?"shape":\[-?[0-9]{1,20}(,[0-9]{1,3})?\],"datatype":"(FP32|INT8|BYTES)",("data":[\[\]0-9,.eN"]{0,12})?\}\]\}"#
    ) {
        let _ = decode(&text);
    }
}

#[test]
fn further_parameters_are_tensors_of_one_element() {
    let decoded = decode_request(
        "m", &Bytes::from_static(
            br#"{"parameters":{"sr":16000,"scale":0.5,"flip":true,"mode":"a\u00e9","none":null,"deep":{"a":[1]},"list":[1,2],"priority":1},"inputs":[]}"#,
        ),
        None,
    );
    let parameters = decoded.unwrap().parameters;
    let seen: Vec<_> = parameters.iter().map(|p| (&*p.name, p.datatype, &p.data[..])).collect();
    assert_eq!(
        seen,
        [
            ("sr", Datatype::Int64, &16_000_i64.to_le_bytes()[..]),
            ("scale", Datatype::Fp64, &0.5_f64.to_le_bytes()),
            ("flip", Datatype::Bool, &[1]),
            ("mode", Datatype::Bytes, &[3, 0, 0, 0, b'a', 0xc3, 0xa9]),
            ("deep", Datatype::Uint8, &[]),
            ("list", Datatype::Int64, &[1_i64.to_le_bytes(), 2_i64.to_le_bytes()].concat()),
        ]
    );
    let many: Vec<String> = (0..=MOST_PARAMETERS).map(|index| format!(r#""p{index}":1"#)).collect();
    let body = format!(r#"{{"parameters":{{{}}},"inputs":[]}}"#, many.join(","));
    let refused = decode_request("m", &Bytes::from(body), None).unwrap_err().to_string();
    assert!(refused.contains("more than 256 parameters"), "{refused}");
}
