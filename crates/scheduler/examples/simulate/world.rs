//! Simulated clients, instances and time around the real batcher. Time is a
//! number of nanoseconds that jumps from one event to the next.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use cresset_scheduler::{
    Batch, Batcher, BatchingPolicy, Decision, Lengths, PaddedRun, Policy, QueuePolicy, Ran, RowSize,
    Schedulable, Ticket, TimingPolicy,
};

use crate::chance::Chance;
use crate::scenario::{Kind, LENGTHS, Load, MULTIPLE_OF, Scenario};

/// Relative to the duration of a batch.
const NOISE: f64 = 0.05;
/// From waking an instance to its running.
const WAKE: f64 = 0.04;
/// Collecting a batch; answering it takes as long.
const COLLECT: f64 = 0.03;
const ANSWER: f64 = 0.03;
/// From a client's answer to its next request: the minimum, and the average
/// beyond it.
const AGAIN: (f64, f64) = (0.1, 0.2);
/// From a refusal to the client's next request.
const REFUSED: f64 = 5.0;
/// The additional time of the first batch of a size: a multiple of its own
/// time, and a constant.
const FIRST: (f64, f64) = (2.0, 10.0);
/// The factor for batches of `LARGE` rows and more while the machine is
/// disturbed.
const DISTURBED: f64 = 3.0;
const LARGE: u32 = 8;
/// The factor for a batch that begins next to another instance's.
const CONTENDED: f64 = 1.25;
/// As in `instance::pace` and `instance::places`.
const MARGIN: f64 = 0.2;
const PLACES: usize = 4;
/// The default of `cresset.toml`.
const MAX_WASTE: f64 = 0.5;

const SHAPE: [i64; 1] = [7];
const CAPACITY: usize = 100_000;

struct Request {
    client: u32,
    arrival: Instant,
    length: u32,
}

impl Schedulable for Request {
    fn rows(&self) -> u32 {
        1
    }
    fn bucket(&self) -> &[i64] {
        &SHAPE
    }
    fn size(&self) -> RowSize {
        RowSize { length: self.length, per_length: 1, fixed: 0 }
    }
    fn arrival(&self) -> Instant {
        self.arrival
    }
    fn cancelled(&self) -> bool {
        false
    }
    fn expire(self) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive {
        client: u32,
    },
    /// The instance asks the queue, unless it has asked since.
    Look {
        instance: usize,
        asked: u64,
    },
    Land {
        instance: usize,
    },
    /// A run on the server's own account is over.
    Warmed {
        instance: usize,
        rows: u32,
    },
}

struct Running {
    batch: Batch<Request>,
    ticket: Ticket,
    took: Duration,
    /// Without noise.
    usual: f64,
    size: u64,
}

#[derive(Default)]
struct InstanceState {
    asked: u64,
    running: VecDeque<Running>,
    warms: bool,
    /// When its device will have finished its work, and when that is expected.
    free: u64,
    expected: u64,
}

