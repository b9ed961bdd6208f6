//! A format of model files, as a value:
//!
//! - how its files are recognised
//! - its names and switches in a `config.pbtxt`
//! - what a server may do to its models
//!
//! A [`ModelFormat`] needs no library, so a build without one reads the same
//! configurations. [`TORCH_SCRIPT`](crate::TORCH_SCRIPT) is the first.
//!
//! # To add a format
//!
//! 1. In this crate: a `static` [`ModelFormat`] in a file of its own, exported
//!    by `lib.rs`, like `torchscript.rs`. If `file_kind.rs` says that such
//!    files aren't served, remove that.
//! 2. In the crate of the library that runs it (`cresset-libtorch` or a new
//!    one): a [`Model`](crate::Model) whose [`format`](crate::Model::format) is
//!    that value. Its [`Signature`](crate::Signature) holds the declarations of
//!    the file. [`Backend::load`](crate::Backend::load) recognises the file by
//!    its content, not by its name.
//! 3. In the server: a line in the table of `src/model_config/formats.rs`.
//!
//! The server asks a format, and doesn't know its name. The server asks [`ModelFormat::allows`]
//! before it shares, batches or rewrites a model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::file_kind;
use super::{BackendError, Optimize};

/// A format of model files.
#[derive(Debug)]
pub struct ModelFormat {
    /// Its common name: `TorchScript`.
    pub name: &'static str,
    /// How its files are recognised.
    pub files: ModelFiles,
    /// Its names in a `config.pbtxt`.
    pub names: FormatNames,
    /// Every key of `parameters` in a `config.pbtxt` that has a meaning for
    /// this format.
    pub switches: &'static [Switch],
    /// What a server may do to its models.
    pub allows: Allows,
}

/// How a format's files are recognised.
#[derive(Debug)]
pub struct ModelFiles {
    /// The file in a version's directory, if the configuration names none.
    pub default_filename: &'static str,
    /// The extensions of a file outside of a repository, without the dot.
    pub extensions: &'static [&'static str],
    /// Further extensions that are accepted but not documented.
    pub rare_extensions: &'static [&'static str],
    /// By a file's first bytes: its kind if it isn't of this format, and the
    /// next step. `None` for a file that may be of this format.
    pub mismatch: fn(&[u8]) -> Option<String>,
    /// Whether the file at a path is whole, by checksums of its own. The error
    /// says which part isn't as it was written, and what to do. `Ok` if the format
    /// has none.
    pub whole: fn(&Path) -> Result<(), String>,
}

/// The names of a format in a `config.pbtxt`.
#[derive(Debug)]
pub struct FormatNames {
    /// Its `platform` in answers to clients.
    pub platform: &'static str,
    /// Its `backend` in answers to clients.
    pub backend: &'static str,
    /// The accepted values of both fields.
    pub accepted: &'static [&'static str],
    /// The only accepted `runtime`.
    pub runtime: &'static str,
    /// The advice about a file for another runtime.
    pub instead_of_runtime: &'static str,
}

/// What a server may do to a format's models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allows {
    /// Several instances may run one loaded model. If not, each loads its own.
    pub share: bool,
    /// Requests of different clients may run as one batch.
    pub batch: bool,
    /// Attributes may become constants at load.
    pub freeze: bool,
    /// [`Model::rewrite`](crate::Model::rewrite) may make a faster form.
    pub rewrite: bool,
}

/// A key of `parameters` in a `config.pbtxt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The key.
    pub key: &'static str,
    /// The values that it takes.
    pub kind: SwitchKind,
}

/// The values that a switch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchKind {
    /// `true`, `false`, `1` or `0`, in any case.
    Bool,
    /// A number of 1 or more.
    Count,
    /// None: it would change how a model runs, but isn't supported; with the
    /// reason.
    Refused(&'static str),
}

/// The value of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchValue {
    /// Of [`SwitchKind::Bool`].
    Bool(bool),
    /// Of [`SwitchKind::Count`].
    Count(u32),
}

