//! A latency target, in a simulated server.

use super::simulation::Simulation;
use super::*;

/// 4 ms, and 1 ms a row: two instances give 1600 rows a second in batches
/// of 16.
fn gains(rows: u32) -> Duration {
    MS * (4 + rows)
}

/// 37 ms a row and no gain: 54 a second.
fn flat(rows: u32) -> Duration {
    MS * 37 * rows
}

#[test]
fn under_twice_the_load_the_capacity_is_answered_in_time() {
    for (took, max, capacity, target) in
        [(gains as fn(u32) -> Duration, 16, 1600.0, 60), (flat, 8, 54.0, 200)]
    {
        let target = MS * target;
        // If times vary by 30 %, the forecast can promise less.
        for (jitter, expected) in [(0.05, 0.97), (0.3, 0.9)] {
            for (load, expected) in [(1.0, 0.9), (2.0, expected), (10.0, expected)] {
                let mut simulation = Simulation::new(2, max, Some(target), took);
                simulation.jitter = jitter;
                let seconds = 20_000.0 / capacity;
                let arrivals = simulation.poisson(load * capacity, seconds);
                let outcome = simulation.run(&arrivals);
                let goodput = outcome.in_time(target) as f64 / seconds / capacity;
                let told = format!(
                    "load {load}, jitter {jitter}: goodput {goodput}, {} refused, p99 {:?}",
                    outcome.refused,
                    outcome.percentile(99)
                );
                assert!(goodput >= expected, "{told}");
                assert!(outcome.percentile(99) <= target, "{told}");
                assert_eq!(outcome.refused + outcome.answered.len(), outcome.offered);
            }
        }
    }
}

#[test]
fn at_half_the_load_nobody_is_refused() {
    for (took, max, capacity, target) in
        [(gains as fn(u32) -> Duration, 16, 1600.0, 60), (flat, 8, 54.0, 400)]
    {
        let mut simulation = Simulation::new(2, max, Some(MS * target), took);
        let arrivals = simulation.poisson(0.5 * capacity, 20_000.0 / capacity);
        let outcome = simulation.run(&arrivals);
        assert_eq!(outcome.refused, 0, "of {}", outcome.offered);
        assert!(outcome.percentile(99) <= MS * target, "{:?}", outcome.percentile(99));
    }
}

#[test]
fn without_a_target_overload_is_late_for_all() {
    // The control, without a target.
    let mut simulation = Simulation::new(2, 16, None, gains);
    let arrivals = simulation.poisson(1.3 * 1600.0, 5.0);
    let outcome = simulation.run(&arrivals);
    assert_eq!(outcome.refused, 0);
    assert!(outcome.percentile(50) > MS * 500, "{:?}", outcome.percentile(50));
}

#[test]
fn a_crowd_is_gathered_where_the_target_bears_it_and_not_without_one() {
    // Eight that arrive within 2 ms, every 300 ms.
    let crowds = |rounds: u64| -> Vec<Duration> {
        (0..rounds * 8).map(|n| Duration::from_micros(n / 8 * 300_000 + n % 8 * 250)).collect()
    };
    let run = |target| Simulation::new(1, 8, target, gains).run(&crowds(50));
    let (with, without) = (run(Some(MS * 100)), run(None));
    assert_eq!(without.batches, 100, "the first of a crowd leaves alone");
    assert!(with.batches < 60, "{}", with.batches);
    assert!(
        with.percentile(90) < without.percentile(90),
        "{:?} {:?}",
        with.percentile(90),
        without.percentile(90)
    );
}

#[test]
fn a_target_that_nobody_could_meet_refuses_nobody_whom_an_instance_waits_for() {
    let outcome = Simulation::new(1, 8, Some(MS), gains).run(&[Duration::ZERO, MS * 100, MS * 101]);
    assert_eq!((outcome.refused, outcome.answered.len()), (1, 2));
}

#[test]
fn batches_keep_to_a_size_that_meets_the_target() {
    let start = clock::now();
    let mut simulation = Simulation::new(1, 16, Some(20 * MS), gains);
    for id in 0..16 {
        simulation.batcher.push(request(id, 1, 0, start)).unwrap();
    }
    assert_eq!(ids(simulation.batcher.next(start)).0.len(), 6, "4 + 6 ms are half of the target");
    simulation.batcher.done_for_test(&[0], 6, None);
}

