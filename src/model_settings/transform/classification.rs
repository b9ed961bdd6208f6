//! `[transform.classification]`: its grammar and its ranges.

use serde::Deserialize;
use toml::Spanned;

use super::super::labels;
use super::super::source::{SettingsError, Source};
use crate::transform::{Classification, Scale};

const DEFAULT_TOP_K: i64 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassificationTable {
    output: Option<Spanned<String>>,
    #[serde(default = "yes")]
    softmax: bool,
    top_k: Option<Spanned<i64>>,
    labels: Spanned<String>,
}

/// Models give logits, as a rule.
fn yes() -> bool {
    true
}

impl Source<'_> {
    pub(super) fn classification(&self, table: ClassificationTable) -> Result<Classification, SettingsError> {
        let labels =
            labels::read(self.directory, table.labels.get_ref()).map_err(|error| match error.line {
                // About a line of its own file; else about this one's choice of it.
                Some(_) => error,
                None => {
                    self.wrong(&table.labels.span(), format!("labels '{}': {}", error.file, error.message))
                }
            })?;
        let (top_k, span) = table
            .top_k
            .map_or((DEFAULT_TOP_K.min(labels.len() as i64), 0..0), |top_k| (*top_k.get_ref(), top_k.span()));
        let top_k = usize::try_from(top_k)
            .ok()
            .filter(|top_k| (1..=labels.len()).contains(top_k))
            .ok_or_else(|| {
                self.wrong(
                    &span,
                    format!("top_k is {top_k}: 1 to {}, the number of labels, was expected", labels.len()),
                )
            })?;
        Ok(Classification {
            output: self.tensor("output", table.output)?,
            scale: if table.softmax { Scale::Softmax } else { Scale::AsGiven },
            top_k,
            labels,
            labels_file: table.labels.into_inner(),
        })
    }
}
