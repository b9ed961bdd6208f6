//! Converts the usual forms of numbers from digits to a float directly. Rarer
//! forms are left to the standard library's parser.
//!
//! The method is Clinger's ("How to read floating point numbers accurately",
//! 1990). If the digits and the power of ten both fit a float exactly, one
//! rounding is enough. For FP32 the same is done in 64 bits, with digits to
//! spare: a value near the middle between two FP32 values is left to the
//! parser, too.
//!
//! It is faster than the crate `fast-float2`: see `docs/design/json.md`.

/// Powers of ten that 64 bits hold exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// More digits than this may not fit 64 bits.
const MOST_DIGITS: usize = 19;

/// `±mantissa · 10^exponent`, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Decimal {
    /// Reads the number at the start of `text`, by JSON's grammar, with its
    /// length. `None` if it is not a number, or if it has too many digits.
    // Called for each element of a tensor: a call would be a third of it.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    pub(super) fn read(text: &[u8]) -> Option<(Self, usize)> {
        let mut at = 0;
        let negative = text.first() == Some(&b'-');
        at += usize::from(negative);
        let mut mantissa = 0;
        let whole = digits(text, &mut at, &mut mantissa);
        let leading_zero = text.get(at - whole) == Some(&b'0');
        if whole == 0 || (leading_zero && whole > 1) {
            return None;
        }
        let mut fraction = 0;
        if text.get(at) == Some(&b'.') {
            at += 1;
            fraction = many_digits(text, &mut at, &mut mantissa);
            if fraction == 0 {
                return None;
            }
        }
        let significant = if leading_zero { fraction } else { whole + fraction };
        if significant > MOST_DIGITS {
            return None;
        }
        let mut exponent = -i32::try_from(fraction).ok()?;
        if matches!(text.get(at), Some(b'e' | b'E')) {
            at += 1;
            let below = text.get(at) == Some(&b'-');
            at += usize::from(below || text.get(at) == Some(&b'+'));
            let mut power = 0;
            let length = digits(text, &mut at, &mut power);
            if length == 0 || length > 3 {
                return None;
            }
            let power = i32::try_from(power).ok()?;
            exponent += if below { -power } else { power };
        }
        Some((Self { negative, mantissa, exponent }, at))
    }

    /// The nearest FP64, if one rounding gives it.
    #[inline]
    pub(super) fn to_f64(self) -> Option<f64> {
        /// Up to here every whole number is a float.
        const EXACT: u64 = 1 << 53;
        if self.mantissa > EXACT { None } else { self.scaled() }
    }

    /// The nearest FP32, if 64 bits determine it.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn to_f32(self) -> Option<f32> {
        /// The bits that the shorter mantissa lacks, and the middle of their
        /// range.
        const LOST: u64 = (1 << 29) - 1;
        const MIDDLE: u64 = 1 << 28;
        /// Two roundings, of the digits and of the product, are off by less
        /// than two units in the last place.
        const DOUBT: u64 = 4;
        let value = self.scaled()?;
        if value == 0.0 {
            return Some(value as f32);
        }
        let normal = (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&value.abs());
        let clear = (value.to_bits() & LOST).abs_diff(MIDDLE) > DOUBT;
        (normal && clear).then_some(value as f32)
    }

    #[inline]
    #[allow(clippy::cast_precision_loss)]
    fn scaled(self) -> Option<f64> {
        let power = *POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        let digits = self.mantissa as f64;
        let value = if self.exponent < 0 { digits / power } else { digits * power };
        // Not a branch: the signs of pixels are unpredictable for a processor.
        Some(f64::from_bits(value.to_bits() | u64::from(self.negative) << 63))
    }
}

/// Reads digits into `value`, which is correct for the first 19, and returns
/// their number.
#[inline(always)]
#[allow(clippy::inline_always)]
fn many_digits(text: &[u8], at: &mut usize, value: &mut u64) -> usize {
    let first = *at;
    while let Some(eight) = text.get(*at..).and_then(|rest| rest.first_chunk()).and_then(eight_digits) {
        *value = value.wrapping_mul(100_000_000).wrapping_add(eight);
        *at += 8;
    }
    digits(text, at, value);
    *at - first
}

/// The same for few digits.
#[inline(always)]
#[allow(clippy::inline_always)]
fn digits(text: &[u8], at: &mut usize, value: &mut u64) -> usize {
    let first = *at;
    while let Some(digit) = text.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        *value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
    *at - first
}

