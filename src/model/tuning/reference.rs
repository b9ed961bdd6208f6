//! The answers of a model in the form of its file, on made-up inputs. Another
//! form is compared with them, so that the effect of a change of precision is
//! known in numbers.

use super::candidates::candidates;
use crate::model_config::{Binding, ModelConfig};
use crate::trial::TrialInput;
use crate::trial::compare::{Difference, differences};
use crate::trial::experiment::Experiment;
use crate::trial::run::apart;
use cresset_backend::{BackendError, BatchOutput, Device, Model};

/// Inputs, and what the plain model answers to them.
#[derive(Debug)]
pub(in crate::model) struct Reference {
    inputs: Vec<TrialInput>,
    answers: Vec<BatchOutput>,
}

/// One run with one thread, on a thread that ends with it.
fn run(model: &dyn Model, inputs: &[TrialInput]) -> Result<Vec<BatchOutput>, BackendError> {
    apart(|| Experiment::on(model).run(inputs, 1).map(|timed| timed.outputs))
}

impl Reference {
    /// Makes inputs of one row as the configuration declares them, and runs the
    /// plain model on them.
    ///
    /// # Errors
    /// Why that can't be done, in words for the operator.
    pub(in crate::model) fn of(
        plain: &dyn Model,
        config: &ModelConfig,
        binding: &Binding,
    ) -> Result<Self, String> {
        let mut failed = "config.pbtxt declares no inputs".to_owned();
        // The device isn't known here, so the ranges are safe on all devices.
        for candidate in candidates(config, binding, None, &[], Device::AsSaved) {
            let inputs = candidate.row(0);
            match run(plain, &inputs) {
                Ok(answers) => return Ok(Self { inputs, answers }),
                Err(error) => failed = format!("the model fails on random inputs: {error}"),
            }
        }
        Err(failed)
    }

    /// Runs another form of the model on the same inputs.
    ///
    /// # Errors
    /// That it fails; the plain one didn't.
    pub(in crate::model) fn run(&self, model: &dyn Model) -> Result<Vec<BatchOutput>, BackendError> {
        run(model, &self.inputs)
    }

    /// How far those answers are from the plain model's, by output.
    ///
    /// # Errors
    /// That they can't be compared: other shapes, or another number of them.
    pub(in crate::model) fn compare(
        &self,
        answers: &[BatchOutput],
        binding: &Binding,
    ) -> Result<Vec<Difference>, String> {
        differences(answers, &self.answers, binding)
    }

    /// The same inputs in so many equal rows; as they are without rows, for a
    /// model that doesn't batch.
    pub(in crate::model) fn inputs_of(&self, rows: Option<u32>) -> Vec<TrialInput> {
        let Some(rows) = rows else { return self.inputs.clone() };
        let of = |input: &TrialInput| {
            let mut input = input.clone();
            if let Some(first) = input.shape.first_mut() {
                *first = i64::from(rows);
            }
            input.data = input.data.map(|data| data.repeat(rows as usize).into());
            input
        };
        self.inputs.iter().map(of).collect()
    }
}
