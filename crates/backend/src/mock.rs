//! A backend whose time and faults a test controls. All code above the backend
//! is tested against it, without libtorch.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::mock_device::MockDevice;
use super::{
    Accelerators, Argument, ArgumentKind, Backend, BackendError, BatchInput, BatchOutput, ComputeCapability,
    DeclaredTensor, Device, DeviceFault, DeviceMemory, Drive, Flight, HostBatch, HostMemory, LoadRequest,
    Model, ModelFormat, ModelInstance, Signature, TORCH_SCRIPT,
};
use cresset_clock as clock;

/// What a mock model does with its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Returns its inputs.
    Identity,
    /// Fails if any byte of its first input is 255, else returns it.
    FailsOn255,
    /// Returns its first input with one row too many.
    WrongRows,
    /// Returns its inputs, without the last row if any byte of the first is
    /// 254.
    LosesRowOn254,
    /// Panics if any byte of its first input is 255, else returns it.
    PanicsOn255,
    /// Reports that its process is gone if any byte of its first input is 255,
    /// else returns it.
    GoneOn255,
    /// The device fails for good if any byte of its first input is 255.
    Poisons(DeviceFault),
    /// Adds the number in its file to each byte; loading fails if the file
    /// holds no number.
    AddsFile,
}

/// Loads every file as the same model.
#[derive(Debug, Clone)]
pub struct MockBackend {
    behaviour: Behaviour,
    format: &'static ModelFormat,
    signature: Signature,
    control: Arc<Control>,
    device: Option<Arc<MockDevice>>,
    memory: Vec<DeviceMemory>,
    /// The number that a model of [`Behaviour::AddsFile`] adds.
    added: u8,
    capabilities: Vec<ComputeCapability>,
    rewriting: Option<Rewriting>,
}

/// A model whose code can be rewritten for inference: without that each run
/// takes some processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewriting {
    /// The duration of a run of the plain file.
    pub before: Duration,
    /// The duration of a run after rewriting.
    pub after: Duration,
    /// The number that the rewritten form adds to each byte of its answers.
    pub off: u8,
}

/// How long a test waits for an event that should come at once.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A test's control of a mock: a gate at which forward waits, and a record of
/// the runs.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ControlState {
    closed: bool,
    /// Forwards that wait at the gate.
    waiting: usize,
    /// The first dimension of the first input of each batch, in order.
    batches: Vec<i64>,
    /// How often memory was released.
    released: usize,
    /// Runs of models that were rewritten for inference.
    rewritten: usize,
    /// How often a file was loaded.
    loads: usize,
}

impl Control {
    /// From now on forward waits.
    pub fn close_gate(&self) {
        self.lock().closed = true;
    }

    /// Lets all forwards run.
    pub fn open_gate(&self) {
        self.lock().closed = false;
        self.changed.notify_all();
    }

    /// Returns once `count` forwards wait at the gate.
    pub fn wait_until_waiting(&self, count: usize) {
        self.wait_until("forwards at the gate", count, |state| state.waiting);
    }

    /// The rows of each batch that ran, in order.
    #[must_use]
    pub fn batches(&self) -> Vec<i64> {
        self.lock().batches.clone()
    }

    /// Returns once memory was released this often.
    pub fn wait_until_released(&self, count: usize) {
        self.wait_until("releases of memory", count, |state| state.released);
    }

    /// Returns once this many batches have run.
    pub fn wait_until_ran(&self, count: usize) {
        self.wait_until("batches run", count, |state| state.batches.len());
    }

