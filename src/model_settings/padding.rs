//! `[batching]` and `[padding]`: how requests share batches, beyond the fields of
//! Triton's configuration. Whether the named tensors exist is checked at load.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::batching::BatchingTable;
use super::source::{SettingsError, SettingsSource, line_of};

/// Lengths are rounded up to a multiple of this, if the file doesn't say. A
/// processor's kernels work on 8 or 16 numbers at once, so a row of 8 costs as much
/// as a row of 5.
const MULTIPLE_OF: i64 = 8;

/// The allowed padding before its cost was measured, and for models whose time
/// doesn't depend on the length. At half, two batches without padding would have
/// been as large together.
const MAX_WASTE: f64 = 0.5;

/// The settings of `[batching]` and `[padding]`; none by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchingSettings {
    /// The most elements in a batch's largest input, padding included.
    pub max_elements: Option<u64>,
    /// How requests with more rows than `max_batch_size` are treated.
    pub large_requests: LargeRequests,
    /// How requests of different lengths run together.
    pub padding: Option<PaddingSettings>,
}

/// How requests with more rows than `max_batch_size` are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LargeRequests {
    /// They are refused, as Triton does.
    #[default]
    Refused,
    /// They run in parts, and their answers are joined.
    Split,
}

/// `[padding]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddingSettings {
    /// The place of the table in the file.
    pub line: Line,
    /// The inputs that are padded, all to one length; one or more, without the mask.
    pub inputs: Vec<PaddedInput>,
    /// How the model learns what is padding.
    pub told: Told,
    /// The outputs of the same length; `None` to take them from the configuration.
    pub outputs: Option<Vec<PaddedOutput>>,
    /// Lengths are rounded up to a multiple of this; 1 or more.
    pub multiple_of: u32,
    /// The longest that the model takes.
    pub max_length: Option<u32>,
    /// The share of a batch that may be padding, from 0 to 1.
    pub max_waste: f64,
}

/// `[padding.inputs]`, one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddedInput {
    /// The input.
    pub name: Placed,
    /// The index among its `dims`; `None` for the only dimension that varies.
    pub dimension: Option<usize>,
    /// The value that rows are padded with.
    pub value: Number,
}

/// `[padding.outputs]`, one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddedOutput {
    /// The output.
    pub name: Placed,
    /// The indices among its `dims`.
    pub dimensions: Vec<usize>,
}

/// How a model learns what is padding.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// This input is the mask: ones, and zeros for padding.
    Mask(Placed),
    /// This input is each row's length.
    Length(Placed),
    /// It doesn't: its answers don't depend on the padding.
    Nothing,
}

/// A number as the file writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Without a decimal point; 0 and 1 for a truth value.
    Whole(i64),
    /// With one.
    Real(f64),
}

/// The name of a tensor, and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The name.
    pub name: String,
    /// Its line.
    pub line: Line,
}

/// A line of the file, counted from 1. Any two lines are equal, so that settings
/// that only moved are unchanged.
#[derive(Debug, Clone, Copy, Eq)]
pub struct Line(pub usize);

impl PartialEq for Line {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaddingTable {
    #[serde(default)]
    inputs: BTreeMap<Spanned<String>, InputTable>,
    mask: Option<Spanned<String>>,
    length: Option<Spanned<String>>,
    unmarked: Option<Spanned<bool>>,
    outputs: Option<BTreeMap<Spanned<String>, Spanned<Value>>>,
    multiple_of: Option<Spanned<i64>>,
    max_length: Option<Spanned<i64>>,
    max_waste: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    dimension: Option<Spanned<i64>>,
    value: Option<Spanned<Value>>,
}

impl SettingsSource<'_> {
    pub(super) fn batching(
        &self,
        table: BatchingTable,
        padding: Option<Spanned<PaddingTable>>,
    ) -> Result<BatchingSettings, SettingsError> {
        let max_elements =
            table.max_elements.map(|most| self.above_zero("max_elements", &most)).transpose()?;
        let split = table.split_large_requests;
        Ok(BatchingSettings {
            max_elements,
            large_requests: if split { LargeRequests::Split } else { LargeRequests::Refused },
            padding: padding.map(|table| self.padding(table)).transpose()?,
        })
    }

    fn padding(&self, table: Spanned<PaddingTable>) -> Result<PaddingSettings, SettingsError> {
        let span = table.span();
        let PaddingTable { inputs, mask, length, unmarked, outputs, multiple_of, max_length, max_waste } =
            table.into_inner();
        let told = self.told(&span, mask, length, unmarked)?;
        let inputs = inputs.into_iter().map(|(name, table)| self.input(name, table));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        if inputs.is_empty() {
            return Err(
                self.wrong(&span, "[padding.inputs] names no input: at least one was expected".to_owned())
            );
        }
        if let Told::Mask(other) | Told::Length(other) = &told
            && let Some(both) = inputs.iter().find(|input| input.name.name == other.name)
        {
            let key = if matches!(told, Told::Mask(_)) { "mask" } else { "length" };
            let message = format!("'{}' is the {key} and needs no entry in [padding.inputs]", other.name);
            return Err(SettingsError { line: Some(both.name.line.0), ..self.wrong(&span, message) });
        }
        let outputs = outputs.map(|outputs| {
            outputs
                .into_iter()
                .map(|(name, places)| self.output(name, &places))
                .collect::<Result<Vec<_>, _>>()
        });
        let whole = |key: &str, value: Option<Spanned<i64>>| {
            value.map(|value| self.length_of(key, &value)).transpose()
        };
        Ok(PaddingSettings {
            line: self.line(&span),
            inputs,
            told,
            outputs: outputs.transpose()?,
            multiple_of: whole("multiple_of", multiple_of)?.unwrap_or(MULTIPLE_OF as u32),
            max_length: whole("max_length", max_length)?,
            max_waste: max_waste.map_or(Ok(MAX_WASTE), |share| self.share("max_waste", &share))?,
        })
    }

