//! A model run on random inputs, so that another form of it can be compared:
//! what a change of precision does to the answers, in numbers.

use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};

use super::warm_up::declared_inputs;
use crate::backend::{
    BackendError, BatchOutput, Drive, HostBatch, HostBuffer, HostInput, Model, ModelInstance,
};
use crate::instance::WarmUpInput;
use crate::model_config::{Binding, ModelConfig, output_name};
use crate::protocol::Datatype;

/// What a dimension that the configuration leaves open becomes: few tokens, or
/// the side of an image that survives five halvings, or ImageNet's.
const OPEN_DIMENSIONS: [i64; 3] = [8, 64, 224];

/// Any would do; the same at each start, so that the report is.
const SEED: u64 = 0x0063_7265_7373_6574;

/// What a run is given: each input with its bytes.
pub(super) type Inputs = Vec<(WarmUpInput, Vec<u8>)>;

/// A warm-up run's inputs, with their bytes.
pub(super) fn inputs_of(inputs: &[WarmUpInput]) -> Inputs {
    inputs.iter().map(|input| (input.clone(), input.bytes().to_vec())).collect()
}

/// Inputs, and what the plain model answers to them.
#[derive(Debug)]
pub(super) struct Trial {
    inputs: Inputs,
    answers: Vec<BatchOutput>,
}

/// How far an output is from the plain model's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    /// The output's name.
    pub(super) output: String,
    /// `max|a - b|`; infinite where one is no number and the other is.
    pub(super) absolute: f64,
    /// The same over `max|b|`, of the plain model's.
    pub(super) relative: f64,
    /// Of the angle between the two; 1 where they are equal.
    pub(super) cosine: f64,
}

/// Zeros of a batch of one as the configuration declares it, with each of the
/// usual sizes for what it leaves open; none where it declares no numbers.
pub(super) fn open_inputs(config: &ModelConfig, binding: &Binding) -> Vec<Vec<WarmUpInput>> {
    let batch = (config.max_batch_size > 0).then_some(1);
    let all = OPEN_DIMENSIONS.iter().filter_map(|open| declared_inputs(binding, batch, Some(*open)));
    all.filter(|inputs| !inputs.is_empty()).collect()
}

impl Trial {
    /// Makes inputs of a batch of one as the configuration declares them, and
    /// runs the plain model on them.
    ///
    /// # Errors
    /// Why that can't be done, in words for the operator.
    pub(super) fn of(plain: &dyn Model, config: &ModelConfig, binding: &Binding) -> Result<Self, String> {
        let batch = (config.max_batch_size > 0).then_some(1);
        let mut failed = "config.pbtxt declares no inputs of numbers".to_owned();
        let mut tried = None;
        for open in OPEN_DIMENSIONS {
            let Some(declared) = declared_inputs(binding, batch, Some(open)).filter(|all| !all.is_empty())
            else {
                break;
            };
            // The size of what is open may be what fails.
            if tried.replace(declared.clone()).as_ref() == Some(&declared) {
                break;
            }
            let mut random = Random(SEED);
            let inputs: Vec<_> =
                declared.into_iter().map(|input| (input.clone(), random.bytes(&input))).collect();
            match run(plain, &inputs) {
                Ok(answers) => return Ok(Self { inputs, answers }),
                Err(error) => failed = format!("the model fails on random inputs: {error}"),
            }
        }
        Err(failed)
    }

    /// Runs another form of the model on the same inputs.
    ///
    /// # Errors
    /// Where it fails; the plain one didn't.
    pub(super) fn run(&self, model: &dyn Model) -> Result<Vec<BatchOutput>, BackendError> {
        run(model, &self.inputs)
    }

    /// How far those answers are from the plain model's, by output.
    ///
    /// # Errors
    /// Where they can't be compared: other shapes, or another number of them.
    pub(super) fn compare(
        &self,
        answers: &[BatchOutput],
        binding: &Binding,
    ) -> Result<Vec<Difference>, String> {
        differences(answers, &self.answers, binding)
    }

    /// The same inputs in so many equal rows; as they are where nothing is
    /// batched.
    pub(super) fn inputs_of(&self, rows: Option<u32>) -> Inputs {
        let of = |(input, bytes): &(WarmUpInput, Vec<u8>)| {
            let (mut input, count) = (input.clone(), rows.unwrap_or(1));
            if let (Some(first), Some(rows)) = (input.shape.first_mut(), rows) {
                *first = i64::from(rows);
            }
            (input, bytes.repeat(count as usize))
        };
        self.inputs.iter().map(of).collect()
    }
}

/// How far `answers` are from what was expected, by output.
///
/// # Errors
/// Where they can't be compared: other shapes, or another number of them.
pub(super) fn differences(
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
            Ok(Difference::between(output, &numbers(got), &numbers(expected)))
        })
        .collect()
}

/// On a thread that ends with it: libtorch keeps memory for each thread that
/// ever ran a model.
fn run(model: &dyn Model, inputs: &[(WarmUpInput, Vec<u8>)]) -> Result<Vec<BatchOutput>, BackendError> {
    apart(|| run_here(model.instance(1)?.as_mut(), inputs))
}

/// Work with models on a thread of its own.
pub(super) fn apart<T: Send>(
    work: impl FnOnce() -> Result<T, BackendError> + Send,
) -> Result<T, BackendError> {
    std::thread::scope(|scope| {
        let trial = std::thread::Builder::new().name("trial".to_owned());
        let thread = trial
            .spawn_scoped(scope, work)
            .map_err(|error| failed(format!("no thread for a trial run: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the trial run ended in a panic")))
    })
}

