//! Sizes by their times, and sharing among free instances, with simulated time.

use super::*;

/// A batcher of a measured model: 37 ms for one row, 8 are best.
fn resnet(instances: usize, max: u32) -> Batcher<Request> {
    measured(with(policy(max, &[], Duration::ZERO), |p| {
        p.instances = instances;
    }))
}

fn measured(policy: Policy) -> Batcher<Request> {
    let mut batcher = Batcher::new(policy);
    for (rows, took) in [(1, 37), (2, 65), (4, 121), (8, 237), (16, 530), (32, 1118)] {
        batcher.tried(&[0], rows, took * MS);
    }
    batcher
}

fn push(batcher: &mut Batcher<Request>, ids: std::ops::Range<usize>, at: Instant) {
    for id in ids {
        batcher.push(request(id, 1, 0, at)).unwrap();
    }
}

fn rows(decision: Decision<Request>) -> (u32, CloseReason) {
    match decision {
        Decision::Run(batch, _) => (batch.rows, batch.reason),
        other @ (Decision::WaitUntil(_) | Decision::Idle) => panic!("expected a batch, got {other:?}"),
    }
}

#[test]
fn a_batch_is_cut_at_the_size_that_pays_and_goes_on_with_the_next() {
    let start = clock::now();
    let mut batcher = resnet(1, 32);
    push(&mut batcher, 0..20, start);
    assert_eq!(ids(batcher.next(start)), ((0..8).collect(), CloseReason::Efficient));
    batcher.done_for_test(&[0], 8, Some(237 * MS));
    assert_eq!(rows(batcher.next(start)), (8, CloseReason::Efficient));
    batcher.done_for_test(&[0], 8, Some(237 * MS));
    assert_eq!(rows(batcher.next(start)), (4, CloseReason::Ready));
    assert!(matches!(batcher.next(start), Decision::Idle));
}

#[test]
fn idle_instances_share_what_waits() {
    let start = clock::now();
    let mut batcher = resnet(2, 32);
    push(&mut batcher, 0..16, start);
    assert_eq!([0, 1].map(|_| rows(batcher.next(start)).0), [8, 8]);
    batcher.done_for_test(&[0], 8, None);
    push(&mut batcher, 16..22, start);
    assert_eq!(rows(batcher.next(start)), (6, CloseReason::Ready), "the other one is busy");
    batcher.done_for_test(&[0], 6, None);
    batcher.done_for_test(&[0], 8, None);
    push(&mut batcher, 22..28, start);
    assert_eq!([0, 1].map(|_| rows(batcher.next(start)).0), [3, 3]);
}

#[test]
fn some_are_left_for_an_instance_that_will_be_free_first() {
    let start = clock::now();
    let mut batcher = resnet(2, 32);
    push(&mut batcher, 0..1, start);
    assert_eq!(rows(batcher.next(start)), (1, CloseReason::Ready));
    push(&mut batcher, 1..7, start);
    assert_eq!(ids(batcher.next(start)), ((1..5).collect(), CloseReason::Efficient), "121 ms, and 37 + 65");
    let then = start + 37 * MS;
    batcher.done_for_test(&[0], 1, Some(37 * MS));
    assert_eq!(ids(batcher.next(then)), (vec![5, 6], CloseReason::Ready));
    // Requests that wait by configuration are not divided.
    let mut batcher = measured(with(policy(32, &[], 10 * MS), |p| {
        p.instances = 2;
    }));
    push(&mut batcher, 0..1, start);
    assert_eq!(rows(batcher.next(start + 10 * MS)), (1, CloseReason::Delay));
    push(&mut batcher, 1..7, start + MS);
    assert_eq!(rows(batcher.next(start + 11 * MS)), (6, CloseReason::Delay));
}

