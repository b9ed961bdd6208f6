//! `model_warmup`: the configuration's samples as runs of the model.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;

use crate::instance::WarmUpSampleRun;
use crate::model_config::{
    Binding, BoundInput, ModelConfig, Presence, TensorConfig, WarmUpData, WarmUpSample, WarmUpSource,
};
use crate::trial::TrialInput;
use cresset_backend::Leaf;
use cresset_protocol::{Datatype, append_number, fill_shape};

/// The directory of the samples' files, beside the configuration.
const DIRECTORY: &str = "warmup";

/// The runs that the configuration of the model in `directory` asks for.
///
/// # Errors
/// A sample that isn't a request of this model, or whose file can't be read.
pub(super) fn samples(
    config: &ModelConfig,
    binding: &Binding,
    directory: Option<&Path>,
) -> Result<Vec<WarmUpSampleRun>, String> {
    let run = |sample: &WarmUpSample| {
        let named = |error: String| format!("warmup sample '{}': {error}", sample.name);
        inputs(sample, config, binding, directory).map_err(named).map(|inputs| WarmUpSampleRun {
            name: sample.name.clone(),
            count: sample.count,
            inputs,
        })
    };
    config.warm_up.iter().map(run).collect()
}

/// The inputs in the order of the arguments; behind them, in the order of their
/// names, the inputs that the configuration doesn't declare.
fn inputs(
    sample: &WarmUpSample,
    config: &ModelConfig,
    binding: &Binding,
    directory: Option<&Path>,
) -> Result<Vec<TrialInput>, String> {
    let of_sample = |name: &str, bound: Option<&BoundInput>, data: &WarmUpData| {
        if let Some(bound) = bound {
            check_value(bound, data)?;
        }
        let spec = bound.and_then(|bound| bound.spec.as_ref());
        let inner = match spec {
            Some(spec) => model_shape(name, spec, data)?,
            None => data.dims.clone(),
        };
        let batch = (config.max_batch_size > 0).then_some(i64::from(sample.batch_size));
        Ok::<_, String>(TrialInput {
            name: name.to_owned(),
            datatype: data.datatype,
            shape: batch.into_iter().chain(inner).collect(),
            data: Some(elements(name, data, sample.batch_size, directory)?),
        })
    };
    let bound = |bound: &BoundInput| match sample.inputs.get(&bound.name) {
        Some(data) => of_sample(&bound.place, Some(bound), data).map(Some),
        None if bound.presence != Presence::Required => Ok(None),
        None => Err(format!("it lacks input '{}' of the model", bound.name)),
    };
    let own = binding.inputs.iter().map(bound).collect::<Result<Vec<_>, _>>()?;
    let mut inputs: Vec<TrialInput> = own.into_iter().flatten().collect();
    for (name, data) in sample.inputs.iter().filter(|(name, _)| binding.input(name).is_none()) {
        let bound = binding.find_open(name).ok_or_else(|| format!("the model has no input '{name}'"))?;
        inputs.push(of_sample(&bound.place, None, data)?);
    }
    Ok(inputs)
}

/// Checks the data for an argument that is a number, a string or a list.
fn check_value(bound: &BoundInput, data: &WarmUpData) -> Result<(), String> {
    let Some(scalar) = bound.leaf.shared() else { return Ok(()) };
    let one = data.dims.iter().product::<i64>() == 1;
    if scalar.takes(data.datatype) && (one || matches!(bound.leaf, Leaf::Numbers(_))) {
        return Ok(());
    }
    let (name, datatype, dims) = (&bound.name, data.datatype, &data.dims);
    Err(format!("input '{name}' is {datatype} {dims:?} in the sample, and forward takes {scalar}"))
}

