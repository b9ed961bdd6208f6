//! Batches on a device that computes by itself: three stages at once, faults,
//! and the end of a server whose device has failed. The device is a mock with
//! set times and a timeline.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::device_health::DeviceHealth;
use cresset::error::{Error, ErrorCode};
use cresset::model::{ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_backend::mock_device::{DeviceTimes, MockDevice, Stage, Step};
use cresset_backend::{Accelerators, Device, DeviceFault};
use cresset_protocol::{Datatype, InferenceRequest, InferenceResponse, Tensor};
use tokio::task::JoinHandle;

/// Without the declared dimensions nothing is run before the first request.
const CONFIG: &str = r#"
    max_batch_size: 8
    input [ { name: "x" data_type: TYPE_UINT8 dims: [ -1 ] } ]
    output [ { name: "y" data_type: TYPE_UINT8 dims: [ -1 ] } ]
    dynamic_batching { }
"#;

const MS: Duration = Duration::from_millis(1);

fn times(copy_in: u32, compute: u32, copy_out: u32) -> DeviceTimes {
    DeviceTimes {
        copy_in: copy_in * MS,
        compute: compute * MS,
        copy_out: copy_out * MS,
        ..DeviceTimes::default()
    }
}

struct Served {
    backend: MockBackend,
    model: Arc<ServedModel>,
    health: DeviceHealth,
}

impl Served {
    fn new(behaviour: Behaviour, device: MockDevice) -> Self {
        Self::configured(behaviour, device, CONFIG)
    }

    fn configured(behaviour: Behaviour, device: MockDevice, config: &str) -> Self {
        let backend = MockBackend::new(behaviour, &["x"]).on_device(device);
        let source = ModelSource::new("model.pt", ModelConfig::from_pbtxt(config, "m").unwrap());
        let health = DeviceHealth::new();
        let resources = Resources {
            accelerators: Accelerators::cuda(1),
            health: health.clone(),
            ..Resources::of_processors(2)
        };
        let model = Arc::new(
            ServedModel::load(&backend, &source, &resources, QueueBounds::of_requests(10_000)).unwrap().model,
        );
        assert_eq!(model.placements()[0].device, Device::cuda(0));
        // What was tried at load isn't what is looked at.
        backend.device().unwrap().forget_timeline();
        Self { backend, model, health }
    }

    fn device(&self) -> &MockDevice {
        self.backend.device().unwrap()
    }

    fn send(&self, values: [u8; 2]) -> Pending {
        let model = Arc::clone(&self.model);
        tokio::spawn(async move {
            let x = Tensor {
                name: Arc::from("x"),
                datatype: Datatype::Uint8,
                shape: vec![1, 2],
                data: Bytes::copy_from_slice(&values),
            };
            let request = InferenceRequest { inputs: vec![x], ..InferenceRequest::default() };
            model.infer(RequestContext::default(), request).await
        })
    }

    async fn answers(&self, values: [u8; 2]) {
        assert_eq!(bytes(self.send(values).await.unwrap()), values);
    }

    fn rows(&self) -> Vec<i64> {
        let computed = |step: &&Step| step.stage == Stage::Compute;
        self.device().timeline().iter().filter(computed).map(|step| step.rows).collect()
    }

    async fn stop(self) {
        assert_eq!(self.device().violations(), Vec::<String>::new());
        let stopping = std::thread::spawn(move || self.model.stop());
        for _ in 0..2000 {
            if stopping.is_finished() {
                return;
            }
            tokio::time::sleep(10 * MS).await;
        }
        panic!("the model doesn't stop");
    }
}

type Pending = JoinHandle<Result<InferenceResponse, Error>>;

fn bytes(answer: Result<InferenceResponse, Error>) -> Vec<u8> {
    answer.unwrap().outputs[0].data.to_vec()
}

fn value(index: usize) -> [u8; 2] {
    // Never 255, which is for faults.
    [u8::try_from(index % 255).unwrap(), u8::try_from(index / 255).unwrap()]
}

/// The share of the time between its first begin and its last end that the
/// stage was at work.
fn busy(timeline: &[Step], stage: Stage) -> f64 {
    let steps: Vec<&Step> = timeline.iter().filter(|step| step.stage == stage).collect();
    let work: Duration = steps.iter().map(|step| step.end - step.begin).sum();
    let span = steps.last().unwrap().end - steps.first().unwrap().begin;
    work.as_secs_f64() / span.as_secs_f64()
}

async fn flood(served: &Served, requests: usize) {
    let pending: Vec<Pending> = (0..requests).map(|index| served.send(value(index))).collect();
    for (index, answer) in pending.into_iter().enumerate() {
        assert_eq!(bytes(answer.await.unwrap()), value(index));
    }
}

/// What a timeline shows of three stages.
struct Overlap {
    /// The part of the time in which the slowest was at work.
    slowest: f64,
    /// The part of the time in which all three were.
    all: f64,
    /// How many batches were launched before the one before had landed.
    ahead: usize,
}

impl Overlap {
    fn of(timeline: &[Step], slowest: Stage) -> Self {
        let of = |stage| timeline.iter().filter(move |step| step.stage == stage);
        let during = |stage, at| of(stage).any(|step| step.begin <= at && at < step.end);
        let (first, last) = (timeline[0].begin, timeline[timeline.len() - 1].end);
        let moments: Vec<_> = (0..).map(|ms| first + ms * MS).take_while(|at| *at < last).collect();
        let stages = [Stage::CopyIn, Stage::Compute, Stage::CopyOut];
        let all = moments.iter().filter(|at| stages.into_iter().all(|stage| during(stage, **at))).count();
        let landed: Vec<_> = of(Stage::CopyOut).map(|step| step.end).collect();
        let ahead = of(Stage::CopyIn).skip(1).zip(&landed).filter(|(next, before)| next.launched < **before);
        Self {
            slowest: busy(timeline, slowest),
            all: all as f64 / moments.len() as f64,
            ahead: ahead.count(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_computing_and_answering_overlap_whichever_is_the_slowest() {
    for (slowest, times) in [
        (Stage::CopyIn, times(50, 40, 40)),
        (Stage::Compute, times(40, 50, 40)),
        (Stage::CopyOut, times(40, 40, 50)),
    ] {
        // A machine that holds threads up for longer than a stage costs some
        // of it, and shows nothing of the stages: it is tried up to four times.
        let mut best: Option<Overlap> = None;
        for _ in 0..4 {
            let served = Served::new(Behaviour::Identity, MockDevice::new(times));
            flood(&served, 8 * 30).await;
            let overlap = Overlap::of(&served.device().timeline(), slowest);
            served.stop().await;
            if best.as_ref().is_none_or(|best| overlap.slowest > best.slowest) {
                best = Some(overlap);
            }
            if best.as_ref().is_some_and(|best| best.slowest >= 0.95) {
                break;
            }
        }
        let Overlap { slowest: share, all, ahead } = best.unwrap();
        assert!(share >= 0.95, "{slowest:?} was at work for {share:.3} of the time");
        assert!(all > 0.25, "{slowest:?}: all three were at work for {all:.2} of the time");
        assert!(ahead >= 22, "the next batch is launched before the last has landed: {ahead} of 29");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_and_answering_cost_the_device_nothing() {
    // Eight requests of 4 ms are collected, and 60 ms answered, while it
    // computes for 80: one thread for any two of these would be too slow.
    let host = DeviceTimes { collect: 4 * MS, answer: 60 * MS, ..times(1, 80, 1) };
    let mut best = 0.0_f64;
    for _ in 0..4 {
        let served = Served::new(Behaviour::Identity, MockDevice::new(host));
        let before = served.device().allocated();
        flood(&served, 8 * 25).await;
        // But for the first and the last, which leave with what is there.
        assert!(served.rows().iter().filter(|rows| **rows == 8).count() >= 23, "{:?}", served.rows());
        best = best.max(busy(&served.device().timeline(), Stage::Compute));
        let blocks = served.device().allocated() - before;
        assert!((1..=4).contains(&blocks), "{blocks} blocks of memory for 25 batches: they are kept");
        served.stop().await;
        if best >= 0.95 {
            break;
        }
    }
    assert!(best >= 0.95, "the device computed for {best:.3} of the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_free_takes_what_comes_while_another_waits_for_its_own() {
    let two = format!("{CONFIG} instance_group [ {{ count: 2 }} ]");
    let served = Served::configured(Behaviour::Identity, MockDevice::new(times(1, 150, 1)), &two);
    // Both know how long a batch takes, and are idle.
    let warm: Vec<Pending> = (0..2).map(|index| served.send(value(index))).collect();
    for pending in warm {
        pending.await.unwrap().unwrap();
    }
    let mut late = Vec::new();
    for round in 0..10 {
        let first = served.send(value(round));
        tokio::time::sleep(20 * MS).await;
        let second = served.send(value(round + 1));
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        let steps = served.device().timeline();
        let launched: Vec<_> =
            steps.iter().filter(|step| step.stage == Stage::Compute).map(|step| step.launched).collect();
        let apart = launched[launched.len() - 1] - launched[launched.len() - 2];
        // Behind the first it would be 150 ms.
        if apart > 120 * MS {
            late.push(apart);
        }
    }
    // A busy machine may hold the test itself up.
    assert!(late.len() <= 2, "in {} of 10 rounds the second waited for the first: {late:?}", late.len());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_the_device_computes_leaves_together_just_before_it_is_free() {
    let served = Served::new(Behaviour::Identity, MockDevice::new(times(1, 300, 1)));
    // How long a batch takes must be known.
    served.answers(value(0)).await;
    let first = served.send(value(1));
    tokio::time::sleep(50 * MS).await;
    let mut others = Vec::new();
    for index in 2..5 {
        others.push(served.send(value(index)));
        tokio::time::sleep(30 * MS).await;
    }
    for (index, answer) in std::iter::once(first).chain(others).enumerate() {
        assert_eq!(bytes(answer.await.unwrap()), value(index + 1));
    }
    assert_eq!(served.rows(), [1, 1, 3]);
    let steps = served.device().timeline();
    let compute: Vec<&Step> = steps.iter().filter(|step| step.stage == Stage::Compute).collect();
    // Not for another batch's time; a busy machine wakes threads late.
    assert!(compute[2].launched < compute[1].end + 150 * MS, "it was there when the device was free");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_leaves_though_the_device_computes() {
    let served = Served::new(Behaviour::Identity, MockDevice::new(times(1, 300, 1)));
    served.answers(value(0)).await;
    let first = served.send(value(1));
    tokio::time::sleep(50 * MS).await;
    flood(&served, 8).await;
    assert_eq!(bytes(first.await.unwrap()), value(1));
    let steps = served.device().timeline();
    let compute: Vec<&Step> = steps.iter().filter(|step| step.stage == Stage::Compute).collect();
    assert_eq!(served.rows(), [1, 1, 8]);
    assert!(compute[2].launched < compute[1].end - 100 * MS, "long before the device was free");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gets_its_own_whatever_fails_around_it() {
    let served = Served::new(Behaviour::FailsOn255, MockDevice::new(times(1, 2, 1)));
    let guilty = |index: usize| index % 13 == 5;
    let sent: Vec<Pending> = (0..600)
        .map(|index| served.send(if guilty(index) { [255, value(index)[1]] } else { value(index) }))
        .collect();
    for (index, answer) in sent.into_iter().enumerate() {
        match answer.await.unwrap() {
            Ok(answer) if !guilty(index) => assert_eq!(bytes(Ok(answer)), value(index)),
            Err(error) if guilty(index) => assert_eq!(error.to_string(), "PyTorch execute failure: 255"),
            other => panic!("request {index}: {other:?}"),
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_the_batch_alone() {
    let served = Served::new(Behaviour::PanicsOn255, MockDevice::new(times(1, 2, 1)));
    for round in 0..10 {
        let error = served.send([255, 0]).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("dropped by a failure"), "{error}");
        served.answers(value(round)).await;
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_memory_halves_the_batch_and_goes_on() {
    let served = Served::new(Behaviour::Identity, MockDevice::new(times(1, 5, 1)).with_memory_for(3));
    flood(&served, 8 * 12).await;
    let rows = served.rows();
    assert_eq!(rows.iter().sum::<i64>(), 8 * 12);
    assert!(rows.iter().all(|rows| *rows <= 3), "{rows:?}");
    // In halves, not one by one.
    assert!(rows.len() < 8 * 12 * 3 / 4, "{rows:?}");
    // Once the limit is learned, it isn't tried again and again. Batches that
    // were on their way by then tried once as a whole and twice as a half.
    let released = served.device().released();
    assert!((1..12).contains(&released), "{released} times out of memory");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_by_itself_is_told_so() {
    let served = Served::new(Behaviour::Identity, MockDevice::new(times(1, 1, 1)).with_memory_for(1));
    let model = Arc::clone(&served.model);
    let x = Tensor {
        name: Arc::from("x"),
        datatype: Datatype::Uint8,
        shape: vec![4, 1],
        data: Bytes::from_static(&[1, 2, 3, 4]),
    };
    let request = InferenceRequest { inputs: vec![x], ..InferenceRequest::default() };
    let error = model.infer(RequestContext::default(), request).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert_eq!(error.to_string(), "PyTorch execute failure: CUDA out of memory");
    served.answers(value(1)).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_device_fails_what_runs_and_what_comes_with_503() {
    for fault in [DeviceFault::Assert, DeviceFault::IllegalAddress, DeviceFault::Lost] {
        let served = Served::new(Behaviour::Poisons(fault), MockDevice::new(times(1, 50, 1)));
        served.answers(value(1)).await;
        let guilty = served.send([255, 0]);
        tokio::time::sleep(10 * MS).await;
        let queued: Vec<Pending> = (0..8 * 20).map(|index| served.send(value(index))).collect();
        let failed = tokio::time::timeout(Duration::from_secs(1), served.health.more_failures_than(0)).await;
        assert_eq!(failed.unwrap(), 1);
        assert_eq!(served.health.fault(Device::cuda(0)).unwrap().fault, fault);
        // The stage that takes from the queue answers requests as well, without
        // the device.
        if fault != DeviceFault::Lost {
            served.model.fail_waiting();
        }
        for answer in std::iter::once(guilty).chain(queued) {
            let error = answer.await.unwrap().unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unavailable);
            assert!(error.to_string().starts_with("device cuda:0 has failed"), "{error}");
        }
        // Only batches that were on their way reached the device.
        let refused = served.device().refused();
        assert!(refused <= 4, "{refused} of 20 batches were launched on a device that had failed");
        let after = served.send(value(3)).await.unwrap().unwrap_err();
        assert_eq!(after.code(), ErrorCode::Unavailable);
        assert!(after.to_string().starts_with("device cuda:0 has failed"), "{after}");
        assert_eq!(served.device().refused(), refused);
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_merely_refuses_is_not_given_up() {
    let served = Served::new(Behaviour::Poisons(DeviceFault::Unavailable), MockDevice::new(times(1, 1, 1)));
    let error = served.send([255, 0]).await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(served.health.all_healthy());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_a_model_may_go_and_the_device_stays() {
    let served = Served::new(Behaviour::GoneOn255, MockDevice::new(times(1, 1, 1)));
    let error = served.send([255, 0]).await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert_eq!(error.to_string(), "what ran the model is gone");
    assert!(served.health.is_healthy(Device::cuda(0)));
    served.answers(value(1)).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_all_that_was_queued_even_what_fails_on_the_way() {
    let served = Served::new(Behaviour::FailsOn255, MockDevice::new(times(2, 10, 2)));
    let sent: Vec<Pending> =
        (0..100).map(|index| served.send(if index == 97 { [255, 0] } else { value(index) })).collect();
    // All are in the queue or beyond.
    while sent.len() > served.rows().len() * 8 + 60 {
        tokio::time::sleep(MS).await;
    }
    tokio::time::sleep(20 * MS).await;
    let model = Arc::clone(&served.model);
    let stopping = std::thread::spawn(move || model.stop());
    while !stopping.is_finished() {
        tokio::time::sleep(MS).await;
    }
    for (index, answer) in sent.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        if index == 97 {
            assert_eq!(answer.unwrap_err().to_string(), "PyTorch execute failure: 255");
        } else {
            assert_eq!(bytes(answer), value(index));
        }
    }
}