    fn told(
        &self,
        table: &Range<usize>,
        mask: Option<Spanned<String>>,
        length: Option<Spanned<String>>,
        unmarked: Option<Spanned<bool>>,
    ) -> Result<Told, SettingsError> {
        let unmarked = unmarked.filter(|unmarked| *unmarked.get_ref());
        match (mask, length, unmarked) {
            (Some(mask), None, None) => Ok(Told::Mask(self.placed(mask))),
            (None, Some(length), None) => Ok(Told::Length(self.placed(length))),
            (None, None, Some(_)) => Ok(Told::Nothing),
            (None, None, None) => Err(self.wrong(
                table,
                "[padding] names neither mask nor length, so nothing tells the model what is padding; if its \
                 answers don't depend on that, unmarked = true says so"
                    .to_owned(),
            )),
            (Some(_), Some(length), _) => Err(self.wrong(
                &length.span(),
                "length beside mask: one of them tells the model what is padding; leave the other out".to_owned(),
            )),
            (_, _, Some(unmarked)) => Err(self.wrong(
                &unmarked.span(),
                "unmarked = true beside mask or length, which tells the model what is padding; leave one out"
                    .to_owned(),
            )),
        }
    }

    fn input(&self, name: Spanned<String>, table: InputTable) -> Result<PaddedInput, SettingsError> {
        let dimension =
            table.dimension.map(|place| self.place(&place.span(), *place.get_ref())).transpose()?;
        let value = match &table.value {
            None => Number::Whole(0),
            Some(value) => number(value.get_ref()).ok_or_else(|| {
                let kind = value.get_ref().type_str();
                self.wrong(&value.span(), format!("value is a {kind}: a number was expected"))
            })?,
        };
        Ok(PaddedInput { name: self.placed(name), dimension, value })
    }

    fn output(&self, name: Spanned<String>, places: &Spanned<Value>) -> Result<PaddedOutput, SettingsError> {
        let span = places.span();
        let one = places.get_ref();
        let listed = one.as_array().map_or(std::slice::from_ref(one), Vec::as_slice);
        let dimension = |value: &Value| match value.as_integer() {
            Some(place) => self.place(&span, place),
            None => {
                let message = format!("dimension is a {}: a whole number was expected", value.type_str());
                Err(self.wrong(&span, message))
            }
        };
        let dimensions = listed.iter().map(dimension).collect::<Result<_, _>>()?;
        Ok(PaddedOutput { name: self.placed(name), dimensions })
    }

    fn place(&self, span: &Range<usize>, place: i64) -> Result<usize, SettingsError> {
        usize::try_from(place).map_err(|_| {
            let message =
                format!("dimension is {place}: a place among the dims of config.pbtxt was expected, from 0");
            self.wrong(span, message)
        })
    }

    fn above_zero(&self, key: &str, value: &Spanned<i64>) -> Result<u64, SettingsError> {
        match u64::try_from(*value.get_ref()) {
            Ok(value @ 1..) => Ok(value),
            _ => {
                let message = format!("{key} is {}: 1 or more was expected", value.get_ref());
                Err(self.wrong(&value.span(), message))
            }
        }
    }

    fn length_of(&self, key: &str, value: &Spanned<i64>) -> Result<u32, SettingsError> {
        let most = u32::MAX;
        u32::try_from(self.above_zero(key, value)?).map_err(|_| {
            let message = format!("{key} is {}: at most {most} was expected", value.get_ref());
            self.wrong(&value.span(), message)
        })
    }

    fn share(&self, key: &str, value: &Spanned<f64>) -> Result<f64, SettingsError> {
        let share = *value.get_ref();
        if (0.0..=1.0).contains(&share) {
            return Ok(share);
        }
        Err(self.wrong(&value.span(), format!("{key} is {share}: a share from 0 to 1 was expected")))
    }

    fn placed(&self, name: Spanned<String>) -> Placed {
        let line = self.line(&name.span());
        Placed { name: name.into_inner(), line }
    }

    fn line(&self, span: &Range<usize>) -> Line {
        Line(line_of(self.text.as_bytes(), span.start))
    }
}

/// A truth value counts as 0 or 1.
fn number(value: &Value) -> Option<Number> {
    let whole = value.as_integer().or_else(|| value.as_bool().map(i64::from)).map(Number::Whole);
    whole.or_else(|| value.as_float().map(Number::Real))
}

#[cfg(test)]
mod tests;