/// Two instances: one is busy for 37 ms, and these wait for the other.
fn beside(waiting: impl IntoIterator<Item = Request>, start: Instant) -> Batcher<Request> {
    let default_policy = LevelPolicy { allow_timeout_override: true, ..LevelPolicy::default() };
    let levels = QueuePolicy { levels: 2, default_level: 1, default_policy, ..QueuePolicy::default() };
    let mut batcher = measured(with(policy(32, &[], Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
        p.instances = 2;
    }));
    push(&mut batcher, 0..1, start);
    assert_eq!(rows(batcher.next(start)), (1, CloseReason::Ready));
    waiting.into_iter().for_each(|request| assert!(batcher.push(request).is_ok()));
    batcher
}

#[test]
fn nobody_is_left_for_another_instance_twice() {
    let start = clock::now();
    let mut batcher = beside((1..9).map(|id| request(id, 1, 0, start)), start);
    assert_eq!(ids(batcher.next(start)).0, [1, 2, 3, 4, 5]);
    // Both become free a millisecond apart: the first one takes all that were
    // left.
    batcher.done_for_test(&[0], 5, None);
    assert_eq!(ids(batcher.next(start + 36 * MS)), (vec![6, 7, 8], CloseReason::Ready));
    // Requests that came meanwhile may be left: here two of seven.
    let mut batcher = beside((1..9).map(|id| request(id, 1, 0, start)), start);
    assert_eq!(ids(batcher.next(start)).0, [1, 2, 3, 4, 5]);
    push(&mut batcher, 9..13, start + 37 * MS);
    batcher.done_for_test(&[0], 1, None);
    assert_eq!(ids(batcher.next(start + 37 * MS)), ((6..11).collect(), CloseReason::Efficient));
}

#[test]
fn nobody_is_left_for_another_instance_whom_others_could_overtake() {
    let start = clock::now();
    let low = |id| Request { priority: 2, ..request(id, 1, 0, start) };
    let mut lower = beside((1..7).map(low), start);
    assert_eq!(rows(lower.next(start)), (6, CloseReason::Ready));
    let mut both = beside((1..5).map(|id| request(id, 1, 0, start)).chain((5..7).map(low)), start);
    assert_eq!(rows(both.next(start)), (6, CloseReason::Ready));
    let mut target = measured(with(policy(32, &[], Duration::ZERO), |p| {
        p.instances = 2;
        p.timing.latency_target = Some(600 * MS);
    }));
    push(&mut target, 0..1, start);
    assert_eq!(rows(target.next(start)), (1, CloseReason::Ready));
    push(&mut target, 1..7, start);
    assert_eq!(rows(target.next(start)), (6, CloseReason::Ready), "a target has a way of its own");
}

#[test]
fn nobody_is_left_for_another_instance_for_whom_that_may_be_too_late() {
    let start = clock::now();
    let by = |ms: u32| {
        (1..7).map(move |id| Request { deadline: Some(start + ms * MS), ..request(id, 1, 0, start) })
    };
    // Batches of eight take 237 ms.
    let mut late = beside(by(470), start);
    assert_eq!(rows(late.next(start)), (6, CloseReason::Ready));
    let mut in_time = beside(by(480), start);
    assert_eq!(rows(in_time.next(start)), (4, CloseReason::Efficient));
    let queued =
        |ms: u32| (1..7).map(move |id| Request { timeout: Some(ms * MS), ..request(id, 1, 0, start) });
    let mut late = beside(queued(470), start);
    assert_eq!(rows(late.next(start)), (6, CloseReason::Ready));
    let mut in_time = beside(queued(480), start);
    assert_eq!(rows(in_time.next(start)), (4, CloseReason::Efficient));
    // Nor if other shapes wait for it, or if it should have been free long ago.
    let mut others = beside((1..8).map(|id| request(id, 1, i64::from(id == 7), start)), start);
    assert_eq!(rows(others.next(start)), (6, CloseReason::Ready));
    let mut overdue = beside((1..7).map(|id| request(id, 1, 0, start)), start);
    assert_eq!(rows(overdue.next(start + 50 * MS)), (6, CloseReason::Ready));
    // Nor if requests of several rows would make other batches of it.
    let mut several = beside([request(1, 1, 0, start), request(2, 5, 0, start)], start);
    assert_eq!(rows(several.next(start)), (6, CloseReason::Ready));
}