/// That something around the model failed.
pub(super) fn failed(message: impl Into<String>) -> BackendError {
    let message = message.into();
    BackendError::Execute { detail: message.clone(), message }
}

pub(super) fn run_here(
    instance: &mut dyn ModelInstance,
    inputs: &[(WarmUpInput, Vec<u8>)],
) -> Result<Vec<BatchOutput>, BackendError> {
    let memory = instance.host_memory();
    let host_input = |(input, bytes): &(WarmUpInput, Vec<u8>)| {
        let mut data = HostBuffer::within(memory.clone());
        data.begin(bytes.len());
        data.extend(bytes);
        let (name, datatype, shape) = (Arc::from(input.name.as_str()), input.datatype, input.shape.clone());
        HostInput { name, datatype, shape, data }
    };
    let batch = HostBatch { inputs: inputs.iter().map(host_input).collect() };
    match instance.drive() {
        Drive::Inline => instance.forward(&batch.inputs()),
        Drive::Overlapped => instance.launch(batch)?.land().0,
    }
}

impl Difference {
    fn between(output: String, got: &[f64], expected: &[f64]) -> Self {
        let apart = |(a, b): (&f64, &f64)| match (a - b).abs() {
            // Equal infinities, or no number in both.
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

/// For people: `0.013`, `2.0e-7`.
pub(super) fn two_digits(value: f64) -> String {
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

/// 0 where one of them has no direction.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if cosine.is_nan() { 0.0 } else { cosine }
}

/// The elements of an output, whatever their type; none of strings.
fn numbers(output: &BatchOutput) -> Vec<f64> {
    fn each<T: bytemuck::AnyBitPattern, R>(data: &[u8], to: impl Fn(T) -> R) -> Vec<f64>
    where
        R: Into<f64>,
    {
        let size = size_of::<T>();
        data.chunks_exact(size).map(|bytes| to(bytemuck::pod_read_unaligned(bytes)).into()).collect()
    }
    let data = &output.data[..];
    match output.datatype {
        Datatype::Bool | Datatype::Uint8 => each(data, |value: u8| value),
        Datatype::Uint16 => each(data, |value: u16| value),
        Datatype::Uint32 => each(data, |value: u32| value),
        Datatype::Uint64 => each(data, |value: u64| value as f64),
        Datatype::Int8 => each(data, |value: i8| value),
        Datatype::Int16 => each(data, |value: i16| value),
        Datatype::Int32 => each(data, |value: i32| value),
        Datatype::Int64 => each(data, |value: i64| value as f64),
        Datatype::Fp16 => each(data, f16::to_f64),
        Datatype::Bf16 => each(data, bf16::to_f64),
        Datatype::Fp32 => each(data, |value: f32| value),
        Datatype::Fp64 => each(data, |value: f64| value),
        Datatype::Bytes => Vec::new(),
    }
}

/// splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From -1 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Floating ones between -1 and 1; bytes as pixels; other whole numbers 0
    /// or 1, as every table has such rows and every mask such values, and not
    /// all of them 0.
    fn bytes(&mut self, input: &WarmUpInput) -> Vec<u8> {
        let elements: i64 = input.shape.iter().product();
        let elements = 0..usize::try_from(elements).unwrap_or(0);
        match input.datatype {
            Datatype::Fp16 => elements.flat_map(|_| f16::from_f64(self.unit()).to_le_bytes()).collect(),
            Datatype::Bf16 => elements.flat_map(|_| bf16::from_f64(self.unit()).to_le_bytes()).collect(),
            Datatype::Fp32 => elements.flat_map(|_| (self.unit() as f32).to_le_bytes()).collect(),
            Datatype::Fp64 => elements.flat_map(|_| self.unit().to_le_bytes()).collect(),
            Datatype::Uint8 => elements.map(|_| self.next().to_le_bytes()[0]).collect(),
            Datatype::Bool
            | Datatype::Uint16
            | Datatype::Uint32
            | Datatype::Uint64
            | Datatype::Int8
            | Datatype::Int16
            | Datatype::Int32
            | Datatype::Int64 => {
                let size = input.datatype.size().unwrap_or(1);
                let one = |index| {
                    let mut bytes = vec![0; size];
                    bytes[0] = u8::from(index == 0 || self.next() & 1 == 1);
                    bytes
                };
                elements.flat_map(one).collect()
            }
            Datatype::Bytes => Vec::new(),
        }
    }
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
        // What overflowed, and what the plain model doesn't know.
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
    fn every_datatype_is_made_and_read() {
        for datatype in Datatype::all().filter(|datatype| *datatype != Datatype::Bytes) {
            let input = WarmUpInput { name: "x".to_owned(), datatype, shape: vec![1, 64], data: None };
            let bytes = Random(SEED).bytes(&input);
            assert_eq!(bytes.len(), 64 * datatype.size().unwrap(), "{datatype}");
            assert_eq!(bytes, Random(SEED).bytes(&input), "the same at each start");
            let output = BatchOutput { name: None, datatype, shape: vec![64], data: bytes.into() };
            let values = numbers(&output);
            assert_eq!(values.len(), 64);
            let most = if datatype == Datatype::Uint8 { 255.0 } else { 1.0 };
            assert!(values.iter().all(|value| (-1.0..=most).contains(value)), "{datatype}: {values:?}");
            assert!(values.iter().any(|value| *value != values[0]), "{datatype}");
            let floating =
                matches!(datatype, Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64);
            assert!(floating || values[0] != 0.0, "{datatype}");
        }
    }
}
