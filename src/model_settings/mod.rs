//! `cresset.toml`, beside a model's `config.pbtxt`: settings that Triton has no
//! field for. Triton ignores the file.
//!
//! `source` reads small files safely, and finds the line of an error. Each table
//! has its own file here, with its grammar and its ranges.

mod batching;
mod labels;
mod padding;
mod precision;
mod source;
mod transform;

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::transform::Transforms;
use batching::BatchingTable;
pub use batching::Objective;
use cresset_backend::{Optimize, Precision};
use cresset_protocol::{NonFinite, Strict};
pub use labels::read_lines as read_labels;
use padding::PaddingTable;
pub use padding::{
    BatchingSettings, LargeRequests, Line, Number, PaddedInput, PaddedOutput, PaddingSettings, Placed, Told,
};
use precision::{OptimizeTable, PrecisionTable};
use source::SettingsSource;
pub use source::{SETTINGS_FILENAME, SettingsError};
use transform::TransformTable;

/// What the file asks for; nothing where there is no such file.
#[derive(Debug, Clone, Default)]
pub struct ModelSettings {
    /// `[transform]`: how inputs become tensors, and tensors answers.
    pub transforms: Option<Transforms>,
    /// `[precision]`: the precision that the model computes in.
    pub precision: Precision,
    /// `[optimize]`: how its code is rewritten.
    pub optimize: Optimize,
    /// `[batching]` and `[padding]`: how requests share batches.
    pub batching: BatchingSettings,
    /// `[batching]`: the objective of its scheduler.
    pub objective: Objective,
    /// `non_finite`: how strict JSON writes NaN and infinities.
    pub non_finite: NonFinite,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    non_finite: Option<Strict>,
    transform: Option<TransformTable>,
    #[serde(default)]
    precision: PrecisionTable,
    #[serde(default)]
    optimize: OptimizeTable,
    #[serde(default)]
    batching: BatchingTable,
    padding: Option<Spanned<PaddingTable>>,
}

impl ModelSettings {
    /// Reads and checks `cresset.toml` in a model's directory, and the file of
    /// labels that it names.
    ///
    /// # Errors
    /// If the file is wrong. The message names the file and the line, without the
    /// server's paths.
    pub fn read(model_directory: &Path) -> Result<Self, SettingsError> {
        let Some(text) = source::read_text(model_directory, SETTINGS_FILENAME)? else {
            return Ok(Self::default());
        };
        let source = SettingsSource { text: &text, directory: model_directory };
        let mut file: FileTable = toml::from_str(&text).map_err(|error| source.syntax(&error))?;
        let precision = source.precision(file.precision)?;
        Ok(Self {
            transforms: file.transform.map(|table| source.transforms(table)).transpose()?,
            precision,
            optimize: source.optimize(file.optimize, &precision)?,
            objective: source.objective(file.batching.latency_target.take())?,
            batching: source.batching(file.batching, file.padding)?,
            non_finite: file.non_finite.map(NonFinite::from).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{read_text, refused};
    use cresset_protocol::NonFinite;

    #[test]
    fn numbers_that_json_has_not_are_null_unless_it_says_otherwise() {
        for (text, expected) in [
            ("", NonFinite::Null),
            ("non_finite = \"null\"", NonFinite::Null),
            ("non_finite = \"text\"", NonFinite::Text),
            ("non_finite = \"error\"\n[batching]\n", NonFinite::Error),
        ] {
            assert_eq!(read_text(text).unwrap().non_finite, expected, "{text}");
        }
        insta::assert_snapshot!(refused("# one\nnon_finite = \"nan\"\n"), @"cresset.toml, line 2: non_finite: unknown variant 'nan', expected one of 'null', 'text', 'error'");
    }
}

#[cfg(test)]
mod testing {
    use super::{ModelSettings, SETTINGS_FILENAME, SettingsError};

    /// Reads a text as a model's settings, with three labels beside it.
    pub(super) fn read_text(text: &str) -> Result<ModelSettings, SettingsError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("labels.txt"), "tench\ngoldfish\nshark\n").unwrap();
        std::fs::write(directory.path().join("blank.txt"), "tench\n\n").unwrap();
        std::fs::write(directory.path().join(SETTINGS_FILENAME), text).unwrap();
        ModelSettings::read(directory.path())
    }

    /// The error for a wrong text.
    pub(super) fn refused(text: &str) -> String {
        read_text(text).unwrap_err().to_string()
    }
}
