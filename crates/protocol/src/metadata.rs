//! What the server and its models say of themselves.

use serde::{Deserialize, Serialize};

/// `GET /v2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// `cresset`.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// The protocol's extensions that are there, by Triton's names.
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
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    #[serde(default)]
    pub outputs: Vec<TensorMetadata>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Its datatype; empty where only the model file is known, which tells
    /// none.
    pub datatype: String,
    /// -1 for a dimension that varies, the batch dimension first where the
    /// model batches; empty where only the model file is known.
    pub shape: Vec<i64>,
}
