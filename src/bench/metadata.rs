//! What the server says that a model takes: the Open Inference Protocol's
//! model metadata, `GET /v2/models/{model}`.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::client::{Client, Keep};
use super::payload::Payload;
use super::site::Site;

/// The part of a model's metadata that a request is made from.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) inputs: Vec<Input>,
}

/// One input as the server declares it. The datatype stays text here: one
/// that we don't know is an error only where a value of it must be made.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) datatype: String,
    /// -1 is a dimension of any size.
    pub(super) shape: Vec<i64>,
}

/// Asks the server for `model`'s metadata.
pub(super) async fn fetch(client: &mut Client, site: &Site, model: &str) -> Result<Metadata> {
    let request = Payload::get(site, &format!("/v2/models/{model}"))?;
    let asked = format!("GET {}", request.url());
    let answer = client
        .send(&request, crate::clock::now(), Keep::Everything)
        .await
        .with_context(|| format!("{asked} failed"))?;
    if !answer.is_ok() {
        bail!("{asked} answered {}: {}", answer.status, answer.text());
    }
    let metadata: Metadata = serde_json::from_slice(&answer.kept)
        .with_context(|| format!("{asked} answered no model metadata"))?;
    if metadata.inputs.is_empty() {
        bail!("{asked} names no inputs; --body with --path posts a request of your own");
    }
    Ok(metadata)
}
