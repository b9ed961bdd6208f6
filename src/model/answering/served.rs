//! A version in service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::batching::Batching;
use crate::device_health::{DeviceHealth, Fault};
use crate::instance::{Instance, Order, QueuedRequest, RowState};
use crate::metrics::{FailureReason, ModelMetrics};
use crate::model::placement::Placement;
use crate::model_config::{Binding, InstanceGroup, ModelConfig};
use crate::transform::{Postprocessor, Preprocessor, Transforms};
use cresset_backend::{Leaf, ModelFormat};
use cresset_protocol::{ModelMetadata, ModelStatistics, NonFinite, TensorMetadata};
use cresset_scheduler::Queue;

/// A loaded version with its queue and its instances; dropping the last
/// reference does not stop it, [`ServedModel::stop`] does.
pub struct ServedModel {
    pub(in crate::model) name: Arc<str>,
    pub(in crate::model) version: u64,
    /// The format of its file.
    pub(in crate::model) format: &'static ModelFormat,
    pub(in crate::model) config: Arc<ModelConfig>,
    pub(in crate::model) binding: Arc<Binding>,
    pub(in crate::model) batching: Batching,
    /// Whether its outputs are rows.
    pub(in crate::model) rows: Arc<RowState>,
    /// Whether its configuration asks for batches across callers.
    pub(in crate::model) asked_to_batch: bool,
    /// The error of a model that failed on everything that was tried at load.
    pub(in crate::model) fails: Option<String>,
    /// A short body that it ran on at load.
    pub(in crate::model) example: Option<Box<str>>,
    pub(in crate::model) transforms: Option<Arc<Transforms>>,
    pub(in crate::model) non_finite: NonFinite,
    pub(in crate::model) placements: Vec<Placement>,
    /// What a calibration showed, or why there was none.
    pub(in crate::model) plan_reason: Option<String>,
    /// The configuration as clients get it.
    pub(in crate::model) config_json: Bytes,
    /// What its settings do to its answers.
    pub(in crate::model) precision_note: Option<String>,
    pub(in crate::model) load_time: Duration,
    pub(in crate::model) queue: Arc<Queue<QueuedRequest>>,
    /// Present if answers are to leave in the order of their requests.
    pub(in crate::model) order: Option<Arc<Order>>,
    pub(in crate::model) metrics: Arc<ModelMetrics>,
    pub(in crate::model) health: DeviceHealth,
    /// Taken out by `stop`, which joins them.
    pub(in crate::model) instances: Mutex<Vec<Instance>>,
}

impl ServedModel {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A body for `POST /predictions/<model>` that the model ran on when it was
    /// loaded, if there is a short one.
    #[must_use]
    pub fn example(&self) -> Option<&str> {
        self.example.as_deref()
    }

    /// Its version's number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its preprocessor, which makes inputs of items that clients send.
    #[must_use]
    pub fn preprocessor(&self) -> Option<&Arc<dyn Preprocessor>> {
        self.transforms.as_ref()?.preprocessor()
    }

    /// Its postprocessor, which makes answers of its outputs.
    #[must_use]
    pub fn postprocessor(&self) -> Option<&Arc<dyn Postprocessor>> {
        self.transforms.as_ref()?.postprocessor()
    }

    /// What stands for NaN and infinities if JSON is meant to be strict.
    #[must_use]
    pub fn non_finite(&self) -> NonFinite {
        self.non_finite
    }

    /// On which devices it runs, with how many instances and threads.
    #[must_use]
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// What a calibration of instances and threads showed:
    /// `rows/s at warm-up: 2x1 114, 1x2 98`; or why there was none. `None` if there
    /// was nothing to choose between.
    #[must_use]
    pub fn plan_reason(&self) -> Option<&str> {
        self.plan_reason.as_deref()
    }

    /// What its settings' precision does to its answers, as a trial run showed:
    /// `bf16 weights: answers differ by at most 0.013 (cosine 0.99997)`; `None`
    /// if they ask for nothing that could change them.
    #[must_use]
    pub fn precision_note(&self) -> Option<&str> {
        self.precision_note.as_deref()
    }