    /// Fails a test that would wait for ever, and reports the state.
    fn wait_until(&self, what: &str, count: usize, there: impl Fn(&ControlState) -> usize) {
        let lacks = |state: &mut ControlState| there(state) < count;
        let waited = self.changed.wait_timeout_while(self.lock(), LONGEST_WAIT, lacks);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "waited {LONGEST_WAIT:?} for {count} {what}: {state:?}");
    }

    /// How often memory was released.
    #[must_use]
    pub fn released(&self) -> usize {
        self.lock().released
    }

    /// How often a file was loaded.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.lock().loads
    }

    /// How often models that were rewritten for inference ran.
    #[must_use]
    pub fn rewritten(&self) -> usize {
        self.lock().rewritten
    }

    fn pass(&self, rows: i64) {
        let mut state = self.lock();
        state.batches.push(rows);
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MockBackend {
    /// Models of this behaviour, whose forward takes tensors of these names.
    #[must_use]
    pub fn new(behaviour: Behaviour, arguments: &[&str]) -> Self {
        let argument =
            |name: &&str| Argument { name: (*name).to_owned(), kind: ArgumentKind::Tensor, optional: false };
        let arguments = arguments.iter().map(argument).collect();
        let signature = Signature { arguments, ..Signature::default() };
        Self {
            behaviour,
            format: &TORCH_SCRIPT,
            signature,
            control: Arc::default(),
            device: None,
            memory: Vec::new(),
            added: 0,
            capabilities: Vec::new(),
            rewriting: None,
        }
    }

    /// The same for models of this format.
    #[must_use]
    pub fn of_format(mut self, format: &'static ModelFormat) -> Self {
        self.format = format;
        self
    }

    /// The same for models whose file declares these tensors.
    #[must_use]
    pub fn declaring(mut self, inputs: Vec<DeclaredTensor>, outputs: Vec<DeclaredTensor>) -> Self {
        self.signature = Signature { inputs, outputs, ..self.signature };
        self
    }

    /// The same for models that can be rewritten for inference.
    #[must_use]
    pub fn rewriting(mut self, rewriting: Rewriting) -> Self {
        self.rewriting = Some(rewriting);
        self
    }

    /// The same for models that keep state.
    #[must_use]
    pub fn stateful(mut self) -> Self {
        self.signature.stateful = Some("forward writes to the attribute 'count'".to_owned());
        self
    }

    /// The same for models whose forward takes one dictionary; each output has
    /// the name of its input.
    #[must_use]
    pub fn dictionary(mut self) -> Self {
        self.signature.arguments = vec![Argument {
            name: "inputs".to_owned(),
            kind: ArgumentKind::Dict(Box::new(ArgumentKind::Tensor)),
            optional: false,
        }];
        self
    }

    /// The same for models that compute on a separate device: batches overlap.
    #[must_use]
    pub fn on_device(mut self, device: MockDevice) -> Self {
        self.device = Some(Arc::new(device));
        self
    }

    /// That device.
    #[must_use]
    pub fn device(&self) -> Option<&Arc<MockDevice>> {
        self.device.as_ref()
    }

    /// The same with this memory of devices.
    #[must_use]
    pub fn with_device_memory(mut self, memory: &[DeviceMemory]) -> Self {
        self.memory = memory.to_vec();
        self
    }

    /// The same, with GPUs of these generations.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: &[ComputeCapability]) -> Self {
        self.capabilities = capabilities.to_vec();
        self
    }

    /// The test's control of every model that this backend loads.
    #[must_use]
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }
}

impl Backend for MockBackend {
    fn description(&self) -> String {
        "mock".to_owned()
    }

    fn accelerators(&self) -> Accelerators {
        match self.device {
            Some(_) => Accelerators::cuda(1),
            None => Accelerators::None("a mock has none".to_owned()),
        }
    }

    fn device_memory(&self) -> Vec<DeviceMemory> {
        self.memory.clone()
    }

    fn compute_capability(&self, device: Device) -> Option<ComputeCapability> {
        let Device::Accelerator(_, index) = device else { return None };
        self.capabilities.get(usize::try_from(index).ok()?).copied()
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError> {
        self.control.lock().loads += 1;
        let mut model = self.clone();
        if self.behaviour == Behaviour::AddsFile {
            let text = std::fs::read_to_string(request.path).unwrap_or_default();
            model.added = text.parse().map_err(|_| BackendError::Load {
                message: format!("the file holds '{text}': expected a number"),
                detail: String::new(),
            })?;
        }
        Ok(Arc::new(model))
    }

    fn release_memory(&self) {
        self.control.lock().released += 1;
        self.control.changed.notify_all();
    }
}

impl Model for MockBackend {
    fn format(&self) -> &'static ModelFormat {
        self.format
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self, _: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        let named = self.signature.arguments.iter().any(|argument| argument.kind.is_tensor_dict());
        let (control, device) = (Arc::clone(&self.control), self.device.clone());
        let (behaviour, added) = (self.behaviour, self.added);
        let takes = self.rewriting.map_or(Duration::ZERO, |rewriting| rewriting.before);
        Ok(Box::new(MockInstance { behaviour, added, named, control, device, takes, rewritten: false }))
    }

    fn rewrite(&self) -> Result<Arc<dyn Model>, BackendError> {
        let Some(rewriting) = self.rewriting else {
            let message = "this mock isn't rewritten".to_owned();
            return Err(BackendError::Load { detail: message.clone(), message });
        };
        Ok(Arc::new(Rewritten { model: self.clone(), rewriting }))
    }
}

