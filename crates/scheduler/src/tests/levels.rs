//! Priorities, times and full queues, with simulated time.

use super::*;

fn rejecting(timeout: Option<Duration>) -> LevelPolicy {
    LevelPolicy { default_timeout: timeout, ..LevelPolicy::default() }
}

/// A batcher of batches of 4 with these levels.
fn batcher(levels: QueuePolicy) -> Batcher<Request> {
    Batcher::new(with(policy(4, &[], Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
        p.queue.capacity = 100;
    }))
}

fn three_levels() -> QueuePolicy {
    QueuePolicy { levels: 3, default_level: 2, ..QueuePolicy::default() }
}

fn asking(id: usize, priority: u64, timeout: Option<Duration>, arrival: Instant) -> Request {
    Request { priority, timeout, ..request(id, 1, 0, arrival) }
}

fn late(batcher: &mut Batcher<Request>, now: Instant) -> Vec<usize> {
    batcher.take_expired(now).iter().map(|request| request.id).collect()
}

#[test]
fn a_higher_level_goes_first_and_within_one_the_first_to_come() {
    let start = clock::now();
    let mut batcher = batcher(three_levels());
    // Zero, and an unknown level, are the default: 2.
    for (id, priority) in [(0, 3), (1, 0), (2, 1), (3, 9), (4, 2), (5, 1)] {
        batcher.push(asking(id, priority, None, start)).unwrap();
    }
    assert_eq!(
        ids(batcher.next(start)).0,
        [2, 5, 1, 3],
        "a batch takes of lower levels what it has room for"
    );
    assert_eq!(ids(batcher.next(start)).0, [4, 0]);
}

#[test]
fn of_two_shapes_the_one_whose_first_is_of_a_higher_level_leaves_first() {
    let start = clock::now();
    let mut batcher = batcher(three_levels());
    batcher.push(request(0, 1, 7, start)).unwrap();
    batcher.push(Request { priority: 1, ..request(1, 1, 9, start + MS) }).unwrap();
    assert_eq!(ids(batcher.next(start + MS)).0, [1]);
    assert_eq!(ids(batcher.next(start + MS)).0, [0]);
}

#[test]
fn without_levels_a_priority_asks_for_nothing() {
    let start = clock::now();
    let mut batcher = batcher(QueuePolicy::default());
    for (id, priority) in [(0, 5), (1, 1)] {
        batcher.push(asking(id, priority, None, start)).unwrap();
    }
    assert_eq!(ids(batcher.next(start)).0, [0, 1]);
}

#[test]
fn a_delay_counts_from_the_oldest_whatever_its_level() {
    let start = clock::now();
    let mut batcher = Batcher::new(with(policy(8, &[], 10 * MS), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..three_levels() };
    }));
    batcher.push(asking(0, 3, None, start)).unwrap();
    batcher.push(asking(1, 1, None, start + 4 * MS)).unwrap();
    assert!(matches!(batcher.next(start + 9 * MS), Decision::WaitUntil(due) if due == start + 10 * MS));
    assert_eq!(ids(batcher.next(start + 10 * MS)), (vec![1, 0], CloseReason::Delay));
}

#[test]
fn a_request_is_late_at_its_time_and_not_before() {
    let start = clock::now();
    let mut batcher =
        batcher(QueuePolicy { default_policy: rejecting(Some(10 * MS)), ..QueuePolicy::default() });
    assert_eq!(batcher.push(request(0, 1, 0, start)).unwrap(), Some(start + 10 * MS));
    assert_eq!(batcher.push(request(1, 1, 9, start + 3 * MS)).unwrap(), Some(start + 13 * MS));
    assert_eq!(late(&mut batcher, start + 9 * MS), [0; 0]);
    assert_eq!(late(&mut batcher, start + 10 * MS), [0]);
    assert_eq!(batcher.len(), 1);
    assert_eq!(late(&mut batcher, start + 13 * MS), [1]);
    assert!(matches!(batcher.next(start + 13 * MS), Decision::Idle));
}

