//! The batcher with simulated time, and the queue with real threads.

mod lengths;
mod levels;
mod objective;
mod overload;
mod simulation;
mod sizes;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::running::RunningBatch;
use super::*;
use cresset_clock as clock;

#[derive(Debug)]
struct Request {
    id: usize,
    rows: u32,
    bucket: Vec<i64>,
    size: RowSize,
    arrival: Instant,
    cancelled: Cell<bool>,
    priority: u64,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    follows: bool,
}

impl Schedulable for Request {
    fn rows(&self) -> u32 {
        self.rows
    }
    fn bucket(&self) -> &[i64] {
        &self.bucket
    }
    fn size(&self) -> RowSize {
        self.size
    }
    fn arrival(&self) -> Instant {
        self.arrival
    }
    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }
    fn priority(&self) -> u64 {
        self.priority
    }
    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
    fn follows(&self) -> bool {
        self.follows
    }
    fn expire(self) {}
}

const MS: Duration = Duration::from_millis(1);

fn request(id: usize, rows: u32, bucket: i64, arrival: Instant) -> Request {
    let cancelled = Cell::new(false);
    let size = RowSize::default();
    Request {
        id,
        rows,
        bucket: vec![bucket],
        size,
        arrival,
        cancelled,
        priority: 0,
        timeout: None,
        deadline: None,
        follows: false,
    }
}

/// For batches of at most `max` rows, with room for a thousand requests.
fn policy(max: u32, preferred: &[u32], delay: Duration) -> Policy {
    Policy {
        queue: QueuePolicy { capacity: 1000, ..QueuePolicy::default() },
        batching: BatchingPolicy {
            max_batch_size: Some(max),
            preferred_batch_sizes: preferred.to_vec(),
            ..BatchingPolicy::default()
        },
        timing: TimingPolicy { max_queue_delay: delay, latency_target: None },
        ..Policy::default()
    }
}

/// For a model that runs each request by itself.
fn single(capacity: usize) -> Policy {
    Policy { queue: QueuePolicy::unconfigured(capacity), ..Policy::default() }
}

fn with(mut policy: Policy, change: impl FnOnce(&mut Policy)) -> Policy {
    change(&mut policy);
    policy
}

fn next_batch<T: Schedulable>(queue: &Queue<T>) -> Option<Batch<T>> {
    batch_of(queue.next(&Free))
}

fn batch_of<T: Schedulable>(next: Next<'_, T>) -> Option<Batch<T>> {
    match next {
        Next::Batch(batch, _) => Some(batch),
        Next::OtherWork | Next::Closed => None,
    }
}

/// An instance that only takes full batches.
struct Busy;

impl Taker for Busy {
    fn turn(&self) -> Turn {
        Turn::Later
    }
}

impl<T: Schedulable> Batcher<T> {
    /// The first running batch of this shape and `rows` is finished.
    fn done_for_test(&mut self, shape: &[i64], rows: u32, took: Option<Duration>) {
        let same = |batch: &RunningBatch| *batch.shape == *shape && batch.rows == rows;
        let found = self.running.iter().find_map(|(ticket, batch)| same(batch).then_some(ticket));
        self.finish(found.unwrap(), took.map(Ran::new));
    }
}

fn ids(decision: Decision<Request>) -> (Vec<usize>, CloseReason) {
    match decision {
        Decision::Run(batch, _) => (batch.requests.iter().map(|r| r.id).collect(), batch.reason),
        other @ (Decision::WaitUntil(_) | Decision::Idle) => panic!("expected a batch, got {other:?}"),
    }
}

#[test]
fn without_a_delay_a_batch_leaves_with_all_that_waits() {
    let start = clock::now();
    let mut batcher = Batcher::new(policy(8, &[], Duration::ZERO));
    for id in 0..3 {
        batcher.push(request(id, 1, 0, start)).unwrap();
    }
    assert_eq!(ids(batcher.next(start)), (vec![0, 1, 2], CloseReason::Ready));
    assert!(matches!(batcher.next(start), Decision::Idle));
}