/// The `parameters` of a configuration, read once by its format's table.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The texts as written, including keys that are no switches.
    texts: BTreeMap<String, String>,
    switches: BTreeMap<&'static str, SwitchValue>,
}

/// Why `parameters` are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// A switch that isn't supported.
    #[error("parameter {key}: {reason}")]
    Refused {
        /// The switch's key.
        key: String,
        /// Why not.
        reason: &'static str,
    },
    /// An invalid value.
    #[error("parameter {key}: expected {expected}, got '{got}'")]
    Value {
        /// The switch's key.
        key: String,
        /// The values that it takes.
        expected: &'static str,
        /// The value that was given.
        got: String,
    },
}

impl ModelFormat {
    /// Reads `parameters` by the format's table.
    ///
    /// # Errors
    /// The first switch that isn't supported, or whose value is invalid.
    pub fn read_parameters(&self, texts: BTreeMap<String, String>) -> Result<Parameters, ParameterError> {
        let mut switches = BTreeMap::new();
        for (key, text) in &texts {
            if let Some(switch) = self.switches.iter().find(|switch| switch.key == *key) {
                switches.insert(switch.key, switch.read(text)?);
            }
        }
        Ok(Parameters { texts, switches })
    }

    /// The kind of the file at `path` if it isn't of this format, and the next
    /// step. `None` if it may be of this format, or can't be read.
    #[must_use]
    pub fn mismatch_of(&self, path: &Path) -> Option<String> {
        (self.files.mismatch)(&file_kind::start_of(path).ok()?)
    }

    /// Whether a file with this extension may be of this format.
    #[must_use]
    pub fn has_extension(&self, extension: &str) -> bool {
        let ModelFiles { extensions, rare_extensions, .. } = &self.files;
        extensions.iter().chain(*rare_extensions).any(|known| *known == extension)
    }

    /// Checks a model's settings against what the format allows.
    ///
    /// # Errors
    /// [`BackendError::Load`] if they ask for more.
    pub fn check(&self, optimize: &Optimize) -> Result<(), BackendError> {
        let asked = if optimize.freeze == Some(true) && !self.allows.freeze {
            "freeze"
        } else if optimize.is_for_inference() && !self.allows.rewrite {
            "for_inference"
        } else {
            return Ok(());
        };
        let message = format!(
            "cresset.toml: [optimize] {asked} = true: {} models don't have it; leave it out",
            self.name
        );
        Err(BackendError::Load { detail: message.clone(), message })
    }
}

/// Two formats are equal if they have the same name.
impl PartialEq for ModelFormat {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ModelFormat {}

impl Switch {
    /// A switch that is on or off.
    #[must_use]
    pub const fn bool(key: &'static str) -> Self {
        Self { key, kind: SwitchKind::Bool }
    }

    /// A number.
    #[must_use]
    pub const fn count(key: &'static str) -> Self {
        Self { key, kind: SwitchKind::Count }
    }

    /// A switch that isn't supported, and why.
    #[must_use]
    pub const fn refused(key: &'static str, reason: &'static str) -> Self {
        Self { key, kind: SwitchKind::Refused(reason) }
    }

    fn read(&self, text: &str) -> Result<SwitchValue, ParameterError> {
        let key = || self.key.to_owned();
        let expected = match self.kind {
            SwitchKind::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => return Ok(SwitchValue::Bool(true)),
                "false" | "0" => return Ok(SwitchValue::Bool(false)),
                _ => "'true' or 'false'",
            },
            SwitchKind::Count => match text.parse() {
                Ok(count @ 1..) => return Ok(SwitchValue::Count(count)),
                _ => "a number of 1 or more",
            },
            SwitchKind::Refused(reason) => return Err(ParameterError::Refused { key: key(), reason }),
        };
        Err(ParameterError::Value { key: key(), expected, got: text.to_owned() })
    }
}

