//! The metadata of the server and of a model: the Open Inference Protocol's,
//! over HTTP or gRPC.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use prost::Message;
use serde::Deserialize;

use super::client::{Client, Keep};
use super::payload::Payload;
use super::site::{Site, Wire};
use cresset_protocol::messages::inference::model_metadata_response::TensorMetadata;
use cresset_protocol::messages::inference::{
    ModelMetadataRequest, ModelMetadataResponse, ServerMetadataRequest, ServerMetadataResponse,
};

/// The part of a model's metadata that is needed to make a request.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    pub(super) inputs: Vec<Input>,
    #[serde(default)]
    pub(super) outputs: Vec<Input>,
}

/// One input, or output, as the server declares it. The datatype stays text
/// here: an unknown one is an error only if a value of it must be made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) datatype: String,
    /// -1 is a dimension of any size.
    pub(super) shape: Vec<i64>,
}

impl From<TensorMetadata> for Input {
    fn from(TensorMetadata { name, datatype, shape }: TensorMetadata) -> Self {
        Self { name, datatype, shape }
    }
}

/// Asks the server for `model`'s metadata.
pub(super) async fn fetch(client: &mut Client, site: &Site, model: &str) -> Result<Metadata> {
    let metadata: Metadata = match site.wire() {
        Wire::Http1 => {
            let path = format!("/v2/models/{model}");
            let (asked, body) = ask(client, Payload::get(site, &path)?).await?;
            serde_json::from_slice(&body).with_context(|| format!("{asked} answered no model metadata"))?
        }
        Wire::Http2 => {
            let request = ModelMetadataRequest { name: model.to_owned(), ..ModelMetadataRequest::default() };
            let answer: ModelMetadataResponse = call(client, site, "ModelMetadata", &request).await?;
            let inputs = |all: Vec<TensorMetadata>| all.into_iter().map(Input::from).collect();
            Metadata { inputs: inputs(answer.inputs), outputs: inputs(answer.outputs) }
        }
    };
    if metadata.inputs.is_empty() {
        bail!(
            "the metadata of '{model}' names no inputs; --input declares them, --body posts a request of your own"
        );
    }
    Ok(metadata)
}

/// The server's name and version, if it reports them: `triton 2.60.0`.
pub(super) async fn server(client: &mut Client, site: &Site) -> Option<String> {
    #[derive(Deserialize)]
    struct Server {
        name: String,
        #[serde(default)]
        version: String,
    }
    let Server { name, version } = match site.wire() {
        Wire::Http1 => {
            let (_, body) = ask(client, Payload::get(site, "/v2").ok()?).await.ok()?;
            serde_json::from_slice(&body).ok()?
        }
        Wire::Http2 => {
            let request = ServerMetadataRequest::default();
            let answer: ServerMetadataResponse = call(client, site, "ServerMetadata", &request).await.ok()?;
            Server { name: answer.name, version: answer.version }
        }
    };
    Some(format!("{name} {version}").trim().to_owned())
}

/// A call of the inference service with its answer.
pub(super) async fn call<T: Message + Default>(
    client: &mut Client,
    site: &Site,
    method: &str,
    message: &impl Message,
) -> Result<T> {
    let (asked, body) = ask(client, Payload::call(site, method, message, String::new())?).await?;
    let message = if body.len() < 5 { Bytes::new() } else { body.slice(5..) };
    T::decode(message).with_context(|| format!("{asked} answered no such message"))
}

/// Sends one request and returns its whole answer, with a description of the
/// request for error texts.
pub(super) async fn ask(client: &mut Client, request: Payload) -> Result<(String, Bytes)> {
    let asked = format!("{} {}", request.method(), request.url());
    let answer = client
        .send(&request, cresset_clock::now(), Keep::Everything)
        .await
        .with_context(|| format!("{asked} failed"))?;
    if !answer.status.is_ok() {
        let cause = answer.status.cause();
        bail!("{asked} answered {}: {}", cause.trim_start_matches("status "), answer.text());
    }
    Ok((asked, answer.kept))
}
