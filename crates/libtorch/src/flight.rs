//! Batches under way on a device.

use std::ptr::NonNull;
use std::sync::Arc;

use super::device::DeviceName;
use super::error;
use super::ffi::{self, RawFlight, RawLane, RawPinned};
use super::instance::raw_input;
use super::module::Module;
use super::outputs::Outputs;
use cresset_backend::{BackendError, BatchOutput, Device, Flight, HostBatch, HostBlock, HostMemory};

/// An instance's streams on its device.
pub(super) struct Lane {
    raw: NonNull<RawLane>,
}

impl Lane {
    pub(super) fn new(device: Device) -> Result<Self, BackendError> {
        let name = DeviceName::of(device);
        // SAFETY: the name outlives the call, and both other pointers come from
        // `made`.
        let lane = ffi::made(|lane, error| unsafe { ffi::cresset_lane_new(name.as_ptr(), lane, error) });
        lane.map(|raw| Self { raw }).map_err(|failure| error::execute(failure, device))
    }

    pub(super) fn launch(
        &mut self,
        module: &Arc<Module>,
        batch: HostBatch,
    ) -> Result<Box<dyn Flight>, BackendError> {
        let inputs = batch.inputs();
        let raw = inputs.iter().map(raw_input).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: `raw_input` checked that each shape lies within its data,
        // which the flight keeps with the batch until it has landed.
        let flight = unsafe { module.launch(self.raw, &raw) }?;
        Ok(Box::new(LibtorchFlight { raw: flight, batch: Some(batch), module: Arc::clone(module) }))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::cresset_lane_free(self.raw.as_ptr()) };
    }
}

struct LibtorchFlight {
    raw: NonNull<RawFlight>,
    /// Taken when it has landed; else dropped after `raw`, whose drop waits for
    /// the flight's end.
    batch: Option<HostBatch>,
    module: Arc<Module>,
}

// SAFETY: events and tensors may be waited for and dropped on any thread.
unsafe impl Send for LibtorchFlight {}

impl Flight for LibtorchFlight {
    fn land(mut self: Box<Self>) -> (Result<Vec<BatchOutput>, BackendError>, HostBatch) {
        // SAFETY: `self.raw` is alive, and lands only here.
        let landed = ffi::made(|outputs, error| unsafe {
            ffi::cresset_flight_land(self.raw.as_ptr(), outputs, error)
        });
        let outputs =
            landed.map_err(|failure| error::execute(failure, self.module.device())).and_then(|outputs| {
                // SAFETY: just made, and owned by this call.
                unsafe { Outputs::from_raw(outputs) }.into_batch()
            });
        let (batch, module) = (self.batch.take().unwrap_or_default(), Arc::clone(&self.module));
        // This frees what the flight kept on the device.
        drop(self);
        module.clean_cache();
        (outputs, batch)
    }
}

impl Drop for LibtorchFlight {
    fn drop(&mut self) {
        // Fields are dropped after this, so the batch outlives the flight.
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::cresset_flight_free(self.raw.as_ptr()) };
    }
}

/// Pinned memory for a device.
pub(super) struct PinnedMemory {
    device: DeviceName,
}

impl PinnedMemory {
    pub(super) fn of(device: Device) -> Self {
        Self { device: DeviceName::of(device) }
    }
}

impl HostMemory for PinnedMemory {
    fn allocate(&self, bytes: usize) -> Option<Box<dyn HostBlock>> {
        let made = ffi::made(|pinned, error| {
            // SAFETY: the name lives as long as `self`, and both other pointers
            // come from `made`.
            unsafe { ffi::cresset_pinned_new(self.device.as_ptr(), bytes, pinned, error) }
        });
        match made {
            Ok(raw) => {
                // SAFETY: just made.
                let start = unsafe { ffi::cresset_pinned_start(raw.as_ptr()) };
                let block = PinnedBlock { raw, start: NonNull::new(start.cast())?, bytes };
                Some(Box::new(block))
            }
            Err(failure) => {
                tracing::debug!(bytes, ?failure, "no pinned memory: ordinary memory is copied from, slower");
                None
            }
        }
    }
}

struct PinnedBlock {
    raw: NonNull<RawPinned>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: libtorch's host allocator takes blocks back on any thread.
unsafe impl Send for PinnedBlock {}

// SAFETY: libtorch gave these bytes to this value; its blocks are whole pages.
unsafe impl HostBlock for PinnedBlock {
    fn start(&self) -> NonNull<u8> {
        self.start
    }
    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl Drop for PinnedBlock {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::cresset_pinned_free(self.raw.as_ptr()) };
    }
}