impl Parameters {
    /// A switch that is on or off; `None` if it isn't set.
    #[must_use]
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.switches.get(key)? {
            SwitchValue::Bool(value) => Some(*value),
            SwitchValue::Count(_) => None,
        }
    }

    /// A number; `None` if it isn't set.
    #[must_use]
    pub fn count(&self, key: &str) -> Option<u32> {
        match self.switches.get(key)? {
            SwitchValue::Count(count) => Some(*count),
            SwitchValue::Bool(_) => None,
        }
    }

    /// The keys that are not switches of the format.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str).filter(|key| !self.switches.contains_key(key))
    }
}

/// The texts as written.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TORCH_SCRIPT;

    fn read(pairs: &[(&str, &str)]) -> Result<Parameters, ParameterError> {
        let texts = pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        TORCH_SCRIPT.read_parameters(texts.collect())
    }

    #[test]
    fn switches_are_read_once_and_other_keys_are_kept() {
        let read = read(&[("INFERENCE_MODE", "False"), ("INTRA_OP_THREAD_COUNT", "3"), ("MINE", "x")]);
        let parameters = read.unwrap();
        assert_eq!(parameters.bool("INFERENCE_MODE"), Some(false));
        assert_eq!(parameters.count("INTRA_OP_THREAD_COUNT"), Some(3));
        assert_eq!(
            (parameters.bool("DISABLE_CUDNN"), parameters.bool("INTRA_OP_THREAD_COUNT")),
            (None, None)
        );
        assert_eq!(parameters.unknown().collect::<Vec<_>>(), ["MINE"]);
        assert_eq!(
            format!("{parameters:?}"),
            r#"{"INFERENCE_MODE": "False", "INTRA_OP_THREAD_COUNT": "3", "MINE": "x"}"#
        );
    }

    #[test]
    fn a_value_that_is_none_is_named_with_its_switch() {
        let refused = |key: &str, text: &str| read(&[(key, text)]).unwrap_err().to_string();
        assert_eq!(
            refused("INFERENCE_MODE", "maybe"),
            "parameter INFERENCE_MODE: expected 'true' or 'false', got 'maybe'"
        );
        for count in ["0", "-1", "2.5", ""] {
            assert_eq!(
                refused("INTER_OP_THREAD_COUNT", count),
                format!("parameter INTER_OP_THREAD_COUNT: expected a number of 1 or more, got '{count}'")
            );
        }
        assert!(
            refused("NUM_THREADS", "2")
                .starts_with("parameter NUM_THREADS: it is a switch of models in Python")
        );
    }

    #[test]
    fn no_switch_stands_in_the_table_twice() {
        let mut keys: Vec<&str> = TORCH_SCRIPT.switches.iter().map(|switch| switch.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), TORCH_SCRIPT.switches.len());
    }

    #[test]
    fn what_a_format_does_not_allow_is_refused_by_the_settings_name() {
        let format = ModelFormat {
            name: "Fixed",
            files: ModelFiles {
                default_filename: "model.fixed",
                extensions: &["fixed"],
                rare_extensions: &[],
                mismatch: |_| None,
                whole: |_| Ok(()),
            },
            names: FormatNames {
                platform: "fixed",
                backend: "fixed",
                accepted: &["fixed"],
                runtime: "",
                instead_of_runtime: "",
            },
            switches: &[],
            allows: Allows { share: true, batch: true, freeze: false, rewrite: false },
        };
        assert_ne!(format, TORCH_SCRIPT);
        let refused = |freeze, for_inference| {
            let checked = format.check(&Optimize { freeze, for_inference });
            checked.err().map(|error| error.to_string())
        };
        assert_eq!(refused(Some(false), Some(false)), None);
        for (asked, refused) in
            [("freeze", refused(Some(true), None)), ("for_inference", refused(None, Some(true)))]
        {
            let expected =
                format!("cresset.toml: [optimize] {asked} = true: Fixed models don't have it; leave it out");
            assert_eq!(refused, Some(expected));
        }
        let all = Optimize { freeze: Some(true), for_inference: Some(true) };
        assert_eq!(TORCH_SCRIPT.check(&all), Ok(()));
    }
}
