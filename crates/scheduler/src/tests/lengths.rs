//! Requests of different lengths, and the budget of elements, with simulated
//! time.

use super::*;

const LENGTHS: Lengths = Lengths { multiple_of: 8, max_length: None, max_waste: 0.25 };

fn padded(max: u32, delay: Duration) -> Policy {
    with(policy(max, &[], delay), |p| {
        p.batching.lengths = Some(LENGTHS);
    })
}

/// A request of one row with `length` numbers.
fn long(id: usize, length: u32, arrival: Instant) -> Request {
    Request { size: RowSize { length, per_length: 1, fixed: 0 }, ..request(id, 1, 0, arrival) }
}

fn pushed(policy: Policy, lengths: &[u32], now: Instant) -> Batcher<Request> {
    let mut batcher = Batcher::new(policy);
    for (id, length) in lengths.iter().enumerate() {
        batcher.push(long(id, *length, now)).unwrap();
    }
    batcher
}

#[test]
fn the_first_to_come_leaves_with_those_that_are_nearest_in_length() {
    let start = clock::now();
    let mut batcher = pushed(padded(4, Duration::ZERO), &[60, 8, 64, 128, 57, 120, 40, 50], start);
    assert_eq!(
        ids(batcher.next(start)),
        (vec![0, 2, 4, 7], CloseReason::Full),
        "56 and 64 to 64; the one of 40 is further away"
    );
    assert_eq!(
        ids(batcher.next(start)),
        (vec![1], CloseReason::Ready),
        "no request is near, and it waits for none"
    );
    assert_eq!(ids(batcher.next(start)), (vec![3, 5], CloseReason::Ready));
    assert_eq!(ids(batcher.next(start)).0, [6]);
    assert!(matches!(batcher.next(start), Decision::Idle));
}

#[test]
fn of_equal_lengths_the_first_to_come_joins_first() {
    let start = clock::now();
    // After rounding, all but the third are equal.
    let mut batcher = pushed(padded(3, Duration::ZERO), &[17, 24, 32, 20, 22], start);
    assert_eq!(ids(batcher.next(start)).0, [0, 1, 3]);
    assert_eq!(ids(batcher.next(start)).0, [2, 4]);
}

#[test]
fn no_more_of_a_batch_is_padding_than_is_tolerated() {
    let start = clock::now();
    let lengths = [32, 32, 24, 16];
    assert_eq!(ids(pushed(padded(8, Duration::ZERO), &lengths, start).next(start)).0, [0, 1, 2], "8 of 32");
    let none = with(padded(8, Duration::ZERO), |p| {
        p.batching.lengths = Some(Lengths { max_waste: 0.0, ..LENGTHS });
    });
    assert_eq!(ids(pushed(none, &lengths, start).next(start)).0, [0, 1]);
    let any = with(padded(8, Duration::ZERO), |p| {
        p.batching.lengths = Some(Lengths { max_waste: 1.0, ..LENGTHS });
    });
    assert_eq!(ids(pushed(any, &lengths, start).next(start)).0, [0, 1, 2, 3]);
    // One longer request makes all others longer.
    assert_eq!(
        ids(pushed(padded(8, Duration::ZERO), &[24, 32], start).next(start)).0,
        [0, 1],
        "from 24 to 64, of which 8"
    );
    assert_eq!(
        ids(pushed(padded(8, Duration::ZERO), &[24, 24, 32], start).next(start)).0,
        [0, 1],
        "from 48 to 96, of which 16"
    );
}

#[test]
fn padding_that_costs_more_than_a_batch_is_not_worth_it() {
    let start = clock::now();
    let mut batcher = pushed(padded(8, Duration::ZERO), &[64, 56, 64], start);
    // 2 ms a batch and 1 for each unit of length: not 8 of padding.
    for size in (8..800).step_by(8) {
        batcher.learned.padding.ran(size, MS * (2 + u32::try_from(size).unwrap()));
    }
    assert_eq!(ids(batcher.next(start)).0, [0, 2]);
    batcher.push(long(3, 64, start)).unwrap();
    // 200 ms a batch.
    for size in (8..800).step_by(8).cycle().take(500) {
        batcher.learned.padding.ran(size, MS * (200 + u32::try_from(size).unwrap()));
    }
    assert_eq!(ids(batcher.next(start)).0, [1, 3]);
}