#[test]
fn few_clients_are_shared_out_though_the_instances_are_never_free_together() {
    let start = clock::now();
    let mut batcher = resnet(2, 32);
    // Eight clients, each of which asks again once it is answered, one after
    // another.
    let mut coming: Vec<Instant> = (0..8).map(|id| start + id * MS).collect();
    let mut running: Vec<(Instant, Instant, u32)> = Vec::new();
    let mut sizes = Vec::new();
    while sizes.len() < 400 {
        let ends = running.iter().map(|(_, ends, _)| *ends);
        let now = coming.iter().copied().chain(ends).min().unwrap();
        while let Some(over) = running.iter().position(|(_, ends, _)| *ends <= now) {
            let (began, ends, rows) = running.swap_remove(over);
            batcher.done_for_test(&[0], rows, Some(ends - began));
            coming.extend((0..rows).map(|place| now + (2 + place) * MS));
        }
        while let Some(here) = coming.iter().position(|at| *at <= now) {
            coming.swap_remove(here);
            push(&mut batcher, 0..1, now);
        }
        while running.len() < 2
            && let Decision::Run(batch, _) = batcher.next(now)
        {
            // The times of `measured`, interpolated, plus or minus a hundredth.
            let vary = 1.0 + (sizes.len() * 7 % 5) as f64 / 200.0 - 0.01;
            let took = ((9 + 28 * batch.rows) * MS).mul_f64(vary);
            running.push((now, now + took, batch.rows));
            sizes.push(batch.rows);
        }
    }
    let singles = sizes.iter().filter(|rows| **rows == 1).count();
    assert!(singles < sizes.len() / 10, "{singles} of one row: {sizes:?}");
}

#[test]
fn what_the_configuration_prefers_is_left_as_it_is() {
    let start = clock::now();
    let mut batcher = measured(with(policy(32, &[16], Duration::ZERO), |p| {
        p.instances = 2;
    }));
    push(&mut batcher, 0..20, start);
    assert_eq!(rows(batcher.next(start)), (16, CloseReason::Preferred));
    assert_eq!(rows(batcher.next(start)), (4, CloseReason::Ready));
}

#[test]
fn a_configured_delay_is_not_waited_for_where_a_larger_batch_would_be_no_better() {
    let start = clock::now();
    let mut batcher = measured(policy(32, &[], 50 * MS));
    push(&mut batcher, 0..7, start);
    assert!(matches!(batcher.next(start), Decision::WaitUntil(due) if due == start + 50 * MS));
    push(&mut batcher, 7..9, start + MS);
    assert_eq!(rows(batcher.next(start + MS)), (9, CloseReason::Efficient), "as good as 8");
    push(&mut batcher, 9..21, start + MS);
    assert_eq!(rows(batcher.next(start + MS)), (8, CloseReason::Efficient));
    assert!(matches!(batcher.next(start + MS), Decision::WaitUntil(due) if due == start + 51 * MS));
}

#[test]
fn a_request_of_several_rows_is_never_parted() {
    let start = clock::now();
    let mut batcher = resnet(1, 32);
    for (id, rows) in [(0, 5), (1, 5), (2, 20)] {
        batcher.push(request(id, rows, 0, start)).unwrap();
    }
    assert_eq!(ids(batcher.next(start)).0, [0]);
    batcher.done_for_test(&[0], 5, None);
    assert_eq!(ids(batcher.next(start)).0, [1]);
    batcher.done_for_test(&[0], 5, None);
    assert_eq!(ids(batcher.next(start)).0, [2]);
}

