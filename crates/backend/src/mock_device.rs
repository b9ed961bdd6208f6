//! A device that computes asynchronously, for tests. Its copies and its forward
//! take fixed times, each on its own queue, and it records a timeline.

use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{BackendError, BatchOutput, DeviceFault, Flight, HostBatch, HostBlock, HostMemory};
use cresset_clock as clock;

/// The durations of a batch's stages on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceTimes {
    /// Copying the inputs in.
    pub copy_in: Duration,
    /// Forward.
    pub compute: Duration,
    /// Copying the outputs out.
    pub copy_out: Duration,
    /// On the host, while each request is collected.
    pub collect: Duration,
    /// On the host, after the batch has landed.
    pub answer: Duration,
}

/// A stage of a batch on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Inputs are copied in.
    CopyIn,
    /// Forward runs.
    Compute,
    /// Outputs are copied out.
    CopyOut,
}

/// One stage of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The number of the batch's launch, from zero.
    pub launch: usize,
    /// Its rows.
    pub rows: i64,
    /// The stage.
    pub stage: Stage,
    /// When the batch was launched.
    pub launched: Instant,
    /// When the stage began.
    pub begin: Instant,
    /// When it ended.
    pub end: Instant,
}

/// A device.
#[derive(Debug, Default)]
pub struct MockDevice {
    times: DeviceTimes,
    /// More rows than this exhaust its memory at the launch; zero for no limit.
    memory_rows: i64,
    state: Mutex<DeviceState>,
}

#[derive(Debug, Default)]
struct DeviceState {
    launches: usize,
    /// When each queue will be free.
    free: [Option<Instant>; 3],
    timeline: Vec<Step>,
    /// Set by the first fault, and never cleared.
    poisoned: Option<DeviceFault>,
    /// Host memory that the device is reading.
    reading: HashSet<usize>,
    violations: Vec<String>,
    released: usize,
    /// Launches since it was poisoned.
    refused: usize,
    allocated: usize,
}

impl MockDevice {
    /// A device of these times.
    #[must_use]
    pub fn new(times: DeviceTimes) -> Self {
        Self { times, ..Self::default() }
    }

    /// The same, with memory for this many rows at once.
    #[must_use]
    pub fn with_memory_for(self, rows: i64) -> Self {
        Self { memory_rows: rows, ..self }
    }

    /// The runs, in the order of the launches.
    #[must_use]
    pub fn timeline(&self) -> Vec<Step> {
        self.lock().timeline.clone()
    }

    /// Clears the timeline.
    pub fn forget_timeline(&self) {
        self.lock().timeline.clear();
    }

    /// Memory that was written while the device was still reading it.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// How often it was asked to release memory.
    #[must_use]
    pub fn released(&self) -> usize {
        self.lock().released
    }

    /// How many launches came after it had failed.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.lock().refused
    }

    /// How many blocks of its host memory were taken.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.lock().allocated
    }

    /// The memory for batches on it.
    pub(super) fn host_memory(self: &Arc<Self>) -> Option<Arc<dyn HostMemory>> {
        (!self.times.collect.is_zero()).then(|| Arc::new(SlowMemory(Arc::clone(self))) as _)
    }

    pub(super) fn release(&self) {
        self.lock().released += 1;
    }

    /// Puts a batch on its queues. `fault` poisons the device when the batch's
    /// forward would end.
    pub(super) fn launch(
        self: &Arc<Self>,
        batch: HostBatch,
        outputs: Result<Vec<BatchOutput>, BackendError>,
        fault: Option<DeviceFault>,
    ) -> Result<Box<dyn Flight>, BackendError> {
        let rows = batch.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(0);
        let mut state = self.lock();
        if let Some(fault) = state.poisoned {
            state.refused += 1;
            return Err(broken(fault));
        }
        if self.memory_rows > 0 && rows > self.memory_rows {
            let message = "PyTorch execute failure: CUDA out of memory".to_owned();
            return Err(BackendError::OutOfMemory { detail: message.clone(), message });
        }
        let launched = clock::now();
        let launch = state.launches;
        state.launches += 1;
        let mut at = launched;
        let stages = [
            (Stage::CopyIn, self.times.copy_in),
            (Stage::Compute, self.times.compute),
            (Stage::CopyOut, self.times.copy_out),
        ];
        for (index, (stage, takes)) in stages.into_iter().enumerate() {
            let begin = state.free[index].map_or(at, |free| free.max(at));
            let end = begin + takes;
            state.free[index] = Some(end);
            state.timeline.push(Step { launch, rows, stage, launched, begin, end });
            at = end;
        }
        for input in &batch.inputs {
            let start = input.data.as_slice().as_ptr() as usize;
            if !input.data.as_slice().is_empty() && !state.reading.insert(start) {
                state.violations.push(format!("launch {launch} brings memory that another one still reads"));
            }
        }
        drop(state);
        let sum = checksum(&batch);
        Ok(Box::new(MockFlight { device: Arc::clone(self), launch, batch, sum, outputs, fault, lands: at }))
    }

    fn lock(&self) -> MutexGuard<'_, DeviceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that is slow to write while a batch is collected, on the thread of
