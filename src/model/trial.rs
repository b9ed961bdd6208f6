//! A model run on inputs that were made up, so that another form of it can be
//! compared: what a change of precision does to the answers, in numbers.

use super::candidates::candidates;
use crate::model_config::{Binding, ModelConfig};
use crate::trial::TrialInput;
use crate::trial::compare::{Difference, differences};
use crate::trial::run::run;
use cresset_backend::{BackendError, BatchOutput, Device, Model};

/// The same inputs with their elements in memory: made once, not for each run.
pub(super) fn whole(inputs: &[TrialInput]) -> Vec<TrialInput> {
    inputs.iter().map(|input| TrialInput { data: Some(input.bytes()), ..input.clone() }).collect()
}

/// Inputs, and what the plain model answers to them.
#[derive(Debug)]
pub(super) struct Trial {
    inputs: Vec<TrialInput>,
    answers: Vec<BatchOutput>,
}

impl Trial {
    /// Makes inputs of one row as the configuration declares them, and runs the
    /// plain model on them.
    ///
    /// # Errors
    /// Why that can't be done, in words for the operator.
    pub(super) fn of(plain: &dyn Model, config: &ModelConfig, binding: &Binding) -> Result<Self, String> {
        let mut failed = "config.pbtxt declares no inputs".to_owned();
        // Where nothing ends the process: the device isn't known here.
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
    /// Where it fails; the plain one didn't.
    pub(super) fn run(&self, model: &dyn Model) -> Result<Vec<BatchOutput>, BackendError> {
        run(model, &self.inputs)
    }

    /// How far those answers are from the plain model's, by output.
    ///
    /// # Errors
    /// Where they can't be compared: other shapes, or another number of them.
    pub(super) fn compare(
        &self,
        answers: &[BatchOutput],
        binding: &Binding,
    ) -> Result<Vec<Difference>, String> {
        differences(answers, &self.answers, binding)
    }

    /// The same inputs in so many equal rows; as they are where nothing is
    /// batched.
    pub(super) fn inputs_of(&self, rows: Option<u32>) -> Vec<TrialInput> {
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