#[test]
fn a_delay_counts_from_the_oldest_arrival() {
    let start = clock::now();
    let mut batcher = Batcher::new(policy(8, &[], 10 * MS));
    batcher.push(request(0, 1, 0, start)).unwrap();
    batcher.push(request(1, 1, 0, start + 9 * MS)).unwrap();
    match batcher.next(start + 9 * MS) {
        Decision::WaitUntil(due) => assert_eq!(due, start + 10 * MS),
        other @ (Decision::Run(..) | Decision::Idle) => panic!("{other:?}"),
    }
    assert_eq!(ids(batcher.next(start + 10 * MS)), (vec![0, 1], CloseReason::Delay));
}

#[test]
fn a_full_batch_and_a_preferred_size_leave_before_the_delay() {
    let start = clock::now();
    let mut full = Batcher::new(policy(4, &[], 10 * MS));
    for (id, rows) in [2, 1, 2].into_iter().enumerate() {
        full.push(request(id, rows, 0, start)).unwrap();
    }
    assert_eq!(ids(full.next(start)), (vec![0, 1], CloseReason::Full), "the third would not fit");
    assert!(matches!(full.next(start), Decision::WaitUntil(_)));

    let mut preferred = Batcher::new(policy(16, &[4, 8], 10 * MS));
    for id in 0..11 {
        preferred.push(request(id, 1, 0, start)).unwrap();
    }
    assert_eq!(ids(preferred.next(start)), ((0..8).collect(), CloseReason::Preferred));
    assert!(matches!(preferred.next(start), Decision::WaitUntil(_)), "three are no preferred size");
    assert_eq!(ids(preferred.next(start + 10 * MS)), ((8..11).collect(), CloseReason::Delay));
}

#[test]
fn an_odd_shape_cuts_no_batch_short() {
    let start = clock::now();
    let mut batcher = Batcher::new(policy(8, &[], Duration::ZERO));
    for (id, bucket) in [7, 9, 7, 7].into_iter().enumerate() {
        batcher.push(request(id, 1, bucket, start + MS * u32::try_from(id).unwrap())).unwrap();
    }
    assert_eq!(ids(batcher.next(start)).0, [0, 2, 3]);
    assert_eq!(ids(batcher.next(start)).0, [1]);
}

#[test]
fn a_model_without_batching_runs_one_request_at_a_time() {
    let start = clock::now();
    let mut batcher = Batcher::new(single(10));
    for id in 0..2 {
        batcher.push(request(id, 3, 0, start)).unwrap();
    }
    assert_eq!(ids(batcher.next(start)), (vec![0], CloseReason::Single));
    assert_eq!(ids(batcher.next(start)), (vec![1], CloseReason::Single));
}

#[test]
fn a_call_is_not_spent_on_an_instance_that_may_not_take_it() {
    let queue: Queue<Request> = Queue::new(policy(8, &[], Duration::ZERO));
    let waits = |count| {
        while queue.idle_for_test() < count {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let late = scope.spawn(|| batch_of(queue.next(&Busy)).is_some());
        waits(1);
        let free = scope.spawn(|| next_batch(&queue).map(|batch| batch.requests[0].id));
        waits(2);
        assert!(queue.submit(request(7, 1, 0, clock::now())).is_ok());
        assert_eq!(free.join().unwrap(), Some(7));
        queue.close();
        assert!(!late.join().unwrap());
    });
}

