//! `default_model_filename` and `cc_model_filenames`, which name the model's file
//! in a version's directory, and `model_operations`, which names libraries that it
//! needs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use super::{ConfigError, formats};
use cresset_backend::{ComputeCapability, ModelFormat};
use cresset_protocol::messages::config as proto;

/// The files that a version may be loaded from.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelFilenames {
    /// The file for processors, for GPUs without a file of their own, and for models
    /// that choose their devices.
    pub default: String,
    /// Names to try if `default` is missing; none if the configuration names the
    /// file.
    pub alternatives: Vec<&'static str>,
    /// The files for GPUs of these compute capabilities.
    pub by_capability: BTreeMap<ComputeCapability, String>,
}

impl Default for ModelFilenames {
    fn default() -> Self {
        Self::of_formats(formats::default_filenames())
    }
}

impl ModelFilenames {
    fn of_formats(mut names: impl Iterator<Item = &'static str>) -> Self {
        let default = names.next().unwrap_or_default().to_owned();
        Self { default, alternatives: names.collect(), by_capability: BTreeMap::new() }
    }

    /// The model's file in a version's directory, if there is none for the GPU.
    #[must_use]
    pub fn default_in(&self, directory: &Path) -> &str {
        let is_there = |name: &&str| directory.join(name).is_file();
        if is_there(&self.default.as_str()) {
            return &self.default;
        }
        self.alternatives.iter().copied().find(is_there).unwrap_or(&self.default)
    }

    /// The file's name in a model's metadata, for a model of this format.
    pub(super) fn default_of(&self, format: &ModelFormat) -> &str {
        let own = self.alternatives.iter().find(|name| **name == format.files.default_filename);
        own.copied().unwrap_or(&self.default)
    }
}

/// The usual name.
impl fmt::Debug for ModelFilenames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_capability.is_empty() {
            return fmt::Debug::fmt(&self.default, f);
        }
        let Self { default, by_capability, .. } = self;
        let mut shown = f.debug_struct("ModelFilenames");
        shown.field("default", default).field("by_capability", by_capability).finish()
    }
}

/// Reads both fields; `formats` are the formats that the model may have.
pub(super) fn filenames(
    default: String,
    by_capability: BTreeMap<String, String>,
    formats: &[&'static ModelFormat],
) -> Result<ModelFilenames, ConfigError> {
    const BY_CAPABILITY: &str = "cc_model_filenames";
    let of_formats = formats.iter().map(|format| format.files.default_filename);
    let mut names = ModelFilenames::of_formats(of_formats);
    if !default.is_empty() {
        names.default = plain("default_model_filename", default)?;
        names.alternatives.clear();
    }
    for (capability, name) in by_capability {
        let Some(key) = ComputeCapability::parse(&capability) else {
            return Err(ConfigError::value(
                BY_CAPABILITY,
                "compute capabilities as '8.0'",
                format!("'{}'", capability.escape_debug()),
            ));
        };
        names.by_capability.insert(key, plain(&format!("{BY_CAPABILITY}['{capability}']"), name)?);
    }
    Ok(names)
}

/// The libraries that `model_operations` names, by their paths inside the
/// model's directory.
pub(super) fn op_libraries(operations: Option<proto::ModelOperations>) -> Result<Vec<String>, ConfigError> {
    let names = operations.map(|operations| operations.op_library_filename).unwrap_or_default();
    for (index, name) in names.iter().enumerate() {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || name.is_empty() || name.contains('\0') {
            return Err(ConfigError::value(
                format!("model_operations.op_library_filename[{index}]"),
                "a file inside the model's directory (--op-library opens others)",
                format!("'{}'", name.escape_debug()),
            ));
        }
    }
    Ok(names)
}

/// The name of a file, without a directory.
fn plain(field: &str, filename: String) -> Result<String, ConfigError> {
    let mut parts = Path::new(&filename).components();
    let first = parts.next();
    // `components` drops the slash of 'model.pt/', so the whole is compared.
    let plain = parts.next().is_none() && first == Some(Component::Normal(filename.as_ref()));
    if !plain || filename.contains('\0') {
        let got = format!("'{}'", filename.escape_debug());
        return Err(ConfigError::value(field, "a file's name, without a directory", got));
    }
    Ok(filename)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_s_file_is_taken_if_the_first_is_missing_and_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(directory.path().join(name), "").unwrap();
        let names = ModelFilenames::of_formats(["a.first", "a.second", "a.third"].into_iter());
        assert_eq!(names.default_in(directory.path()), "a.first");
        write("a.third");
        assert_eq!(names.default_in(directory.path()), "a.third");
        let configured = filenames("b".to_owned(), BTreeMap::new(), &[]).unwrap();
        assert_eq!((configured.default_in(directory.path()), configured.alternatives.len()), ("b", 0));
        write("a.first");
        assert_eq!(names.default_in(directory.path()), "a.first");
    }
}
