//! What a mock model does with its inputs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Gate;
use crate::backend::{Argument, ArgumentKind, BackendError, BatchInput, BatchOutput, Signature};
use crate::protocol::Datatype;

type Forward = dyn Fn(&[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> + Send + Sync;

/// What a forward gives.
#[derive(Clone)]
pub enum Behaviour {
    /// Each input is the output of its place.
    Identity,
    /// Triton's `simple`: the sum and the difference of two inputs.
    AddSub,
    /// Each input times a number.
    Scale(f64),
    /// As identity; fails where any value is below zero.
    FailOnNegative,
    /// As identity, with the last row missing.
    WrongRows,
    /// Panics, as no backend should.
    Panics,
    /// Whatever the test likes.
    Custom(Arc<Forward>),
}

impl Behaviour {
    /// [`Behaviour::Custom`].
    pub fn custom<F>(forward: F) -> Self
    where
        F: Fn(&[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> + Send + Sync + 'static,
    {
        Self::Custom(Arc::new(forward))
    }

    fn run(&self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        match self {
            Self::Identity => Ok(inputs.iter().map(unchanged).collect()),
            Self::AddSub => match inputs {
                [left, right] if left.datatype == right.datatype && left.shape == right.shape => {
                    Ok(vec![zipped(left, right, |a, b| a + b)?, zipped(left, right, |a, b| a - b)?])
                }
                _ => Err(failed("add_sub takes two inputs of one datatype and shape")),
            },
            Self::Scale(factor) => inputs.iter().map(|input| mapped(input, |a| a * factor)).collect(),
            Self::FailOnNegative => {
                for input in inputs {
                    if numbers(input)?.iter().any(|number| *number < 0.0) {
                        return Err(failed("RuntimeError: a value is below zero"));
                    }
                }
                Self::Identity.run(inputs)
            }
            Self::WrongRows => Ok(inputs.iter().map(shortened).collect()),
            #[allow(clippy::panic)]
            Self::Panics => panic!("a mock model was told to panic"),
            Self::Custom(forward) => forward(inputs),
        }
    }

    fn default_arguments(&self) -> &'static [&'static str] {
        match self {
            Self::AddSub => &["INPUT0", "INPUT1"],
            Self::Identity
            | Self::Scale(_)
            | Self::FailOnNegative
            | Self::WrongRows
            | Self::Panics
            | Self::Custom(_) => &["INPUT0"],
        }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("Identity"),
            Self::AddSub => f.write_str("AddSub"),
            Self::Scale(factor) => write!(f, "Scale({factor})"),
            Self::FailOnNegative => f.write_str("FailOnNegative"),
            Self::WrongRows => f.write_str("WrongRows"),
            Self::Panics => f.write_str("Panics"),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// A model of the mock: what it does, how long that takes, and what its file
/// would tell.
#[derive(Debug, Clone)]
pub struct MockModel {
    behaviour: Behaviour,
    arguments: Vec<(String, ArgumentKind)>,
    stateful: Option<String>,
    sleep: Duration,
    gate: Option<Gate>,
}

impl MockModel {
    /// A model that takes no time, with argument `INPUT0` (and `INPUT1`).
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        let arguments = named(behaviour.default_arguments());
        Self { behaviour, arguments, stateful: None, sleep: Duration::ZERO, gate: None }
    }

    /// Names `forward`'s arguments.
    #[must_use]
    pub fn arguments(mut self, names: &[&str]) -> Self {
        self.arguments = named(names);
        self
    }

    /// Makes it take one dictionary of tensors, under this name.
    #[must_use]
    pub fn dict(mut self, name: &str) -> Self {
        self.arguments = vec![(name.to_owned(), ArgumentKind::TensorDict)];
        self
    }

    /// Makes it one that mustn't be shared.
    #[must_use]
    pub fn stateful(mut self, why: &str) -> Self {
        self.stateful = Some(why.to_owned());
        self
    }

    /// Makes each forward take this long.
    #[must_use]
    pub fn sleep(mut self, time: Duration) -> Self {
        self.sleep = time;
        self
    }

    /// Makes each forward wait before `gate`.
    #[must_use]
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    pub(super) fn signature(&self) -> Signature {
        let arguments = self
            .arguments
            .iter()
            .map(|(name, kind)| Argument { name: name.clone(), kind: kind.clone(), has_default: false })
            .collect();
        Signature { arguments, stateful: self.stateful.clone() }
    }

    pub(super) fn forward(&self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        if let Some(gate) = &self.gate {
            gate.enter();
        }
        if !self.sleep.is_zero() {
            std::thread::sleep(self.sleep);
        }
        self.behaviour.run(inputs)
    }

    /// One line of a file.
    fn set(self, key: &str, value: &str) -> Result<Self, String> {
        match key {
            "arguments" => Ok(self.arguments(&value.split(',').map(str::trim).collect::<Vec<_>>())),
            "dict" => Ok(self.dict(value)),
            "stateful" => Ok(self.stateful(value)),
            "sleep" => match humantime::parse_duration(value) {
                Ok(time) => Ok(self.sleep(time)),
                Err(error) => Err(format!("mock: sleep: {error}")),
            },
            _ => Err(format!("mock: unknown setting '{key}'")),
        }
    }
}

impl FromStr for MockModel {
    /// What is wrong with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut settings =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.split_once(':'));
        let Some(Some(("mock", behaviour))) = settings.next() else {
            return Err("not a mock model: the first line is not `mock: <behaviour>`".to_owned());
        };
        settings.try_fold(Self::new(behaviour.parse()?), |model, line| match line {
            Some((key, value)) => model.set(key.trim(), value.trim()),
            None => Err("mock: a line without a colon".to_owned()),
        })
    }
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["identity"] => Ok(Self::Identity),
            ["add_sub"] => Ok(Self::AddSub),
            ["fail_on_negative"] => Ok(Self::FailOnNegative),
            ["wrong_rows"] => Ok(Self::WrongRows),
            ["panics"] => Ok(Self::Panics),
            ["scale", factor] => match factor.parse() {
                Ok(factor) => Ok(Self::Scale(factor)),
                Err(_) => Err(format!("mock: '{factor}' is no number")),
            },
            _ => Err(format!("mock: unknown behaviour '{}'", text.trim())),
        }
    }
}

fn named(names: &[&str]) -> Vec<(String, ArgumentKind)> {
    names.iter().map(|name| ((*name).to_owned(), ArgumentKind::Tensor)).collect()
}

fn unchanged(input: &BatchInput<'_>) -> BatchOutput {
    BatchOutput {
        name: None,
        datatype: input.datatype,
        shape: input.shape.to_vec(),
        data: Bytes::copy_from_slice(input.data),
    }
}

fn shortened(input: &BatchInput<'_>) -> BatchOutput {
    let mut output = unchanged(input);
    if let Some(rows) = output.shape.first_mut().filter(|rows| **rows > 0) {
        let row = output.data.len() / usize::try_from(*rows).unwrap_or(1);
        output.data.truncate(output.data.len() - row);
        *rows -= 1;
    }
    output
}

fn mapped(input: &BatchInput<'_>, map: impl Fn(f64) -> f64) -> Result<BatchOutput, BackendError> {
    computed(input, numbers(input)?.into_iter().map(map))
}

fn zipped(
    left: &BatchInput<'_>,
    right: &BatchInput<'_>,
    join: impl Fn(f64, f64) -> f64,
) -> Result<BatchOutput, BackendError> {
    let pairs = numbers(left)?.into_iter().zip(numbers(right)?);
    computed(left, pairs.map(|(a, b)| join(a, b)))
}

fn computed(like: &BatchInput<'_>, values: impl Iterator<Item = f64>) -> Result<BatchOutput, BackendError> {
    let codec = codec(like.datatype)?;
    let mut data = Vec::with_capacity(like.data.len());
    values.for_each(|value| (codec.write)(value, &mut data));
    Ok(BatchOutput { name: None, datatype: like.datatype, shape: like.shape.to_vec(), data: data.into() })
}

/// How a tensor's elements are read and written.
struct Codec {
    size: usize,
    read: fn(&[u8]) -> f64,
    write: fn(f64, &mut Vec<u8>),
}

/// The types that tests compute with.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn codec(datatype: Datatype) -> Result<Codec, BackendError> {
    use bytemuck::pod_read_unaligned as pod;
    match datatype {
        Datatype::Fp32 => Ok(Codec {
            size: 4,
            read: |bytes| pod::<f32>(bytes).into(),
            write: |value, into| into.extend((value as f32).to_le_bytes()),
        }),
        Datatype::Fp64 => {
            Ok(Codec { size: 8, read: pod::<f64>, write: |value, into| into.extend(value.to_le_bytes()) })
        }
        Datatype::Int32 => Ok(Codec {
            size: 4,
            read: |bytes| pod::<i32>(bytes).into(),
            write: |value, into| into.extend((value as i32).to_le_bytes()),
        }),
        Datatype::Int64 => Ok(Codec {
            size: 8,
            read: |bytes| pod::<i64>(bytes) as f64,
            write: |value, into| into.extend((value as i64).to_le_bytes()),
        }),
        Datatype::Uint8 => Ok(Codec {
            size: 1,
            read: |bytes| pod::<u8>(bytes).into(),
            write: |value, into| into.push(value as u8),
        }),
        Datatype::Bool
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Fp16
        | Datatype::Bf16
        | Datatype::Bytes => Err(failed(&format!("the mock doesn't compute with {datatype}"))),
    }
}