#[test]
fn what_is_submitted_before_the_call_leaves_in_one_batch() {
    let queue = Queue::new(policy(8, &[], Duration::ZERO));
    std::thread::scope(|scope| {
        let free = scope.spawn(|| next_batch(&queue).map(|batch| batch.rows));
        while queue.idle_for_test() < 1 {
            std::thread::yield_now();
        }
        let submit = || queue.submit(request(0, 1, 0, clock::now())).unwrap();
        let all = [submit(), submit(), submit()];
        assert!(all.iter().all(|submitted| submitted.wake.is_some()), "an instance waits");
        assert_eq!(queue.idle_for_test(), 1, "no instance was woken so far");
        let [first, second, third] = all;
        // The first guard to be dropped wakes: the others may be held up for
        // ever.
        drop(second);
        assert_eq!(free.join().unwrap(), Some(3));
        assert!(submit().wake.is_none(), "no instance waits any more");
        drop((first, third));
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_the_gone_make_room() {
    let queue = Queue::new(with(policy(8, &[], Duration::ZERO), |p| {
        p.queue.capacity = 2;
    }));
    let now = clock::now();
    drop(queue.submit(request(0, 1, 0, now)).unwrap());
    let gone = request(1, 1, 0, now);
    gone.cancelled.set(true);
    drop(queue.submit(gone).unwrap());
    drop(queue.submit(request(2, 1, 0, now)).unwrap());
    assert!(
        matches!(queue.submit(request(3, 1, 0, now)), Err(Refused::Overload(r, Overload::Full { .. })) if r.id == 3)
    );
    let batch = next_batch(&queue).unwrap();
    assert_eq!(batch.requests.iter().map(|r| r.id).collect::<Vec<_>>(), [0, 2]);
    queue.close();
    assert!(matches!(queue.submit(request(4, 1, 0, now)), Err(Refused::Closed(r)) if r.id == 4));
    assert!(next_batch(&queue).is_none());
}

#[test]
fn closing_lets_what_waits_leave_at_once() {
    let queue = Queue::new(policy(8, &[], Duration::from_secs(3600)));
    drop(queue.submit(request(0, 1, 0, clock::now())).unwrap());
    queue.close();
    assert_eq!(next_batch(&queue).unwrap().reason, CloseReason::Drain);
    assert!(next_batch(&queue).is_none());
}

#[test]
fn the_instance_that_slept_last_is_called_first() {
    let queue: Arc<Queue<Plain>> = Arc::new(Queue::new(policy(1, &[], Duration::ZERO)));
    let (sender, taken) = std::sync::mpsc::channel();
    for number in 0..3 {
        let (queue, sender) = (Arc::clone(&queue), sender.clone());
        while queue.idle_for_test() < number {
            std::thread::yield_now();
        }
        std::thread::spawn(move || {
            while let Some(batch) = next_batch(&queue) {
                sender.send((number, batch.requests[0].0)).unwrap();
            }
        });
    }
    drop(sender);
    for id in 0..20 {
        while queue.idle_for_test() < 3 {
            std::thread::yield_now();
        }
        drop(queue.submit(Plain(id, clock::now())).unwrap());
        assert_eq!(taken.recv().unwrap(), (2, id));
    }
    queue.close();
    assert!(taken.recv().is_err(), "all have ended");
}

/// A request whose arrival and fate the threads below can share.
#[derive(Debug)]
struct Plain(usize, Instant);

impl Schedulable for Plain {
    fn rows(&self) -> u32 {
        1
    }
    fn bucket(&self) -> &[i64] {
        &[]
    }
    fn arrival(&self) -> Instant {
        self.1
    }
    fn cancelled(&self) -> bool {
        false
    }
    fn expire(self) {}
}

#[test]
fn many_threads_lose_and_double_nothing() {
    for lookout in [Duration::ZERO, MS / 5] {
        lose_and_double_nothing(with(policy(5, &[3], MS / 10), |p| {
            p.queue.capacity = usize::MAX;
            p.spin_before_park = lookout;
        }));
    }
    let no_delay = policy(5, &[], Duration::ZERO);
    lose_and_double_nothing(with(no_delay, |p| {
        p.queue.capacity = usize::MAX;
        p.spin_before_park = MS / 5;
    }));
}

fn lose_and_double_nothing(policy: Policy) {
    const EACH: usize = 2_000;
    let queue: Arc<Queue<Plain>> = Arc::new(Queue::new(policy));
    let instances: Vec<_> = (0..3)
        .map(|_| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while let Some(batch) = next_batch(&queue) {
                    assert!(batch.requests.len() <= 5);
                    seen.extend(batch.requests.into_iter().map(|r| r.0));
                }
                seen
            })
        })
        .collect();
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                for id in 0..EACH {
                    drop(queue.submit(Plain(client * EACH + id, clock::now())).unwrap());
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    queue.close();
    let mut seen: Vec<usize> = instances.into_iter().flat_map(|i| i.join().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..4 * EACH).collect::<Vec<_>>());
}