#[test]
fn where_many_wait_only_the_older_half_overtakes() {
    let start = clock::now();
    let mut lengths = vec![128; 20];
    (lengths[0], lengths[5], lengths[11]) = (8, 8, 8);
    let mut batcher = pushed(padded(8, Duration::ZERO), &lengths, start);
    assert_eq!(ids(batcher.next(start)).0, [0, 5], "the twelfth is of the younger half");
    let mut few = pushed(padded(8, Duration::ZERO), &[8, 128, 128, 128, 128, 128, 8], start);
    assert_eq!(ids(few.next(start)).0, [0, 6]);
}

#[test]
fn a_higher_level_joins_before_a_nearer_length() {
    let start = clock::now();
    let levels = QueuePolicy { levels: 2, default_level: 2, ..QueuePolicy::default() };
    let mut batcher = Batcher::new(with(padded(3, Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
    }));
    for (id, length, priority) in [(0, 64, 2), (1, 64, 1), (2, 56, 2), (3, 48, 1), (4, 64, 2)] {
        batcher.push(Request { priority, ..long(id, length, start) }).unwrap();
    }
    assert_eq!(ids(batcher.next(start)).0, [1, 3, 0]);
    assert_eq!(ids(batcher.next(start)).0, [2, 4]);
}

#[test]
fn a_delay_is_for_those_that_would_run_together() {
    let start = clock::now();
    let mut batcher = Batcher::new(padded(2, 10 * MS));
    batcher.push(long(0, 100, start)).unwrap();
    batcher.push(long(1, 8, start + MS)).unwrap();
    assert!(matches!(batcher.next(start + 9 * MS), Decision::WaitUntil(due) if due == start + 10 * MS));
    batcher.push(long(2, 104, start + 9 * MS)).unwrap();
    assert_eq!(ids(batcher.next(start + 9 * MS)), (vec![0, 2], CloseReason::Full));
    assert!(matches!(batcher.next(start + 9 * MS), Decision::WaitUntil(due) if due == start + 11 * MS));
    assert_eq!(ids(batcher.next(start + 11 * MS)), (vec![1], CloseReason::Delay));
}

#[test]
fn a_preferred_size_is_made_of_the_nearest() {
    let start = clock::now();
    let preferring = with(policy(8, &[2], 10 * MS), |p| {
        p.batching.lengths = Some(LENGTHS);
    });
    let mut batcher = pushed(preferring, &[64, 56, 64], start);
    assert_eq!(ids(batcher.next(start)), (vec![0, 2], CloseReason::Preferred));
}

#[test]
fn a_budget_of_elements_closes_a_batch_before_the_count_does() {
    let start = clock::now();
    let budget = with(padded(8, 10 * MS), |p| {
        p.batching.max_elements = Some(128);
    });
    let mut batcher = pushed(budget.clone(), &[30, 25, 32, 32, 32], start);
    assert_eq!(ids(batcher.next(start)), (vec![0, 1, 2, 3], CloseReason::Full), "4 x 32");
    assert!(matches!(batcher.next(start), Decision::WaitUntil(_)));
    // A longer one would take the others with it.
    let mut batcher = pushed(budget.clone(), &[40, 40, 48], start);
    assert_eq!(ids(batcher.next(start)), (vec![0, 1], CloseReason::Full));
    // One that exceeds the budget alone waits for no other.
    let mut batcher = pushed(budget, &[129, 8], start);
    assert_eq!(ids(batcher.next(start)), (vec![0], CloseReason::Full));
}

#[test]
fn a_budget_holds_without_padding_too() {
    let start = clock::now();
    let mut batcher = Batcher::new(with(policy(8, &[], Duration::ZERO), |p| {
        p.batching.max_elements = Some(100);
    }));
    for (id, fixed) in [30, 30, 60, 30, 60].into_iter().enumerate() {
        let size = RowSize { length: 0, per_length: 0, fixed };
        batcher.push(Request { size, ..request(id, 1, fixed as i64, start) }).unwrap();
    }
    assert_eq!(ids(batcher.next(start)), (vec![0, 1, 3], CloseReason::Full));
    assert_eq!(ids(batcher.next(start)), (vec![2], CloseReason::Full));
    assert_eq!(ids(batcher.next(start)), (vec![4], CloseReason::Full));
}

