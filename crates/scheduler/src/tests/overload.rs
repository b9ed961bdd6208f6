//! More than the server can do, without a latency target: the bound on the
//! estimated wait.

use super::simulation::{Answered, Outcome, Simulation};
use super::*;

const BOUND: Duration = Duration::from_secs(1);

/// A model whose batches take `fixed`, and `each` for a row.
#[derive(Debug, Clone, Copy)]
struct Server {
    instances: usize,
    max: u32,
    fixed: Duration,
    each: Duration,
    jitter: f64,
    random: u64,
}

impl Server {
    fn took(&self, rows: u32) -> Duration {
        self.fixed + self.each * rows
    }

    /// Rows a second, in the batches that are best.
    fn capacity(&self) -> f64 {
        self.instances as f64 * f64::from(self.max) / self.took(self.max).as_secs_f64()
    }

    /// The longest that a batch may take.
    fn run(&self) -> Duration {
        self.took(self.max).mul_f64(1.0 + self.jitter)
    }

    fn serve(self, bound: Option<Duration>, load: f64, seconds: f64) -> Outcome {
        let mut simulation = Simulation::new(self.instances, self.max, None, move |rows| self.took(rows));
        simulation.batcher.policy.queue.max_wait = bound;
        (simulation.jitter, simulation.random) = (self.jitter, self.random);
        let arrivals = simulation.poisson(load * self.capacity(), seconds);
        simulation.run(&arrivals)
    }
}

/// From light models to those that take twice the bound.
fn servers() -> impl Strategy<Value = Server> {
    let times = (0_u64..30_000, 2_000_u64..100_000);
    (1_usize..4, 1_u32..17, times, 0.0..0.2, 1_u64..u64::MAX).prop_map(
        |(instances, max, (fixed, each), jitter, random)| {
            let [fixed, each] = [fixed, each].map(Duration::from_micros);
            Server { instances, max, fixed, each, jitter, random }
        },
    )
}

fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn under_any_load_the_capacity_is_answered_and_waits_are_bounded(
        server in servers(),
        load in prop::sample::select(&[0.5, 1.0, 2.0, 5.0, 10.0][..]),
    ) {
        // A quarter of it goes by before anything is counted.
        let seconds = (4000.0 / server.capacity()).max(40.0);
        let outcome = server.serve(Some(BOUND), load, seconds);
        prop_assert_eq!(outcome.refused + outcome.answered.len(), outcome.offered, "each has one end");
        let waits: Vec<Duration> = outcome.answered.iter().map(Answered::waited).collect();
        let longest = waits.iter().max().copied().unwrap_or_default();
        // Runs take longer than known, and those that are known were short: by all that times vary.
        let varied = (1.0 + server.jitter) / (1.0 - server.jitter);
        prop_assert!(longest <= BOUND.mul_f64(varied) + server.run(), "{:?}", longest);
        // By the margin that is learned, if most of the bound is for waiting.
        let p99 = percentile(waits, 99);
        let within = BOUND.mul_f64(1.0 + server.jitter / 2.0);
        prop_assert!(p99 <= within || server.run() > BOUND / 4, "{:?}", p99);
        let [from, to] = [seconds / 4.0, seconds].map(Duration::from_secs_f64);
        let in_time = |answered: &&Answered| answered.latency() <= BOUND + 2 * server.run();
        let counted = outcome.answered.iter().filter(|answered| (from..to).contains(&answered.ended));
        let goodput = counted.filter(in_time).count() as f64 / (to - from).as_secs_f64() / server.capacity();
        // Chance alone moves the offered load by more than a few in a hundred.
        let expected = if load < 1.0 { 0.4 } else if load < 2.0 { 0.85 } else { 0.95 };
        prop_assert!(goodput >= expected, "goodput {} of {} a second", goodput, server.capacity());
        if load < 1.0 && server.run() < BOUND / 8 {
            prop_assert_eq!(outcome.refused, 0);
        }
    }
}

#[test]
fn answers_are_within_the_bound_if_runs_are_short() {
    let server = Server { instances: 1, max: 1, fixed: MS, each: 14 * MS, jitter: 0.1, random: 7 };
    for load in [2.0, 10.0] {
        let outcome = server.serve(Some(BOUND), load, 120.0);
        let latency = outcome.percentile(99);
        assert!(latency <= BOUND, "{load}: {latency:?}, with the run");
    }
    let unbound = server.serve(None, 2.0, 40.0);
    assert!(unbound.percentile(50) > 10 * BOUND, "the control: {:?}", unbound.percentile(50));
}

#[test]
fn a_load_that_is_over_leaves_nothing_behind() {
    let server = Server { instances: 2, max: 8, fixed: 4 * MS, each: 5 * MS, jitter: 0.1, random: 7 };
    let mut simulation = Simulation::new(2, 8, None, move |rows| server.took(rows));
    simulation.batcher.policy.queue.max_wait = Some(BOUND);
    let over = simulation.poisson(10.0 * server.capacity(), 10.0);
    let calm = simulation.poisson(0.5 * server.capacity(), 20.0);
    let back = Duration::from_secs(12);
    let calm = calm.into_iter().map(|after| after + Duration::from_secs(10));
    let outcome = simulation.run(&over.into_iter().chain(calm).collect::<Vec<_>>());
    let later = outcome.answered.iter().filter(|answered| answered.came > back);
    let p99 = percentile(later.map(Answered::latency).collect(), 99);
    assert!(p99 < 3 * server.run(), "{p99:?} from two seconds after");
}