fn numbers(input: &BatchInput<'_>) -> Result<Vec<f64>, BackendError> {
    let codec = codec(input.datatype)?;
    Ok(input.data.chunks_exact(codec.size).map(codec.read).collect())
}

fn failed(message: &str) -> BackendError {
    let message = format!("PyTorch execute failure: {message}");
    BackendError::Execute { detail: message.clone(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(data: &[i32]) -> Vec<u8> {
        data.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn int32<'a>(shape: &'a [i64], data: &'a [u8]) -> BatchInput<'a> {
        BatchInput { name: "x", datatype: Datatype::Int32, shape, data }
    }

    #[test]
    fn adds_and_subtracts() {
        let (left, right) = (ints(&[5, -1]), ints(&[2, 2]));
        let outputs = Behaviour::AddSub.run(&[int32(&[1, 2], &left), int32(&[1, 2], &right)]).unwrap();
        assert_eq!(outputs[0].data, ints(&[7, 1]));
        assert_eq!(outputs[1].data, ints(&[3, -3]));
        assert!(Behaviour::AddSub.run(&[int32(&[1, 2], &left)]).is_err());
    }

    #[test]
    fn fails_as_it_is_told() {
        let data = ints(&[1, -1]);
        let inputs = [int32(&[2, 1], &data)];
        let error = Behaviour::FailOnNegative.run(&inputs).unwrap_err();
        assert!(matches!(error, BackendError::Execute { .. }));
        let outputs = Behaviour::WrongRows.run(&inputs).unwrap();
        assert_eq!((outputs[0].shape.as_slice(), outputs[0].data.len()), ([1, 1].as_slice(), 4));
        let nothing = Behaviour::WrongRows.run(&[int32(&[0, 1], &[])]).unwrap();
        assert_eq!(nothing[0].shape, [0, 1]);
    }

    #[test]
    fn a_text_becomes_a_model() {
        let model: MockModel =
            "mock: identity\n\narguments: a, b\nstateful: it counts\nsleep: 5ms\n".parse().unwrap();
        let signature = model.signature();
        let names: Vec<_> = signature.arguments.iter().map(|argument| argument.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(signature.stateful.as_deref(), Some("it counts"));
        assert_eq!(model.sleep, Duration::from_millis(5));
        let dict = "mock: identity\ndict: tensors".parse::<MockModel>().unwrap().signature();
        assert_eq!(dict.arguments[0].kind, ArgumentKind::TensorDict);
    }

    #[test]
    fn a_text_that_is_no_model_says_why() {
        let why = |text: &str| text.parse::<MockModel>().unwrap_err();
        assert_eq!(why("PK\u{3}\u{4}"), "not a mock model: the first line is not `mock: <behaviour>`");
        assert_eq!(why("mock: dance"), "mock: unknown behaviour 'dance'");
        assert_eq!(why("mock: scale x"), "mock: 'x' is no number");
        assert_eq!(why("mock: identity\ncolour: red"), "mock: unknown setting 'colour'");
    }
}
