//! The number of intra-op threads, which libtorch keeps for each thread.

/// Sets it for the calling thread; at least one.
///
/// libtorch also keeps the last number that any thread set. A thread that first
/// asks for its own number, as every parallel operation does, gets that one,
/// even if it had set its own. Asking before setting makes the number set here
/// permanent.
pub(super) fn set(count: usize) {
    let _ = tch::get_num_threads();
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}

/// How many intra-op threads the calling thread has.
#[must_use]
pub fn intra_op_threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(0)
}

/// A temporary number; dropping it restores the previous one.
pub(super) struct Count {
    before: i32,
}

impl Count {
    pub(super) fn set_for_now(count: usize) -> Self {
        let before = tch::get_num_threads();
        set(count);
        Self { before }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}
