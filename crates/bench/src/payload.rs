//! One request as it is sent, made once and sent many times.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::{Method, Request, Uri};
use prost::Message;
use serde_json::{Value, json};

use super::site::{Header, Site, Wire};
use cresset_protocol::json::{write_instances, write_named_tensors};
use cresset_protocol::messages::inference::ModelInferRequest;
use cresset_protocol::messages::inference::model_infer_request::InferInputTensor;
use cresset_protocol::{Datatype, NonFinite, Tensor};

/// The binary tensor extension's header: the length of the JSON before the raw
/// tensors.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// A request in parts that are cheap to clone: the body is shared.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    method: Method,
    uri: Uri,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    content: String,
}

/// How tensors are written in an inference request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The binary tensor extension: raw bytes behind a short JSON header, and
    /// outputs asked for in the same form
    Binary,
    /// JSON numbers
    Json,
}

/// How tensors are put into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestForm {
    /// Open Inference Protocol over HTTP.
    Oip(Format),
    /// Open Inference Protocol over gRPC.
    Grpc,
    /// `{"instances": [...]}` to `/v1/models/{model}:predict`.
    KserveV1,
    /// `{"input": [...]}` to the path of `--path`.
    Named,
}

impl Payload {
    /// `GET path`.
    pub(super) fn get(site: &Site, path: &str) -> Result<Self> {
        Self::new(Method::GET, site, path, Bytes::new(), String::new())
    }

    /// A call of the inference service.
    pub(super) fn call(site: &Site, method: &str, message: &impl Message, content: String) -> Result<Self> {
        let length = message.encoded_len();
        let mut body = BytesMut::with_capacity(5 + length);
        body.put_u8(0); // not compressed
        body.put_u32(u32::try_from(length).context("a gRPC message holds less than 4 GB")?);
        message.encode(&mut body)?;
        let path = format!("/inference.GRPCInferenceService/{method}");
        let mut payload = Self::new(Method::POST, site, &path, body.freeze(), content)?;
        payload.header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        payload.header(TE, HeaderValue::from_static("trailers"));
        Ok(payload)
    }

    /// `POST path` with the bytes of a file.
    pub(super) fn file(file: &Path, site: &Site, path: &str) -> Result<Self> {
        let body = std::fs::read(file).with_context(|| format!("cannot read '{}'", file.display()))?;
        let kind = content_type(file);
        Self::post(site, path, body.into(), kind, kind.to_owned())
    }

    /// Tensors to `path`, which gRPC ignores.
    pub(super) fn infer(
        tensors: &[Tensor],
        form: RequestForm,
        site: &Site,
        path: &str,
        model: &str,
    ) -> Result<Self> {
        let content = tensors.iter().map(describe).collect::<Vec<_>>().join(", ");
        match form {
            RequestForm::Oip(Format::Json) => {
                Self::post(site, path, json_body(tensors)?.into(), JSON, format!("JSON, {content}"))
            }
            RequestForm::Oip(Format::Binary) => {
                let (body, header_length) = binary_body(tensors)?;
                let mut payload = Self::post(site, path, body, OCTETS, format!("binary, {content}"))?;
                payload.header(HEADER_LENGTH, HeaderValue::from(header_length));
                Ok(payload)
            }
            RequestForm::Grpc => {
                let message = grpc_message(tensors, model);
                Self::call(site, "ModelInfer", &message, format!("gRPC, {content}"))
            }
            RequestForm::KserveV1 => {
                let body = write_instances(tensors)?;
                Self::post(site, path, body.into(), JSON, format!("JSON instances, {content}"))
            }
            RequestForm::Named => {
                let body = write_named_tensors(tensors, NonFinite::Words);
                Self::post(site, path, body.into(), JSON, format!("JSON, {content}"))
            }
        }
    }

