//! Runs a model on the described inputs, to find its outputs, whether dimension 0
//! is a batch, and which dimensions vary.

use super::DescribedInput;
use crate::model_config::{Binding, BoundInput};
use crate::trial::TrialInput;
use crate::trial::draw::{self, Values};
use crate::trial::rows::{Alone, Judge, ROUNDING, RowRule, wanted};
use crate::trial::run::run_here;
use crate::trial::values::{Unsent, numbers, unsent};
use cresset_backend::{BackendError, BatchOutput, Model};
use cresset_protocol::Datatype;

/// How many rows run if dimension 0 isn't a batch.
const SEVERAL: usize = 3;

/// An output, as the trial found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundOutput {
    /// The name that the model itself gives, if any.
    pub(super) name: Option<String>,
    pub(super) datatype: Datatype,
    /// Without the batch dimension, if there is one; -1 for a dimension that varies.
    pub(super) dims: Vec<i64>,
}

/// The results of the trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) outputs: Vec<FoundOutput>,
    /// Whether dimension 0 is a batch, or why it isn't.
    pub(super) batch: Result<(), String>,
    /// A line for each thing that couldn't be tried.
    pub(super) notes: Vec<String>,
}

/// A trial of `inputs`, in the model's order.
pub(super) struct Trial<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) inputs: &'a [DescribedInput],
    pub(super) binding: &'a Binding,
    /// The size of a dimension that varies and isn't the first.
    pub(super) size: i64,
    /// The most rows of a batch; zero if the model must not be batched.
    pub(super) most: u32,
}

/// The values that inputs are filled with.
#[derive(Debug, Clone, Copy)]
struct Made {
    values: Values,
    /// The value of an argument that is a number.
    number: u32,
}

/// The results for one range of values.
struct Seen {
    outputs: Vec<BatchOutput>,
    rule: RowRule,
    /// The outputs' shapes in every run.
    shapes: Vec<Vec<Vec<i64>>>,
}