#[test]
fn a_request_shortens_its_time_where_it_may_and_never_lengthens_it() {
    let start = clock::now();
    let deadline = |allow_timeout_override, default: Option<Duration>, asked: Option<Duration>| {
        let default_policy = LevelPolicy { allow_timeout_override, ..rejecting(default) };
        let mut batcher = batcher(QueuePolicy { default_policy, ..QueuePolicy::default() });
        let due = batcher.push(asking(0, 0, asked, start)).unwrap();
        due.map(|due| due - start)
    };
    let (short, long) = (Some(5 * MS), Some(20 * MS));
    assert_eq!(deadline(true, long, short), short);
    assert_eq!(deadline(true, short, long), short);
    assert_eq!(deadline(true, long, None), long);
    assert_eq!(deadline(true, None, short), short);
    assert_eq!(deadline(false, long, short), long, "not allowed");
    assert_eq!(deadline(false, None, short), None, "not allowed");
    assert_eq!(deadline(true, None, Some(Duration::MAX)), None, "no clock goes as far");
}

#[test]
fn where_nothing_is_batched_a_request_has_its_own_time() {
    let start = clock::now();
    let mut batcher = Batcher::new(single(10));
    assert_eq!(batcher.push(request(0, 1, 0, start)).unwrap(), None);
    assert_eq!(batcher.push(asking(1, 0, Some(MS), start)).unwrap(), Some(start + MS));
    assert_eq!(late(&mut batcher, start + MS), [1]);
    assert_eq!(ids(batcher.next(start + MS)), (vec![0], CloseReason::Single));
}

#[test]
fn a_delayed_request_runs_behind_those_of_its_level_that_are_in_time() {
    let start = clock::now();
    let delaying = LevelPolicy { timeout_action: TimeoutAction::Delay, ..rejecting(Some(10 * MS)) };
    let mut batcher = batcher(QueuePolicy { default_policy: delaying, ..three_levels() });
    assert_eq!(batcher.push(asking(0, 2, None, start)).unwrap(), None, "no caller has to be told");
    batcher.push(asking(1, 2, None, start + MS)).unwrap();
    batcher.push(asking(2, 2, None, start + 5 * MS)).unwrap();
    batcher.push(asking(3, 3, None, start + 5 * MS)).unwrap();
    assert_eq!(late(&mut batcher, start + 11 * MS), [0; 0]);
    assert_eq!(batcher.len(), 4, "late, and still there");
    batcher.push(asking(4, 2, None, start + 11 * MS)).unwrap();
    assert_eq!(ids(batcher.next(start + 11 * MS)).0, [2, 4, 0, 1], "and before a lower level");
    assert_eq!(ids(batcher.next(start + 11 * MS)).0, [3]);
}

#[test]
fn a_level_is_full_by_itself_and_one_without_a_bound_by_the_servers() {
    let start = clock::now();
    let bounded = LevelPolicy { max_queue_size: 1, ..LevelPolicy::default() };
    let levels = QueuePolicy { policies: BTreeMap::from([(1, bounded)]), ..three_levels() };
    let mut batcher = Batcher::new(with(policy(4, &[], Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
        p.queue.capacity = 2;
    }));
    batcher.push(asking(0, 1, None, start)).unwrap();
    assert_eq!(batcher.push(asking(1, 1, None, start)).unwrap_err().id, 1);
    batcher.push(asking(2, 2, None, start)).unwrap();
    assert_eq!(batcher.push(asking(3, 3, None, start)).unwrap_err().id, 3);
    assert_eq!(ids(batcher.next(start)).0, [0, 2]);
    batcher.push(asking(4, 1, None, start)).unwrap();
}

#[test]
fn what_is_late_makes_room_in_a_full_queue() {
    let levels = QueuePolicy { default_policy: rejecting(Some(MS)), ..QueuePolicy::default() };
    let queue = Queue::new(with(policy(4, &[], Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
        p.queue.capacity = 1;
    }));
    let old = clock::now().checked_sub(10 * MS).unwrap();
    drop(queue.submit(request(0, 1, 0, old)).unwrap());
    drop(queue.submit(request(1, 1, 0, clock::now() + 1000 * MS)).unwrap());
    assert_eq!(queue.len(), 1);
}

