//! The scheduler's policies through a served model, against a mock that runs
//! when the test says so.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::error::{Error, ErrorCode};
use cresset::model::{ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_protocol::{Datatype, InferenceRequest, Schedule, Tensor};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A model of one input whose length varies, so that it isn't warmed up, and
/// of one instance.
fn serve(backend: &MockBackend, scheduling: &str) -> Arc<ServedModel> {
    serve_within(backend, scheduling, QueueBounds::of_requests(100))
}

fn serve_within(backend: &MockBackend, scheduling: &str, bounds: QueueBounds) -> Arc<ServedModel> {
    let config = format!(
        r#"input [ {{ name: "x" data_type: TYPE_UINT8 dims: [ -1 ] }} ]
           output [ {{ name: "y" data_type: TYPE_UINT8 dims: [ -1 ] }} ]
           instance_group [ {{ count: 1 kind: KIND_CPU }} ] {scheduling}"#
    );
    let source = ModelSource::new("model.pt", ModelConfig::from_pbtxt(&config, "m").unwrap());
    let resources = Resources::of_processors(1);
    Arc::new(ServedModel::load(backend, &source, &resources, bounds).unwrap().model)
}

/// Answers in the order in which they came: the request's name, and what
/// became of it.
struct Answers {
    sender: UnboundedSender<(&'static str, Result<(), Error>)>,
    receiver: UnboundedReceiver<(&'static str, Result<(), Error>)>,
}

impl Answers {
    fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver }
    }

    /// Queues a request of this shape before it returns.
    async fn ask(&self, model: &Arc<ServedModel>, name: &'static str, shape: &[i64], schedule: Schedule) {
        self.ask_with(model, name, shape, schedule, RequestContext::default()).await;
    }

    async fn ask_with(
        &self,
        model: &Arc<ServedModel>,
        name: &'static str,
        shape: &[i64],
        schedule: Schedule,
        context: RequestContext,
    ) {
        let elements = usize::try_from(shape.iter().product::<i64>()).unwrap();
        let input = Tensor {
            name: Arc::from("x"),
            datatype: Datatype::Uint8,
            shape: shape.to_vec(),
            data: Bytes::from(vec![1; elements]),
        };
        let request = InferenceRequest { inputs: vec![input], schedule, ..InferenceRequest::default() };
        let (model, sender) = (Arc::clone(model), self.sender.clone());
        tokio::spawn(async move {
            let answer = model.infer(context, request).await.map(|_| ());
            let _ = sender.send((name, answer));
        });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    async fn next(&mut self) -> (&'static str, Result<(), Error>) {
        let next = tokio::time::timeout(Duration::from_secs(30), self.receiver.recv());
        next.await.expect("an answer within 30 s").unwrap()
    }

    async fn names(&mut self, count: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for _ in 0..count {
            let (name, answer) = self.next().await;
            answer.unwrap();
            names.push(name);
        }
        names
    }
}

fn timeout(milliseconds: u64) -> Schedule {
    Schedule::new(0, milliseconds * 1000)
}

fn priority(level: u64) -> Schedule {
    Schedule::new(level, 0)
}

#[tokio::test]
async fn a_late_request_is_answered_while_the_model_is_still_busy() {
    let policies = [
        ("max_batch_size: 4", timeout(20)),
        (
            "max_batch_size: 4 dynamic_batching { default_queue_policy { default_timeout_microseconds: 20000 } }",
            timeout(0),
        ),
        (
            "max_batch_size: 4 dynamic_batching { default_queue_policy {
               default_timeout_microseconds: 3600000000 allow_timeout_override: true } }",
            timeout(20),
        ),
    ];
    for (scheduling, schedule) in policies {
        let backend = MockBackend::new(Behaviour::Identity, &["x"]);
        let model = serve(&backend, scheduling);
        let tried = backend.control().batches().len();
        let mut answers = Answers::new();
        backend.control().close_gate();
        answers.ask(&model, "runs", &[1, 2], Schedule::default()).await;
        // Whatever it asks for, it was taken before its time was over.
        backend.control().wait_until_waiting(1);
        answers.ask(&model, "late", &[1, 2], schedule).await;
        let (name, answer) = answers.next().await;
        let error = answer.unwrap_err();
        assert_eq!((name, error.code()), ("late", ErrorCode::Unavailable));
        assert_eq!(error.message(), "Request timeout expired");
        backend.control().open_gate();
        assert_eq!(answers.names(1).await, ["runs"]);
        assert_eq!(backend.control().batches()[tried..], [1], "what was late never ran");
        let told = model.statistics().inference_stats;
        assert_eq!((told.success.count, told.fail.count), (1, 1));
        model.stop();
    }
}

#[tokio::test]
async fn a_time_that_the_configuration_does_not_leave_to_requests_is_not_theirs() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve(&backend, "max_batch_size: 4 dynamic_batching { }");
    let mut answers = Answers::new();
    backend.control().close_gate();
    answers.ask(&model, "runs", &[1, 2], Schedule::default()).await;
    backend.control().wait_until_waiting(1);
    answers.ask(&model, "waits", &[1, 2], timeout(1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    backend.control().open_gate();
    assert_eq!(answers.names(2).await, ["runs", "waits"]);
    model.stop();
}

#[tokio::test]
async fn a_higher_level_is_served_first() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let scheduling = "max_batch_size: 1 dynamic_batching { priority_levels: 2 default_priority_level: 2 }";
    let model = serve(&backend, scheduling);
    let mut answers = Answers::new();
    backend.control().close_gate();
    answers.ask(&model, "first", &[1, 2], Schedule::default()).await;
    backend.control().wait_until_waiting(1);
    answers.ask(&model, "low", &[1, 2], Schedule::default()).await;
    answers.ask(&model, "high", &[1, 2], priority(1)).await;
    backend.control().open_gate();
    assert_eq!(answers.names(3).await, ["first", "high", "low"]);
    model.stop();
}

