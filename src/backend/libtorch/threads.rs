//! The number of intra-op threads, which libtorch keeps for each thread.

/// Sets it for the calling thread; at least one.
pub(super) fn set(count: usize) {
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}

/// A number for now; dropping it puts the one from before back.
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
