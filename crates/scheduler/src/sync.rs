//! Locks and threads: the standard library's, or those of a model checker that
//! tries their possible orders.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic::AtomicU64},
    thread::{self, Thread, ThreadId, park_timeout},
};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic::AtomicU64},
    thread::{self, Thread, ThreadId},
};

/// Time doesn't pass in a model: it may be over at any point.
#[cfg(feature = "shuttle")]
pub(crate) fn park_timeout(_: std::time::Duration) {
    thread::yield_now();
}
