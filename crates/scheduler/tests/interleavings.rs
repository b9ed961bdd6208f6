//! The queue and its wake-ups, in the possible orders of threads. One run of
//! real threads tries one order by chance; this tries thousands. A lost wake-up
//! shows as a deadlock.
//!
//! `cargo test -p cresset-scheduler --features shuttle --test interleavings`
#![cfg(feature = "shuttle")]
// Tests may use `unwrap`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use cresset_scheduler::{
    Batch, BatchingPolicy, Free, Next, Policy, Queue, QueuePolicy, Schedulable, Taker, Turn,
};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// How many orders are tried for each test.
const ORDERS: usize = 3000;

#[derive(Debug)]
struct Request {
    id: usize,
    arrival: Instant,
}

impl Schedulable for Request {
    fn rows(&self) -> u32 {
        1
    }
    fn bucket(&self) -> &[i64] {
        &[]
    }
    fn arrival(&self) -> Instant {
        self.arrival
    }
    fn cancelled(&self) -> bool {
        false
    }
    fn expire(self) {}
}

fn request(id: usize) -> Request {
    Request { id, arrival: cresset_clock::now() }
}

/// For batches of two, and two instances that spin before they park.
fn queue() -> Arc<Queue<Request>> {
    Arc::new(Queue::new(Policy {
        queue: QueuePolicy { capacity: 100, ..QueuePolicy::default() },
        batching: BatchingPolicy { max_batch_size: Some(2), ..BatchingPolicy::default() },
        instances: 2,
        ..Policy::default()
    }))
}

/// Takes batches until the queue is closed, and records their requests.
fn run(queue: &Queue<Request>, instance: &impl Taker, seen: &Mutex<Vec<usize>>) {
    while let Next::Batch(Batch { requests, .. }, running) = queue.next(instance) {
        assert!(requests.len() <= 2);
        seen.lock().unwrap().extend(requests.iter().map(|request| request.id));
        drop(running);
    }
}

fn sorted(seen: &Mutex<Vec<usize>>) -> Vec<usize> {
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    seen
}

#[test]
fn every_request_leaves_once_whatever_the_order() {
    shuttle::check_random(
        || {
            let (queue, seen) = (queue(), Arc::new(Mutex::new(Vec::new())));
            let instances: Vec<_> = (0..2)
                .map(|_| {
                    let (queue, seen) = (Arc::clone(&queue), Arc::clone(&seen));
                    thread::spawn(move || run(&queue, &Free, &seen))
                })
                .collect();
            let clients: Vec<_> = (0..2)
                .map(|client| {
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || {
                        for id in 0..3 {
                            // The guard is kept for a moment, as by a task that
                            // yields once.
                            let submitted = queue.submit(request(client * 3 + id)).unwrap();
                            thread::yield_now();
                            drop(submitted);
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            queue.close();
            instances.into_iter().for_each(|instance| instance.join().unwrap());
            assert_eq!(sorted(&seen), [0, 1, 2, 3, 4, 5]);
        },
        ORDERS,
    );
}

#[test]
fn no_wake_up_depends_on_another_task_s_guard() {
    shuttle::check_random(
        || {
            let (queue, seen) = (queue(), Arc::new(Mutex::new(Vec::new())));
            // It ends with the third request; only the guards wake it.
            let instance = {
                let (queue, seen) = (Arc::clone(&queue), Arc::clone(&seen));
                thread::spawn(move || {
                    while seen.lock().unwrap().len() < 3 {
                        let Next::Batch(batch, _) = queue.next(&Free) else { panic!("not closed") };
                        seen.lock().unwrap().extend(batch.requests.iter().map(|request| request.id));
                    }
                })
            };
            let first = queue.submit(request(0)).unwrap();
            let others = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let second = queue.submit(request(1)).unwrap();
                    drop(queue.submit(request(2)).unwrap());
                    drop(second);
                })
            };
            others.join().unwrap();
            instance.join().unwrap();
            // Its task was held up until everything was over.
            drop(first);
            assert_eq!(sorted(&seen), [0, 1, 2]);
        },
        ORDERS,
    );
}

/// An instance that computes, and takes a batch that isn't full once it is
/// free.
struct Overlapped {
    free: AtomicBool,
}

impl Taker for Overlapped {
    fn turn(&self) -> Turn {
        if self.free.load(Ordering::SeqCst) { Turn::Now } else { Turn::Later }
    }
}

#[test]
fn an_instance_that_becomes_free_takes_what_waits() {
    shuttle::check_random(
        || {
            let (queue, seen) = (queue(), Arc::new(Mutex::new(Vec::new())));
            let instance = Arc::new(Overlapped { free: AtomicBool::new(false) });
            let taker = {
                let (queue, seen, instance) = (Arc::clone(&queue), Arc::clone(&seen), Arc::clone(&instance));
                thread::spawn(move || run(&queue, &*instance, &seen))
            };
            // The answering stage tells the collecting one.
            let answering = {
                let (queue, instance) = (Arc::clone(&queue), Arc::clone(&instance));
                thread::spawn(move || {
                    instance.free.store(true, Ordering::SeqCst);
                    queue.wake();
                })
            };
            drop(queue.submit(request(0)).unwrap());
            answering.join().unwrap();
            while seen.lock().unwrap().is_empty() {
                thread::yield_now();
            }
            queue.close();
            taker.join().unwrap();
            assert_eq!(sorted(&seen), [0]);
        },
        ORDERS,
    );
}
