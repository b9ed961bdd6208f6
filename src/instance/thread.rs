//! An instance's thread: started once, warmed up, ended with its queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::execute::Context;
use super::inline::Inline;
use super::overlapped;
use super::padding::Padding;
use super::request::QueuedRequest;
use super::row_state::RowState;
use super::slot::ModelSlot;
use super::warm_up_queue::{WarmUpJob, WarmUpQueue};
use crate::device_health::DeviceHealth;
use crate::metrics::ModelMetrics;
use crate::model_config::Binding;
use crate::trial::TrialInput;
use crate::trial::run::run_here;
use cresset_backend::{BackendError, Device, Drive, HostBatch, ModelInstance};
use cresset_clock as clock;
use cresset_scheduler::{Next, Queue, Taker};

/// The settings of an instance.
#[derive(Clone)]
pub struct InstanceSettings {
    /// For the thread's name: `simple/1.0`.
    pub label: String,
    /// The loaded model, shared with the other instances on its device.
    pub slot: Arc<ModelSlot>,
    /// The device that it is on.
    pub device: Device,
    /// The place to report that the device has failed.
    pub health: DeviceHealth,
    /// Threads inside one operation.
    pub intra_op_threads: usize,
    /// The queue of its batches.
    pub queue: Arc<Queue<QueuedRequest>>,
    /// How inputs and outputs are named.
    pub binding: Arc<Binding>,
    /// The model's metrics.
    pub metrics: Arc<ModelMetrics>,
    /// Whether dimension 0 is a batch.
    pub batched: bool,
    /// Whether requests of several callers may share a batch.
    pub rows: Arc<RowState>,
    /// How requests of different lengths run together, if they do.
    pub padding: Option<Arc<Padding>>,
    /// The runs that no client asked for, before it is ready.
    pub warm_up: Arc<WarmUp>,
    /// The runs that no client asked for once it is ready, while no request
    /// waits; shared with the other instances on processors.
    pub warm_up_queue: Arc<WarmUpQueue>,
}

/// Runs, each with its inputs, that spare clients the cost of being the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WarmUp {
    /// What the configuration asks for: before anything else, and each must
    /// pass.
    pub samples: Vec<WarmUpSampleRun>,
    /// Before the instance is ready.
    pub first: Vec<Vec<TrialInput>>,
    /// Once it is, one after the other, while no request waits.
    pub later: Vec<Vec<TrialInput>>,
    /// The bucket of requests of this shape.
    pub bucket: Vec<i64>,
}

/// A sample of the configuration as it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpSampleRun {
    /// What the configuration calls it.
    pub name: String,
    /// How often it runs.
    pub count: u32,
    /// Its inputs, in the order of the arguments.
    pub inputs: Vec<TrialInput>,
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    thread: JoinHandle<()>,
    ready: Receiver<Result<(), BackendError>>,
}

/// One of the process's instances.
struct Counted;

/// How many there are.
static INSTANCES: AtomicUsize = AtomicUsize::new(0);

impl Counted {
    /// Refuses an instance beyond what a process has room for: a thread without
    /// memory for its stack ends the process.
    fn one_more() -> std::io::Result<Self> {
        /// Below what Linux grants a process in maps, of which a thread has
        /// several.
        const MOST: usize = 8192;
        let one = Self;
        if INSTANCES.fetch_add(1, Ordering::AcqRel) >= MOST {
            return Err(std::io::Error::other(format!(
                "the server has {MOST} instances already, of all its models"
            )));
        }
        Ok(one)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        INSTANCES.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Starts an instance's thread; see [`Instance::wait_ready`].
///
/// # Errors
/// The system has no more threads.
pub fn spawn(settings: InstanceSettings) -> std::io::Result<Instance> {
    let (report, ready) = mpsc::sync_channel(1);
    let counted = Counted::one_more()?;
    let thread = std::thread::Builder::new().name(settings.label.clone()).spawn(move || {
        let _counted = counted;
        let made = catch_unwind(AssertUnwindSafe(|| start(&settings)));
        let started = match made {
            Ok(Ok(made)) => {
                // The receiver waits for this line, or has given up on it.
                let _ = report.send(Ok(()));
                made
            }
            Ok(Err(error)) => {
                settings.health.notice(settings.device, &error);
                let _ = report.send(Err(error));
                return;
            }
            // The channel closes, which is the report.
            Err(_) => return,
        };
        serve(started, &settings);
    })?;
    Ok(Instance { thread, ready })
}

impl Instance {
    /// Waits until the instance is warm, or says why it isn't.
    ///
    /// # Errors
    /// The backend's error.
    pub fn wait_ready(&self) -> Result<(), BackendError> {
        self.ready.recv().unwrap_or_else(|_| {
            Err(BackendError::Load {
                message: "an instance of the model ended while it was made; see the server's log".to_owned(),
                detail: String::new(),
            })
        })
    }

    /// Waits for the thread's end, which follows the closing of its queue.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("an instance's thread panicked");
        }
    }
}

/// An instance that is ready.
struct Started {
    instance: Box<dyn ModelInstance>,
    /// Its model's number.
    number: u64,
}