    /// A Content-Type given by `--header` takes precedence over `kind`.
    fn post(site: &Site, path: &str, body: Bytes, kind: &'static str, content: String) -> Result<Self> {
        let mut payload = Self::new(Method::POST, site, path, body, content)?;
        payload.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        Ok(payload)
    }

    fn new(method: Method, site: &Site, path: &str, body: Bytes, content: String) -> Result<Self> {
        let uri = site.uri(path)?;
        let mut payload = Self { method, url: site.url(&uri), uri, headers: HeaderMap::new(), body, content };
        match site.wire() {
            Wire::Http1 => payload.header(HOST, site.host().clone()),
            // HTTP/2 names the host beside the path.
            Wire::Http2 => payload.uri = payload.url.parse().context("no URL")?,
        }
        for Header { name, value } in site.headers() {
            payload.header(name.clone(), value.clone());
        }
        Ok(payload)
    }

    fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// A copy of it, ready to be sent.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The body's size in bytes.
    pub(super) fn size(&self) -> usize {
        self.body.len()
    }

    /// A description of the body for reports: `binary, x FP32 [1, 784]`.
    pub(super) fn content(&self) -> &str {
        &self.content
    }
}

fn describe(tensor: &Tensor) -> String {
    format!("{} {} {:?}", tensor.name, tensor.datatype, tensor.shape)
}

fn content_type(file: &Path) -> &'static str {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "json" => JSON,
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "txt" => "text/plain",
        _ => OCTETS,
    }
}