proptest! {
    /// Each request, of any priority and time, leaves once: run in time, run
    /// late if it is delayed, or refused at its time.
    #[test]
    fn everyone_leaves_once_and_nobody_late(
        requests in prop::collection::vec((0u64..5, prop::option::of(0u32..30), 0i64..2, 0u32..5), 1..40),
        delaying in any::<bool>(),
        step in 1u32..10,
    ) {
        let start = clock::now();
        let timeout_action = if delaying { TimeoutAction::Delay } else { TimeoutAction::Reject };
        let default_policy = LevelPolicy { timeout_action, allow_timeout_override: true, ..LevelPolicy::default() };
        let mut batcher = batcher(QueuePolicy { default_policy, ..three_levels() });
        let mut now = start;
        let mut due: HashMap<usize, Option<Instant>> = HashMap::new();
        let mut left = Vec::new();
        for (id, (priority, timeout, bucket, pause)) in requests.iter().copied().enumerate() {
            now += MS * pause;
            let timeout = timeout.map(|timeout| MS * timeout);
            let request = Request { priority, timeout, ..request(id, 1, bucket, now) };
            due.insert(id, timeout.map(|timeout| now + timeout));
            batcher.push(request).unwrap();
            if id % 3 == 0 {
                now += MS * step;
                for id in late(&mut batcher, now) {
                    prop_assert!(!delaying && due[&id].is_some_and(|due| due <= now));
                    left.push(id);
                }
                if let Decision::Run(batch, _) = batcher.next(now) {
                    for request in &batch.requests {
                        prop_assert!(delaying || due[&request.id].is_none_or(|due| due > now));
                        left.push(request.id);
                    }
                }
            }
        }
        left.extend(late(&mut batcher, now));
        while let Decision::Run(batch, _) = batcher.next(now) {
            left.extend(batch.requests.iter().map(|request| request.id));
        }
        left.sort_unstable();
        prop_assert_eq!(left, (0..requests.len()).collect::<Vec<_>>());
        prop_assert!(batcher.is_empty());
    }
}

/// Batches of 4 and 8 are preferred, and worth ten seconds; a request's own
/// time is one.
fn preferring_four_and_eight(timeout_action: TimeoutAction) -> Batcher<Request> {
    let policy = LevelPolicy { default_timeout: Some(1000 * MS), timeout_action, ..LevelPolicy::default() };
    let levels = QueuePolicy { default_policy: policy, ..QueuePolicy::default() };
    Batcher::new(with(super::policy(8, &[4, 8], 10_000 * MS), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
    }))
}

#[test]
fn what_remains_when_a_requests_time_is_over_is_looked_at_again_at_once() {
    for action in [TimeoutAction::Reject, TimeoutAction::Delay] {
        let start = clock::now();
        let mut batcher = preferring_four_and_eight(action);
        batcher.push(request(0, 1, 0, start)).unwrap();
        for id in [1, 2] {
            batcher.push(request(id, 2, 0, start + 200 * MS)).unwrap();
        }
        // One and two and two make neither. A sleeping instance wakes when the
        // first is late.
        let asked = batcher.next(start + 200 * MS);
        assert!(matches!(asked, Decision::WaitUntil(due) if due == start + 1000 * MS), "{asked:?}");
        let refused = if action == TimeoutAction::Reject { vec![0] } else { Vec::new() };
        assert_eq!(late(&mut batcher, start + 1000 * MS), refused);
        assert_eq!(ids(batcher.next(start + 1000 * MS)), (vec![1, 2], CloseReason::Preferred));
        match action {
            TimeoutAction::Reject => assert!(matches!(batcher.next(start + 1000 * MS), Decision::Idle)),
            TimeoutAction::Delay => {
                assert_eq!(ids(batcher.next(start + 10_000 * MS)), (vec![0], CloseReason::Delay));
            }
        }
    }
}

