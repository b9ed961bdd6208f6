//! Draws rows for a model without samples. The same number always gives the same
//! row, and neighbouring rows differ.

use bytes::Bytes;

use super::input::TrialInput;
use cresset_protocol::{Datatype, append_number, push_string};

/// The range of values that elements are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// Whole numbers, from the first to the last.
    pub whole: (u8, u8),
    /// Floating numbers, from the first up to the second.
    pub real: (f64, f64),
}

impl Values {
    /// The range that nearly every model takes: any table has the rows 0 and 1, and
    /// any mask these values.
    pub const USUAL: Self = Self { whole: (0, 1), real: (-1.0, 1.0) };

    /// Ranges to try one after the other until a model runs. An index must not be
    /// beyond a table, and a length or a divisor must not be 0. The numbers are
    /// small, in case a model makes a tensor of that size in each dimension.
    pub const WIDENING: [Self; 3] =
        [Self::USUAL, Self { whole: (1, 8), real: (0.0, 1.0) }, Self { whole: (0, 99), real: (0.0, 255.0) }];

    /// The same ranges for an accelerator, on which an index beyond a table ends the
    /// process.
    pub const CAREFUL: [Self; 3] =
        [Self::USUAL, Self { real: (0.0, 1.0), ..Self::USUAL }, Self { real: (0.0, 255.0), ..Self::USUAL }];
}

/// The inputs of row `row`, with elements drawn if they have none. Each input's
/// dimension 0 is 1, or isn't a batch.
#[must_use]
pub fn row(inputs: &[TrialInput], row: u64, values: Values) -> Vec<TrialInput> {
    let drawn = |(place, input): (usize, &TrialInput)| match input.data {
        Some(_) => input.clone(),
        None => {
            let mut random = fastrand::Rng::with_seed(row << 8 ^ place as u64);
            let mut bytes = Vec::new();
            (0..input.elements()).for_each(|_| append(&mut bytes, input.datatype, &mut random, values));
            TrialInput { data: Some(Bytes::from(bytes)), ..input.clone() }
        }
    };
    inputs.iter().enumerate().map(drawn).collect()
}

fn append(bytes: &mut Vec<u8>, datatype: Datatype, random: &mut fastrand::Rng, values: Values) {
    let Values { whole: (least, most), real: (low, high) } = values;
    let real = low + random.f64() * (high - low);
    let whole = match datatype {
        // Most inputs of this type are pixels.
        Datatype::Uint8 => random.u8(..),
        Datatype::Bool => random.u8(..=1),
        Datatype::Bytes => {
            push_string(bytes, random.u8(..100).to_string().as_bytes());
            return;
        }
        Datatype::Fp16
        | Datatype::Bf16
        | Datatype::Fp32
        | Datatype::Fp64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Uint16
        | Datatype::Int32
        | Datatype::Uint32
        | Datatype::Int64
        | Datatype::Uint64 => random.u8(least..=most.max(least)),
    };
    append_number(datatype, real, whole, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_protocol::numbers;

    fn input(datatype: Datatype) -> [TrialInput; 1] {
        [TrialInput { name: "x".to_owned(), datatype, shape: vec![1, 400], data: None }]
    }

    #[test]
    fn a_row_is_the_same_each_time_and_unlike_its_neighbours() {
        for datatype in Datatype::all() {
            let rows = [0, 1, 2].map(|number| row(&input(datatype), number, Values::USUAL));
            assert_eq!(rows[0], row(&input(datatype), 0, Values::USUAL), "{datatype}");
            assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2], "{datatype}");
        }
    }

    #[test]
    fn two_inputs_of_a_row_differ_and_what_is_given_stays() {
        let [one] = input(Datatype::Fp32);
        let given = TrialInput { data: Some(Bytes::from_static(&[7; 1600])), ..one.clone() };
        let drawn = row(&[one.clone(), one, given.clone()], 3, Values::USUAL);
        assert_ne!(drawn[0].data, drawn[1].data);
        assert_eq!(drawn[2], given);
    }

    #[test]
    fn values_keep_to_their_range_and_fill_it() {
        for values in Values::WIDENING.into_iter().chain(Values::CAREFUL) {
            let all = |datatype| {
                let drawn = row(&input(datatype), 0, values).remove(0);
                numbers(datatype, &drawn.bytes()).collect::<Vec<f64>>()
            };
            let (least, most) = (f64::from(values.whole.0), f64::from(values.whole.1));
            let whole = all(Datatype::Int64);
            assert!(whole.iter().all(|value| (least..=most).contains(value)), "{values:?}");
            assert!(whole.contains(&least) && whole.contains(&most), "{values:?}");
            let (low, high) = values.real;
            let real = all(Datatype::Fp64);
            assert!(real.iter().all(|value| (low..=high).contains(value)), "{values:?}");
            let quarter = (high - low) / 4.0;
            assert!(real.iter().any(|v| *v < low + quarter) && real.iter().any(|v| *v > high - quarter));
        }
    }
}
