//! A backend whose time and faults are in the test's hand.
//!
//! A test that holds the [`MockBackend`] says by path what a model is
//! ([`MockBackend::define`]) and sees every batch that ran
//! ([`MockBackend::batches`]). A test that only has a server's socket writes
//! model files that say what they are, one setting a line:
//!
//! ```text
//! mock: add_sub
//! sleep: 5ms
//! ```
//!
//! | line | meaning |
//! |------|---------|
//! | `mock: identity` | each input is the output of its place |
//! | `mock: add_sub` | `INPUT0` and `INPUT1`; their sum and their difference |
//! | `mock: scale 2.5` | each input times a number |
//! | `mock: fail_on_negative` | as identity; fails on any value below zero |
//! | `mock: wrong_rows` | as identity, with the last row missing |
//! | `mock: panics` | panics in forward, as no backend should |
//! | `arguments: a, b` | the names of forward's arguments |
//! | `dict: tensors` | one argument that is a dictionary of tensors |
//! | `stateful: why` | not to be shared or batched across callers |
//! | `sleep: 5ms` | how long each forward takes |

mod behaviour;
mod gate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

pub use behaviour::{Behaviour, MockModel};
pub use gate::Gate;

use super::{
    Accelerators, Backend, BackendError, BatchInput, BatchOutput, Device, LoadRequest, Model, ModelInstance,
    Signature,
};
use crate::protocol::Datatype;

/// One forward, as the mock saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBatch {
    /// Which instance ran it: numbered from zero in the order of making.
    pub instance: usize,
    /// The thread that it ran on.
    pub thread: ThreadId,
    /// Its inputs, in order.
    pub inputs: Vec<RecordedInput>,
}

impl RecordedBatch {
    /// The first dimension of the first input; 0 where there is none.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(0)
    }
}

/// One input of a recorded batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedInput {
    /// The configuration's name for it.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape.
    pub shape: Vec<i64>,
}

/// What the mock counts, shared by its models and instances.
#[derive(Debug, Default)]
struct Records {
    batches: Mutex<Vec<RecordedBatch>>,
    loads: AtomicUsize,
    models: AtomicUsize,
    instances_made: AtomicUsize,
    instances: AtomicUsize,
}

/// The backend of tests.
#[derive(Debug, Default)]
pub struct MockBackend {
    records: Arc<Records>,
    models: Mutex<HashMap<PathBuf, MockModel>>,
    accelerators: Option<u32>,
}

impl MockBackend {
    /// A backend that knows no model yet, on a machine without accelerators.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this many CUDA devices.
    #[must_use]
    pub fn with_cuda(mut self, devices: u32) -> Self {
        self.accelerators = Some(devices);
        self
    }

    /// Makes the file at `path` this model, whatever it holds, if it is there
    /// at all.
    pub fn define(&self, path: impl Into<PathBuf>, model: MockModel) {
        locked(&self.models).insert(path.into(), model);
    }

    /// `model` as if it had been loaded from a file.
    #[must_use]
    pub fn model(&self, model: MockModel) -> Arc<dyn Model> {
        Arc::new(Loaded::new(model, Arc::clone(&self.records)))
    }

    /// Every batch that ran, in the order in which they began.
    #[must_use]
    pub fn batches(&self) -> Vec<RecordedBatch> {
        locked(&self.records.batches).clone()
    }

    /// How often [`Backend::load`] was called.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.records.loads.load(Ordering::SeqCst)
    }

    /// How many models are held now.
    #[must_use]
    pub fn models(&self) -> usize {
        self.records.models.load(Ordering::SeqCst)
    }

    /// How many instances are held now.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.records.instances.load(Ordering::SeqCst)
    }

    fn find(&self, path: &Path) -> Result<MockModel, BackendError> {
        if let Some(model) = locked(&self.models).get(path) {
            return Ok(model.clone());
        }
        let text = std::fs::read_to_string(path).map_err(|error| BackendError::Load {
            message: format!("the model file can't be read: {}", error.kind()),
            detail: format!("{}: {error}", path.display()),
        })?;
        text.parse().map_err(|message: String| BackendError::Load {
            detail: format!("{}: {message}", path.display()),
            message,
        })
    }
}

impl Backend for MockBackend {
    fn description(&self) -> String {
        "mock".to_owned()
    }