#[test]
fn a_full_batch_is_seen_while_the_device_is_busy() {
    let start = clock::now();
    let mut batcher = pushed(
        with(padded(8, 10 * MS), |p| {
            p.batching.max_elements = Some(64);
        }),
        &[32, 100, 30],
        start,
    );
    assert_eq!(batcher.next_full(start).unwrap().0.requests.len(), 2);
    let (last, _) = batcher.next_full(start).unwrap();
    assert_eq!((last.requests[0].id, last.reason), (1, CloseReason::Full));
    assert!(batcher.next_full(start).is_none());
}

#[derive(Debug, Clone)]
enum Event {
    Push { rows: u32, length: u32, level: u64 },
    Pass(u32),
    Next,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1u32..4, 0u32..200, 1u64..3).prop_map(|(rows, length, level)| Event::Push { rows, length, level }),
        1 => (0u32..20).prop_map(Event::Pass),
        2 => Just(Event::Next),
    ];
    prop::collection::vec(event, 0..150)
}

proptest! {
    #[test]
    fn promises_with_lengths(
        events in events(),
        max in 4u32..12,
        multiple_of in 1u32..40,
        max_waste in 0.0..1.0,
        max_elements in prop::option::of(1u64..2000),
        delay in 0u32..15,
    ) {
        let lengths = Lengths { multiple_of, max_length: Some(150), max_waste };
        let levels = QueuePolicy { levels: 2, default_level: 2, ..QueuePolicy::default() };
        let base = policy(max, &[], MS * delay);
        let mut batcher = Batcher::new(with(base, |p| { p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels }; p.batching.lengths = Some(lengths); p.batching.max_elements = max_elements; }));
        let mut now = clock::now();
        // The waiting requests: the level, the name, the rows and the length.
        let mut model: Vec<(u64, usize, u32, u32)> = Vec::new();
        for (id, event) in events.into_iter().enumerate() {
            match event {
                Event::Push { rows, length, level } => {
                    let request = Request { rows, priority: level, ..long(id, length, now) };
                    prop_assert!(batcher.push(request).is_ok());
                    model.push((level, id, rows, length));
                    model.sort_unstable();
                }
                Event::Pass(ms) => now += MS * ms,
                Event::Next => {
                    let batch = match batcher.next(now) {
                        Decision::Run(batch, _) => batch,
                        Decision::WaitUntil(due) => {
                            prop_assert!(due > now);
                            continue;
                        }
                        Decision::Idle => {
                            prop_assert!(model.is_empty());
                            continue;
                        }
                    };
                    let names: Vec<(u64, usize)> = batch.requests.iter().map(|r| (r.priority, r.id)).collect();
                    prop_assert!(names.is_sorted(), "by level and arrival: {:?}", names);
                    prop_assert_eq!(names[0], (model[0].0, model[0].1), "the first always leaves");
                    let rows: u32 = batch.requests.iter().map(|r| r.rows).sum();
                    prop_assert!(batch.rows == rows && rows <= max);
                    let whole = |length: u32| u64::from(lengths.padded(length));
                    let longest = batch.requests.iter().map(|r| whole(r.size.length)).max().unwrap();
                    let filled: u64 = batch.requests.iter().map(|r| u64::from(r.rows) * whole(r.size.length)).sum();
                    let all = u64::from(rows) * longest;
                    if batch.requests.len() > 1 {
                        prop_assert!(max_elements.is_none_or(|most| all <= most));
                        prop_assert!((all - filled) as f64 <= max_waste * all as f64 + 1e-9);
                    }
                    for r in &batch.requests {
                        // No earlier request that is equal in all respects was
                        // passed over.
                        let before = model.iter().find(|(level, _, rows, length)| {
                            (*level, *rows) == (r.priority, r.rows) && whole(*length) == whole(r.size.length)
                        });
                        prop_assert_eq!(before.map(|before| before.1), Some(r.id));
                        model.retain(|(_, id, ..)| *id != r.id);
                    }
                }
            }
            prop_assert_eq!(batcher.len(), model.len());
        }
        batcher.drain();
        while let Decision::Run(batch, _) = batcher.next(now) {
            batch.requests.iter().for_each(|r| model.retain(|(_, id, ..)| *id != r.id));
        }
        prop_assert!(model.is_empty() && batcher.is_empty());
    }
}