/// The figures that clients see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Requests a second that were answered, within the target if there is one.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    lengths: Lengths,
    batcher: Batcher<Request>,
    start: Instant,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    instances: Vec<InstanceState>,
    /// In the order in which they fell asleep; instances that collect ahead may
    /// not take the batch.
    sleepers: Vec<(usize, bool)>,
    /// Sizes that have run.
    warm: BTreeSet<u32>,
    /// Sizes to be run on the server's own account.
    errands: VecDeque<u32>,
    coming: Chance,
    noise: Chance,
    latencies: Vec<(u64, f64)>,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let curve = &scenario.curve;
        let lengths = Lengths { multiple_of: MULTIPLE_OF, max_length: Some(LENGTHS.1), max_waste: MAX_WASTE };
        let policy = Policy {
            queue: QueuePolicy { capacity: CAPACITY, ..QueuePolicy::default() },
            batching: BatchingPolicy {
                max_batch_size: Some(curve.max_batch),
                lengths: curve.has_lengths().then_some(lengths),
                ..BatchingPolicy::default()
            },
            timing: TimingPolicy {
                latency_target: scenario.target().map(|target| Duration::from_secs_f64(target / 1e3)),
                ..TimingPolicy::default()
            },
            instances: scenario.instances,
            ..Policy::default()
        };
        let mut world = Self {
            scenario,
            lengths,
            batcher: Batcher::new(policy),
            start: cresset_clock::now(),
            now: 0,
            events: BinaryHeap::new(),
            number: 0,
            instances: (0..scenario.instances).map(|_| InstanceState::default()).collect(),
            sleepers: Vec::new(),
            warm: BTreeSet::new(),
            errands: VecDeque::new(),
            coming: Chance::of(2 * seed),
            noise: Chance::of(2 * seed + 1),
            latencies: Vec::new(),
        };
        world.warm_up();
        world
    }

    /// Runs the simulation from start to end.
    pub(crate) fn run(mut self) -> Outcome {
        let (all, skipped) = self.scenario.requests();
        match self.scenario.load {
            Load::Closed(clients) => {
                for client in 0..clients {
                    let after = self.coming.exponential(AGAIN.1);
                    self.after(after, Event::Arrive { client });
                }
            }
            Load::Open(_) => self.after(0.0, Event::Arrive { client: 0 }),
        }
        for instance in 0..self.instances.len() {
            self.after(0.0, Event::Look { instance, asked: 0 });
        }
        while self.latencies.len() < all
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            self.now = at;
            match event {
                Event::Arrive { client } => self.arrive(client),
                Event::Look { instance, asked } if asked == self.instances[instance].asked => {
                    self.look(instance)
                }
                Event::Look { .. } => {}
                Event::Land { instance } => self.land(instance),
                Event::Warmed { instance, rows } => self.warmed(instance, rows),
            }
        }
        self.outcome(skipped)
    }

    fn outcome(&self, skipped: usize) -> Outcome {
        let began = skipped.checked_sub(1).map_or(0, |last| self.latencies[last].0);
        let counted = &self.latencies[skipped..];
        let mut sorted: Vec<f64> = counted.iter().map(|(_, latency)| *latency).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
        let target = self.scenario.target().unwrap_or(f64::INFINITY);
        let good = sorted.partition_point(|latency| *latency <= target);
        Outcome { rate: good as f64 / ((self.now - began) as f64 / 1e9), p50: at(0.5), p99: at(0.99) }
    }

    /// The sizes that a server runs before it is ready, and afterwards.
    fn warm_up(&mut self) {
        let max = self.scenario.curve.max_batch;
        let powers = std::iter::successors(Some(1_u32), |size| size.checked_mul(2));
        let sizes: Vec<u32> = powers.take_while(|size| *size < max).chain([max]).collect();
        let cold = self.scenario.kind == Kind::Cold;
        if cold {
            self.errands = sizes.iter().skip(1).flat_map(|size| [*size, *size]).collect();
        }
        if self.scenario.curve.has_lengths() {
            return;
        }
        for rows in sizes.into_iter().take(if cold { 1 } else { usize::MAX }) {
            self.warm.insert(rows);
            let took = Duration::from_secs_f64(self.scenario.curve.millis(rows, 0) / 1e3);
            self.batcher.tried(&SHAPE, rows, took);
        }
    }

    fn after(&mut self, millis: f64, event: Event) {
        self.at(self.now + nanos(millis), event);
    }

    fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, event)));
    }

    fn instant(&self, time: u64) -> Instant {
        self.start + Duration::from_nanos(time)
    }

    fn arrive(&mut self, client: u32) {
        if let Some(offered) = self.scenario.offered() {
            let gap = self.coming.exponential(1e3 / offered);
            self.after(gap, Event::Arrive { client });
        }
        let length = self.coming.between(LENGTHS);
        let request = Request { client, arrival: self.instant(self.now), length };
        if self.batcher.late(&request).is_some() || self.batcher.push(request).is_err() {
            if self.scenario.offered().is_none() {
                self.after(REFUSED, Event::Arrive { client });
            }
            return;
        }
        self.call();
    }

    /// Like `Queue::call`.
    fn call(&mut self) {
        let called = match self.sleepers.iter().rposition(|(_, reluctant)| !reluctant) {
            Some(place) => vec![self.sleepers.remove(place)],
            None => std::mem::take(&mut self.sleepers),
        };
        for (instance, _) in called {
            self.after(WAKE, Event::Look { instance, asked: self.instances[instance].asked });
        }
    }

    /// Like `Queue::next` and the drives around it.
    fn look(&mut self, instance: usize) {
        self.instances[instance].asked += 1;
        self.sleepers.retain(|(sleeper, _)| *sleeper != instance);
        let overlapped = self.scenario.curve.overlapped;
        let (flying, expected) = (self.instances[instance].running.len(), self.instances[instance].expected);
        let full = if overlapped { PLACES } else { 1 };
        if flying >= full || self.instances[instance].warms || self.runs_errand(instance) {
            return;
        }
        let now = self.instant(self.now);
        let ahead = expected.saturating_sub(nanos(2.0 * COLLECT + MARGIN));
        let decision = match flying {
            0 => self.batcher.next(now),
            1 if ahead <= self.now => self.batcher.next(now),
            1 => {
                let due = self.instant(ahead);
                self.batcher.next_full(now).map_or(Decision::WaitUntil(due), run)
            }
            _ => self.batcher.next_full(now).map_or(Decision::Idle, run),
        };
        match decision {
            Decision::Run(batch, ticket) => {
                if !self.batcher.is_empty() {
                    self.call();
                }
                self.begin(instance, batch, ticket);
            }
            Decision::WaitUntil(due) => {
                let due = u64::try_from((due - self.start).as_nanos()).unwrap_or(u64::MAX);
                self.sleepers.push((instance, flying > 0));
                self.at(
                    due.max(self.now + 1),
                    Event::Look { instance, asked: self.instances[instance].asked },
                );
            }
            Decision::Idle => self.sleepers.push((instance, flying > 0)),
        }
    }

    fn begin(&mut self, instance: usize, batch: Batch<Request>, ticket: Ticket) {
        let curve = &self.scenario.curve;
        let longest = batch.requests.iter().map(|request| request.length).max().unwrap_or(0);
        let length = self.lengths.padded(longest);
        let usual = curve.millis(batch.rows, length);
        let mut millis = usual * self.noise.lognormal(NOISE);
        if self.scenario.kind == Kind::Cold && self.warm.insert(batch.rows) {
            millis = millis * FIRST.0 + FIRST.1;
        }
        if self.scenario.kind == Kind::Disturbed
            && self.latencies.len() < self.scenario.requests().0 / 3
            && batch.rows >= LARGE
        {
            millis *= DISTURBED;
        }
        if self.scenario.kind == Kind::Contended
            && self.instances.iter().any(|state| !state.running.is_empty())
        {
            millis *= CONTENDED;
        }
        let collected = self.now + nanos(COLLECT);
        let state = &mut self.instances[instance];
        let land = collected.max(state.free) + nanos(millis);
        state.free = land;
        state.expected = collected.max(state.expected) + nanos(usual);
        let (took, size) = (Duration::from_nanos(nanos(millis)), u64::from(batch.rows) * u64::from(length));
        state.running.push_back(Running { batch, ticket, took, usual, size });
        let asked = state.asked;
        self.at(land, Event::Land { instance });
        if curve.overlapped {
            self.at(collected, Event::Look { instance, asked });
        }
    }

    fn land(&mut self, instance: usize) {
        let state = &mut self.instances[instance];
        let Some(Running { batch, ticket, took, size, .. }) = state.running.pop_front() else { return };
        state.expected = self.now + nanos(state.running.iter().map(|running| running.usual).sum());
        let asked = state.asked;
        let padded = self.scenario.curve.has_lengths().then_some(PaddedRun { size, computed: took });
        self.batcher.finish(ticket, Some(Ran { took, padded }));
        let now = self.instant(self.now);
        for request in batch.requests {
            let latency = (now - request.arrival).as_secs_f64() * 1e3 + ANSWER;
            self.latencies.push((self.now, latency));
            if self.scenario.offered().is_none() {
                let again = AGAIN.0 + self.coming.exponential(AGAIN.1);
                self.after(ANSWER + again, Event::Arrive { client: request.client });
            }
        }
        // With a device, another thread answers.
        let busy = if self.scenario.curve.overlapped { 0.0 } else { ANSWER };
        self.after(busy, Event::Look { instance, asked });
    }

    /// Like `instance::later`: one instance at a time, while nothing waits.
    fn runs_errand(&mut self, instance: usize) -> bool {
        let taken = self.instances.iter().any(|state| state.warms);
        if taken || !self.batcher.is_empty() {
            return false;
        }
        let Some(rows) = self.errands.pop_front() else { return false };
        let mut millis = self.scenario.curve.millis(rows, 0) * self.noise.lognormal(NOISE);
        if self.warm.insert(rows) {
            millis = millis * FIRST.0 + FIRST.1;
        }
        self.instances[instance].warms = true;
        self.after(millis, Event::Warmed { instance, rows });
        true
    }

    fn warmed(&mut self, instance: usize, rows: u32) {
        self.instances[instance].warms = false;
        let took = Duration::from_secs_f64(self.scenario.curve.millis(rows, 0) / 1e3);
        self.batcher.tried(&SHAPE, rows, took);
        self.look(instance);
    }
}

fn run((batch, ticket): (Batch<Request>, Ticket)) -> Decision<Request> {
    Decision::Run(batch, ticket)
}

fn nanos(millis: f64) -> u64 {
    (millis * 1e6) as u64
}
