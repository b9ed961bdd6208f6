//! Finds whether a model's outputs have a row for each row of its inputs, by
//! running requests alone and together. A dimension that happens to match proves
//! nothing.

use super::compare::{alike, take_rows};
use super::input::{TrialInput, joined};
use crate::model_config::{Binding, output_name};
use cresset_backend::{BackendError, BatchOutput};
use cresset_protocol::Datatype;

/// Numbers of requests that run together, of which up to [`SIZES`] are tried. They
/// have no common divisor, so that no fixed dimension matches two of them.
const TOGETHER: [usize; 5] = [2, 3, 5, 7, 11];

/// How many sizes of batches are tried.
const SIZES: usize = 2;

/// How far a row of FP32 may differ from the same row alone: kernels are chosen by
/// the size of a batch, and sum in another order.
pub const ROUNDING: f64 = 1e-4;

/// The same if a device multiplies FP32 in TF32, as cuDNN does unless told
/// otherwise.
pub const ROUNDING_TF32: f64 = 1e-2;

/// The same in FP16 and BF16.
pub const ROUNDING_REDUCED: f64 = 5e-2;

/// How a model's outputs follow its inputs' rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowRule {
    /// Each output has a row for each row of a request, whatever else is in the
    /// batch.
    ByRow,
    /// Some output hasn't, and why: `output 'y' has shape [2, 3] for 1 row`.
    Whole(String),
    /// The trial couldn't tell, and why.
    Unknown(String),
}

/// Runs a model once.
pub type Run<'a> = dyn FnMut(&[TrialInput]) -> Result<Vec<BatchOutput>, BackendError> + 'a;

/// A request that ran alone.
#[derive(Debug, Clone)]
pub struct Alone {
    /// Its inputs; dimension 0 of each is the batch.
    pub inputs: Vec<TrialInput>,
    /// What the model gave for it.
    pub outputs: Vec<BatchOutput>,
}

impl Alone {
    /// How many rows it has.
    fn rows(&self) -> i64 {
        self.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1)
    }
}

/// How many requests like this one should run alone before [`Judge::judge`] runs
/// some of them together, in batches of at most `most` rows.
#[must_use]
pub fn wanted(alone: &Alone, most: u32) -> usize {
    let each = std::iter::repeat_n(alone.rows(), TOGETHER[TOGETHER.len() - 1]);
    sizes(&each.collect::<Vec<i64>>(), &alone.outputs, most).last().copied().unwrap_or(1)
}

/// Finds whether outputs are rows.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The outputs that clients get. The model's other outputs aren't checked.
    pub binding: &'a Binding,
    /// The most rows of a batch.
    pub most: u32,
    /// How far a row's values may differ from those of the row alone: see [`alike`].
    pub rounding: f64,
}

