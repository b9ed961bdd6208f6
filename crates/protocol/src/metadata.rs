//! The metadata of the server and of its models.

use serde::{Deserialize, Serialize};

/// `GET /v2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// `cresset`.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// The supported extensions of the protocol, by Triton's names.
    pub extensions: Vec<String>,
}

/// `GET /v2/models/{model}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// The model's name.
    pub name: String,
    /// The versions that are served.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Triton's name for the format: `pytorch_libtorch`.
    #[serde(default)]
    pub platform: String,
    /// Its inputs.
    pub inputs: Vec<TensorMetadata>,
    /// Its outputs.
    #[serde(default)]
    pub outputs: Vec<TensorMetadata>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Its datatype; empty if only the model file is known, because it doesn't
    /// tell.
    pub datatype: String,
    /// -1 for a variable dimension. The batch dimension is first if the model
    /// batches. Empty if only the model file is known.
    pub shape: Vec<i64>,
}