    fn accelerators(&self) -> Accelerators {
        match self.accelerators {
            Some(count) => Accelerators::Cuda(count),
            None => Accelerators::None("the mock has none".to_owned()),
        }
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError> {
        self.records.loads.fetch_add(1, Ordering::SeqCst);
        if let Device::Cuda(index) = request.device
            && self.accelerators.is_none_or(|count| index >= count)
        {
            let message = format!("device {} can't be used: the mock has none", request.device);
            return Err(BackendError::Device { detail: message.clone(), message });
        }
        Ok(self.model(self.find(request.path)?))
    }
}

/// A value that counts while it is held.
#[derive(Debug)]
struct Counted {
    records: Arc<Records>,
    count: fn(&Records) -> &AtomicUsize,
}

impl Counted {
    fn new(records: &Arc<Records>, count: fn(&Records) -> &AtomicUsize) -> Self {
        count(records).fetch_add(1, Ordering::SeqCst);
        Self { records: Arc::clone(records), count }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.records).fetch_sub(1, Ordering::SeqCst);
    }
}

struct Loaded {
    model: MockModel,
    signature: Signature,
    records: Arc<Records>,
    _counted: Counted,
}

impl Loaded {
    fn new(model: MockModel, records: Arc<Records>) -> Self {
        let counted = Counted::new(&records, |records| &records.models);
        Self { signature: model.signature(), model, records, _counted: counted }
    }
}

impl Model for Loaded {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self, _intra_op_threads: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        Ok(Box::new(MockInstance {
            number: self.records.instances_made.fetch_add(1, Ordering::SeqCst),
            model: self.model.clone(),
            counted: Counted::new(&self.records, |records| &records.instances),
        }))
    }
}

struct MockInstance {
    number: usize,
    model: MockModel,
    counted: Counted,
}

impl ModelInstance for MockInstance {
    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        let recorded = RecordedBatch {
            instance: self.number,
            thread: std::thread::current().id(),
            inputs: inputs.iter().map(RecordedInput::of).collect(),
        };
        locked(&self.counted.records.batches).push(recorded);
        self.model.forward(inputs)
    }
}

impl RecordedInput {
    fn of(input: &BatchInput<'_>) -> Self {
        Self { name: input.name.to_owned(), datatype: input.datatype, shape: input.shape.to_vec() }
    }
}

/// A panic in one test's forward must not hide the records from the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn load(backend: &MockBackend, path: &Path, device: Device) -> Result<Arc<dyn Model>, BackendError> {
        backend.load(&LoadRequest { path, device, parameters: &BTreeMap::new() })
    }

    fn input<'a>(name: &'a str, shape: &'a [i64], data: &'a [f32]) -> BatchInput<'a> {
        BatchInput { name, datatype: Datatype::Fp32, shape, data: bytemuck::cast_slice(data) }
    }

    #[test]
    fn a_file_says_what_it_is_and_every_batch_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        std::fs::write(&path, "mock: scale 2\narguments: x\n").unwrap();
        let backend = MockBackend::new();
        let model = load(&backend, &path, Device::Cpu).unwrap();
        assert_eq!(model.signature().arguments[0].name, "x");
        let mut instance = model.instance(1).unwrap();
        let outputs = instance.forward(&[input("x", &[2, 1], &[1.0, -3.0])]).unwrap();
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&outputs[0].data), [2.0, -6.0]);
        assert_eq!(backend.batches()[0].rows(), 2);
        assert_eq!((backend.loads(), backend.models(), backend.instances()), (1, 1, 1));
        drop((instance, model));
        assert_eq!((backend.models(), backend.instances()), (0, 0));
    }

    #[test]
    fn a_definition_goes_before_a_file() {
        let backend = MockBackend::new();
        backend.define("nowhere", MockModel::new(Behaviour::Identity));
        assert!(load(&backend, Path::new("nowhere"), Device::Cpu).is_ok());
        let error = load(&backend, Path::new("elsewhere"), Device::Cpu).err().unwrap();
        assert_eq!(error.to_string(), "the model file can't be read: entity not found");
    }

    #[test]
    fn devices_are_those_that_the_test_gives() {
        let backend = MockBackend::new().with_cuda(1);
        backend.define("m", MockModel::new(Behaviour::Identity));
        assert!(load(&backend, Path::new("m"), Device::Cuda(0)).is_ok());
        let error = load(&backend, Path::new("m"), Device::Cuda(1)).err().unwrap();
        assert!(matches!(error, BackendError::Device { .. }), "{error:?}");
    }
}
