//! A model on trial: what it gives for the described inputs, whether
//! dimension 0 is a batch, and which dimensions vary.

use super::DescribedInput;
use crate::model_config::{Binding, BoundInput};
use crate::trial::TrialInput;
use crate::trial::draw::{self, Values};
use crate::trial::rows::{Alone, Judge, ROUNDING, RowRule, wanted};
use crate::trial::run::run_here;
use crate::trial::values::{Unsent, numbers, unsent};
use cresset_backend::{BackendError, BatchOutput, Model};
use cresset_protocol::Datatype;

/// So many rows run where dimension 0 isn't a batch.
const SEVERAL: usize = 3;

/// An output as the trial found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundOutput {
    /// The name that the model itself gives, if any.
    pub(super) name: Option<String>,
    pub(super) datatype: Datatype,
    /// Without the batch where there is one; -1 for a dimension that varies.
    pub(super) dims: Vec<i64>,
}

/// What the trial showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) outputs: Vec<FoundOutput>,
    /// Whether dimension 0 is a batch, or why it isn't.
    pub(super) batch: Result<(), String>,
    /// What couldn't be tried, a line each.
    pub(super) notes: Vec<String>,
}

/// A trial of `inputs`, in the model's order.
pub(super) struct Trial<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) inputs: &'a [DescribedInput],
    pub(super) binding: &'a Binding,
    /// What a dimension behind the first is where it varies.
    pub(super) size: i64,
    /// The most rows of a batch; zero where there mustn't be any.
    pub(super) most: u32,
}

/// What inputs are made of.
#[derive(Debug, Clone, Copy)]
struct Made {
    values: Values,
    /// What an argument is that is a number.
    number: u32,
}

/// What came of one range of values.
struct Seen {
    outputs: Vec<BatchOutput>,
    rule: RowRule,
    /// Of every run.
    shapes: Vec<Vec<Vec<i64>>>,
}

impl Trial<'_> {
    /// Runs the model, on values of widening ranges until it does.
    ///
    /// # Errors
    /// That it fails on the least of what was described.
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

    /// What other values give, as far as the model takes them: how much it finds
    /// may depend on them.
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

    /// Each input without elements; what varies in front has the size `first`,
    /// what varies behind that `size`, and what is one number that `number`.
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

    /// One run, on an instance of its own: a module that keeps state begins
    /// anew.
    fn forward(&self, inputs: &[TrialInput]) -> Result<Vec<BatchOutput>, BackendError> {
        run_here(self.model.instance(1)?.as_mut(), inputs)
    }
}

fn shapes_of(outputs: &[BatchOutput]) -> Vec<Vec<i64>> {
    outputs.iter().map(|output| output.shape.clone()).collect()
}

/// The shape of an output over all runs, -1 where it wasn't always the same, or
/// was empty: what a model found nothing for is no size to hold it to.
fn dims(index: usize, seen: &[Vec<Vec<i64>>]) -> Vec<i64> {
    let mut runs = seen.iter().filter_map(|run| run.get(index));
    let first = runs.next().cloned().unwrap_or_default();
    let known = runs.fold(first, |known, other| {
        if known.len() != other.len() {
            // As many dimensions as there were first, all of them open.
            return vec![-1; known.len()];
        }
        known.iter().zip(other).map(|(a, b)| if a == b { *a } else { -1 }).collect()
    });
    known.into_iter().map(|size| if size > 0 { size } else { -1 }).collect()
}
