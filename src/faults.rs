//! The devices that this process can't use any more.
//!
//! After an assertion or an illegal address in a kernel, CUDA fails every
//! further call of the process: only a new one recovers. So the first such
//! fault is a latch: readiness goes off by it, no instance goes near the
//! device again, and the server ends for its orchestrator to start it anew.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Error, ErrorCode};
use cresset_backend::{BackendError, Device, DeviceFault};

/// A fault that only a new process recovers from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it happened.
    pub device: Device,
    /// What happened.
    pub fault: DeviceFault,
    /// In the library's words.
    pub message: String,
}

impl Fault {
    /// What requests are answered with from now on.
    #[must_use]
    pub fn error(&self) -> Error {
        let device = self.device;
        Error::new(
            ErrorCode::Unavailable,
            format!("device {device} has failed and this server can't use it any more: {}", self.message),
        )
    }
}

/// Shared by all that runs on devices and all that must know.
#[derive(Debug, Clone)]
pub struct DeviceFaults(Arc<watch::Sender<Vec<Fault>>>);

impl DeviceFaults {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// Latches a fault; the first of a device stays.
    pub fn report(&self, fault: Fault) {
        self.0.send_if_modified(|faults| {
            let first = faults.iter().all(|known| known.device != fault.device);
            if first {
                tracing::error!(
                    device = %fault.device,
                    fault = ?fault.fault,
                    "the device has failed, only a new process can use it again: {}",
                    fault.message
                );
                faults.push(fault);
            }
            first
        });
    }

    /// Latches what an error says of the device, if it says that it has failed.
    pub fn notice(&self, device: Device, error: &BackendError) {
        if let BackendError::Device { fault, message, .. } = error
            && fault.poisons()
        {
            self.report(Fault { device, fault: *fault, message: message.clone() });
        }
    }

    /// The fault of this device, if it has one.
    #[must_use]
    pub fn of(&self, device: Device) -> Option<Fault> {
        self.0.borrow().iter().find(|fault| fault.device == device).cloned()
    }

    /// Whether no device has failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Waits until more than `known` devices have failed; all faults there are.
    pub async fn more_than(&self, known: usize) -> Vec<Fault> {
        let mut faults = self.0.subscribe();
        match faults.wait_for(|faults| faults.len() > known).await {
            Ok(faults) => faults.clone(),
            // The sender lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Default for DeviceFaults {
    fn default() -> Self {
        Self::new()
    }
}
