//! Runs a model for an experiment: takes inputs and a number of threads, and
//! returns outputs and a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::input::TrialInput;
use super::run::run_here;
use cresset_backend::{BackendError, BatchOutput, Model, ModelInstance};
use cresset_clock as clock;

/// How often the same inputs run until the model reaches its steady speed:
/// libtorch profiles a graph on its first run and compiles it on the second.
pub const RUNS_UNTIL_STEADY: usize = 3;

/// The outputs of one run, and how long it took.
#[derive(Debug, Default)]
pub struct Timed {
    /// The model's outputs.
    pub outputs: Vec<BatchOutput>,
    /// The time from handing over the inputs to receiving the outputs.
    pub took: Duration,
}

/// Runs one model on the calling thread, on instances of its own, so that the
/// model's state stays in the experiment.
pub struct Experiment<'m> {
    model: &'m dyn Model,
    clock: fn() -> Duration,
    /// By their number of intra-op threads. An instance is made on the first run
    /// with its number.
    instances: BTreeMap<usize, Box<dyn ModelInstance>>,
}

impl<'m> Experiment<'m> {
    /// An experiment timed by the monotonic clock.
    #[must_use]
    pub fn on(model: &'m dyn Model) -> Self {
        Self { model, clock: clock::monotonic, instances: BTreeMap::new() }
    }

    /// An experiment timed by another clock. [`clock::thread_time`] leaves out other
    /// work on the machine, if one thread computes.
    #[must_use]
    pub fn timed_by(self, clock: fn() -> Duration) -> Self {
        Self { clock, ..self }
    }

    /// Runs the model on `inputs` with so many intra-op threads: the same number in
    /// all runs on one operating system's thread, because libtorch keeps it for the
    /// thread. The time excludes making the instance.
    ///
    /// # Errors
    /// As of [`Model::instance`] and [`ModelInstance::forward`].
    pub fn run(&mut self, inputs: &[TrialInput], threads: usize) -> Result<Timed, BackendError> {
        let clock = self.clock;
        let instance = self.instance(threads)?;
        let began = clock();
        let outputs = run_here(instance, inputs)?;
        Ok(Timed { outputs, took: clock().saturating_sub(began) })
    }

    /// Makes the instance with so many intra-op threads, so that no run has to.
    ///
    /// # Errors
    /// As of [`Model::instance`].
    pub fn prepare(&mut self, threads: usize) -> Result<(), BackendError> {
        self.instance(threads).map(drop)
    }

    fn instance(&mut self, threads: usize) -> Result<&mut dyn ModelInstance, BackendError> {
        let instance = match self.instances.entry(threads) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(none) => none.insert(self.model.instance(threads)?),
        };
        Ok(instance.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend, Rewriting};
    use cresset_protocol::Datatype;

    fn rows(count: u8) -> [TrialInput; 1] {
        let shape = vec![i64::from(count), 1];
        [TrialInput { name: "x".to_owned(), datatype: Datatype::Uint8, shape, data: None }]
    }

    #[test]
    fn a_run_gives_the_outputs_and_its_time_by_the_clock_that_was_chosen() {
        let took = Duration::from_millis(3);
        let rewriting = Rewriting { before: took, after: took, off: 0 };
        let model = MockBackend::new(Behaviour::Identity, &["x"]).rewriting(rewriting);
        let mut experiment = Experiment::on(&model).timed_by(clock::thread_time);
        let timed = experiment.run(&rows(2), 1).unwrap();
        assert_eq!(timed.outputs[0].data, [0, 0].as_slice());
        assert!(timed.took >= took, "{:?}", timed.took);
        let wall = Experiment::on(&model).run(&rows(1), 1).unwrap();
        assert!(wall.took >= took, "{:?}", wall.took);
    }

    #[test]
    fn each_number_of_threads_has_one_instance() {
        let model = MockBackend::new(Behaviour::Identity, &["x"]);
        let mut experiment = Experiment::on(&model);
        for threads in [1, 2, 1, 2] {
            experiment.run(&rows(1), threads).unwrap();
        }
        assert_eq!(experiment.instances.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(model.control().batches().len(), 4);
    }

    #[test]
    fn a_model_that_fails_fails_the_run() {
        let model = MockBackend::new(Behaviour::FailsOn255, &["x"]);
        let data = Some(bytes::Bytes::from_static(&[255]));
        let [input] = rows(1);
        let failed = Experiment::on(&model).run(&[TrialInput { data, ..input }], 1);
        assert_eq!(failed.unwrap_err().to_string(), "PyTorch execute failure: 255");
    }
}
