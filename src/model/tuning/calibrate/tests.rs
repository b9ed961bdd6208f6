use super::*;
use crate::model_config::InstanceKind;
use cresset_backend::{BatchInput, BatchOutput, ModelFormat, ModelInstance, Signature, TORCH_SCRIPT};
use cresset_protocol::Datatype;

const MS: Duration = Duration::from_millis(1);

fn group(count: Option<u32>) -> InstanceGroup {
    InstanceGroup { name: String::new(), count, kind: InstanceKind::Cpu, gpus: Vec::new() }
}

fn open<'a>(groups: &'a [InstanceGroup], processors: usize, inputs: &'a [TrialInput]) -> TuningInput<'a> {
    TuningInput { groups, stateful: false, batched: true, processors, target: None, sizes: vec![inputs] }
}

#[test]
fn the_reason_says_what_was_measured() {
    let measured = [(4, 1, 150.0, 40 * MS), (2, 2, 140.0, 22 * MS), (1, 4, 100.0, 12 * MS)].map(
        |(instances, threads, rate, took)| Measurement {
            layout: ThreadLayout { instances, threads },
            rate,
            took,
        },
    );
    assert_eq!(reason(&measured, 1.0, None), "rows/s at warm-up: 4x1 150, 2x2 140, 1x4 100");
    assert_eq!(
        reason(&measured, 2.0, Some(44 * MS)),
        "rows/s at warm-up: 4x1 300, 2x2 280, 1x4 200; \
         ms a row, of at most 22 by the latency target: 4x1 40.0, 2x2 22.0, 1x4 12.0"
    );
}

/// A model whose runs take as long as its number of threads says.
struct Takes(fn(usize) -> Duration, Option<usize>, Signature);

struct TakesInstance(Duration);

impl Model for Takes {
    fn format(&self) -> &'static ModelFormat {
        &TORCH_SCRIPT
    }

    fn signature(&self) -> &Signature {
        &self.2
    }

    fn instance(&self, threads: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        Ok(Box::new(TakesInstance((self.0)(threads))))
    }

    fn intra_op_threads(&self) -> Option<usize> {
        self.1
    }
}

impl ModelInstance for TakesInstance {
    fn forward(&mut self, _: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        if self.0.is_zero() {
            let message = "zeros are no input".to_owned();
            return Err(BackendError::Execute { detail: message.clone(), message });
        }
        std::thread::sleep(self.0);
        Ok(Vec::new())
    }
}

fn tried(model: &Takes, input: &TuningInput<'_>) -> (String, Option<String>) {
    let instances = if input.stateful { 1 } else { input.processors };
    let mut placements = [Placement {
        name: String::new(),
        device: Device::Cpu,
        instances,
        intra_op_threads: input.processors / instances,
    }];
    let reason =
        calibrate(model, &mut placements, input, &Mutex::default()).map(|calibrated| calibrated.reason);
    (placements[0].to_string(), reason)
}

fn takes(time: fn(usize) -> Duration) -> Takes {
    Takes(time, None, Signature::default())
}

fn zeros(rows: i64) -> [TrialInput; 1] {
    [TrialInput { name: "x".to_owned(), datatype: Datatype::Fp32, shape: vec![rows, 4], data: None }]
}

#[test]
fn the_model_itself_decides() {
    let inputs = zeros(2);
    let four = open(&[], 4, &inputs);
    let (plan, reason) = tried(&takes(|_| 8 * MS), &four);
    assert_eq!(plan, "cpu, 4 instances x 1 thread");
    let reason = reason.unwrap();
    assert!(reason.starts_with("rows/s at warm-up: 4x1 ") && reason.contains(", 1x4 "), "{reason}");
    // Two threads are four times as good as one, and four are as good as two.
    let (plan, _) = tried(&takes(|threads| if threads == 1 { 64 * MS } else { 8 * MS }), &four);
    assert_eq!(plan, "cpu, 2 instances x 2 threads");
    let slow = takes(|threads| 8 * MS * threads as u32);
    assert_eq!(tried(&slow, &TuningInput { stateful: true, ..four }).0, "cpu, 1 instance x 1 thread");
}