/// The value of eight digits at once: adjacent digits are combined to pairs,
/// the pairs to fours, and the fours to the value.
#[inline(always)]
#[allow(clippy::inline_always)]
fn eight_digits(text: &[u8; 8]) -> Option<u64> {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let word = u64::from_le_bytes(*text);
    // Only digits have a high half of 3 and keep it when 6 is added.
    let high = (word & HIGH) | ((word.wrapping_add(0x0606_0606_0606_0606) & HIGH) >> 4);
    if high != 0x3333_3333_3333_3333 {
        return None;
    }
    let ones = word & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = ones.wrapping_mul(10).wrapping_add(ones >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<(Decimal, usize)> {
        Decimal::read(text.as_bytes())
    }

    #[test]
    fn a_number_ends_where_jsons_grammar_says() {
        for (text, mantissa, exponent, length) in [
            ("0", 0, 0, 1),
            ("-0.0", 0, -1, 4),
            ("12345678,", 12_345_678, 0, 8),
            ("123456789]", 123_456_789, 0, 9),
            ("0.25 ", 25, -2, 4),
            ("1e5", 1, 5, 3),
            ("1.5E-07,", 15, -8, 7),
            ("2e+3", 2, 3, 4),
            ("0.12345679104328156", 12_345_679_104_328_156, -17, 19),
        ] {
            let (decimal, read) = read(text).unwrap();
            assert_eq!((decimal.mantissa, decimal.exponent, read), (mantissa, exponent, length), "{text}");
            assert_eq!(decimal.negative, text.starts_with('-'));
        }
        for text in [
            "",
            "-",
            "01",
            "00",
            ".5",
            "1.",
            "1.e3",
            "1e",
            "1e+",
            "NaN",
            "-Infinity",
            "+1",
            "12345678901234567890",
            "1e1000",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn eight_bytes_are_digits_or_not() {
        assert_eq!(eight_digits(b"12345678"), Some(12_345_678));
        assert_eq!(eight_digits(b"00000000"), Some(0));
        assert_eq!(eight_digits(b"99999999"), Some(99_999_999));
        for place in 0..8 {
            for byte in (0..=255).filter(|byte: &u8| !byte.is_ascii_digit()) {
                let mut text = *b"12345678";
                text[place] = byte;
                assert_eq!(eight_digits(&text), None, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn the_middle_between_two_values_is_left_to_the_parser() {
        for text in
            ["16777217", "16777219", "1.00000005960464477539", "33554434.000000001", "1e-46", "3.5e38"]
        {
            assert_eq!(read(text).and_then(|(decimal, _)| decimal.to_f32()), None, "{text}");
        }
        assert_eq!(read("-0").unwrap().0.to_f32().map(f32::to_bits), Some((-0.0_f32).to_bits()));
    }

    /// Each value that is not left to the parser equals the parser's, to the
    /// bit.
    fn agrees(text: &str) -> Result<(), TestCaseError> {
        let Some((decimal, length)) = read(text) else { return Ok(()) };
        prop_assert_eq!(length, text.len());
        if let Some(value) = decimal.to_f32() {
            prop_assert_eq!(value.to_bits(), text.parse::<f32>().unwrap().to_bits(), "{}", text);
        }
        if let Some(value) = decimal.to_f64() {
            prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn digits_are_read_as_the_parser_reads_them(text in "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?") {
            agrees(&text)?;
        }

        #[test]
        fn any_float_comes_back(value in any::<f32>().prop_filter("finite", |value| value.is_finite())) {
            agrees(&value.to_string())?;
            agrees(&f64::from(value).to_string())?;
            agrees(&format!("{value:e}"))?;
        }

        /// Digits of the exact middle between two neighbours, and just next to
        /// it.
        #[test]
        fn what_is_nearly_the_middle_is_not_mistaken(bits in 0x3000_0000_u32..0x5000_0000, beside in -3_i64..=3) {
            let (low, high) = (f64::from(f32::from_bits(bits)), f64::from(f32::from_bits(bits + 1)));
            let middle = f64::midpoint(low, high);
            let near = f64::from_bits(middle.to_bits().checked_add_signed(beside).unwrap());
            for text in [near.to_string(), format!("{near:.17e}"), format!("{near:.18e}")] {
                agrees(&text)?;
            }
        }
    }
}
