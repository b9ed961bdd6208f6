//! How many instances with how many threads each, and running them side by
//! side.

use std::str::FromStr;
use std::sync::{Arc, Barrier};

use cresset::settings::processors;

/// `2x1`: two instances of one thread each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) instances: usize,
    pub(crate) threads: usize,
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("expected INSTANCESxTHREADS, 2x1, got '{text}'");
        let (instances, threads) = text.split_once('x').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().ok().filter(|count: &usize| *count > 0).ok_or_else(wrong);
        Ok(Self { instances: number(instances)?, threads: number(threads)? })
    }
}

impl Plan {
    /// Those that make sense here: all threads on one batch, or a batch each;
    /// or what was asked for.
    pub(crate) fn or_usual(asked: &[Self]) -> Vec<Self> {
        if !asked.is_empty() {
            return asked.to_vec();
        }
        let all = processors();
        let mut plans = vec![Self { instances: 1, threads: all }, Self { instances: all, threads: 1 }];
        plans.dedup();
        plans
    }

    /// Runs `work` once for each instance, on a thread of its own, and hands
    /// out what they give. Each waits at the barrier when it is warm.
    pub(crate) fn run<T: Send + 'static>(
        self,
        work: impl Fn(&Barrier) -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Vec<T>> {
        let (work, barrier) = (Arc::new(work), Arc::new(Barrier::new(self.instances)));
        let threads: Vec<_> = (0..self.instances)
            .map(|_| {
                let (work, barrier) = (Arc::clone(&work), Arc::clone(&barrier));
                std::thread::spawn(move || work(&barrier))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("an instance panicked"))?)
            .collect()
    }
}
