//! The statistics of a model's versions, in the form of Triton's statistics
//! extension.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `GET /v2/models/stats`, `GET /v2/models/{model}/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// One for each version.
    pub model_stats: Vec<ModelStatistics>,
}

/// One version, since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatistics {
    /// The model.
    pub name: String,
    /// The version's number.
    pub version: String,
    /// When the last request was answered, in milliseconds since 1970; zero if
    /// there was none.
    pub last_inference: u64,
    /// Rows computed for answered requests.
    pub inference_count: u64,
    /// Batches that ran.
    pub execution_count: u64,
    /// Requests by outcome, and the phases of answered ones.
    pub inference_stats: InferenceStatistics,
    /// By the size of the batch, ascending.
    pub batch_stats: Vec<BatchStatistics>,
}

/// Requests by outcome, and the time of the phases of answered ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InferenceStatistics {
    /// Answered by the model: from arrival to answer.
    pub success: DurationStatistic,
    /// Failed, refused or cancelled: from arrival to that.
    pub fail: DurationStatistic,
    /// From arrival until the batch left.
    pub queue: DurationStatistic,
    /// Collecting the batch's inputs.
    pub compute_input: DurationStatistic,
    /// The model's forward.
    pub compute_infer: DurationStatistic,
    /// Splitting the outputs into responses.
    pub compute_output: DurationStatistic,
    /// There is no cache: always zero.
    pub cache_hit: DurationStatistic,
    /// There is no cache: always zero.
    pub cache_miss: DurationStatistic,
}

/// Batches of one size that returned outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchStatistics {
    /// Rows.
    pub batch_size: u64,
    /// Collecting the inputs.
    pub compute_input: DurationStatistic,
    /// The model's forward.
    pub compute_infer: DurationStatistic,
    /// Splitting the outputs into responses.
    pub compute_output: DurationStatistic,
}

/// A count and a total duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DurationStatistic {
    /// How often.
    pub count: u64,
    /// The sum in nanoseconds.
    pub ns: u64,
}

impl DurationStatistic {
    /// Counts one more of this duration.
    pub fn add(&mut self, duration: Duration) {
        self.count += 1;
        self.ns = self.ns.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}
