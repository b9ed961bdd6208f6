//! Which devices this process can use.
//!
//! After an assertion or an illegal address in a kernel, CUDA fails every
//! further call of the process. The server is then no longer ready, no instance
//! uses the device again, and the server ends so that its orchestrator restarts
//! it (`serve`).
//!
//! This process can't use such a device again. A model's own process could be
//! restarted: [`DeviceHealth::recovered`] is for that case, and nothing calls it
//! yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Error, ErrorCode};
use cresset_backend::{BackendError, Device, DeviceFault};

/// The failure of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The device.
    pub device: Device,
    /// The kind of failure.
    pub fault: DeviceFault,
    /// The library's message.
    pub message: String,
}

impl Fault {
    /// The error for requests from now on.
    #[must_use]
    pub fn error(&self) -> Error {
        let device = self.device;
        Error::new(
            ErrorCode::Unavailable,
            format!("device {device} has failed and this server can't use it any more: {}", self.message),
        )
    }
}

/// The health of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// It never failed.
    Healthy,
    /// It can't be used, because of this fault.
    Failed(Fault),
    /// It can be used again after this fault.
    Recovered(Fault),
}

/// The states of all devices, shared by the instances, the health endpoints and
/// the server. A clone shares the same states.
#[derive(Debug, Clone)]
pub struct DeviceHealth(Arc<watch::Sender<States>>);

/// The devices that have failed at some time.
#[derive(Debug, Default)]
struct States {
    devices: BTreeMap<Device, DeviceState>,
    /// How many failures there were, including those of devices that recovered.
    failures: u64,
}