#[test]
fn a_refusal_says_how_long_it_would_take() {
    let start = clock::now();
    let mut simulation = Simulation::new(1, 8, Some(100 * MS), flat);
    for id in 0..3 {
        let one = request(id, 1, 0, start);
        match simulation.batcher.late(&one) {
            None => assert!(simulation.batcher.push(one).is_ok()),
            Some(late) => {
                assert_eq!(id, 2);
                assert_eq!(
                    late.to_string(),
                    "the queue ahead and its own run need 117 ms, the latency target is 100 ms"
                );
            }
        }
        if id == 0 {
            assert!(matches!(simulation.batcher.next(start), Decision::Run(..)));
        }
    }
}

#[test]
fn a_time_limit_of_its_own_that_the_queue_outlasts_is_refused_at_once() {
    let start = clock::now();
    let default_policy = LevelPolicy { allow_timeout_override: true, ..LevelPolicy::default() };
    let levels = QueuePolicy { default_policy, ..QueuePolicy::default() };
    let policy = with(policy(4, &[], Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
        p.instances = 1;
    });
    let mut batcher = Batcher::new(policy);
    let asking = |id, timeout| Request { timeout, ..request(id, 1, 0, start) };
    assert_eq!(batcher.late(&asking(0, Some(MS))), None, "nothing is known");
    batcher.tried(&[0], 1, 50 * MS);
    batcher.tried(&[0], 4, 200 * MS);
    assert_eq!(batcher.late(&asking(0, Some(MS))), None, "it could run at once");
    batcher.push(asking(0, None)).unwrap();
    assert!(matches!(batcher.next(start), Decision::Run(..)));
    let late = batcher.late(&asking(1, Some(20 * MS))).unwrap();
    assert_eq!(late.to_string(), "the queue ahead needs 50 ms, its time limit is 20 ms");
    assert_eq!(batcher.late(&asking(1, Some(60 * MS))), None);
    assert_eq!(batcher.late(&asking(1, None)), None, "a request without limits waits");
    // A batch that is overdue may end at any moment.
    let overdue = Request { arrival: start + 80 * MS, ..asking(2, Some(MS)) };
    assert_eq!(batcher.late(&overdue), None);
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_at_once() {
    let start = clock::now();
    let batcher = |target| {
        let policy = with(policy(4, &[], Duration::ZERO), |p| {
            p.instances = 1;
            p.timing.latency_target = target;
        });
        let mut batcher = Batcher::new(policy);
        batcher.tried(&[0], 1, 50 * MS);
        batcher.tried(&[0], 4, 80 * MS);
        batcher.push(request(0, 1, 0, start)).unwrap();
        assert!(matches!(batcher.next(start), Decision::Run(..)));
        batcher
    };
    let by = |ms| Request { deadline: Some(start + ms * MS), ..request(1, 1, 0, start) };
    // 50 ms until the instance is free, 50 more, and the margin of the
    // forecast.
    let unbound = batcher(None);
    let late = unbound.late(&by(104)).unwrap();
    assert_eq!(late.to_string(), "the queue ahead and its own run need 105 ms, its deadline is in 104 ms");
    assert_eq!(unbound.late(&by(106)), None);
    assert_eq!(unbound.late(&request(1, 1, 0, start)), None, "a request without limits waits");
    // The earlier of the two counts.
    let bound = |ms| batcher(Some(200 * MS)).late(&by(ms)).map(|late| late.bound);
    assert_eq!([104, 106, 300].map(bound), [Some(Bound::Deadline), None, None]);
    assert_eq!(batcher(Some(90 * MS)).late(&by(300)).unwrap().bound, Bound::Target);
}

#[test]
fn a_configured_delay_ends_where_a_target_or_a_deadline_wants_it() {
    let start = clock::now();
    let due_of = |preferred: &[u32], target, deadline: Option<u32>, known: bool| {
        let policy = with(policy(8, preferred, 100 * MS), |p| {
            p.instances = 1;
            p.timing.latency_target = target;
        });
        let mut batcher = Batcher::new(policy);
        if known {
            batcher.tried(&[0], 1, 20 * MS);
            batcher.tried(&[0], 8, 24 * MS);
        }
        let deadline = deadline.map(|ms| start + ms * MS);
        batcher.push(Request { deadline, ..request(0, 1, 0, start) }).unwrap();
        match batcher.next(start) {
            Decision::WaitUntil(due) => Some((due - start).as_millis()),
            Decision::Run(..) | Decision::Idle => None,
        }
    };
    let due = |target, deadline, known| due_of(&[], target, deadline, known);
    assert_eq!(due(None, None, true), Some(100));
    assert_eq!(due(None, Some(50), true), Some(28), "20 ms, a twentieth of that and a millisecond");
    assert_eq!(due(Some(60 * MS), Some(90), true), Some(38));
    assert_eq!(due_of(&[4], None, Some(50), true), Some(28), "a size that is preferred waits no longer");
    assert_eq!(due(Some(500 * MS), Some(500), true), Some(100));
    assert_eq!(due(None, Some(20), true), None, "it leaves at once");
    assert_eq!(due(Some(10 * MS), None, true), None);
    assert_eq!(due(None, Some(50), false), Some(100), "nothing is known");
}

#[test]
fn nobody_waits_for_more_than_the_target_lets_run() {
    let start = clock::now();
    let policy = with(policy(8, &[], 100 * MS), |p| {
        p.instances = 1;
        p.timing.latency_target = Some(60 * MS);
    });
    let mut batcher = Batcher::new(policy);
    for rows in [1, 2, 4, 8] {
        batcher.tried(&[0], rows, 10 * MS * rows);
    }
    for id in 0..3 {
        batcher.push(request(id, 1, 0, start)).unwrap();
    }
    assert_eq!(ids(batcher.next(start)).0.len(), 3, "a fourth would take more than half of the target");
}

#[test]
fn nobody_waits_for_company_beyond_a_deadline() {
    let start = clock::now();
    let policy = with(policy(8, &[], Duration::ZERO), |p| {
        p.instances = 1;
        p.timing.latency_target = Some(1000 * MS);
    });
    let mut batcher = Batcher::new(policy);
    for rows in [1, 2, 4, 8] {
        batcher.tried(&[0], rows, 100 * MS);
    }
    // A group of four that comes again, with 10 ms between two of them.
    for id in 0..15 {
        batcher.push(request(id, 1, 0, start + MS * (id as u32 * 10))).unwrap();
    }
    let now = start + 140 * MS;
    while let Decision::Run(batch, _) = batcher.next(now) {
        batcher.done_for_test(&[0], batch.rows, None);
    }
    batcher.take_all();
    let waits = |batcher: &mut Batcher<Request>, deadline| {
        let arrival = start + 150 * MS;
        batcher.push(Request { deadline, ..request(20, 1, 0, arrival) }).unwrap();
        let decision = batcher.next(arrival);
        batcher.take_all();
        matches!(decision, Decision::WaitUntil(_))
    };
    assert!(waits(&mut batcher, None));
    assert!(!waits(&mut batcher, Some(start + 220 * MS)), "its own run takes 100 ms");
}

#[test]
fn a_higher_level_does_not_count_those_below_it() {
    let start = clock::now();
    let levels = QueuePolicy { levels: 2, default_level: 2, ..QueuePolicy::default() };
    let mut batcher = Batcher::new(with(policy(1, &[], Duration::ZERO), |p| {
        p.queue = QueuePolicy { capacity: p.queue.capacity, ..levels };
        p.instances = 1;
        p.timing.latency_target = Some(60 * MS);
    }));
    batcher.tried(&[0], 1, 20 * MS);
    for id in 0..4 {
        batcher.push(request(id, 1, 0, start)).unwrap();
    }
    assert!(matches!(batcher.next(start), Decision::Run(..)));
    assert!(batcher.late(&request(9, 1, 0, start)).is_some());
    assert_eq!(batcher.late(&Request { priority: 1, ..request(9, 1, 0, start) }), None);
}