/// the first stage.
struct SlowMemory(Arc<MockDevice>);

struct SlowBlock {
    bytes: Box<[u8]>,
    takes: Duration,
}

impl HostMemory for SlowMemory {
    fn allocate(&self, bytes: usize) -> Option<Box<dyn HostBlock>> {
        self.0.lock().allocated += 1;
        Some(Box::new(SlowBlock { bytes: vec![0; bytes].into(), takes: self.0.times.collect }))
    }
}

// SAFETY: the bytes belong to this value. They are not aligned to 64, which
// only a real device's copies need.
unsafe impl HostBlock for SlowBlock {
    fn start(&self) -> NonNull<u8> {
        if std::thread::current().name().is_some_and(|name| name.ends_with("/in")) {
            std::thread::sleep(self.takes);
        }
        NonNull::from(&*self.bytes).cast()
    }
    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

struct MockFlight {
    device: Arc<MockDevice>,
    launch: usize,
    batch: HostBatch,
    sum: u64,
    outputs: Result<Vec<BatchOutput>, BackendError>,
    fault: Option<DeviceFault>,
    lands: Instant,
}

impl Flight for MockFlight {
    fn land(self: Box<Self>) -> (Result<Vec<BatchOutput>, BackendError>, HostBatch) {
        std::thread::sleep(self.lands.saturating_duration_since(clock::now()));
        let mut state = self.device.lock();
        for input in &self.batch.inputs {
            state.reading.remove(&(input.data.as_slice().as_ptr() as usize));
        }
        if checksum(&self.batch) != self.sum {
            let launch = self.launch;
            state.violations.push(format!("memory of launch {launch} was written before it had landed"));
        }
        if let Some(fault) = self.fault {
            state.poisoned.get_or_insert(fault);
        }
        let outputs = match state.poisoned {
            Some(fault) => Err(broken(fault)),
            None => self.outputs,
        };
        drop(state);
        std::thread::sleep(self.device.times.answer);
        (outputs, self.batch)
    }
}

fn broken(fault: DeviceFault) -> BackendError {
    let message = format!("a mock device was told to fail: {fault:?}");
    BackendError::Device { fault, detail: message.clone(), message }
}

fn checksum(batch: &HostBatch) -> u64 {
    let bytes = batch.inputs.iter().flat_map(|input| input.data.as_slice());
    bytes.fold(14_695_981_039_346_656_037, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::*;
    use crate::{HostBuffer, HostInput};
    use cresset_protocol::Datatype;

    /// A pool that violates its contract: it lends the same bytes to every
    /// caller.
    struct LentTwice(Arc<[AtomicU8; 64]>);

    impl HostMemory for LentTwice {
        fn allocate(&self, _: usize) -> Option<Box<dyn HostBlock>> {
            Some(Box::new(Self(Arc::clone(&self.0))))
        }
    }

    // SAFETY: it breaks the promise that the bytes belong to one value, on one
    // thread and on bytes that may be changed through any reference.
    unsafe impl HostBlock for LentTwice {
        fn start(&self) -> NonNull<u8> {
            NonNull::from(&*self.0).cast()
        }
        fn capacity(&self) -> usize {
            64
        }
    }

    fn batch(memory: &Arc<dyn HostMemory>, bytes: &[u8]) -> HostBatch {
        let mut data = HostBuffer::within(Some(Arc::clone(memory)));
        data.begin(bytes.len());
        data.extend(bytes);
        let input = HostInput { name: Arc::from("x"), datatype: Datatype::Uint8, shape: vec![1, 2], data };
        HostBatch { inputs: vec![input] }
    }

    #[test]
    fn memory_that_is_reused_before_it_landed_is_noticed() {
        let memory: Arc<dyn HostMemory> =
            Arc::new(LentTwice(Arc::new(std::array::from_fn(|_| AtomicU8::new(0)))));
        let device = Arc::new(MockDevice::new(DeviceTimes::default()));
        let first = device.launch(batch(&memory, &[1, 2]), Ok(Vec::new()), None).unwrap();
        assert_eq!(device.violations(), [""; 0]);
        let second = device.launch(batch(&memory, &[3, 4]), Ok(Vec::new()), None).unwrap();
        assert_eq!(device.violations(), ["launch 1 brings memory that another one still reads"]);
        drop(first.land());
        drop(second.land());
        assert_eq!(device.violations()[1..], ["memory of launch 0 was written before it had landed"]);
    }
}