/// The events of a batcher.
#[derive(Debug, Clone)]
enum Step {
    Push { rows: u32, bucket: i64 },
    Cancel(usize),
    Pass(u32),
    Next,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u32..6, 0i64..3).prop_map(|(rows, bucket)| Step::Push { rows, bucket }),
        1 => (0usize..50).prop_map(Step::Cancel),
        1 => (0u32..20).prop_map(Step::Pass),
        3 => Just(Step::Next),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn promises(
        steps in steps(),
        max in 5u32..12,
        mut preferred in prop::collection::vec(1u32..12, 0..3),
        delay in 0u32..15,
    ) {
        preferred.retain(|size| *size <= max);
        preferred.sort_unstable();
        let start = clock::now();
        let mut now = start;
        let mut batcher = Batcher::new(with(policy(max, &preferred, MS * delay), |p| { p.queue.capacity = 20; }));
        // The content of the batcher, in the order of arrival.
        let mut model: Vec<(usize, i64, u32, Instant)> = Vec::new();
        let mut last_in_bucket: HashMap<i64, usize> = HashMap::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { rows, bucket } => {
                    let taken = batcher.push(request(id, rows, bucket, now)).is_ok();
                    prop_assert_eq!(taken, model.len() < 20);
                    if taken {
                        model.push((id, bucket, rows, now));
                    }
                }
                Step::Cancel(which) => {
                    if let Some(&(id, ..)) = model.get(which) {
                        let waiting = batcher.waiting.buckets().flat_map(|(_, bucket)| bucket).map(|entry| &entry.request);
                        waiting.filter(|r| r.id == id).for_each(|r| r.cancelled.set(true));
                        let gone: Vec<_> = batcher.take_cancelled().iter().map(|r| r.id).collect();
                        prop_assert_eq!(gone, vec![id]);
                        model.remove(which);
                    }
                }
                Step::Pass(ms) => now += MS * ms,
                Step::Next => match batcher.next(now) {
                    Decision::Run(batch, _) => {
                        prop_assert!(!batch.requests.is_empty());
                        prop_assert_eq!(batch.rows, batch.requests.iter().map(|r| r.rows).sum::<u32>());
                        prop_assert!(batch.rows <= max);
                        for r in &batch.requests {
                            prop_assert_eq!(&r.bucket, &batch.requests[0].bucket);
                            let last = last_in_bucket.insert(r.bucket[0], r.id);
                            prop_assert!(last.is_none_or(|last| last < r.id), "first in, first out");
                            let at = model.iter().position(|(id, ..)| *id == r.id);
                            prop_assert!(at.is_some(), "left once, and was taken in");
                            at.map(|at| model.remove(at));
                        }
                    }
                    Decision::WaitUntil(due) => {
                        let oldest = model.iter().map(|(.., arrival)| *arrival).min();
                        prop_assert_eq!(Some(due), oldest.map(|oldest| oldest + MS * delay));
                        prop_assert!(due > now, "nothing that is due is held back");
                    }
                    Decision::Idle => prop_assert!(model.is_empty()),
                },
            }
            prop_assert_eq!(batcher.len(), model.len());
        }
        batcher.drain();
        while let Decision::Run(batch, _) = batcher.next(now) {
            for r in &batch.requests {
                model.retain(|(id, ..)| *id != r.id);
            }
        }
        prop_assert!(model.is_empty(), "draining leaves nothing behind");
        prop_assert!(batcher.is_empty());
    }
}
