//! Random numbers that are the same for the same seed, everywhere.

/// How many letters a random string has.
const STRING_LENGTH: usize = 16;

/// Random numbers for generated values and for arrivals. One release of Cresset
/// draws the same numbers everywhere.
#[derive(Debug, Clone)]
pub(super) struct Random(fastrand::Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Another sequence from the same seed: for a thread, or for arrivals in
    /// addition to values.
    pub(super) fn stream(seed: u64, stream: u64) -> Self {
        // Close seeds and streams become seeds that are far from each other.
        let far = |seed| fastrand::Rng::with_seed(seed).u64(..);
        Self::new(far(far(seed) ^ stream))
    }

    /// From 0 to `end` - 1; 0 if `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }

    /// From 0 up to 1.
    pub(super) fn unit(&mut self) -> f32 {
        self.0.f32()
    }

    /// Exponential, with mean 1: the gaps of a Poisson process by inversion.
    pub(super) fn exponential(&mut self) -> f64 {
        // From above 0 up to 1: the logarithm is finite.
        -(1.0 - self.0.f64()).ln()
    }

    pub(super) fn word(&mut self) -> String {
        (0..STRING_LENGTH).map(|_| self.0.lowercase()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_each_stream_another() {
        let drawn = |mut random: Random| [(); 4].map(|()| random.below(1 << 32));
        assert_eq!(drawn(Random::stream(7, 3)), drawn(Random::stream(7, 3)));
        let streams = (0..4).flat_map(|seed| (0..8).map(move |stream| (seed, stream)));
        let numbers: HashSet<usize> =
            streams.flat_map(|(seed, stream)| drawn(Random::stream(seed, stream))).collect();
        assert_eq!(numbers.len(), 4 * 8 * 4);
    }

    #[test]
    fn exponential_gaps_have_mean_and_deviation_one() {
        let mut random = Random::stream(7, 1);
        let gaps: Vec<f64> = (0..100_000).map(|_| random.exponential()).collect();
        let mean = gaps.iter().sum::<f64>() / 1e5;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn below_is_below_and_reaches_both_ends() {
        let mut random = Random::new(3);
        let drawn: Vec<usize> = (0..1000).map(|_| random.below(10)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&0), Some(&9)));
        assert_eq!(random.below(0), 0);
    }
}
