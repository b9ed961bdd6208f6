//! Random numbers that are the same for the same seed, everywhere.

/// How many letters a random string has.
const STRING_LENGTH: usize = 16;

/// Marsaglia's xorshift with a multiplied output (xorshift64*): plenty for
/// filler and for arrivals, a few lines, the same everywhere.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // Zero is the one state that it never leaves; an odd constant spreads
        // neighbouring seeds.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Another sequence from the same seed: for a thread, or for arrivals
    /// beside values.
    pub(super) fn stream(seed: u64, stream: u64) -> Self {
        let mut random = Self::new(seed.wrapping_add(stream.wrapping_mul(0xd134_2543_de82_ef95)));
        // The first outputs of close states are close.
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `end` - 1; 0 where `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        // Scaled: below `end` by construction.
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// From 0 up to 1: as many bits as an FP32's fraction holds.
    pub(super) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Exponential, with mean 1: the gaps of a Poisson process by inversion.
    pub(super) fn exponential(&mut self) -> f64 {
        // From above 0 up to 1: the logarithm is finite.
        let unit = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -unit.ln()
    }

    pub(super) fn word(&mut self) -> String {
        (0..STRING_LENGTH).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seed_stands_still() {
        for seed in [0, 1, u64::MAX] {
            assert_ne!(Random::new(seed).next(), 0);
        }
        assert_ne!(Random::stream(7, 0).next(), Random::stream(7, 1).next());
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