/// A batcher with one running batch and `waiting` rows of 100 ms each behind it,
/// which all have come at `start`.
fn behind(waiting: usize, start: Instant) -> Batcher<Request> {
    let mut batcher = Batcher::new(with(policy(1, &[], Duration::ZERO), |p| {
        p.queue.max_wait = Some(BOUND);
        p.instances = 1;
    }));
    batcher.tried(&[0], 1, 100 * MS);
    for id in 0..=waiting {
        batcher.push(request(id, 1, 0, start)).unwrap();
    }
    assert!(matches!(batcher.next(start), Decision::Run(..)));
    batcher
}

#[test]
fn a_refusal_says_what_the_queue_needs_and_what_is_allowed() {
    let start = clock::now();
    assert_eq!(behind(8, start).late(&request(99, 1, 0, start)), None, "900 ms");
    let late = behind(10, start).late(&request(99, 1, 0, start)).unwrap();
    // With the margin of the forecast.
    assert_eq!(late.to_string(), "the queue ahead needs 1155 ms, at most 1000 ms are allowed");
    let (over_in, needs) = Overload::Late(late).over_in().unwrap();
    assert_eq!((over_in, needs), (155 * MS, 1155 * MS));
}

#[test]
fn a_client_with_less_time_is_refused_by_its_own_limit() {
    let start = clock::now();
    let queue = behind(8, start);
    let by = |ms| Request { deadline: Some(start + ms * MS), ..request(99, 1, 0, start) };
    assert_eq!(queue.late(&by(800)).map(|late| late.bound), Some(Bound::Deadline));
    assert_eq!(queue.late(&by(2000)), None);
    assert_eq!(behind(10, start).late(&by(2000)).map(|late| late.bound), Some(Bound::Wait));
}

#[test]
fn a_request_that_the_next_batch_takes_is_never_refused() {
    let start = clock::now();
    for max in [1, 4] {
        let mut batcher = Batcher::new(with(policy(max, &[], Duration::ZERO), |p| {
            p.queue.max_wait = Some(BOUND);
            p.instances = 1;
        }));
        assert_eq!(batcher.late(&request(0, 1, 0, start)), None, "nothing is known");
        batcher.tried(&[0], max, 10 * BOUND);
        assert_eq!(batcher.late(&request(0, 1, 0, start)), None, "it starts at once");
        batcher.push(request(0, 1, 0, start)).unwrap();
        assert!(matches!(batcher.next(start), Decision::Run(..)));
        for id in 0..max as usize {
            assert_eq!(batcher.overload(0, start), None, "{id} wait");
            assert_eq!(batcher.late(&request(id, 1, 0, start)), None, "{id} wait");
            batcher.push(request(id, 1, 0, start)).unwrap();
        }
        assert!(batcher.overload(0, start).is_some());
        let late = batcher.late(&request(9, 1, 0, start));
        assert_eq!(late.map(|late| late.bound), Some(Bound::Wait));
        let part = Request { follows: true, ..request(9, 1, 0, start) };
        assert_eq!(batcher.late(&part), None, "another part of it was accepted");
    }
}

#[test]
fn where_nothing_is_batched_each_request_counts() {
    let start = clock::now();
    let mut batcher: Batcher<Request> = Batcher::new(with(single(100), |p| {
        p.queue.max_wait = Some(BOUND);
        p.instances = 1;
    }));
    // Requests may have several rows, and such run faster.
    batcher.tried(&[0], 1, 100 * MS);
    batcher.tried(&[0], 32, 200 * MS);
    for id in 0..9 {
        assert_eq!(batcher.late(&request(id, 1, 0, start)), None, "{id} wait");
        batcher.push(request(id, 1, 0, start)).unwrap();
    }
    assert!(matches!(batcher.next(start), Decision::Run(..)));
    batcher.push(request(9, 1, 0, start)).unwrap();
    assert_eq!(batcher.late(&request(10, 1, 0, start)).map(|late| late.needs), Some(1050 * MS));
    // A model whose outputs turn out not to be rows.
    let mut shared = behind(8, start);
    shared.tried(&[0], 16, 200 * MS);
    shared.share_batches(None);
    shared.push(request(0, 1, 0, start)).unwrap();
    shared.push(request(0, 1, 0, start)).unwrap();
    assert!(shared.late(&request(10, 1, 0, start)).is_some());
}

