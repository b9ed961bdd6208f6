//! Measures how far two outputs differ.

use std::fmt;

use crate::model_config::{Binding, output_name};
use cresset_backend::BatchOutput;
use cresset_protocol::{Datatype, Strings, numbers};

/// How far an output differs from the expected one.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The output's name.
    pub output: String,
    /// `max|a - b|`; infinite if one is no number and the other is.
    pub absolute: f64,
    /// The same over `max|b|`, with `b` the expected output.
    pub relative: f64,
    /// The cosine of the angle between the two; 1 if they are equal.
    pub cosine: f64,
}

/// How far each of the `answers` differs from the expected output.
///
/// # Errors
/// If they can't be compared, because the number of outputs or their shapes differ.
pub fn differences(
    answers: &[BatchOutput],
    expected: &[BatchOutput],
    binding: &Binding,
) -> Result<Vec<Difference>, String> {
    if answers.len() != expected.len() {
        return Err(format!("{} outputs came in place of {}", answers.len(), expected.len()));
    }
    let pairs = answers.iter().zip(expected).enumerate();
    pairs
        .map(|(index, (got, expected))| {
            let bound = binding.outputs.iter().find(|output| output.index == index);
            let output = bound
                .map_or_else(|| output_name(index, expected.name.as_deref()), |bound| bound.name.clone());
            if got.shape != expected.shape {
                return Err(format!(
                    "output '{output}' has shape {:?} in place of {:?}",
                    got.shape, expected.shape
                ));
            }
            let [got, expected] =
                [got, expected].map(|output| numbers(output.datatype, &output.data).collect::<Vec<f64>>());
            Ok(Difference::between(output, &got, &expected))
        })
        .collect()
}

impl Difference {
    fn between(output: String, got: &[f64], expected: &[f64]) -> Self {
        let apart = |(a, b): (&f64, &f64)| match (a - b).abs() {
            // Equal infinities, or NaN in both.
            _ if a == b || (a.is_nan() && b.is_nan()) => 0.0,
            apart if apart.is_nan() => f64::INFINITY,
            apart => apart,
        };
        let absolute = got.iter().zip(expected).map(apart).fold(0.0, f64::max);
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let relative = if absolute == 0.0 { 0.0 } else { absolute / largest };
        let cosine = if absolute == 0.0 { 1.0 } else { cosine(got, expected) };
        Self { output, absolute, relative, cosine }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "output '{}' differs by at most {}, relative {}, cosine {:.5}",
            self.output,
            two_digits(self.absolute),
            two_digits(self.relative),
            self.cosine
        )
    }
}

/// For messages: `0.013`, `2.0e-7`.
#[must_use]
pub fn two_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor();
    if (-4.0..6.0).contains(&magnitude) {
        format!("{value:.*}", (1.0 - magnitude).max(0.0) as usize)
    } else {
        format!("{value:.1e}")
    }
}

/// 0 if one of the vectors is zero.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if cosine.is_nan() { 0.0 } else { cosine }
}

/// Whether two parts of outputs of one datatype are equal but for rounding.
///
/// Whole numbers, truth values and strings are not rounded. Two floating numbers
/// may differ by `rounding` times the larger one, plus `rounding` times the median
/// magnitude of `expected`: small values carry the rounding of the usual values,
/// not that of the largest.
#[must_use]
pub fn alike(datatype: Datatype, got: &[u8], expected: &[u8], rounding: f64) -> bool {
    if got == expected {
        return true;
    }
    if got.len() != expected.len() || !datatype.is_float() {
        return false;
    }
    let usual = usual_magnitude(datatype, expected);
    let near = |(a, b): (f64, f64)| {
        a == b
            || (a.is_nan() && b.is_nan())
            || (a.is_finite() && b.is_finite() && (a - b).abs() <= rounding * (a.abs().max(b.abs()) + usual))
    };
    numbers(datatype, got).zip(numbers(datatype, expected)).all(near)
}

