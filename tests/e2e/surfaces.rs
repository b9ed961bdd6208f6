//! One request on every surface and in every form, with its answer.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cresset::grpc::proto::ModelInferRequest;
use cresset::grpc::proto::model_infer_request::InferRequestedOutputTensor;
use cresset_protocol::{Datatype, Tensor};
use serde_json::{Value, json};

use crate::grpc::{Client, input};
use crate::server::{Server, checkout};

/// A model repository of `(name, file, config.pbtxt)`; an empty configuration
/// is none. The files are those of `tests/backend` and `tests/models`.
pub(crate) fn repository(models: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, file, config) in models {
        let model = root.path().join(name);
        std::fs::create_dir_all(model.join("1")).unwrap();
        let served = checkout("tests/models").join(file).join("1/model.pt");
        let file = if served.exists() { served } else { checkout(&format!("tests/backend/{file}.pt")) };
        std::fs::copy(file, model.join("1/model.pt")).unwrap();
        if !config.is_empty() {
            std::fs::write(model.join("config.pbtxt"), config).unwrap();
        }
    }
    root
}

pub(crate) fn start(root: &Path) -> Server {
    Server::start(root, &[])
}

pub(crate) fn tensor(name: &str, datatype: Datatype, shape: &[i64], data: Vec<u8>) -> Tensor {
    Tensor { name: Arc::from(name), datatype, shape: shape.to_vec(), data: Bytes::from(data) }
}

pub(crate) fn floats(name: &str, shape: &[i64], values: &[f32]) -> Tensor {
    tensor(name, Datatype::Fp32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(crate) fn strings(name: &str, shape: &[i64], values: &[&[u8]]) -> Tensor {
    tensor(name, Datatype::Bytes, shape, wire(values))
}

/// Strings as they stand on the wire.
pub(crate) fn wire(values: &[&[u8]]) -> Vec<u8> {
    values.iter().flat_map(|v| [&u32::try_from(v.len()).unwrap().to_le_bytes()[..], v].concat()).collect()
}

/// Asks by HTTP in the binary tensor extension, for binary outputs.
pub(crate) async fn over_http(
    client: &reqwest::Client,
    server: &Server,
    model: &str,
    id: &str,
    inputs: &[Tensor],
) -> Result<(String, Vec<Tensor>), (u16, String)> {
    let described: Vec<Value> = inputs
        .iter()
        .map(|tensor| {
            json!({"name": &*tensor.name, "datatype": tensor.datatype.name(), "shape": tensor.shape,
                "parameters": {"binary_data_size": tensor.data.len()}})
        })
        .collect();
    let header =
        json!({"id": id, "inputs": described, "parameters": {"binary_data_output": true}}).to_string();
    let mut body = header.clone().into_bytes();
    inputs.iter().for_each(|tensor| body.extend_from_slice(&tensor.data));
    let response = client
        .post(server.url(&format!("/v2/models/{model}/infer")))
        .header("Inference-Header-Content-Length", header.len())
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let length = response.headers().get("inference-header-content-length").cloned();
    let bytes = response.bytes().await.unwrap();
    if status != 200 {
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        return Err((status, answer["error"].as_str().unwrap().to_owned()));
    }
    let length: usize = length.map_or(bytes.len(), |length| length.to_str().unwrap().parse().unwrap());
    let answer: Value = serde_json::from_slice(&bytes[..length]).unwrap();
    let mut at = length;
    let outputs = answer["outputs"].as_array().unwrap().iter().map(|output| {
        let size = usize::try_from(output["parameters"]["binary_data_size"].as_u64().unwrap()).unwrap();
        at += size;
        Tensor {
            name: Arc::from(output["name"].as_str().unwrap()),
            datatype: output["datatype"].as_str().unwrap().parse().unwrap(),
            shape: output["shape"].as_array().unwrap().iter().map(|dim| dim.as_i64().unwrap()).collect(),
            data: bytes.slice(at - size..at),
        }
    });
    let outputs = outputs.collect();
    assert_eq!(at, bytes.len(), "nothing is left over");
    Ok((answer["id"].as_str().unwrap_or_default().to_owned(), outputs))
}

/// Asks by gRPC with raw contents.
pub(crate) async fn over_grpc(
    client: &mut Client,
    model: &str,
    id: &str,
    inputs: &[Tensor],
) -> Result<(String, Vec<Tensor>), tonic::Status> {
    let response = client.model_infer(message(model, id, inputs)).await?.into_inner();
    let outputs = response.outputs.iter().zip(response.raw_output_contents).map(|(output, data)| Tensor {
        name: Arc::from(&*output.name),
        datatype: output.datatype.parse().unwrap(),
        shape: output.shape.clone(),
        data,
    });
    Ok((response.id, outputs.collect()))
}

/// The message with raw contents.
pub(crate) fn message(model: &str, id: &str, inputs: &[Tensor]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        id: id.to_owned(),
        inputs: inputs.iter().map(|t| input(&t.name, t.datatype.name(), &t.shape)).collect(),
        raw_input_contents: inputs.iter().map(|tensor| tensor.data.clone()).collect(),
        ..ModelInferRequest::default()
    }
}

/// An output that is asked for by name.
pub(crate) fn asked(name: &str) -> InferRequestedOutputTensor {
    InferRequestedOutputTensor { name: name.to_owned(), ..InferRequestedOutputTensor::default() }
}

/// Asks on both surfaces; the answers must be the same.
pub(crate) async fn both(server: &Server, model: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let over_http = over_http(&reqwest::Client::new(), server, model, "7", inputs).await;
    let over_grpc = over_grpc(&mut crate::grpc::client(server).await, model, "7", inputs).await;
    match (over_http, over_grpc) {
        (Ok(http), Ok(grpc)) => {
            assert_eq!((http.0.as_str(), grpc.0.as_str()), ("7", "7"), "{model}");
            assert_alike(&http.1, &grpc.1, model);
            Ok(http.1)
        }
        (Err((status, message)), Err(refused)) => {
            assert_eq!(message, refused.message(), "{model}");
            Err(format!("{status} {message}"))
        }
        (http, grpc) => panic!("{model}: {http:?} by HTTP, {grpc:?} by gRPC"),
    }
}

/// Equal, but FP32 up to its last digits: a server may rewrite a model for
/// inference while it serves.
pub(crate) fn assert_alike(left: &[Tensor], right: &[Tensor], what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let floats = |data: &[u8]| -> Vec<f32> {
        data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    for (left, right) in left.iter().zip(right) {
        let kind = |tensor: &Tensor| (tensor.name.clone(), tensor.datatype, tensor.shape.clone());
        assert_eq!(kind(left), kind(right), "{what}");
        if left.datatype != Datatype::Fp32 {
            assert_eq!(left.data, right.data, "{what}");
            continue;
        }
        let (one, other) = (floats(&left.data), floats(&right.data));
        let largest = other.iter().fold(0_f32, |most, value| most.max(value.abs()));
        let alike =
            |one: f32, other: f32| one.to_bits() == other.to_bits() || (one - other).abs() <= 1e-5 * largest;
        let all = one.iter().zip(&other).all(|(one, other)| alike(*one, *other));
        assert!(one.len() == other.len() && all, "{what}: {one:?}, {other:?}");
    }
}