/// The model's own shape for a sample's input, without the batch dimension.
fn model_shape(name: &str, spec: &TensorConfig, data: &WarmUpData) -> Result<Vec<i64>, String> {
    let fits = data.dims.len() == spec.dims.len()
        && data.dims.iter().zip(&spec.dims).all(|(dim, expected)| *expected < 0 || dim == expected);
    if !fits || data.datatype != spec.datatype {
        return Err(format!(
            "input '{name}' is {} {:?} in the sample, and {} {:?} in the configuration",
            data.datatype, data.dims, spec.datatype, spec.dims
        ));
    }
    match &spec.reshape {
        None => Ok(data.dims.clone()),
        Some(reshape) => fill_shape(reshape, &data.dims).ok_or_else(|| {
            format!("input '{name}' of shape {:?} can't be reshaped to {reshape:?}", data.dims)
        }),
    }
}

/// The elements of all rows, each with the same.
fn elements(name: &str, data: &WarmUpData, rows: u32, directory: Option<&Path>) -> Result<Bytes, String> {
    // The configuration's reader has bounded the product.
    let count: usize = data.dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).product();
    let row = match &data.source {
        WarmUpSource::Zero => vec![0; count * data.datatype.size().unwrap_or(EMPTY_STRING)],
        WarmUpSource::Random => random(data.datatype, count),
        WarmUpSource::File(file) => {
            let directory = directory.ok_or("the model has no directory")?;
            let expected = data.datatype.size().map(|size| count * size);
            let path = directory.join(DIRECTORY).join(file);
            read(&path, expected).map_err(|error| format!("input '{name}': {DIRECTORY}/{file}: {error}"))?
        }
    };
    Ok(Bytes::from(row.repeat(rows as usize)))
}

/// A string is its length, 4 bytes, and itself.
const EMPTY_STRING: usize = 4;

/// The first `expected` bytes of a file; all of it if that isn't known.
fn read(path: &Path, expected: Option<usize>) -> Result<Vec<u8>, String> {
    /// A longer file can't be meant.
    const MOST: usize = 1 << 30;
    let file = File::open(path).map_err(|error| format!("can't be read: {error}"))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    let most = expected.unwrap_or(MOST) as u64;
    file.take(most).read_to_end(&mut bytes).map_err(|error| format!("can't be read: {error}"))?;
    match expected {
        Some(expected) if bytes.len() < expected => {
            Err(format!("the sample expects {expected} bytes, the file has {}", bytes.len()))
        }
        _ => Ok(bytes),
    }
}