#[test]
fn a_request_beyond_all_preferred_sizes_leaves_at_once_and_by_itself() {
    let start = clock::now();
    for (preferred, rows, reachable) in [(&[4][..], 5, false), (&[2, 6], 7, false), (&[2, 6], 5, true)] {
        let mut batcher = Batcher::new(policy(16, preferred, 10_000 * MS));
        batcher.push(request(0, rows, 0, start)).unwrap();
        if reachable {
            assert!(matches!(batcher.next(start), Decision::WaitUntil(_)), "{rows} of {preferred:?}");
            continue;
        }
        batcher.push(request(1, 1, 0, start)).unwrap();
        assert_eq!(ids(batcher.next(start)), (vec![0], CloseReason::Preferred), "{rows} of {preferred:?}");
        assert!(matches!(batcher.next(start), Decision::WaitUntil(_)), "the other has sizes to reach");
    }
}

/// The batches that leave at once, for requests with these rows: the rows of
/// each batch, and how many requests still wait.
fn left_at_once(preferred: &[u32], rows: &[u32]) -> (Vec<u32>, usize) {
    let start = clock::now();
    let mut batcher = Batcher::new(policy(16, preferred, 10_000 * MS));
    for (id, rows) in rows.iter().enumerate() {
        batcher.push(request(id, *rows, 0, start)).unwrap();
    }
    let mut left = Vec::new();
    while let Decision::Run(batch, _) = batcher.next(start) {
        assert_eq!(batch.reason, CloseReason::Preferred, "{rows:?} of {preferred:?}");
        left.push(batch.rows);
    }
    (left, batcher.len())
}

#[test]
fn what_can_no_longer_grow_to_a_preferred_size_leaves_without_what_comes_behind() {
    for (preferred, rows, left, waiting) in [
        (&[2, 6][..], &[3, 4][..], &[3][..], 1),
        (&[2, 6], &[3, 2, 4, 1], &[5], 2),
        (&[2, 6], &[3, 4, 4], &[3, 4], 1),
        (&[4], &[3, 2], &[3], 1),
        (&[4], &[3, 5], &[3, 5], 0),
        // A preferred size that is reached goes first.
        (&[2, 6], &[2, 5], &[2], 1),
        (&[2, 6], &[2, 4], &[6], 0),
        (&[2, 6], &[5, 1], &[6], 0),
        (&[2, 6], &[3, 2], &[], 2),
        (&[], &[3, 4], &[], 2),
    ] {
        assert_eq!(left_at_once(preferred, rows), (left.to_vec(), waiting), "{rows:?} of {preferred:?}");
    }
}

#[test]
fn what_waits_on_behind_a_batch_that_could_not_grow_waits_from_its_own_arrival() {
    let start = clock::now();
    let mut batcher = Batcher::new(policy(16, &[2, 6], 10_000 * MS));
    batcher.push(request(0, 3, 0, start)).unwrap();
    assert!(matches!(batcher.next(start), Decision::WaitUntil(due) if due == start + 10_000 * MS));
    let later = start + 400 * MS;
    batcher.push(request(1, 4, 0, later)).unwrap();
    assert_eq!(ids(batcher.next(later)), (vec![0], CloseReason::Preferred));
    assert!(matches!(batcher.next(later), Decision::WaitUntil(due) if due == later + 10_000 * MS));
    assert_eq!(ids(batcher.next(later + 10_000 * MS)), (vec![1], CloseReason::Delay));
}

#[test]
fn at_the_end_of_the_delay_a_batch_takes_what_waits_beyond_the_preferred_sizes() {
    let start = clock::now();
    let mut batcher = Batcher::new(policy(16, &[2, 6], 10_000 * MS));
    for (id, rows) in [(0, 3), (1, 4)] {
        batcher.push(request(id, rows, 0, start)).unwrap();
    }
    assert_eq!(ids(batcher.next(start + 10_000 * MS)), (vec![0, 1], CloseReason::Delay));
}