#[test]
fn what_was_slow_once_is_tried_again() {
    let start = clock::now();
    let mut batcher = resnet(1, 16);
    // Another program ran at the same time while 16 were measured.
    (0..9).for_each(|_| {
        batcher.push(request(0, 16, 0, start)).unwrap();
        batcher.next(start);
        batcher.done_for_test(&[0], 16, Some(900 * MS));
    });
    let mut sizes = Vec::new();
    for _ in 0..1000 {
        let more = 16 - batcher.len();
        push(&mut batcher, 0..more, start);
        let (rows, _) = rows(batcher.next(start));
        sizes.push(rows);
        batcher.done_for_test(&[0], rows, Some(if rows == 16 { 380 * MS } else { 237 * MS }));
    }
    assert!(sizes[..100].iter().all(|rows| *rows == 8), "{sizes:?}");
    assert!(sizes[900..].iter().all(|rows| *rows == 16), "{sizes:?}");
}

/// The events of a batcher whose batches take time.
#[derive(Debug, Clone)]
enum TimedStep {
    Push {
        rows: u32,
        bucket: i64,
    },
    /// A running batch comes back early, disturbed.
    Disturb(usize),
    /// A run on the server's own account.
    Try {
        rows: u32,
        bucket: i64,
    },
    /// Batches that are due come back.
    Pass(u32),
    Next,
    /// As for an instance that still computes another batch.
    NextFull,
}

fn timed_steps() -> impl Strategy<Value = Vec<TimedStep>> {
    let step = prop_oneof![
        6 => (1u32..6, 0i64..3).prop_map(|(rows, bucket)| TimedStep::Push { rows, bucket }),
        1 => (0usize..50).prop_map(TimedStep::Disturb),
        1 => (1u32..12, 0i64..3).prop_map(|(rows, bucket)| TimedStep::Try { rows, bucket }),
        2 => (0u32..20).prop_map(TimedStep::Pass),
        3 => Just(TimedStep::Next),
        2 => Just(TimedStep::NextFull),
    ];
    prop::collection::vec(step, 0..160)
}

/// The invariants between any two steps.
struct Ledger {
    /// The content of the batcher, in the order of arrival: id, bucket,
    /// arrival.
    waiting: Vec<(usize, i64, Instant)>,
    last_in_bucket: HashMap<i64, usize>,
    max: u32,
}

impl Ledger {
    /// A batch has left.
    fn left(&mut self, batch: &Batch<Request>) -> Result<(), TestCaseError> {
        prop_assert!(!batch.requests.is_empty());
        prop_assert_eq!(batch.rows, batch.requests.iter().map(|r| r.rows).sum::<u32>());
        prop_assert!(batch.rows <= self.max);
        for r in &batch.requests {
            prop_assert_eq!(&r.bucket, &batch.requests[0].bucket);
            let last = self.last_in_bucket.insert(r.bucket[0], r.id);
            prop_assert!(last.is_none_or(|last| last < r.id), "first in, first out");
            let at = self.waiting.iter().position(|(id, ..)| *id == r.id);
            prop_assert!(at.is_some(), "left once, and was taken in");
            at.map(|at| self.waiting.remove(at));
        }
        Ok(())
    }

    fn rows_of(&self, bucket: i64, batcher: &Batcher<Request>) -> u32 {
        let waiting = batcher.waiting.buckets().flat_map(|(_, entries)| entries);
        waiting.filter(|entry| entry.request.bucket[0] == bucket).map(|entry| entry.request.rows).sum()
    }
}

