//! Heuristics of the server that can be turned off one at a time, to measure
//! each of them.
//!
//! The feature `ablation` is only for measurements. Without it every answer is
//! `false` at compile time.

/// A heuristic that can be turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heuristic {
    /// Rows are left for an instance that is free soon.
    DeferToOther,
    /// A batch waits for one more request, if the latency target allows it.
    Coalesce,
    /// Batches are cut to the size with the least time per row.
    Sizes,
    /// Idle instances share the waiting requests.
    Shared,
    /// Padding is bounded by the learned cost of a batch.
    PaddingCost,
    /// A model is rewritten for inference while it serves.
    Improve,
    /// Instances and threads are chosen by a trial at load.
    Calibrate,
    /// One cut in 128 is waived, so that a size is measured again.
    TrialWhole,
    /// An instance spins before it parks.
    SpinBeforePark,
}

/// Whether this heuristic is turned off.
#[cfg(not(feature = "ablation"))]
#[inline(always)]
#[must_use]
pub const fn off(_what: Heuristic) -> bool {
    false
}

#[cfg(feature = "ablation")]
pub use switched::off;

#[cfg(feature = "ablation")]
mod switched {
    use std::sync::LazyLock;

    use super::Heuristic;

    /// Names of heuristics, separated by commas.
    const VARIABLE: &str = "CRESSET_ABLATE";

    /// By the names that the variable takes.
    const NAMES: [(&str, Heuristic); 9] = [
        ("defer_to_other", Heuristic::DeferToOther),
        ("coalesce", Heuristic::Coalesce),
        ("sizes", Heuristic::Sizes),
        ("shared", Heuristic::Shared),
        ("padding_cost", Heuristic::PaddingCost),
        ("improve", Heuristic::Improve),
        ("calibrate", Heuristic::Calibrate),
        ("trial_whole", Heuristic::TrialWhole),
        ("spin_before_park", Heuristic::SpinBeforePark),
    ];

    /// A bit for each that is off; read from the environment once.
    static OFF: LazyLock<u32> = LazyLock::new(|| {
        let listed = std::env::var(VARIABLE).unwrap_or_default();
        listed.split(',').filter(|name| !name.is_empty()).fold(0, |mask, name| mask | bit(named(name)))
    });

    /// Whether this heuristic is turned off.
    #[must_use]
    pub fn off(what: Heuristic) -> bool {
        *OFF & bit(what) != 0
    }

    fn bit(what: Heuristic) -> u32 {
        1 << what as u32
    }

    /// Ends the process if the name is unknown: otherwise a measurement with a
    /// misspelt switch would show no effect.
    fn named(name: &str) -> Heuristic {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, heuristic)) => *heuristic,
            None => {
                let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                eprintln!("{VARIABLE} names '{name}': one of {} was expected", known.join(", "));
                std::process::exit(2)
            }
        }
    }
}