#[test]
fn what_is_fixed_or_cannot_be_tried_stays_as_it_is() {
    let inputs = zeros(1);
    let told = |plan: &str, reason: Option<&str>| (plan.to_owned(), reason.map(str::to_owned));
    let fixed = Takes(|_| MS, Some(3), Signature::default());
    assert_eq!(tried(&fixed, &open(&[], 7, &inputs)), told("cpu, 2 instances x 3 threads", None));
    let two = [group(Some(2))];
    assert_eq!(tried(&fixed, &open(&two, 2, &inputs)), told("cpu, 2 instances x 3 threads", None));
    let one = takes(|_| MS);
    assert_eq!(tried(&one, &open(&[], 1, &inputs)), told("cpu, 1 instance x 1 thread", None));
    assert_eq!(tried(&one, &open(&two, 2, &inputs)), told("cpu, 2 instances x 1 thread", None));
    let refused = |model: &Takes, input: &TuningInput<'_>| {
        let (plan, reason) = tried(model, input);
        assert_eq!(plan, "cpu, 2 instances x 1 thread");
        reason.unwrap()
    };
    let fails = takes(|_| Duration::ZERO);
    let two = open(&[], 2, &inputs);
    assert_eq!(refused(&fails, &two), "not calibrated: the model failed in the trial");
    let reason = refused(&takes(|_| 520 * MS), &two);
    assert!(reason.starts_with("not calibrated: a run takes 0."), "{reason}");
    let none = TuningInput { sizes: Vec::new(), ..open(&[], 2, &[]) };
    assert_eq!(refused(&one, &none), "not calibrated: no input is known on which it runs");
}

#[test]
fn a_trial_that_panics_is_a_trial_that_failed() {
    let inputs = zeros(1);
    let panics = takes(|threads| {
        // Not on the thread that picks the inputs, which has one.
        assert_eq!(threads, 1);
        MS
    });
    let (plan, reason) = tried(&panics, &open(&[], 2, &inputs));
    assert_eq!(
        (plan.as_str(), reason.as_deref()),
        ("cpu, 2 instances x 1 thread", Some("not calibrated: the model failed in the trial"))
    );
}

#[test]
fn a_target_is_held_against_a_single_row() {
    let inputs = zeros(8);
    let four = TuningInput { target: Some(30 * MS), ..open(&[], 4, &inputs) };
    let (plan, reason) = tried(&takes(|threads| 40 * MS / threads as u32), &four);
    assert_eq!(plan, "cpu, 1 instance x 4 threads", "{reason:?}");
    assert!(reason.unwrap().contains("ms a row, of at most 15 by the latency target: 4x1 4"));
}

#[test]
fn the_largest_inputs_are_picked_that_take_no_longer_than_they_may() {
    let (one, two, many) = (zeros(1), zeros(2), zeros(64));
    let all: [&[TrialInput]; 3] = [&one, &two, &many];
    let steady = |took: fn(usize) -> Duration, longest: Duration| match pick(
        &mut Experiment::on(&takes(took)),
        &all,
        longest,
    )
    .unwrap()
    {
        Picked::Inputs(inputs) => inputs[0].shape[0],
        Picked::TooLong(took) => panic!("{took:?}"),
    };
    assert_eq!(steady(|_| 4 * MS, 3 * MS), 1);
    assert_eq!(steady(|_| 4 * MS, 100 * MS), 2, "64 would take 32 times as long");
    assert_eq!(steady(|_| 4 * MS, 10_000 * MS), 64);
    // One long row is no larger than many short ones, wherever it stands.
    let all: [&[TrialInput]; 3] = [&one, &many, &two];
    let quick = takes(|_| MS);
    let Picked::Inputs(picked) = pick(&mut Experiment::on(&quick), &all, 10_000 * MS).unwrap() else {
        panic!()
    };
    assert_eq!(picked[0].shape[0], 64);
}
