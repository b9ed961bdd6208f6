//! `[transform]`: which tables there are. Each has its own file, with its grammar
//! and its ranges.

mod classification;
mod image;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::source::{SettingsError, Source};
use crate::transform::{Postprocessor, Preprocessor, Transforms};
use classification::ClassificationTable;
use image::ImageTable;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransformTable {
    image: Option<Spanned<ImageTable>>,
    classification: Option<ClassificationTable>,
}

impl Source<'_> {
    pub(super) fn transforms(&self, table: TransformTable) -> Result<Transforms, SettingsError> {
        let image = table.image.map(|table| self.image(table)).transpose()?;
        let classification = table.classification.map(|table| self.classification(table)).transpose()?;
        let preprocessor = image.map(|image| Arc::new(image) as Arc<dyn Preprocessor>);
        let postprocessor =
            classification.map(|classification| Arc::new(classification) as Arc<dyn Postprocessor>);
        Ok(Transforms::new(preprocessor, postprocessor))
    }

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