/// The median magnitude of the numbers that aren't 0, or of a sample of them if
/// there are very many.
fn usual_magnitude(datatype: Datatype, data: &[u8]) -> f64 {
    const SOME: usize = 4096;
    let count = data.len() / datatype.size().unwrap_or(1);
    let magnitudes = numbers(datatype, data).step_by((count / SOME).max(1)).map(f64::abs);
    let mut magnitudes: Vec<f64> = magnitudes.filter(|value| *value > 0.0 && value.is_finite()).collect();
    let middle = magnitudes.len() / 2;
    if magnitudes.is_empty() { 0.0 } else { *magnitudes.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

/// Takes so many rows off the front of `data`, which holds part of an output.
/// `data` has `of` rows.
#[must_use]
pub(super) fn take_rows<'a>(data: &mut &'a [u8], datatype: Datatype, rows: i64, of: i64) -> &'a [u8] {
    let (rows, of) = (usize::try_from(rows).unwrap_or(0), usize::try_from(of).unwrap_or(0).max(1));
    let bytes = match datatype.size() {
        Some(_) => data.len() / of * rows,
        None => {
            let mut strings = Strings::new(data);
            let each = Strings::new(data).count() / of;
            strings.by_ref().take(each * rows).for_each(drop);
            data.len() - strings.rest().len()
        }
    };
    let (own, rest) = data.split_at(bytes.min(data.len()));
    *data = rest;
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(got: &[f64], expected: &[f64]) -> Difference {
        Difference::between("y".to_owned(), got, expected)
    }

    #[test]
    fn differences_are_measured_against_the_plain_answers() {
        let apart = between(&[1.0, 2.5, -4.0], &[1.0, 2.0, -5.0]);
        assert_eq!((apart.absolute, apart.relative), (1.0, 0.2));
        assert!(apart.cosine > 0.98 && apart.cosine < 1.0, "{apart:?}");
        assert_eq!(apart.to_string(), "output 'y' differs by at most 1.0, relative 0.20, cosine 0.98447");
        let opposite = between(&[1.0, -1.0], &[-1.0, 1.0]);
        assert_eq!((opposite.relative, (opposite.cosine * 1e9).round()), (2.0, -1e9));
    }

    #[test]
    fn equal_answers_differ_by_nothing_whatever_they_are() {
        for values in [&[][..], &[0.0, 0.0], &[f64::NAN, f64::INFINITY, 1.0]] {
            let apart = between(values, values);
            assert_eq!((apart.absolute, apart.relative, apart.cosine), (0.0, 0.0, 1.0), "{values:?}");
        }
        // A value that overflowed, and a NaN that the plain model doesn't give.
        for (got, expected) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NAN)] {
            assert_eq!(between(&[got], &[expected]).absolute, f64::INFINITY);
        }
        assert_eq!(between(&[1.0], &[0.0]).relative, f64::INFINITY);
    }

    #[test]
    fn numbers_are_shown_to_two_digits() {
        let shown: Vec<_> = [0.0, 0.013_37, 1.25, 13.0, 123_456.0, 0.000_2, 2e-7, 3.3e9, f64::INFINITY]
            .map(two_digits)
            .into();
        assert_eq!(shown, ["0", "0.013", "1.2", "13", "123456", "0.00020", "2.0e-7", "3.3e9", "inf"]);
    }

    #[test]
    fn rounding_is_forgiven_by_what_is_usual_and_nothing_else_is() {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let near = |got: &[f32], expected: &[f32]| alike(Datatype::Fp32, &bytes(got), &bytes(expected), 1e-4);
        assert!(near(&[1.0, 2.0, 0.0], &[1.000_05, 1.999_9, 0.000_1]));
        assert!(!near(&[1.0, 2.0, 0.0], &[1.0, 2.0, 0.001]));
        // One huge value, as a mask writes it, excuses nothing.
        assert!(!near(&[-1e9, 0.5, 0.25], &[-1e9, 0.5, 0.26]));
        assert!(near(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]));
        assert!(!near(&[f32::NAN], &[0.0]) && !near(&[0.0], &[f32::INFINITY]) && !near(&[1.0], &[1.0, 1.0]));
        assert!(!alike(Datatype::Int32, &[1, 0, 0, 0], &[2, 0, 0, 0], 1.0), "whole numbers aren't rounded");
    }

    #[test]
    fn rows_are_cut_off_the_front_strings_too() {
        let mut numbers: &[u8] = &[1, 2, 3, 4, 5, 6];
        assert_eq!(take_rows(&mut numbers, Datatype::Uint8, 1, 3), [1, 2]);
        assert_eq!(take_rows(&mut numbers, Datatype::Uint8, 2, 2), [3, 4, 5, 6]);
        let mut strings: &[u8] = &[1, 0, 0, 0, b'a', 0, 0, 0, 0, 2, 0, 0, 0, b'b', b'c'];
        assert_eq!(take_rows(&mut strings, Datatype::Bytes, 2, 3), [1, 0, 0, 0, b'a', 0, 0, 0, 0]);
        assert_eq!(take_rows(&mut strings, Datatype::Bytes, 1, 1), [2, 0, 0, 0, b'b', b'c']);
    }
}