impl DeviceHealth {
    /// All devices are healthy.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(States::default())))
    }

    /// Marks the fault's device as failed. The first fault stays until the device
    /// recovers: later faults follow from it.
    pub fn failed(&self, fault: Fault) {
        self.0.send_if_modified(|states| {
            if states.fault(fault.device).is_some() {
                return false;
            }
            tracing::error!(
                device = %fault.device,
                fault = ?fault.fault,
                "the device has failed, only a new process can use it again: {}",
                fault.message
            );
            states.failures += 1;
            states.devices.insert(fault.device, DeviceState::Failed(fault));
            true
        });
    }

    /// Marks the device as failed if the error says that it has.
    pub fn notice(&self, device: Device, error: &BackendError) {
        if let BackendError::Device { fault, message, .. } = error
            && fault.poisons()
        {
            self.failed(Fault { device, fault: *fault, message: message.clone() });
        }
    }

    /// Marks the device as usable again, if it had failed.
    pub fn recovered(&self, device: Device) {
        self.0.send_if_modified(|states| {
            let Some(fault) = states.fault(device).cloned() else { return false };
            tracing::warn!(%device, "the device can be used again");
            states.devices.insert(device, DeviceState::Recovered(fault));
            true
        });
    }

    /// The state of this device.
    #[must_use]
    pub fn state(&self, device: Device) -> DeviceState {
        self.0.borrow().devices.get(&device).cloned().unwrap_or(DeviceState::Healthy)
    }

    /// The fault of this device; `None` if it can be used.
    #[must_use]
    pub fn fault(&self, device: Device) -> Option<Fault> {
        self.0.borrow().fault(device).cloned()
    }

    /// Whether this device can be used.
    #[must_use]
    pub fn is_healthy(&self, device: Device) -> bool {
        self.0.borrow().fault(device).is_none()
    }

    /// Whether every device can be used.
    #[must_use]
    pub fn all_healthy(&self) -> bool {
        !self.0.borrow().devices.values().any(|state| matches!(state, DeviceState::Failed(_)))
    }

    /// Waits until there were more than `known` failures, and returns how many
    /// there were. Recoveries don't lower the number.
    pub async fn more_failures_than(&self, known: u64) -> u64 {
        let mut states = self.0.subscribe();
        let waited = states.wait_for(|states| states.failures > known).await.map(|states| states.failures);
        match waited {
            Ok(failures) => failures,
            // The sender lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }
}

impl States {
    fn fault(&self, device: Device) -> Option<&Fault> {
        match self.devices.get(&device)? {
            DeviceState::Failed(fault) => Some(fault),
            DeviceState::Healthy | DeviceState::Recovered(_) => None,
        }
    }
}

impl Default for DeviceHealth {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FIRST: Device = Device::cuda(0);
    const SECOND: Device = Device::cuda(1);

    fn fault(device: Device, message: &str) -> Fault {
        Fault { device, fault: DeviceFault::Assert, message: message.to_owned() }
    }

    #[test]
    fn a_device_fails_for_itself_and_keeps_its_first_fault() {
        let health = DeviceHealth::new();
        assert!(health.all_healthy() && health.is_healthy(FIRST));
        assert_eq!(health.state(FIRST), DeviceState::Healthy);
        health.failed(fault(FIRST, "an index"));
        health.clone().failed(fault(FIRST, "what follows"));
        assert_eq!(health.fault(FIRST), Some(fault(FIRST, "an index")));
        assert_eq!(health.state(FIRST), DeviceState::Failed(fault(FIRST, "an index")));
        assert!(!health.all_healthy() && !health.is_healthy(FIRST));
        assert!(health.is_healthy(SECOND) && health.is_healthy(Device::Cpu));
        let error = fault(FIRST, "an index").error();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert_eq!(
            error.to_string(),
            "device cuda:0 has failed and this server can't use it any more: an index"
        );
    }

    #[test]
    fn a_device_that_recovers_is_healthy_until_it_fails_again() {
        let health = DeviceHealth::new();
        health.recovered(FIRST);
        assert_eq!(health.state(FIRST), DeviceState::Healthy, "it hadn't failed");
        health.failed(fault(FIRST, "one"));
        health.failed(fault(SECOND, "two"));
        health.recovered(FIRST);
        assert!(health.is_healthy(FIRST) && health.fault(FIRST).is_none());
        assert_eq!(health.state(FIRST), DeviceState::Recovered(fault(FIRST, "one")));
        assert!(!health.all_healthy(), "the other hasn't");
        health.recovered(SECOND);
        assert!(health.all_healthy());
        health.failed(fault(FIRST, "three"));
        assert_eq!(health.fault(FIRST), Some(fault(FIRST, "three")));
    }

    #[test]
    fn only_an_error_that_ends_the_device_counts() {
        let health = DeviceHealth::new();
        let (message, detail) = ("m".to_owned(), String::new());
        let of = |fault| BackendError::Device { fault, message: message.clone(), detail: detail.clone() };
        health.notice(FIRST, &of(DeviceFault::Unavailable));
        health.notice(FIRST, &BackendError::Gone { message: message.clone(), detail: detail.clone() });
        health.notice(FIRST, &BackendError::OutOfMemory { message: message.clone(), detail: detail.clone() });
        assert!(health.all_healthy());
        health.notice(FIRST, &of(DeviceFault::Lost));
        assert_eq!(health.fault(FIRST).map(|fault| fault.fault), Some(DeviceFault::Lost));
    }

    #[tokio::test]
    async fn each_failure_is_waited_for_once() {
        let health = DeviceHealth::new();
        let waiting = health.clone();
        let first = tokio::spawn(async move { waiting.more_failures_than(0).await });
        health.failed(fault(FIRST, "one"));
        assert_eq!(first.await.unwrap(), 1);
        health.failed(fault(FIRST, "it has failed"));
        health.recovered(FIRST);
        let more = tokio::time::timeout(Duration::from_millis(20), health.more_failures_than(1)).await;
        assert!(more.is_err(), "neither is a failure more");
        health.failed(fault(FIRST, "again"));
        health.failed(fault(SECOND, "too"));
        assert_eq!(health.more_failures_than(1).await, 3);
    }
}