proptest! {
    /// The guarantees hold for any batch times and any number of free
    /// instances. They hold for a free instance and for one that collects its
    /// next batch while it computes.
    #[test]
    fn promises_hold_for_every_time(
        took in prop::collection::vec(1u32..300, 1..40),
        instances in 0usize..4,
        target in prop::option::of(1u32..200),
        steps in timed_steps(),
        max in 5u32..12,
        delay in prop_oneof![Just(0u32), 1u32..15],
    ) {
        let mut now = clock::now();
        let mut batcher = Batcher::new(with(policy(max, &[], MS * delay), |p| {
            p.queue.capacity = 20;
            p.instances = instances;
            p.timing.latency_target = target.map(|target| MS * target);
        }));
        let mut took = took.into_iter().map(|ms| MS * ms).cycle();
        let mut ledger = Ledger { waiting: Vec::new(), last_in_bucket: HashMap::new(), max };
        // The ticket, the time and the end of each running batch.
        let mut running: Vec<(Ticket, Duration, Instant)> = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            let handed_out = match step {
                TimedStep::Push { rows, bucket } => {
                    let arriving = request(id, rows, bucket, now);
                    if batcher.late(&arriving).is_some() {
                        prop_assert!(target.is_some(), "without a target no request is too late");
                        let idle = running.is_empty() && ledger.waiting.is_empty();
                        prop_assert!(!idle, "no server is faster than an idle one");
                    } else if batcher.push(arriving).is_ok() {
                        ledger.waiting.push((id, bucket, now));
                    }
                    None
                }
                TimedStep::Disturb(which) => {
                    if !running.is_empty() {
                        let (ticket, ..) = running.swap_remove(which % running.len());
                        batcher.finish(ticket, None);
                    }
                    None
                }
                TimedStep::Try { rows, bucket } => {
                    batcher.tried(&[bucket], rows, took.next().unwrap());
                    None
                }
                TimedStep::Pass(ms) => {
                    now += MS * ms;
                    while let Some(over) = running.iter().position(|(.., ends)| *ends <= now) {
                        let (ticket, time, _) = running.swap_remove(over);
                        batcher.finish(ticket, Some(Ran::new(time)));
                    }
                    None
                }
                TimedStep::NextFull => {
                    let full = batcher.next_full(now);
                    if let Some((batch, _)) = &full {
                        let by_size = [CloseReason::Full, CloseReason::Efficient];
                        prop_assert!(by_size.contains(&batch.reason), "{:?}", batch.reason);
                    }
                    full
                }
                TimedStep::Next => match batcher.next(now) {
                    Decision::Run(batch, ticket) => Some((batch, ticket)),
                    Decision::WaitUntil(due) => {
                        prop_assert!(due > now, "nothing that is due is held back");
                        let oldest = ledger.waiting.iter().map(|(.., arrival)| *arrival).min().unwrap();
                        let asked = oldest + MS * delay;
                        match target {
                            None => prop_assert!(due <= asked && delay > 0, "no delay is asked for"),
                            Some(target) => prop_assert!(due <= asked.max(oldest + MS * target)),
                        }
                        None
                    }
                    Decision::Idle => {
                        prop_assert!(ledger.waiting.is_empty());
                        None
                    }
                },
            };
            if let Some((batch, ticket)) = handed_out {
                ledger.left(&batch)?;
                let time = took.next().unwrap();
                running.push((ticket, time, now + time));
            }
            prop_assert_eq!(batcher.len(), ledger.waiting.len());
            prop_assert_eq!(batcher.running.len(), running.len(), "each batch comes back once");
        }
        // A full batch leaves even if every instance is busy.
        if target.is_none() {
            while let Some((batch, _)) = batcher.next_full(now) {
                ledger.left(&batch)?;
            }
            for bucket in 0..3 {
                let left = ledger.rows_of(bucket, &batcher);
                prop_assert!(left < max + 5, "{} rows of a full batch are left", left);
            }
        }
        batcher.drain();
        while let Decision::Run(batch, _) = batcher.next(now) {
            ledger.left(&batch)?;
        }
        prop_assert!(ledger.waiting.is_empty(), "draining leaves nothing behind");
    }
}