    /// What an operator should know of how it serves, a sentence each; nothing
    /// if all is as configured.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        // If a client's request has succeeded, the model works.
        let fails = self.fails.as_ref().filter(|_| self.statistics().inference_count == 0);
        let fails = fails.map(|error| format!("it fails on every input that was tried: {error}"));
        let apart = if self.asked_to_batch { self.rows.apart() } else { None };
        fails.into_iter().chain(apart).collect()
    }

    /// Its configuration in protobuf's JSON: what the file says, and what is
    /// in effect if the file leaves it open.
    #[must_use]
    pub fn config_json(&self) -> &Bytes {
        &self.config_json
    }

    /// The same as a message.
    #[must_use]
    pub fn config_message(&self) -> cresset_protocol::messages::config::ModelConfig {
        let groups: Vec<InstanceGroup> = self.placements.iter().map(Placement::group).collect();
        self.config.in_effect(self.format, &groups)
    }

    /// From the file's first byte to the last instance's being ready.
    #[must_use]
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The most rows of a batch; zero if nothing is batched.
    #[must_use]
    pub fn max_batch_size(&self) -> u32 {
        self.config.max_batch_size
    }

    /// Whether requests of several callers run together.
    #[must_use]
    pub fn batches(&self) -> bool {
        self.config.dynamic_batching.is_some()
    }

    /// The input of this name as configured, or the only one.
    #[must_use]
    pub fn input_datatype(&self, name: &str) -> Option<cresset_protocol::Datatype> {
        self.binding.input(name)?.datatype()
    }

    /// The name of the only input, if it takes strings.
    #[must_use]
    pub fn only_text(&self) -> Option<&str> {
        let only = self.binding.only_input().filter(|only| only.leaf == Leaf::Strings)?;
        Some(&only.name)
    }

    /// Whether requests of different lengths are padded to run together.
    #[must_use]
    pub fn pads(&self) -> bool {
        self.batching.padding.is_some()
    }

    /// The dims of an input as they are configured, and whether a batch is in
    /// front of them. `None` if the input isn't configured, or is the same for
    /// all rows.
    #[must_use]
    pub fn input_dims(&self, name: &str) -> Option<(&[i64], bool)> {
        let input = self.binding.input(name)?;
        let spec = input.spec.as_ref().filter(|_| input.leaf.shared().is_none())?;
        Some((&spec.dims, self.config.max_batch_size > 0))
    }

    /// The name of its input, if it has just one that a request must bring.
    #[must_use]
    pub fn only_input(&self) -> Option<&str> {
        self.binding.only_input().map(|only| only.name.as_str())
    }

    /// Whether it has an input of this name.
    #[must_use]
    pub fn has_input(&self, name: &str) -> bool {
        self.binding.input(name).is_some()
    }

    /// How many rows one request may hold, if the model batches; `usize::MAX` for any
    /// number.
    #[must_use]
    pub fn most_rows(&self) -> usize {
        if self.batching.splits() { usize::MAX } else { self.config.max_batch_size as usize }
    }

    /// `versions` are all that are served of this model.
    #[must_use]
    pub fn metadata(&self, versions: Vec<String>) -> ModelMetadata {
        let batch = (self.config.max_batch_size > 0).then_some(-1);
        let tensor = |name: &str, spec: Option<&crate::model_config::TensorConfig>| TensorMetadata {
            name: name.to_owned(),
            datatype: spec.map_or_else(String::new, |spec| spec.datatype.name().to_owned()),
            shape: spec
                .map_or_else(Vec::new, |spec| batch.into_iter().chain(spec.dims.iter().copied()).collect()),
        };
        ModelMetadata {
            name: self.name.to_string(),
            versions,
            platform: self.format.names.platform.to_owned(),
            inputs: if !self.config.inputs.is_empty() {
                self.config.inputs.iter().map(|input| tensor(&input.name, Some(input))).collect()
            } else {
                self.binding.inputs.iter().map(|input| tensor(&input.name, None)).collect()
            },
            outputs: self.config.outputs.iter().map(|output| tensor(&output.name, Some(output))).collect(),
        }
    }

    /// What it has done since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> ModelStatistics {
        self.metrics.statistics(&self.name, self.version)
    }

    /// The fault of a device that it runs on, if one has failed.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.placements.iter().find_map(|placement| self.health.fault(placement.device))
    }

    /// Answers the waiting requests with the fault of its device, and accepts
    /// no more. Nothing happens if its devices are well.
    pub fn fail_waiting(&self) {
        let Some(fault) = self.fault() else { return };
        for request in self.queue.close_and_take() {
            request.responder.fail(FailureReason::Backend, fault.error());
        }
    }

    /// Accepts no more requests, finishes the waiting ones, and ends the
    /// instances.
    pub fn stop(&self) {
        self.queue.close();
        let instances = std::mem::take(&mut *self.instances.lock().unwrap_or_else(PoisonError::into_inner));
        instances.into_iter().for_each(Instance::join);
    }
}