#[tokio::test]
async fn a_level_has_a_queue_of_its_own_length() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve(
        &backend,
        "max_batch_size: 1 dynamic_batching { priority_levels: 2 default_priority_level: 2
           priority_queue_policy { key: 1 value { max_queue_size: 1 } } }",
    );
    let mut answers = Answers::new();
    backend.control().close_gate();
    answers.ask(&model, "runs", &[1, 2], priority(1)).await;
    backend.control().wait_until_waiting(1);
    answers.ask(&model, "waits", &[1, 2], priority(1)).await;
    answers.ask(&model, "other level", &[1, 2], priority(2)).await;
    answers.ask(&model, "one too many", &[1, 2], priority(1)).await;
    let (name, answer) = answers.next().await;
    assert_eq!(
        (name, answer.unwrap_err().message()),
        ("one too many", "Exceeds maximum queue size: model 'm' is overloaded")
    );
    backend.control().open_gate();
    assert_eq!(answers.names(3).await, ["runs", "waits", "other level"]);
    model.stop();
}

#[tokio::test]
async fn a_request_that_would_wait_for_too_long_is_refused_at_the_door_and_its_parts_are_not() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    // Any run takes longer than that.
    let bounds = QueueBounds { wait: Some(Duration::from_nanos(1)), ..QueueBounds::of_requests(100) };
    let model = serve_within(&backend, "max_batch_size: 1 dynamic_batching { }", bounds);
    let mut answers = Answers::new();
    for name in ["one", "two", "three"] {
        answers.ask(&model, name, &[1, 2], Schedule::default()).await;
        assert_eq!(answers.names(1).await, [name], "its times are learned");
    }
    backend.control().close_gate();
    answers.ask(&model, "runs", &[1, 2], Schedule::default()).await;
    backend.control().wait_until_waiting(1);
    assert_eq!(model.admit(), Ok(()));
    answers.ask(&model, "is next", &[1, 2], Schedule::default()).await;
    answers.ask(&model, "waits", &[1, 2], Schedule::default()).await;
    let (name, refused) = answers.next().await;
    let refused = refused.unwrap_err();
    assert_eq!((name, refused.code()), ("waits", ErrorCode::Unavailable));
    let text = refused.message();
    assert!(text.starts_with("model 'm' is overloaded: the queue ahead needs "), "{text}");
    assert!(text.ends_with(" ms, at most 0 ms are allowed (--max-queue-wait)"), "{text}");
    assert!(refused.retry_after().is_some());
    // The same before anything of a request is known but its model.
    let head = model.admit().unwrap_err();
    assert!(head.message().ends_with("(--max-queue-wait)"), "{head}");
    assert_eq!(model.statistics().inference_stats.fail.count, 2);
    // One that belongs to a request that was queued before isn't left behind.
    let context = RequestContext { follows: true, ..RequestContext::default() };
    answers.ask_with(&model, "follows", &[1, 2], Schedule::default(), context).await;
    backend.control().open_gate();
    assert_eq!(answers.names(3).await, ["runs", "is next", "follows"]);
    assert_eq!(model.admit(), Ok(()));
    model.stop();
}

#[tokio::test]
async fn a_delayed_request_runs_after_those_in_time() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve(
        &backend,
        "max_batch_size: 1 dynamic_batching { default_queue_policy {
           timeout_action: DELAY allow_timeout_override: true } }",
    );
    let mut answers = Answers::new();
    backend.control().close_gate();
    answers.ask(&model, "first", &[1, 2], Schedule::default()).await;
    backend.control().wait_until_waiting(1);
    answers.ask(&model, "late", &[1, 2], timeout(1)).await;
    answers.ask(&model, "in time", &[1, 2], Schedule::default()).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    backend.control().open_gate();
    assert_eq!(answers.names(3).await, ["first", "in time", "late"]);
    model.stop();
}

/// The second one's batch is full at once, the first one's waits for company:
/// unless the order is kept, the second overtakes.
#[tokio::test]
async fn answers_leave_in_the_order_of_arrival_where_that_is_asked_for() {
    for (preserve, expected) in [(false, ["full", "waits"]), (true, ["waits", "full"])] {
        let backend = MockBackend::new(Behaviour::Identity, &["x"]);
        let scheduling = format!(
            "max_batch_size: 2 dynamic_batching {{
               preserve_ordering: {preserve} max_queue_delay_microseconds: 200000 }}"
        );
        let model = serve(&backend, &scheduling);
        let tried = backend.control().batches().len();
        let mut answers = Answers::new();
        answers.ask(&model, "waits", &[1, 2], Schedule::default()).await;
        answers.ask(&model, "full", &[2, 4], Schedule::default()).await;
        assert_eq!(answers.names(2).await, expected);
        assert_eq!(backend.control().batches()[tried..], [2, 1], "the model ran them alike");
        model.stop();
    }
}

#[tokio::test]
async fn who_is_refused_holds_nobody_up() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve(
        &backend,
        "max_batch_size: 2 dynamic_batching { preserve_ordering: true max_queue_delay_microseconds: 3600000000
           default_queue_policy { allow_timeout_override: true } }",
    );
    let mut answers = Answers::new();
    answers.ask(&model, "late", &[1, 2], timeout(100)).await;
    answers.ask(&model, "full", &[2, 4], Schedule::default()).await;
    let (name, answer) = answers.next().await;
    assert_eq!((name, answer.unwrap_err().message()), ("late", "Request timeout expired"));
    assert_eq!(answers.names(1).await, ["full"]);
    model.stop();
}