/// A mock model after rewriting.
struct Rewritten {
    model: MockBackend,
    rewriting: Rewriting,
}

impl Model for Rewritten {
    fn format(&self) -> &'static ModelFormat {
        self.model.format
    }

    fn signature(&self) -> &Signature {
        self.model.signature()
    }

    fn instance(&self, _: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        let Rewriting { after: takes, off, .. } = self.rewriting;
        let MockBackend { behaviour, added, .. } = self.model;
        let (control, device) = (Arc::clone(&self.model.control), self.model.device.clone());
        let added = added.wrapping_add(off);
        Ok(Box::new(MockInstance { behaviour, added, named: false, control, device, takes, rewritten: true }))
    }
}

struct MockInstance {
    behaviour: Behaviour,
    added: u8,
    /// Whether outputs have their inputs' names.
    named: bool,
    control: Arc<Control>,
    device: Option<Arc<MockDevice>>,
    /// Processor time of each run.
    takes: Duration,
    rewritten: bool,
}

impl ModelInstance for MockInstance {
    fn drive(&self) -> Drive {
        if self.device.is_some() { Drive::Overlapped } else { Drive::Inline }
    }

    fn host_memory(&self) -> Option<Arc<dyn HostMemory>> {
        self.device.as_ref()?.host_memory()
    }

    fn launch(&mut self, batch: HostBatch) -> Result<Box<dyn Flight>, BackendError> {
        let outputs = self.forward(&batch.inputs());
        let Some(device) = &self.device else {
            return Ok(<dyn Flight>::landed(outputs?, batch));
        };
        // A fault shows when the device reaches it, not at the launch.
        let fault = match &outputs {
            Err(BackendError::Device { fault, .. }) => Some(*fault),
            _ => None,
        };
        device.launch(batch, outputs, fault)
    }

    fn release_memory(&mut self) {
        if let Some(device) = &self.device {
            device.release();
        }
    }

    #[allow(clippy::panic)]
    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        let first = inputs.first();
        self.control.pass(first.and_then(|input| input.shape.first()).copied().unwrap_or(0));
        self.control.lock().rewritten += usize::from(self.rewritten);
        let began = clock::thread_time();
        while !self.takes.is_zero() && clock::thread_time().saturating_sub(began) < self.takes {
            std::hint::spin_loop();
        }
        let marked = first.is_some_and(|input| input.data.contains(&255));
        match self.behaviour {
            Behaviour::FailsOn255 if marked => Err(BackendError::Execute {
                message: "PyTorch execute failure: 255".to_owned(),
                detail: String::new(),
            }),
            Behaviour::PanicsOn255 if marked => panic!("a mock was told to panic"),
            Behaviour::GoneOn255 if marked => Err(BackendError::Gone {
                message: "what ran the model is gone".to_owned(),
                detail: "a mock was told so".to_owned(),
            }),
            Behaviour::Poisons(fault) if marked => Err(BackendError::Device {
                fault,
                message: "a mock device was told to fail".to_owned(),
                detail: String::new(),
            }),
            Behaviour::Identity
            | Behaviour::FailsOn255
            | Behaviour::PanicsOn255
            | Behaviour::GoneOn255
            | Behaviour::Poisons(_)
            | Behaviour::AddsFile => Ok(inputs.iter().map(|input| self.output(input, 0)).collect()),
            Behaviour::LosesRowOn254 => {
                let lost = first.is_some_and(|input| input.data.contains(&254));
                Ok(inputs.iter().map(|input| self.output(input, -i64::from(lost))).collect())
            }
            Behaviour::WrongRows => Ok(inputs.iter().map(|input| self.output(input, 1)).collect()),
        }
    }
}

impl MockInstance {
    fn output(&self, input: &BatchInput<'_>, more_rows: i64) -> BatchOutput {
        let mut shape = input.shape.to_vec();
        let mut data: Vec<u8> = input.data.iter().map(|byte| byte.wrapping_add(self.added)).collect();
        if let Some(rows) = shape.first_mut() {
            let row = data.len() / usize::try_from(*rows).unwrap_or(1).max(1);
            *rows += more_rows;
            data.resize(row * usize::try_from(*rows).unwrap_or(0), 0);
        }
        BatchOutput {
            // A key of the dictionary, after its name.
            name: self
                .named
                .then(|| input.name.split_once('.').map_or(input.name, |(_, key)| key).to_owned()),
            datatype: input.datatype,
            shape,
            data: data.into(),
        }
    }
}
