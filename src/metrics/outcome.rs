//! Why a request failed, and where its time went.

use std::time::Duration;

/// Why a request failed, by Triton's values of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// Refused: it never ran.
    Rejected,
    /// Its client went away.
    Canceled,
    /// The model failed.
    Backend,
    /// Anything else.
    Other,
}

impl FailureReason {
    pub(super) const ALL: [Self; 4] = [Self::Rejected, Self::Canceled, Self::Backend, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rejected => "REJECTED",
            Self::Canceled => "CANCELED",
            Self::Backend => "BACKEND",
            Self::Other => "OTHER",
        }
    }
}

/// Where a request's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// From its arrival until its batch left.
    pub queue: Duration,
    /// Collecting the batch's inputs.
    pub input: Duration,
    /// The model's forward.
    pub infer: Duration,
    /// Cutting the outputs into responses.
    pub output: Duration,
}

impl Durations {
    /// From arrival to answer.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.queue + self.input + self.infer + self.output
    }
}
