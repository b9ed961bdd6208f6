//! The model repository, as listed by Triton's extension of that name.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ProtocolError;

/// An entry of `POST /v2/repository/index`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedModel {
    /// The model.
    pub name: String,
    /// The version's number; empty if the entry is for the whole model.
    pub version: String,
    /// Whether it is ready.
    pub state: IndexedState,
    /// Why it is not ready, or why it still serves the state before its files
    /// changed; else empty.
    pub reason: String,
}

/// The state of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IndexedState {
    /// It answers.
    Ready,
    /// It doesn't answer.
    Unavailable,
    /// It will answer.
    Loading,
    /// It answers accepted requests, but accepts no more.
    Unloading,
}

impl IndexedState {
    /// The name on both surfaces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Loading => "LOADING",
            Self::Unloading => "UNLOADING",
        }
    }
}

/// The body of `POST /v2/repository/index`; other members are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexRequest {
    /// Only list versions that are ready.
    pub ready: bool,
}

impl IndexRequest {
    /// Reads the body of a call; an empty one asks for everything.
    ///
    /// # Errors
    /// If the body is invalid; in Triton's words if `ready` is.
    pub fn from_json(body: &[u8]) -> Result<Self, ProtocolError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let failed =
            |error| ProtocolError::invalid(format!("the body isn't a request for the index: {error}"));
        let asked: Map<String, Value> = serde_json::from_slice(body).map_err(failed)?;
        match asked.get("ready") {
            None => Ok(Self::default()),
            Some(Value::Bool(ready)) => Ok(Self { ready: *ready }),
            Some(_) => Err(ProtocolError::invalid("Invalid value for 'ready': expected a boolean")),
        }
    }
}

/// The parameters of a load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadParameters {
    /// `config`: a model configuration in protobuf's JSON. It replaces the
    /// model's file until the next load.
    pub config: Option<String>,
    /// The names of the parameters that hold files: `file:1/model.pt`.
    pub files: Vec<String>,
}

/// The kinds of values of a load's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterValue {
    /// A text.
    Text(String),
    /// A file: base64 in JSON, bytes elsewhere.
    File,
    /// Any other.
    Other,
}

impl LoadParameters {
    /// Sorts the parameters of a call. A file is recognised by its name: in
    /// JSON its value is a text.
    ///
    /// # Errors
    /// If a parameter is unknown, or has another type.
    pub fn read(
        parameters: impl IntoIterator<Item = (String, ParameterValue)>,
    ) -> Result<Self, ProtocolError> {
        let mut read = Self::default();
        for (name, value) in parameters {
            match value {
                ParameterValue::Text(config) if name == "config" => read.config = Some(config),
                ParameterValue::Text(_) | ParameterValue::File if name.starts_with("file:") => {
                    read.files.push(name);
                }
                _ if name == "config" => {
                    return Err(invalid_type("load parameter 'config'", "a string"));
                }
                _ if name.starts_with("file:") => {
                    return Err(invalid_type(&format!("load parameter '{name}'"), "a file"));
                }
                ParameterValue::Text(_) | ParameterValue::File | ParameterValue::Other => {
                    return Err(ProtocolError::invalid(format!(
                        "unrecognized load parameter '{name}': expected 'config'"
                    )));
                }
            }
        }
        Ok(read)
    }

    /// Reads the body of a load call; an empty one has no parameters.
    ///
    /// # Errors
    /// If the body is invalid.
    pub fn from_json(body: &[u8]) -> Result<Self, ProtocolError> {
        let parameters = parameters(body, "load")?.into_iter();
        Self::read(parameters.map(|(name, value)| match value {
            Value::String(text) => (name, ParameterValue::Text(text)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                (name, ParameterValue::Other)
            }
        }))
    }
}

/// The parameters of an unload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnloadParameters {
    /// Whether models that were loaded along with it are unloaded, too.
    pub unload_dependents: bool,
}

impl UnloadParameters {
    /// Sorts the parameters of a call: each name with its value, if that is a
    /// boolean.
    ///
    /// # Errors
    /// If a parameter is unknown, or has another type.
    pub fn read(parameters: impl IntoIterator<Item = (String, Option<bool>)>) -> Result<Self, ProtocolError> {
        let mut read = Self::default();
        for (name, value) in parameters {
            match (name.as_str(), value) {
                ("unload_dependents", Some(value)) => read.unload_dependents = value,
                ("unload_dependents", None) => {
                    return Err(invalid_type("unload parameter 'unload_dependents'", "true or false"));
                }
                _ => {
                    return Err(ProtocolError::invalid(format!(
                        "unrecognized unload parameter '{name}': expected 'unload_dependents'"
                    )));
                }
            }
        }
        Ok(read)
    }