impl Judge<'_> {
    /// Runs these requests together, by `run`, and compares each request's part of
    /// the outputs with its outputs alone. The requests differ, and have the same
    /// inputs, in shapes that differ in dimension 0 only.
    ///
    /// # Errors
    /// If a run failed for a reason other than the model.
    pub fn judge(&self, requests: &[Alone], run: &mut Run<'_>) -> Result<RowRule, BackendError> {
        let Some(first) = requests.first() else {
            return Ok(RowRule::Unknown("no request ran".to_owned()));
        };
        for alone in requests {
            if let Err(reason) = self.has_rows(&alone.outputs, alone.rows()) {
                return Ok(RowRule::Whole(reason));
            }
        }
        let rows: Vec<i64> = requests.iter().map(Alone::rows).collect();
        let sizes = sizes(&rows, &first.outputs, self.most);
        if sizes.is_empty() && self.most > 1 {
            return Ok(RowRule::Unknown(
                "no two of the requests that were tried fit in one batch".to_owned(),
            ));
        }
        for size in sizes {
            match self.hold(&requests[..size], size, run)? {
                RowRule::ByRow => {}
                other @ (RowRule::Whole(_) | RowRule::Unknown(_)) => return Ok(other),
            }
        }
        if self.tells_apart(requests) {
            return Ok(RowRule::ByRow);
        }
        Ok(RowRule::Unknown("the model's answers were the same for all rows that were tried".to_owned()))
    }

    /// The same for one size of batch: `count` requests run together, and these are
    /// repeated as often as needed.
    ///
    /// # Errors
    /// As of [`Judge::judge`].
    pub fn hold(&self, requests: &[Alone], count: usize, run: &mut Run<'_>) -> Result<RowRule, BackendError> {
        // In another order than alone, in case the order matters.
        let company: Vec<&Alone> = requests.iter().cycle().skip(1).take(count).collect();
        let Some(first) = company.first() else { return Ok(RowRule::ByRow) };
        let inputs = joined(&company.iter().map(|alone| alone.inputs.as_slice()).collect::<Vec<_>>());
        let together = match run(&inputs) {
            Ok(together) => together,
            Err(BackendError::Execute { message, .. }) => {
                let rows: i64 = company.iter().map(|alone| alone.rows()).sum();
                return Ok(RowRule::Whole(format!("with {rows} rows together the model fails: {message}")));
            }
            Err(BackendError::OutOfMemory { message, .. }) => return Ok(RowRule::Unknown(message)),
            Err(
                error @ (BackendError::Load { .. } | BackendError::Device { .. } | BackendError::Gone { .. }),
            ) => return Err(error),
        };
        match self.compare(&company, &together) {
            Ok(()) => Ok(RowRule::ByRow),
            Err(difference) => self.explain(difference, first, run),
        }
    }

    /// Checks that dimension 0 of each output has as many rows as the inputs.
    ///
    /// # Errors
    /// If an output hasn't.
    pub fn has_rows(&self, outputs: &[BatchOutput], rows: i64) -> Result<(), String> {
        for (name, output) in delivered(outputs, self.binding) {
            if output.shape.first() != Some(&rows) {
                let s = if rows == 1 { "" } else { "s" };
                return Err(format!("output '{name}' has shape {:?} for {rows} row{s}", output.shape));
            }
        }
        Ok(())
    }

    fn compare(&self, company: &[&Alone], together: &[BatchOutput]) -> Result<(), Apart> {
        let rows: i64 = company.iter().map(|alone| alone.rows()).sum();
        self.has_rows(together, rows).map_err(Apart::Shape)?;
        for (place, (name, output)) in delivered(together, self.binding).into_iter().enumerate() {
            let (mut left, mut rest) = (rows, &output.data[..]);
            for alone in company {
                let Some((_, own)) = delivered(&alone.outputs, self.binding).into_iter().nth(place) else {
                    return Err(Apart::Shape(format!("output '{name}' came for some requests alone")));
                };
                if own.shape.get(1..) != output.shape.get(1..) || own.datatype != output.datatype {
                    return Err(Apart::Shape(format!(
                        "output '{name}' has shape {:?} for one request and {:?} for {} together",
                        own.shape,
                        output.shape,
                        company.len()
                    )));
                }
                let part = take_rows(&mut rest, output.datatype, alone.rows(), left);
                left -= alone.rows();
                if !alike(output.datatype, part, &own.data, self.rounding_of(output)) {
                    return Err(Apart::Values(name));
                }
            }
        }
        Ok(())
    }

    /// Explains values that differ. The other rows need not be the cause: some models
    /// give other values each time.
    fn explain(&self, difference: Apart, first: &Alone, run: &mut Run<'_>) -> Result<RowRule, BackendError> {
        let name = match difference {
            Apart::Shape(reason) => return Ok(RowRule::Whole(reason)),
            Apart::Values(name) => name,
        };
        let same_again = match run(&first.inputs) {
            Ok(again) => self.compare(&[first], &again).is_ok(),
            Err(BackendError::Execute { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(RowRule::Whole(if same_again {
            format!("output '{name}' of a row depends on the rows beside it")
        } else {
            format!(
                "output '{name}' isn't the same twice for the same row, so whether it depends on the rows beside \
                 it can't be told"
            )
        }))
    }

    /// Whether the answers to these requests differ: equal answers can't show which
    /// request a row belongs to. One output that differs is enough; others may be
    /// constant by their nature.
    #[must_use]
    pub fn tells_apart(&self, requests: &[Alone]) -> bool {
        let Some((first, others)) = requests.split_first().filter(|(_, others)| !others.is_empty()) else {
            return true;
        };
        let differs = |(place, (_, own)): (usize, (String, &BatchOutput))| {
            let from = |other: &Alone| -> bool {
                let outputs = delivered(&other.outputs, self.binding);
                let other = outputs.get(place).map(|(_, output)| &output.data);
                other.is_none_or(|other| !alike(own.datatype, &own.data, other, self.rounding_of(own)))
            };
            others.iter().any(from)
        };
        delivered(&first.outputs, self.binding).into_iter().enumerate().any(differs)
    }

    fn rounding_of(&self, output: &BatchOutput) -> f64 {
        let reduced = matches!(output.datatype, Datatype::Fp16 | Datatype::Bf16);
        if reduced { self.rounding.max(ROUNDING_REDUCED) } else { self.rounding }
    }
}

/// How the outputs of requests together differ from those of each alone.
enum Apart {
    Shape(String),
    /// Of the output of this name.
    Values(String),
}

/// The outputs that clients get, in the order of the configuration, each with
/// its name on the wire.
fn delivered<'a>(outputs: &'a [BatchOutput], binding: &Binding) -> Vec<(String, &'a BatchOutput)> {
    if binding.outputs.is_empty() {
        let named =
            |(index, output): (usize, &'a BatchOutput)| (output_name(index, output.name.as_deref()), output);
        return outputs.iter().enumerate().map(named).collect();
    }
    let bound = binding.outputs.iter();
    bound.filter_map(|bound| Some((bound.name.clone(), bound.find(outputs)?))).collect()
}

/// How many of the requests, which have these rows, run together in each batch
/// that is tried. If possible, no batch has as many rows as any dimension of one
/// request's outputs.
fn sizes(rows: &[i64], outputs: &[BatchOutput], most: u32) -> Vec<usize> {
    let rows_of = |count: &usize| rows.iter().take(*count).sum::<i64>();
    let fits = |count: &usize| *count <= rows.len() && rows_of(count) <= i64::from(most);
    let fitting = || TOGETHER.into_iter().filter(fits);
    let stands_out = |count: &usize| !outputs.iter().any(|output| output.shape.contains(&rows_of(count)));
    let standing_out: Vec<usize> = fitting().filter(stands_out).take(SIZES).collect();
    if standing_out.is_empty() { fitting().take(SIZES).collect() } else { standing_out }
}
