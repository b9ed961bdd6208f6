//! The server's own times, from its statistics before and after.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::client::Client;
use super::metadata::{ask, call};
use super::payload::Payload;
use super::site::{Site, Wire};
use cresset_protocol::Statistics;
use cresset_protocol::messages::inference::{ModelStatisticsRequest, ModelStatisticsResponse};

/// The statistics are not part of the load: if the server is too busy to answer
/// in this time, they are left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where to ask.
#[derive(Debug, Clone)]
pub(super) struct Statistician {
    pub(super) site: Arc<Site>,
    pub(super) model: String,
}

/// What a server has counted so far, all versions of the model together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Snapshot {
    requests: u64,
    rows: u64,
    executions: u64,
    queue_ns: u64,
    compute_ns: u64,
}

/// The server's own times of the requests that it answered, on average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerTimes {
    /// Requests that it counted.
    pub requests: u64,
    /// Milliseconds from arrival until the batch left.
    pub queue_ms: f64,
    /// Milliseconds of input, forward and output.
    pub compute_ms: f64,
    /// Rows in a batch.
    pub batch_size: f64,
}

impl Statistician {
    /// Asks for the statistics; `None` if the server has none.
    pub(super) async fn ask(&self) -> Option<Snapshot> {
        let mut client = Client::new(Arc::clone(&self.site), PATIENCE);
        match self.site.wire() {
            Wire::Http1 => {
                let path = format!("/v2/models/{}/stats", self.model);
                let (_, body) = ask(&mut client, Payload::get(&self.site, &path).ok()?).await.ok()?;
                Some(Snapshot::of(&serde_json::from_slice(&body).ok()?))
            }
            Wire::Http2 => {
                let request =
                    ModelStatisticsRequest { name: self.model.clone(), ..ModelStatisticsRequest::default() };
                let answer: ModelStatisticsResponse =
                    call(&mut client, &self.site, "ModelStatistics", &request).await.ok()?;
                Some(Snapshot::of_message(&answer))
            }
        }
    }
}

impl Snapshot {
    fn of(statistics: &Statistics) -> Self {
        let mut all = Self::default();
        for model in &statistics.model_stats {
            let times = &model.inference_stats;
            all.requests += times.success.count;
            all.rows += model.inference_count;
            all.executions += model.execution_count;
            all.queue_ns += times.queue.ns;
            all.compute_ns += times.compute_input.ns + times.compute_infer.ns + times.compute_output.ns;
        }
        all
    }

    fn of_message(statistics: &ModelStatisticsResponse) -> Self {
        let mut all = Self::default();
        for model in &statistics.model_stats {
            let Some(times) = &model.inference_stats else { continue };
            let ns = |duration: &Option<cresset_protocol::messages::inference::StatisticDuration>| {
                duration.as_ref().map_or(0, |duration| duration.ns)
            };
            all.requests += times.success.as_ref().map_or(0, |success| success.count);
            all.rows += model.inference_count;
            all.executions += model.execution_count;
            all.queue_ns += ns(&times.queue);
            all.compute_ns += ns(&times.compute_input) + ns(&times.compute_infer) + ns(&times.compute_output);
        }
        all
    }

    /// The difference of two snapshots; `None` if nothing was counted in
    /// between, or if the server restarted.
    pub(super) fn since(self, before: Self) -> Option<ServerTimes> {
        let requests = self.requests.checked_sub(before.requests).filter(|requests| *requests > 0)?;
        let executions = self.executions.checked_sub(before.executions)?;
        let rows = self.rows.checked_sub(before.rows)?;
        let each =
            |after: u64, before: u64| after.checked_sub(before).map(|ns| ns as f64 / 1e6 / requests as f64);
        Some(ServerTimes {
            requests,
            queue_ms: each(self.queue_ns, before.queue_ns)?,
            compute_ms: each(self.compute_ns, before.compute_ns)?,
            batch_size: if executions > 0 { rows as f64 / executions as f64 } else { 0.0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_snapshots_make_averages() {
        let before = Snapshot { requests: 10, rows: 10, executions: 10, queue_ns: 5, compute_ns: 5 };
        let after =
            Snapshot { requests: 14, rows: 18, executions: 12, queue_ns: 4_000_005, compute_ns: 8_000_005 };
        let times = after.since(before).unwrap();
        assert_eq!(times, ServerTimes { requests: 4, queue_ms: 1.0, compute_ms: 2.0, batch_size: 4.0 });
        assert_eq!(before.since(before), None);
        assert_eq!(before.since(after), None, "the server began anew");
    }
}
