//! What is sent: one request, made once, sent many times.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use serde_json::{Value, json};

use super::Format;
use super::site::Site;
use super::values::{Tensor, Values};
use crate::protocol::Datatype;

/// The binary tensor extension's header: how long the JSON before the raw
/// tensors is.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

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

impl Payload {
    /// `GET path`.
    pub(super) fn get(site: &Site, path: &str) -> Result<Self> {
        Self::new(Method::GET, site, path, Bytes::new(), String::new())
    }

    /// `POST path` with the bytes of a file.
    pub(super) fn file(file: &Path, site: &Site, path: &str) -> Result<Self> {
        let body = std::fs::read(file).with_context(|| format!("cannot read '{}'", file.display()))?;
        let kind = content_type(file);
        let mut payload = Self::new(Method::POST, site, path, body.into(), kind.to_owned())?;
        payload.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(payload)
    }

    /// `POST /v2/models/{model}/infer` with tensors.
    pub(super) fn infer(tensors: &[Tensor], format: Format, site: &Site, model: &str) -> Result<Self> {
        let path = format!("/v2/models/{model}/infer");
        let content = tensors.iter().map(describe).collect::<Vec<_>>().join(", ");
        match format {
            Format::Json => {
                let body = json_body(tensors)?;
                let mut payload = Self::new(Method::POST, site, &path, body, format!("JSON, {content}"))?;
                payload.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(payload)
            }
            Format::Binary => {
                let (body, header_length) = binary_body(tensors)?;
                let mut payload = Self::new(Method::POST, site, &path, body, format!("binary, {content}"))?;
                payload.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                payload.headers.insert(HEADER_LENGTH, HeaderValue::from(header_length));
                Ok(payload)
            }
        }
    }

    fn new(method: Method, site: &Site, path: &str, body: Bytes, content: String) -> Result<Self> {
        let uri = site.uri(path)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, site.host().clone());
        Ok(Self { method, url: site.url(&uri), uri, headers, body, content })
    }

    /// One more of it, ready to be sent.
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

    /// What the body holds, for a person: `binary, x FP32 [1, 784]`.
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
        "json" => "application/json",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "txt" => "text/plain",
        _ => "application/octet-stream",
    }
}

fn json_body(tensors: &[Tensor]) -> Result<Bytes> {
    let inputs: Vec<Value> = tensors
        .iter()
        .map(|tensor| {
            if matches!(tensor.datatype, Datatype::Fp16 | Datatype::Bf16) {
                bail!(
                    "input '{}' is {}, which JSON can't carry: use --format binary",
                    tensor.name,
                    tensor.datatype
                );
            }
            let data = match &tensor.values {
                Values::Booleans(values) => json!(values),
                Values::Integers(values) => json!(values),
                Values::Floats(values) => json!(values),
                Values::Strings(values) => json!(values),
            };
            let Tensor { name, datatype, shape, values: _ } = tensor;
            Ok(json!({"name": name, "datatype": datatype.name(), "shape": shape, "data": data}))
        })
        .collect::<Result<_>>()?;
    Ok(serde_json::to_vec(&json!({ "inputs": inputs }))?.into())
}

/// The JSON header, then the inputs' bytes in its order; and the header's
/// length.
fn binary_body(tensors: &[Tensor]) -> Result<(Bytes, usize)> {
    let data: Vec<Vec<u8>> = tensors.iter().map(raw).collect();
    let inputs: Vec<Value> = tensors
        .iter()
        .zip(&data)
        .map(|(Tensor { name, datatype, shape, values: _ }, data)| {
            json!({
                "name": name,
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
    for bytes in &data {
        body.extend_from_slice(bytes);
    }
    Ok((body.into(), header_length))
}

/// A tensor's elements, little-endian; strings each behind its length.
fn raw(tensor: &Tensor) -> Vec<u8> {
    match &tensor.values {
        Values::Booleans(values) => values.iter().map(|&value| u8::from(value)).collect(),
        Values::Integers(values) => {
            let size = tensor.datatype.size().unwrap_or(1);
            let mut bytes = vec![0; values.len() * size];
            for (element, &value) in bytes.chunks_exact_mut(size).zip(values) {
                element[0] = value;
            }
            bytes
        }
        Values::Floats(values) => floats(tensor.datatype, values),
        Values::Strings(values) => {
            let mut bytes = Vec::new();
            for value in values {
                bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
                bytes.extend_from_slice(value.as_bytes());
            }
            bytes
        }
    }
}

fn floats(datatype: Datatype, values: &[f32]) -> Vec<u8> {
    let each = values.iter();
    if datatype == Datatype::Fp64 {
        each.flat_map(|&value| f64::from(value).to_le_bytes()).collect()
    } else if datatype == Datatype::Fp16 {
        each.flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect()
    } else if datatype == Datatype::Bf16 {
        each.flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect()
    } else {
        each.flat_map(|&value| value.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: Datatype, values: Values, count: usize) -> Tensor {
        Tensor { name: "x".to_owned(), datatype, shape: vec![1, count], values }
    }

    fn site() -> Site {
        Site::resolve("127.0.0.1:8000").unwrap()
    }

    #[test]
    fn a_binary_body_is_a_header_and_the_raw_tensors() {
        let tensors = [
            tensor(Datatype::Int32, Values::Integers(vec![1, 99]), 2),
            tensor(Datatype::Fp32, Values::Floats(vec![0.5]), 1),
        ];
        let payload = Payload::infer(&tensors, Format::Binary, &site(), "m").unwrap();
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

    #[test]
    fn a_json_body_holds_flat_data() {
        let tensors = [tensor(Datatype::Fp32, Values::Floats(vec![0.5, 0.25]), 2)];
        let payload = Payload::infer(&tensors, Format::Json, &site(), "m").unwrap();
        let body: Value = serde_json::from_slice(&payload.body).unwrap();
        let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.25]});
        assert_eq!(body, json!({ "inputs": [input] }));
        let half = [tensor(Datatype::Fp16, Values::Floats(vec![0.5]), 1)];
        assert!(Payload::infer(&half, Format::Json, &site(), "m").is_err());
    }

    #[test]
    fn every_datatype_fills_its_size() {
        for datatype in Datatype::all() {
            let (values, expected) = match datatype.size() {
                Some(size) if datatype.is_float() => (Values::Floats(vec![0.5; 3]), 3 * size),
                Some(size) if datatype == Datatype::Bool => (Values::Booleans(vec![true; 3]), 3 * size),
                Some(size) => (Values::Integers(vec![7; 3]), 3 * size),
                None => (Values::Strings(vec!["ab".to_owned(); 3]), 3 * (4 + 2)),
            };
            assert_eq!(raw(&tensor(datatype, values, 3)).len(), expected, "{datatype}");
        }
        assert_eq!(floats(Datatype::Fp16, &[1.0]), [0x00, 0x3c]);
        assert_eq!(floats(Datatype::Bf16, &[1.0]), [0x80, 0x3f]);
    }

    #[test]
    fn a_files_name_tells_its_type() {
        assert_eq!(content_type(Path::new("cat.JPG")), "image/jpeg");
        assert_eq!(content_type(Path::new("tensor")), "application/octet-stream");
    }
}
