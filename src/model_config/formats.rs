//! The one table of the model formats that are served.
//!
//! `crates/backend/src/format.rs` says what a format is, and how to add one.

use std::path::Path;

use super::ConfigError;
use cresset_backend::{ModelFormat, TORCH_SCRIPT};

/// Every format. The first is the default.
static FORMATS: [&ModelFormat; 1] = [&TORCH_SCRIPT];

/// Names of formats that only Triton serves, each with the reason.
const NOT_SERVED: [(&str, &str); 2] = [
    ("torch_aoti", "AOTInductor packages are not served yet"),
    ("ensemble", "ensembles are not offered: call the models one by one"),
];

/// The format of a configuration that names none.
#[must_use]
pub fn default_format() -> &'static ModelFormat {
    FORMATS[0]
}

/// The formats that a configuration may mean, at least one: the formats that fit
/// its `platform` and its `backend`, if they are set.
///
/// # Errors
/// If a name is no format's, or the `runtime` is none of the format's.
pub(super) fn named(
    platform: &str,
    backend: &str,
    runtime: &str,
) -> Result<Vec<&'static ModelFormat>, ConfigError> {
    let mut formats = FORMATS.to_vec();
    for (field, name) in [("platform", platform), ("backend", backend)] {
        formats.retain(|format| name.is_empty() || format.names.accepted.contains(&name));
        if formats.is_empty() {
            return Err(unknown(field, name));
        }
    }
    let first = formats.first().copied().unwrap_or(default_format());
    formats.retain(|format| runtime.is_empty() || runtime == format.names.runtime);
    if formats.is_empty() {
        let reason = format!(
            "'{}' is no runtime of {}: remove the field and {}",
            runtime.escape_debug(),
            first.name,
            first.names.instead_of_runtime
        );
        return Err(ConfigError::unsupported("runtime", reason));
    }
    Ok(formats)
}

fn unknown(field: &str, name: &str) -> ConfigError {
    if let Some((_, reason)) = NOT_SERVED.iter().find(|(known, _)| *known == name) {
        return ConfigError::unsupported(field, *reason);
    }
    let mut names: Vec<String> = Vec::new();
    for format in FORMATS {
        for name in [format.names.platform, format.names.backend].map(|name| format!("'{name}'")) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let formats: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    ConfigError::value(
        field,
        format!("{} (only {} models are served)", names.join(" or "), formats.join(" and ")),
        format!("'{}'", name.escape_debug()),
    )
}

/// The default name of a model's file, for each format.
pub fn default_filenames() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|format| format.files.default_filename)
}

/// The first of [`default_filenames`] that is in `directory`.
#[must_use]
pub fn model_file_in(directory: &Path) -> Option<&'static str> {
    default_filenames().find(|name| directory.join(name).is_file())
}

/// Whether a file that ends so may be a model's. `extension` has no dot.
#[must_use]
pub fn has_extension(extension: &str) -> bool {
    FORMATS.iter().any(|format| format.has_extension(extension))
}

/// For messages: `.pt, .pth`.
#[must_use]
pub fn extensions() -> String {
    let all = FORMATS.iter().flat_map(|format| format.files.extensions);
    all.map(|extension| format!(".{extension}")).collect::<Vec<_>>().join(", ")
}

/// What to do with a file that is no model's; `None` if some format may take it.
#[must_use]
pub fn mismatch_of(path: &Path) -> Option<String> {
    let mismatches: Option<Vec<String>> = FORMATS.iter().map(|format| format.mismatch_of(path)).collect();
    mismatches?.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_goes_by_each_of_its_names() {
        for (platform, backend) in
            [("", ""), ("pytorch_libtorch", ""), ("", "pytorch"), ("libtorch", "pytorch")]
        {
            assert_eq!(named(platform, backend, "").unwrap(), [&TORCH_SCRIPT], "{platform} {backend}");
        }
        assert!(named("onnxruntime_onnx", "", "").is_err());
    }

    #[test]
    fn what_stands_for_a_missing_configuration_is_the_first_format_s() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(model_file_in(directory.path()), None);
        std::fs::write(directory.path().join("model.pt"), "").unwrap();
        assert_eq!(model_file_in(directory.path()), Some("model.pt"));
        let empty = mismatch_of(&directory.path().join("model.pt"));
        assert_eq!(empty.as_deref(), Some("it is empty: was it copied to its end?"));
        assert!(has_extension("jit") && !has_extension("onnx"));
        assert_eq!(extensions(), ".pt, .pth, .ts, .torchscript");
    }
}