fn json_body(tensors: &[Tensor]) -> Result<Vec<u8>> {
    let mut body = b"{\"inputs\":[".to_vec();
    for (index, tensor) in tensors.iter().enumerate() {
        if matches!(tensor.datatype, Datatype::Fp16 | Datatype::Bf16) {
            bail!(
                "input '{}' is {}, which JSON can't carry: use --format binary",
                tensor.name,
                tensor.datatype
            );
        }
        if index > 0 {
            body.push(b',');
        }
        let Tensor { name, datatype, shape, data: _ } = tensor;
        let head = json!({"name": **name, "datatype": datatype.name(), "shape": shape}).to_string();
        body.extend_from_slice(head.trim_end_matches('}').as_bytes());
        body.push(b',');
        // `{"data":[...]}`, all its numbers in one list.
        let flat = Tensor { name: "data".into(), shape: vec![shape.iter().product()], ..tensor.clone() };
        body.extend_from_slice(&write_named_tensors(&[flat], NonFinite::Words)[1..]);
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

/// The JSON header, then the inputs' bytes in its order; and the header's
/// length.
fn binary_body(tensors: &[Tensor]) -> Result<(Bytes, usize)> {
    let inputs: Vec<Value> = tensors
        .iter()
        .map(|Tensor { name, datatype, shape, data }| {
            json!({
                "name": **name,
                "datatype": datatype.name(),
                "shape": shape,
                "parameters": {"binary_data_size": data.len()},
            })
        })
        .collect();
    let mut body = serde_json::to_vec(&json!({
        "inputs": inputs,
        "parameters": {"binary_data_output": true},
    }))?;
    let header_length = body.len();
    for tensor in tensors {
        body.extend_from_slice(&tensor.data);
    }
    Ok((body.into(), header_length))
}

fn grpc_message(tensors: &[Tensor], model: &str) -> ModelInferRequest {
    let input = |tensor: &Tensor| InferInputTensor {
        name: tensor.name.to_string(),
        datatype: tensor.datatype.name().to_owned(),
        shape: tensor.shape.clone(),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: tensors.iter().map(input).collect(),
        raw_input_contents: tensors.iter().map(|tensor| tensor.data.clone()).collect(),
        ..ModelInferRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: Datatype, data: &[u8], count: i64) -> Tensor {
        Tensor { name: "x".into(), datatype, shape: vec![1, count], data: Bytes::copy_from_slice(data) }
    }

    fn made(tensors: &[Tensor], form: RequestForm) -> Result<Payload> {
        let site = Site::resolve("127.0.0.1:8000", Vec::new()).unwrap();
        Payload::infer(tensors, form, &site, "/v2/models/m/infer", "m")
    }

    #[test]
    fn a_binary_body_is_a_header_and_the_raw_tensors() {
        let tensors = [
            tensor(Datatype::Int32, &[1, 0, 0, 0, 99, 0, 0, 0], 2),
            tensor(Datatype::Fp32, &0.5_f32.to_le_bytes(), 1),
        ];
        let payload = made(&tensors, RequestForm::Oip(Format::Binary)).unwrap();
        assert_eq!(payload.url(), "http://127.0.0.1:8000/v2/models/m/infer");
        assert_eq!(payload.content(), "binary, x INT32 [1, 2], x FP32 [1, 1]");
        let length: usize = payload.headers[HEADER_LENGTH].to_str().unwrap().parse().unwrap();
        let header: Value = serde_json::from_slice(&payload.body[..length]).unwrap();
        assert_eq!(
            header,
            json!({
                "inputs": [
                    {"name": "x", "datatype": "INT32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
                    {"name": "x", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}},
                ],
                "parameters": {"binary_data_output": true},
            })
        );
        assert_eq!(payload.body[length..], [1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0x3f]);
    }

    fn body(tensors: &[Tensor], form: RequestForm) -> Value {
        serde_json::from_slice(&made(tensors, form).unwrap().body).unwrap()
    }

    #[test]
    fn a_json_body_holds_flat_data() {
        let floats = [0.5_f32, 0.25].map(f32::to_le_bytes).concat();
        let tensors = [tensor(Datatype::Fp32, &floats, 2), tensor(Datatype::Uint8, &[7], 1)];
        let first = json!({"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.25]});
        let second = json!({"name": "x", "datatype": "UINT8", "shape": [1, 1], "data": [7]});
        assert_eq!(body(&tensors, RequestForm::Oip(Format::Json)), json!({ "inputs": [first, second] }));
        let half = [tensor(Datatype::Fp16, &[0, 0], 1)];
        assert!(made(&half, RequestForm::Oip(Format::Json)).is_err());
    }

    #[test]
    fn other_protocols_have_nested_data() {
        let one = [tensor(Datatype::Uint8, &[1, 2], 2)];
        assert_eq!(body(&one, RequestForm::KserveV1), json!({"instances": [[1, 2]]}));
        assert_eq!(body(&one, RequestForm::Named), json!({"x": [[1, 2]]}));
    }

    #[test]
    fn a_grpc_body_is_a_framed_message() {
        let payload = made(&[tensor(Datatype::Uint8, &[1, 2], 2)], RequestForm::Grpc).unwrap();
        assert!(payload.url().ends_with("/inference.GRPCInferenceService/ModelInfer"));
        assert_eq!(payload.body[..5], [&[0, 0, 0, 0][..], &[payload.body.len() as u8 - 5]].concat());
        let message = ModelInferRequest::decode(payload.body.slice(5..)).unwrap();
        assert_eq!((message.model_name.as_str(), &message.raw_input_contents[0][..]), ("m", &[1, 2][..]));
    }

    #[test]
    fn a_files_name_tells_its_type_unless_a_header_does() {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        for (headers, sent) in [
            (Vec::new(), "application/json"),
            (vec!["Content-Type: application/msgpack".parse().unwrap()], "application/msgpack"),
        ] {
            let site = Site::resolve("127.0.0.1:8000", headers).unwrap();
            let payload = Payload::file(file.path(), &site, "/predict").unwrap();
            let types: Vec<_> = payload.headers.get_all(CONTENT_TYPE).iter().collect();
            assert_eq!(types, [sent]);
        }
        assert_eq!(content_type(Path::new("cat.JPG")), "image/jpeg");
        assert_eq!(content_type(Path::new("tensor")), "application/octet-stream");
    }
}