impl Trial<'_> {
    /// Runs the model on values of wider and wider ranges, until it succeeds.
    ///
    /// # Errors
    /// If it fails on every range.
    pub(super) fn run(&self) -> Result<Found, BackendError> {
        let (mut failed, mut seen) = (None, None);
        let ranges = Values::WIDENING.into_iter();
        let numbers = numbers(&self.binding.inputs);
        for made in
            ranges.flat_map(|values| numbers.iter().map(move |number| Made { values, number: *number }))
        {
            match self.try_values(made) {
                Ok(found) => {
                    let told = !matches!(found.rule, RowRule::Unknown(_));
                    seen = if told { Some((found, made)) } else { seen.or(Some((found, made))) };
                    if told {
                        break;
                    }
                }
                Err(error @ BackendError::Execute { .. }) => _ = failed.get_or_insert(error),
                Err(error) => return Err(error),
            }
        }
        match (seen, failed) {
            (Some((seen, made)), _) => Ok(self.found(seen, made)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(crate::trial::run::failed("nothing was tried")),
        }
    }

    fn try_values(&self, made: Made) -> Result<Seen, BackendError> {
        let mut shapes = Vec::new();
        let mut run = |inputs: &[TrialInput]| {
            let outputs = self.forward(inputs)?;
            shapes.push(shapes_of(&outputs));
            Ok(outputs)
        };
        let template = self.template(1, self.size, made.number);
        let mut requests: Vec<Alone> = Vec::new();
        let mut count = 1;
        while requests.len() < count {
            let inputs = draw::row(&template, requests.len() as u64, made.values);
            let outputs = run(&inputs)?;
            requests.push(Alone { inputs, outputs });
            if let [first] = requests.as_slice() {
                count = if self.may_batch() { wanted(first, self.most) } else { SEVERAL };
            }
        }
        let rule = if self.may_batch() {
            let judge = Judge { binding: self.binding, most: self.most, rounding: ROUNDING };
            judge.judge(&requests, &mut run)?
        } else {
            RowRule::Whole(self.why_not())
        };
        let outputs = requests.swap_remove(0).outputs;
        Ok(Seen { outputs, rule, shapes })
    }

    fn found(&self, seen: Seen, Made { values, number }: Made) -> Found {
        let Seen { outputs, rule, mut shapes } = seen;
        let mut notes = Vec::new();
        shapes.extend(self.shapes_of_others(number));
        let first = if rule == RowRule::ByRow { 1 } else { SEVERAL as i64 };
        let larger = self.template(first, self.size.saturating_add(self.size / 2).saturating_add(1), number);
        if larger != self.template(1, self.size, number) {
            match self.forward(&draw::row(&larger, 0, values)) {
                Ok(outputs) => shapes.push(shapes_of(&outputs)),
                Err(error) => notes.push(format!(
                    "with other sizes for what varies the model fails ({error}): which dimensions of the outputs vary \
                     is not known"
                )),
            }
        }
        let batch = match rule {
            RowRule::ByRow => Ok(()),
            RowRule::Whole(reason) | RowRule::Unknown(reason) => Err(reason),
        };
        let batched = usize::from(batch.is_ok());
        let output = |(index, output): (usize, &BatchOutput)| FoundOutput {
            name: output.name.clone(),
            datatype: output.datatype,
            dims: dims(index, &shapes).split_off(batched.min(output.shape.len())),
        };
        Found { outputs: outputs.iter().enumerate().map(output).collect(), batch, notes }
    }

    /// The outputs' shapes for other values, as far as the model takes them: the
    /// sizes may depend on the values.
    fn shapes_of_others(&self, number: u32) -> Vec<Vec<Vec<i64>>> {
        let zeros = self.template(1, self.size, number);
        let drawn = Values::WIDENING.map(|values| draw::row(&zeros, SEVERAL as u64, values));
        let others = drawn.iter().chain([&zeros]).filter_map(|inputs| self.forward(inputs).ok());
        others.map(|outputs| shapes_of(&outputs)).collect()
    }

    fn may_batch(&self) -> bool {
        self.most > 0 && self.inputs.iter().all(DescribedInput::may_batch)
    }

    fn why_not(&self) -> String {
        match self.inputs.iter().find(|input| !input.may_batch()) {
            Some(input) => format!("input '{}' is described without a -1 in front", input.name),
            None => "--max-batch is 0".to_owned(),
        }
    }

    /// Each input without elements. A first dimension that varies has the size
    /// `first`, a later one `size`; an argument that is a number has the value
    /// `number`.
    fn template(&self, first: i64, size: i64, number: u32) -> Vec<TrialInput> {
        let described = |bound: &BoundInput| self.inputs.iter().find(|input| input.name == bound.name);
        let rows = u32::try_from(first).ok().filter(|_| self.may_batch());
        let input = |bound: &BoundInput| {
            let DescribedInput { datatype, dims, .. } = match described(bound) {
                Some(input) if !input.shared => input,
                _ => return unsent(bound, rows, number),
            };
            let open = |(index, dim): (usize, &i64)| match (*dim, index) {
                (-1, 0) => first,
                (-1, _) => size,
                (dim, _) => dim,
            };
            let shape = dims.iter().enumerate().map(open).collect();
            let name = bound.place.to_string();
            Some(Unsent::Value(TrialInput { name, datatype: *datatype, shape, data: None }))
        };
        let sent = |input| match input {
            Some(Unsent::Value(input)) => Some(input),
            Some(Unsent::Out) | None => None,
        };
        self.binding.inputs.iter().map(input).filter_map(sent).collect()
    }

    /// One run, on a new instance, so that a module that keeps state starts from
    /// its first state.
    fn forward(&self, inputs: &[TrialInput]) -> Result<Vec<BatchOutput>, BackendError> {
        run_here(self.model.instance(1)?.as_mut(), inputs)
    }
}

fn shapes_of(outputs: &[BatchOutput]) -> Vec<Vec<i64>> {
    outputs.iter().map(|output| output.shape.clone()).collect()
}

/// The shape of an output over all runs. A dimension is -1 if it wasn't always the
/// same, or was 0: a model that found nothing may find something in other inputs.
fn dims(index: usize, seen: &[Vec<Vec<i64>>]) -> Vec<i64> {
    let mut runs = seen.iter().filter_map(|run| run.get(index));
    let first = runs.next().cloned().unwrap_or_default();
    let known = runs.fold(first, |known, other| {
        if known.len() != other.len() {
            // As many dimensions as in the first run, all of them -1.
            return vec![-1; known.len()];
        }
        known.iter().zip(other).map(|(a, b)| if a == b { *a } else { -1 }).collect()
    });
    known.into_iter().map(|size| if size > 0 { size } else { -1 }).collect()
}
