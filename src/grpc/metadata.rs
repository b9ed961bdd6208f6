//! The metadata of the server and its models.

use super::proto::model_metadata_response::TensorMetadata as TensorMessage;
use super::proto::{ModelMetadataResponse, ServerMetadataResponse};
use crate::engine::{Engine, parse_version};
use crate::error::Result;
use cresset_protocol::TensorMetadata;

/// `ServerMetadata`.
pub(super) fn server(engine: &Engine) -> ServerMetadataResponse {
    let metadata = engine.metadata();
    ServerMetadataResponse { name: metadata.name, version: metadata.version, extensions: metadata.extensions }
}

/// `ModelMetadata`.
pub(super) fn model(engine: &Engine, name: &str, version: &str) -> Result<ModelMetadataResponse> {
    let metadata = engine.model_metadata(name, asked_version(version)?)?;
    Ok(ModelMetadataResponse {
        name: metadata.name,
        versions: metadata.versions,
        platform: metadata.platform,
        inputs: metadata.inputs.into_iter().map(tensor).collect(),
        outputs: metadata.outputs.into_iter().map(tensor).collect(),
    })
}

/// `ModelReady`.
pub(super) fn model_ready(engine: &Engine, name: &str, version: &str) -> Result<bool> {
    Ok(engine.model_ready(name, asked_version(version)?))
}

/// A version in a message: empty for the newest.
pub(super) fn asked_version(text: &str) -> Result<Option<u64>> {
    if text.is_empty() { Ok(None) } else { parse_version(text).map(Some) }
}

fn tensor(metadata: TensorMetadata) -> TensorMessage {
    TensorMessage { name: metadata.name, datatype: metadata.datatype, shape: metadata.shape }
}
