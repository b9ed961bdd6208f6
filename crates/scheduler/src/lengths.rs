//! Requests whose rows differ in one dimension: their sizes, and the length to
//! which they are padded.

/// The size of a request's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSize {
    /// Along the padded dimension; zero if there is none.
    pub length: u32,
    /// The elements for each unit of length, in the largest input that is
    /// padded.
    pub per_length: u64,
    /// The elements of the largest input that is not padded.
    pub fixed: u64,
}

impl RowSize {
    /// The elements of a row, in its largest input, after padding to `length`.
    #[must_use]
    pub fn elements(&self, length: u32) -> u64 {
        self.fixed.max(self.per_length.saturating_mul(u64::from(length)))
    }
}

/// The lengths of batches, and how much the lengths within a batch may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    /// Lengths are rounded up to a multiple of this, so that the number of
    /// shapes stays bounded; 1 or more.
    pub multiple_of: u32,
    /// Lengths are not rounded beyond this.
    pub max_length: Option<u32>,
    /// The share of a batch that may be padding, from 0 to 1. A request doesn't
    /// join if padding would be more than this share of the batch's growth.
    /// Padding due to rounding alone isn't counted.
    pub max_waste: f64,
}

impl Lengths {
    /// The padded length of a batch with a longest request of this length.
    #[must_use]
    pub fn padded(&self, length: u32) -> u32 {
        let rounded = length.checked_next_multiple_of(self.multiple_of.max(1)).unwrap_or(length);
        self.max_length.map_or(rounded, |most| rounded.min(most.max(length)))
    }

    /// Whether a batch may grow by `growth`, of which `padding` is padding.
    pub(crate) fn tolerates(&self, padding: u64, growth: u64) -> bool {
        padding as f64 <= self.max_waste * growth as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_up_and_never_beyond_the_longest() {
        let lengths = Lengths { multiple_of: 8, max_length: Some(20), max_waste: 0.25 };
        let padded: Vec<u32> = [0, 1, 8, 9, 17, 20, 33].map(|length| lengths.padded(length)).into();
        assert_eq!(padded, [0, 8, 8, 16, 20, 20, 33], "what is longer all the same is left as it is");
        assert_eq!(Lengths { max_length: None, ..lengths }.padded(17), 24);
        assert_eq!(Lengths { max_length: None, ..lengths }.padded(u32::MAX), u32::MAX);
        assert!(lengths.tolerates(25, 100) && !lengths.tolerates(26, 100) && lengths.tolerates(0, 0));
    }

    #[test]
    fn a_row_is_as_large_as_its_largest_input() {
        let size = RowSize { length: 5, per_length: 4, fixed: 30 };
        assert_eq!([5, 8, 16].map(|length| size.elements(length)), [30, 32, 64]);
        assert_eq!(RowSize { per_length: u64::MAX, ..size }.elements(2), u64::MAX);
    }
}
