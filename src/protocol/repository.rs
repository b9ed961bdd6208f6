//! The model repository as Triton's extension of that name lists it.

use serde::{Deserialize, Serialize};

/// An entry of `POST /v2/repository/index`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedModel {
    /// The model.
    pub name: String,
    /// The version's number; empty where the whole model is meant.
    pub version: String,
    /// Whether it answers.
    pub state: IndexedState,
    /// Why it doesn't; empty where it does.
    pub reason: String,
}

/// Whether a version answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IndexedState {
    /// It does.
    Ready,
    /// It doesn't.
    Unavailable,
}

/// The body of `POST /v2/repository/index`; what else stands in it is passed
/// over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexRequest {
    /// Only what answers.
    pub ready: bool,
}
