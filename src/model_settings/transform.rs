//! `[transform]`: its tables, their grammar and their ranges. The grammar of a long
//! table has a file of its own.

mod image;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::labels;
use super::source::{SettingsError, SettingsSource};
use crate::transform::{Classification, Postprocessor, Preprocessor, Scale, Transforms};
use image::ImageTable;

const DEFAULT_TOP_K: i64 = 5;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransformTable {
    image: Option<Spanned<ImageTable>>,
    classification: Option<ClassificationTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassificationTable {
    output: Option<Spanned<String>>,
    #[serde(default = "yes")]
    softmax: bool,
    top_k: Option<Spanned<i64>>,
    labels: Spanned<String>,
}

/// Most models give logits.
fn yes() -> bool {
    true
}

impl SettingsSource<'_> {
    pub(super) fn transforms(&self, table: TransformTable) -> Result<Transforms, SettingsError> {
        let image = table.image.map(|table| self.image(table)).transpose()?;
        let classification = table.classification.map(|table| self.classification(table)).transpose()?;
        let preprocessor = image.map(|image| Arc::new(image) as Arc<dyn Preprocessor>);
        let postprocessor =
            classification.map(|classification| Arc::new(classification) as Arc<dyn Postprocessor>);
        Ok(Transforms::new(preprocessor, postprocessor))
    }

    fn classification(&self, table: ClassificationTable) -> Result<Classification, SettingsError> {
        let labels =
            labels::read(self.directory, table.labels.get_ref()).map_err(|error| match error.line {
                // An error in a line belongs to the file of labels; any other belongs to
                // this file's choice of it.
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

    /// The name of a tensor, if one is given.
    fn tensor(&self, key: &str, name: Option<Spanned<String>>) -> Result<Option<String>, SettingsError> {
        match name {
            Some(name) if name.get_ref().is_empty() => {
                Err(self.wrong(&name.span(), format!("{key} is empty: a tensor's name was expected")))
            }
            name => Ok(name.map(Spanned::into_inner)),
        }
    }
}

#[cfg(test)]
mod tests;