    /// Reads the body of an unload call; an empty one has no parameters.
    ///
    /// # Errors
    /// If the body is invalid.
    pub fn from_json(body: &[u8]) -> Result<Self, ProtocolError> {
        let parameters = parameters(body, "unload")?.into_iter();
        Self::read(parameters.map(|(name, value)| (name, value.as_bool())))
    }
}

/// The object `parameters` of a body; other members are ignored.
fn parameters(body: &[u8], call: &str) -> Result<Map<String, Value>, ProtocolError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        parameters: Map<String, Value>,
    }
    if body.is_empty() {
        return Ok(Map::new());
    }
    let read = serde_json::from_slice::<Body>(body);
    let failed = |error| ProtocolError::invalid(format!("the body isn't a request to {call}: {error}"));
    read.map(|body| body.parameters).map_err(failed)
}

fn invalid_type(what: &str, expected: &str) -> ProtocolError {
    ProtocolError::invalid(format!("invalid value type for {what}: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_index_is_asked_with_is_read_or_refused() {
        let index = |body: &str| IndexRequest::from_json(body.as_bytes()).map_err(|e| e.to_string());
        for (body, ready) in
            [("", false), ("{}", false), (r#"{"of": "another"}"#, false), (r#"{"ready": true}"#, true)]
        {
            assert_eq!(index(body), Ok(IndexRequest { ready }), "{body}");
        }
        for body in [r#"{"ready": "true"}"#, r#"{"ready": 1}"#, r#"{"ready": null}"#] {
            assert_eq!(index(body).unwrap_err(), "Invalid value for 'ready': expected a boolean");
        }
        for body in ["[", "3"] {
            let message = index(body).unwrap_err();
            assert!(message.starts_with("the body isn't a request for the index: "), "{message}");
        }
    }

    #[test]
    fn what_a_load_is_asked_with_is_read_or_refused() {
        let load = |body: &str| LoadParameters::from_json(body.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(load(""), Ok(LoadParameters::default()));
        assert_eq!(load("{}"), Ok(LoadParameters::default()));
        assert_eq!(load(r#"{"of": "another client"}"#), Ok(LoadParameters::default()));
        assert_eq!(
            load(r#"{"parameters": {"config": "{}", "file:1/model.pt": "YQ=="}}"#),
            Ok(LoadParameters { config: Some("{}".to_owned()), files: vec!["file:1/model.pt".to_owned()] })
        );
        for (body, message) in [
            (
                r#"{"parameters": {"config": {}}}"#,
                "invalid value type for load parameter 'config': expected a string",
            ),
            (
                r#"{"parameters": {"file:1/model.pt": 1}}"#,
                "invalid value type for load parameter 'file:1/model.pt': expected a file",
            ),
            (r#"{"parameters": {"confg": "{}"}}"#, "unrecognized load parameter 'confg': expected 'config'"),
        ] {
            assert_eq!(load(body).unwrap_err(), message);
        }
        for body in ["[", "{\"parameters\": 3}", "nul"] {
            let message = load(body).unwrap_err();
            assert!(message.starts_with("the body isn't a request to load: "), "{message}");
        }
    }

    #[test]
    fn what_an_unload_is_asked_with_is_read_or_refused() {
        let unload = |body: &str| UnloadParameters::from_json(body.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(unload(""), Ok(UnloadParameters { unload_dependents: false }));
        assert_eq!(
            unload(r#"{"parameters": {"unload_dependents": true}}"#),
            Ok(UnloadParameters { unload_dependents: true })
        );
        assert_eq!(
            unload(r#"{"parameters": {"unload_dependents": "true"}}"#).unwrap_err(),
            "invalid value type for unload parameter 'unload_dependents': expected true or false"
        );
        assert_eq!(
            unload(r#"{"parameters": {"x": true}}"#).unwrap_err(),
            "unrecognized unload parameter 'x': expected 'unload_dependents'"
        );
    }
}