#[test]
fn shapes_that_never_ran_wait_no_longer_than_others() {
    let start = clock::now();
    let mut batcher = Batcher::new(with(policy(4, &[], Duration::ZERO), |p| {
        p.queue.max_wait = Some(BOUND);
        p.instances = 1;
    }));
    for shape in 0..3 {
        (0..3).for_each(|_| batcher.tried(&[shape], 1, 100 * MS));
    }
    let mut accepted = 0;
    for shape in 100..200 {
        let one = request(0, 1, shape, start);
        if batcher.late(&one).is_none() {
            batcher.push(one).unwrap();
            accepted += 1;
        }
    }
    assert!((4..=11).contains(&accepted), "{accepted}");
}

#[test]
fn what_refuses_every_request_refuses_each_and_what_does_not_may_refuse_some() {
    let start = clock::now();
    for waiting in 0..30 {
        let queue = behind(waiting, start);
        let late = queue.late(&request(99, 1, 0, start));
        assert_eq!(queue.overload(0, start), late.map(Overload::Late), "{waiting} wait");
    }
    // A request of the first level would overtake these.
    let mut levels = behind(0, start);
    levels.policy.queue.levels = 2;
    levels.policy.queue.default_level = 2;
    (0..30).for_each(|id| _ = levels.push(request(id, 1, 0, start)).unwrap());
    assert!(levels.late(&request(99, 1, 0, start)).is_some());
    assert_eq!(levels.overload(0, start), None);
    (0..30).for_each(|id| _ = levels.push(Request { priority: 1, ..request(id, 1, 0, start) }).unwrap());
    assert!(matches!(levels.overload(0, start), Some(Overload::Late(_))));
    levels.policy.queue.capacity = 60;
    assert!(
        matches!(levels.overload(0, start), Some(Overload::Full { wait: Some(wait) }) if wait > 3 * BOUND)
    );
    // One of its levels may have room of its own.
    levels.policy.queue.default_policy.max_queue_size = 100;
    assert!(matches!(levels.overload(0, start), Some(Overload::Late(_))));
}

#[test]
fn a_queue_tells_at_its_door_what_it_would_tell_a_request() {
    let queue: Queue<Request> = Queue::new(with(policy(1, &[], Duration::ZERO), |p| {
        p.queue.max_wait = Some(BOUND);
        p.queue.capacity = 20;
        p.instances = 1;
    }));
    let refused = |id| match queue.submit(request(id, 1, 0, clock::now())) {
        Ok(_) => None,
        Err(Refused::Overload(_, overload)) => Some(overload),
        Err(Refused::Closed(_)) => panic!("it is open"),
    };
    for id in 0..20 {
        assert_eq!(queue.overload(), None, "no times are known");
        assert_eq!(refused(id), None);
    }
    assert_eq!(queue.overload(), Some(Overload::Full { wait: None }));
    assert_eq!(refused(20), Some(Overload::Full { wait: None }));
    let batch = next_batch(&queue).unwrap();
    assert_eq!((batch.requests[0].id, queue.overload()), (0, None));
    queue.tried(&[0], 1, 100 * MS);
    assert!(matches!(queue.overload(), Some(Overload::Late(late)) if late.needs > BOUND));
    assert!(matches!(refused(21), Some(Overload::Late(late)) if late.needs > BOUND));
    queue.close();
    assert_eq!(queue.overload(), None, "a closed queue has its own reason");
}

#[test]
fn what_is_made_ready_counts_as_if_it_waited() {
    let queue: Queue<Request> = Queue::new(with(policy(1, &[], Duration::ZERO), |p| {
        p.queue.max_wait = Some(BOUND);
        p.instances = 1;
    }));
    queue.tried(&[0], 1, 100 * MS);
    let one = queue.coming(1);
    assert_eq!(queue.overload(), None);
    let more = [queue.coming(4), queue.coming(20)];
    assert!(matches!(queue.overload(), Some(Overload::Late(late)) if late.needs > 2 * BOUND));
    drop(more);
    assert_eq!(queue.overload(), None);
    drop(one);
    assert_eq!(queue.overload(), None);
}

#[test]
fn what_its_client_would_not_wait_for_leaves_unrun() {
    let start = clock::now();
    let by = |id, ms| Request { deadline: Some(start + ms * MS), ..request(id, 1, 0, start) };
    let mut batcher = behind(0, start);
    batcher.push(by(1, 240)).unwrap();
    batcher.push(by(2, 400)).unwrap();
    batcher.done_for_test(&[0], 1, Some(100 * MS));
    let taken = |batcher: &mut Batcher<Request>, ms| -> Vec<usize> {
        batcher.take_expired(start + ms * MS).iter().map(|request| request.id).collect()
    };
    assert_eq!(taken(&mut batcher, 139), []);
    // The batch before took longer than expected.
    assert_eq!(taken(&mut batcher, 140), [1], "100 ms are left");
    assert_eq!(ids(batcher.next(start + 150 * MS)).0, [2]);

    // A request that starts at once runs, whatever is known of times.
    let mut batcher = behind(0, start);
    batcher.done_for_test(&[0], 1, Some(100 * MS));
    batcher.push(by(1, 50)).unwrap();
    assert_eq!(taken(&mut batcher, 0), []);
    assert_eq!(ids(batcher.next(start)).0, [1]);
}