/// The same numbers every time: [`WarmUpSource::Random`] says which.
fn random(datatype: Datatype, count: usize) -> Vec<u8> {
    let Some(size) = datatype.size() else { return vec![0; count * EMPTY_STRING] };
    let mut random = fastrand::Rng::with_seed(0);
    let mut bytes = Vec::with_capacity(count * size);
    for _ in 0..count {
        let (real, whole) = (f64::from(random.f32()), u8::from(random.bool()));
        append_number(datatype, real, whole, &mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::{Argument, ArgumentKind, Signature};

    fn made(inputs: &str, dir: Option<&Path>) -> Result<Vec<WarmUpSampleRun>, String> {
        let text = format!(
            r#"max_batch_size: 8
               input [ {{ name: "a" data_type: TYPE_FP32 dims: [ -1, 2 ] }},
                       {{ name: "b" data_type: TYPE_INT64 dims: [ 1 ] reshape {{ shape: [ ] }} }} ]
               model_warmup [ {{ name: "s" batch_size: 2 count: 3 {inputs} }} ]"#
        );
        let config = ModelConfig::from_pbtxt(&text, "m").map_err(|error| error.to_string())?;
        let argument =
            |name: &str| Argument { name: name.to_owned(), kind: ArgumentKind::Tensor, optional: false };
        let signature = Signature { arguments: vec![argument("b"), argument("a")], ..Signature::default() };
        samples(&config, &Binding::new(&config, &signature).unwrap(), dir)
    }

    fn input(name: &str, rest: &str) -> String {
        format!(r#"inputs {{ key: "{name}" value {{ {rest} }} }} "#)
    }

    #[test]
    fn a_sample_is_a_batch_of_equal_rows_in_the_models_order_and_shapes() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("warmup")).unwrap();
        std::fs::write(directory.path().join("warmup/b.bin"), [7, 0, 0, 0, 0, 0, 0, 0, 9]).unwrap();
        let text = input("a", "data_type: TYPE_FP32 dims: [ 3, 2 ] random_data: true")
            + &input("b", r#"data_type: TYPE_INT64 dims: [ 1 ] input_data_file: "b.bin""#);
        let runs = made(&text, Some(directory.path())).unwrap();
        let [WarmUpSampleRun { name, count, inputs }] = runs.as_slice() else { panic!("{runs:?}") };
        assert_eq!((name.as_str(), *count), ("s", 3));
        let shown: Vec<_> =
            inputs.iter().map(|input| (input.name.as_str(), input.shape.as_slice())).collect();
        assert_eq!(shown, [("b", [2].as_slice()), ("a", &[2, 3, 2])]);
        assert_eq!(inputs[0].data.as_deref().unwrap(), [7, 0, 0, 0, 0, 0, 0, 0].repeat(2));
        let random = inputs[1].data.as_deref().unwrap();
        assert_eq!(random.len(), 2 * 6 * 4);
        let numbers: Vec<f32> = random.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
        assert_ne!(numbers[0], numbers[1]);
    }

    #[test]
    fn random_integers_and_booleans_are_no_index_too_far() {
        for datatype in [Datatype::Bool, Datatype::Int8, Datatype::Int64] {
            let size = datatype.size().unwrap();
            let bytes = random(datatype, 64);
            assert_eq!(bytes.len(), 64 * size);
            assert!(bytes.chunks(size).all(|number| number[0] <= 1 && number[1..].iter().all(|b| *b == 0)));
            assert!(bytes.chunks(size).any(|number| number[0] == 1));
        }
        assert_eq!(random(Datatype::Bytes, 2), [0; 8], "two empty strings");
    }

    #[test]
    fn a_sample_that_is_no_request_of_the_model_says_why() {
        let b = input("b", "data_type: TYPE_INT64 dims: [ 1 ] zero_data: true");
        let a = |rest: &str| b.clone() + &input("a", rest);
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("warmup")).unwrap();
        std::fs::write(directory.path().join("warmup/short"), [0; 3]).unwrap();
        for (inputs, error) in [
            (b.clone(), "warmup sample 's': it lacks input 'a' of the model"),
            (
                a("data_type: TYPE_FP32 dims: [ 3, 3 ] zero_data: true"),
                "warmup sample 's': input 'a' is FP32 [3, 3] in the sample, and FP32 [-1, 2] in the configuration",
            ),
            (
                a("data_type: TYPE_FP32 dims: [ 3, 2 ] zero_data: true")
                    + &input("c", "data_type: TYPE_BOOL dims: [ 1 ] zero_data: true"),
                "warmup sample 's': the model has no input 'c'",
            ),
            (
                a(r#"data_type: TYPE_FP32 dims: [ 1, 2 ] input_data_file: "short""#),
                "warmup sample 's': input 'a': warmup/short: the sample expects 8 bytes, the file has 3",
            ),
            (
                a("data_type: TYPE_FP32 dims: [ -1, 2 ] zero_data: true"),
                "config.pbtxt: field 'model_warmup[0].inputs['a'].dims': expected dimensions of 1 or more: \
                 a sample says what varies, got -1",
            ),
            (
                a(r#"data_type: TYPE_FP32 dims: [ 1, 2 ] input_data_file: "../secret""#),
                "config.pbtxt: field 'model_warmup[0].inputs['a'].input_data_file': \
                 expected a file inside the directory 'warmup' of the model's, got '../secret'",
            ),
        ] {
            assert_eq!(made(&inputs, Some(directory.path())).unwrap_err(), error);
        }
    }
}
