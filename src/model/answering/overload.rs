//! What a model answers if there is too much before a request.

use std::time::Duration;

use super::served::ServedModel;
use crate::error::{Error, Result};
use crate::metrics::FailureReason;
use cresset_scheduler::{Bound, Coming, Late, Overload};

impl ServedModel {
    /// Whether a further request may come: what can be said before anything but
    /// its model is known. It costs next to nothing, so it is asked before a body
    /// is read. A request that may come may still be refused.
    ///
    /// # Errors
    /// That its queue is full, or that any request would wait for too long.
    pub fn admit(&self) -> Result<()> {
        let Some(overload) = self.queue.overload() else { return Ok(()) };
        self.metrics.failed(FailureReason::Rejected, Duration::ZERO);
        Err(self.overloaded(&overload))
    }

    /// The same for a request whose body was read, and whose `rows` rows are made
    /// ready. While the result is held they count as if they waited.
    ///
    /// # Errors
    /// As [`ServedModel::admit`].
    pub fn expect(&self, rows: usize) -> Result<Coming<'_>> {
        self.admit()?;
        Ok(self.queue.coming(rows))
    }

    /// The error of a request that is refused for this reason.
    pub(super) fn overloaded(&self, overload: &Overload) -> Error {
        let name = &self.name;
        let text = match overload {
            Overload::Full { .. } => format!("Exceeds maximum queue size: model '{name}' is overloaded"),
            Overload::Late(late @ Late { bound, .. }) => match bound {
                Bound::Target | Bound::Deadline => format!("model '{name}' is overloaded: {late}"),
                Bound::Wait => format!("model '{name}' is overloaded: {late} (--max-queue-wait)"),
                // Triton's words, earlier.
                Bound::TimeLimit => format!("Request timeout expired: {late}"),
            },
        };
        let retry = overload.over_in().map(|(over_in, needs)| over_in + spread(needs));
        Error::unavailable(text).with_retry_after(retry)
    }
}

/// A time of up to twice what the queue needs, by chance. Clients that were
/// refused together and came again together would be refused again.
fn spread(needs: Duration) -> Duration {
    needs.mul_f64(2.0 * fastrand::f64())
}