fn start(settings: &InstanceSettings) -> Result<Started, BackendError> {
    let (model, number) = settings.slot.current();
    let mut instance = model.instance(settings.intra_op_threads)?;
    let WarmUp { samples, first, .. } = settings.warm_up.as_ref();
    for sample in samples {
        for _ in 0..sample.count {
            // Triton's words.
            run_once(instance.as_mut(), &sample.inputs, settings).map_err(|error| BackendError::Load {
                message: format!("failed to run warmup sample '{}': {error}", sample.name),
                detail: error.detail().to_owned(),
            })?;
        }
    }
    let warm = first.iter().all(|inputs| warm(instance.as_mut(), inputs, settings));
    if !warm {
        // The model takes no such input, so it takes no larger batches of it.
        settings.warm_up_queue.done(false);
        settings.rows.forget_requests();
    }
    Ok(Started { instance, number })
}

/// Whether a run on zeros passes. A failure is no error: zeros may be no input
/// for this model.
fn warm(instance: &mut dyn ModelInstance, inputs: &[TrialInput], settings: &InstanceSettings) -> bool {
    let began = clock::now();
    let held = settings.rows.run_held(instance, inputs);
    let ran = held.unwrap_or_else(|| run_once(instance, inputs, settings));
    if let Err(error) = &ran {
        tracing::debug!(model = settings.label, %error, "a warm-up run failed");
        return false;
    }
    let first = inputs.first().and_then(|input| input.shape.first()).copied().filter(|_| settings.batched);
    let rows = first.map_or(1, |rows| u32::try_from(rows).unwrap_or(1));
    // If lengths differ, rows alone don't tell what a batch takes.
    if settings.padding.is_none() {
        let took = clock::now().saturating_duration_since(began);
        settings.queue.tried(&settings.warm_up.bucket, rows, took);
    }
    true
}

/// A run whose outputs don't matter.
fn run_once(
    instance: &mut dyn ModelInstance,
    inputs: &[TrialInput],
    settings: &InstanceSettings,
) -> Result<(), BackendError> {
    let ran = run_here(instance, inputs).map(drop);
    if let Err(error) = &ran {
        settings.health.notice(settings.device, error);
    }
    ran
}

/// An instance that takes batches on its own thread, one after the other.
struct InlineTaker<'a> {
    settings: &'a InstanceSettings,
    /// Of the model that it runs.
    number: u64,
}

impl Taker for InlineTaker<'_> {
    fn has_other_work(&self) -> bool {
        self.settings.slot.is_newer(self.number) || self.settings.warm_up_queue.calls()
    }
}

/// Takes batches from the queue until it is closed and empty.
fn serve(started: Started, settings: &InstanceSettings) {
    let Started { mut instance, number } = started;
    let context = Context {
        device: settings.device,
        binding: Arc::clone(&settings.binding),
        metrics: Arc::clone(&settings.metrics),
        batched: settings.batched,
        rows: Arc::clone(&settings.rows),
        padding: settings.padding.clone(),
        repeatable: settings.slot.current().0.signature().stateful.is_none(),
        health: settings.health.clone(),
        limit: Mutex::default(),
    };
    let queue = &settings.queue;
    if instance.drive() == Drive::Overlapped {
        let mut idle = |instance: &mut dyn ModelInstance| run_own(instance, settings);
        match overlapped::run(instance.as_mut(), queue, &context, &settings.label, &mut idle) {
            Ok(()) => return,
            Err(error) => tracing::error!(
                model = settings.label,
                %error,
                "no threads for stages that overlap; batches run one after the other"
            ),
        }
    }
    let memory = instance.host_memory();
    let mut inline = Inline { instance, memory, collected: HostBatch::default() };
    let mut number = number;
    loop {
        if settings.slot.is_newer(number) {
            number = renew(&mut inline, settings);
        }
        if (queue.is_idle() || settings.rows.is_due()) && run_own(inline.instance.as_mut(), settings) {
            continue;
        }
        let (batch, guard) = match queue.next(&InlineTaker { settings, number }) {
            Next::Batch(batch, guard) => (batch, guard),
            Next::OtherWork => continue,
            Next::Closed => break,
        };
        // A panic is a bug of the server, but no reason to stop serving: the
        // responders that it dropped have answered.
        match catch_unwind(AssertUnwindSafe(|| inline.run(batch, &context))) {
            Ok(Some(ran)) => guard.finish(ran),
            Ok(None) => drop(guard),
            Err(_) => {
                drop(guard);
                tracing::error!("a batch ended in a panic; its requests were answered with an error");
            }
        }
    }
}

/// Runs that no request asked for: a proof that is due, or, while no request
/// waits, a further batch size, so that the first request of that size doesn't
/// pay for it. Returns whether anything ran.
fn run_own(instance: &mut dyn ModelInstance, settings: &InstanceSettings) -> bool {
    if settings.rows.is_due() {
        return catch_unwind(AssertUnwindSafe(|| settings.rows.prove(instance))).unwrap_or(false);
    }
    let WarmUpJob::Run(inputs) = settings.warm_up_queue.next() else { return false };
    let run = catch_unwind(AssertUnwindSafe(|| warm(instance, &inputs, settings)));
    settings.warm_up_queue.done(run.unwrap_or(false));
    if settings.warm_up_queue.is_empty() {
        settings.rows.forget_requests();
    }
    true
}

/// Goes on with the model that the slot has now. If an instance of it can't be
/// made, the one before stays. Returns the number of the slot's model.
fn renew(inline: &mut Inline, settings: &InstanceSettings) -> u64 {
    let (model, number) = settings.slot.current();
    match model.instance(settings.intra_op_threads) {
        Ok(instance) => inline.instance = instance,
        Err(error) => {
            settings.health.notice(settings.device, &error);
            tracing::error!(model = settings.label, %error, "it goes on as it was");
        }
    }
    number
}
