//! A simulated server: instances with known times, and simulated time.

use super::*;

/// A server of the given instances, whose batches take the time of `took`, and
/// clients that don't wait for each other.
pub(super) struct Simulation {
    pub(super) batcher: Batcher<Request>,
    instances: usize,
    took: Box<dyn Fn(u32) -> Duration>,
    /// Times vary by this fraction.
    pub(super) jitter: f64,
    pub(super) random: u64,
}

/// The outcome of a simulation.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) offered: usize,
    pub(super) refused: usize,
    /// In the order of their answers.
    pub(super) answered: Vec<Answered>,
    pub(super) batches: usize,
}

/// A request that was answered: times from the simulation's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) came: Duration,
    pub(super) left: Duration,
    pub(super) ended: Duration,
}

impl Answered {
    pub(super) fn latency(&self) -> Duration {
        self.ended - self.came
    }

    pub(super) fn waited(&self) -> Duration {
        self.left - self.came
    }
}

impl Outcome {
    pub(super) fn in_time(&self, target: Duration) -> usize {
        self.answered.iter().filter(|answered| answered.latency() <= target).count()
    }

    /// Of the latencies.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted: Vec<Duration> = self.answered.iter().map(Answered::latency).collect();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * percent / 100]
    }
}

impl Simulation {
    pub(super) fn new(
        instances: usize,
        max: u32,
        target: Option<Duration>,
        took: impl Fn(u32) -> Duration + 'static,
    ) -> Self {
        let policy = with(policy(max, &[], Duration::ZERO), |p| {
            p.instances = instances;
            p.timing.latency_target = target;
            p.queue.capacity = 4096;
        });
        let mut batcher = Batcher::new(policy);
        let sizes = std::iter::successors(Some(1_u32), |size| Some(size * 2)).take_while(|size| *size <= max);
        sizes.for_each(|size| batcher.tried(&[0], size, took(size)));
        Self { batcher, instances, took: Box::new(took), jitter: 0.05, random: 7 }
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Arrivals of a Poisson process, `rate` a second on average.
    pub(super) fn poisson(&mut self, rate: f64, seconds: f64) -> Vec<Duration> {
        let mut at = 0.0;
        let mut all = Vec::new();
        loop {
            at -= (1.0 - self.unit()).ln() / rate;
            if at > seconds {
                return all;
            }
            all.push(Duration::from_secs_f64(at));
        }
    }

    pub(super) fn run(mut self, arrivals: &[Duration]) -> Outcome {
        let start = clock::now();
        let mut outcome = Outcome { offered: arrivals.len(), ..Outcome::default() };
        let mut coming = arrivals.iter().enumerate().peekable();
        // The start, the end and the requests of each batch.
        let mut running: Vec<(Instant, Instant, Batch<Request>)> = Vec::new();
        let mut now = start;
        let mut wake: Option<Instant> = None;
        loop {
            let arrival = coming.peek().map(|(_, after)| start + **after);
            let ends = running.iter().map(|(_, ends, _)| *ends).min();
            let Some(next) = [arrival, ends, wake.filter(|wake| *wake > now)].into_iter().flatten().min()
            else {
                assert!(self.batcher.is_empty(), "everybody leaves");
                return outcome;
            };
            now = next;
            if arrival == Some(now)
                && let Some((id, _)) = coming.next()
            {
                let one = request(id, 1, 0, now);
                match self.batcher.late(&one) {
                    Some(_) => outcome.refused += 1,
                    None => assert!(self.batcher.push(one).is_ok()),
                }
            }
            while let Some(over) = running.iter().position(|(_, ends, _)| *ends <= now) {
                let (began, ends, batch) = running.swap_remove(over);
                self.batcher.done_for_test(&[0], batch.rows, Some(ends - began));
                let [left, ended] = [began, ends].map(|at| at - start);
                let came = batch.requests.iter().map(|request| request.arrival - start);
                outcome.answered.extend(came.map(|came| Answered { came, left, ended }));
            }
            wake = None;
            while running.len() < self.instances {
                match self.batcher.next(now) {
                    Decision::Run(batch, _) => {
                        outcome.batches += 1;
                        let vary = 1.0 + self.jitter * (2.0 * self.unit() - 1.0);
                        running.push((now, now + (self.took)(batch.rows).mul_f64(vary), batch));
                    }
                    Decision::WaitUntil(due) => {
                        wake = Some(due);
                        break;
                    }
                    Decision::Idle => break,
                }
            }
        }
    }
}
