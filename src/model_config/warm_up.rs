//! `model_warmup [ … ]`: the requests that a model answers before it is ready.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::{ConfigError, tensor};
use cresset_protocol::Datatype;
use cresset_protocol::messages::config::{self as proto, model_warmup::input::InputDataType};

/// `model_warmup [ … ]`, one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpSample {
    /// Its name in errors.
    pub name: String,
    /// How many requests run together, each of one row; 1 or more.
    pub batch_size: u32,
    /// How often it runs; 1 or more.
    pub count: u32,
    /// By the input's name.
    pub inputs: BTreeMap<String, WarmUpData>,
}

/// One input of a request of a [`WarmUpSample`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpData {
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its shape without the batch dimension; none varies.
    pub dims: Vec<i64>,
    /// Its elements.
    pub source: WarmUpSource,
}

/// The source of a warm-up input's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarmUpSource {
    /// Zeros; empty strings.
    Zero,
    /// Floating numbers from 0 to 1, integers and booleans of 0 or 1, empty strings.
    /// Any model takes such values: no index is beyond a table.
    Random,
    /// The raw elements, in this file of the directory `warmup` beside the
    /// configuration.
    File(String),
}

/// The most bytes of one input of a sample: a larger one is a mistake.
const MOST_BYTES: u64 = 1 << 31;

/// Reads all samples. A sample with a `batch_size` of zero isn't run, as with
/// Triton; `warnings` names it.
pub(super) fn samples(
    samples: Vec<proto::ModelWarmup>,
    max_batch_size: u32,
    warnings: &mut Vec<String>,
) -> Result<Vec<WarmUpSample>, ConfigError> {
    let mut read = Vec::with_capacity(samples.len());
    for (index, sample) in samples.into_iter().enumerate() {
        let field = format!("model_warmup[{index}]");
        if sample.batch_size == 0 {
            warnings.push(format!(
                "config.pbtxt: field '{field}.batch_size' is 0: the sample '{}' is switched off",
                sample.name.escape_debug()
            ));
            continue;
        }
        let most = max_batch_size.max(1);
        if sample.batch_size > most {
            let expected = format!("at most {most}, as max_batch_size is {max_batch_size}");
            return Err(ConfigError::value(format!("{field}.batch_size"), expected, sample.batch_size));
        }
        let inputs = sample
            .inputs
            .into_iter()
            .map(|(name, input)| {
                let data =
                    data(&format!("{field}.inputs['{}']", name.escape_debug()), input, sample.batch_size)?;
                Ok((name, data))
            })
            .collect::<Result<_, ConfigError>>()?;
        read.push(WarmUpSample {
            name: sample.name,
            batch_size: sample.batch_size,
            count: sample.count.max(1),
            inputs,
        });
    }
    Ok(read)
}

fn data(field: &str, input: proto::model_warmup::Input, batch_size: u32) -> Result<WarmUpData, ConfigError> {
    let datatype = tensor::datatype(field, input.data_type)?;
    if let Some(dim) = input.dims.iter().find(|dim| **dim < 1) {
        return Err(ConfigError::value(
            format!("{field}.dims"),
            "dimensions of 1 or more: a sample says what varies",
            dim,
        ));
    }
    let bytes = input
        .dims
        .iter()
        .try_fold(u64::from(batch_size) * datatype.size().unwrap_or(4) as u64, |bytes, dim| {
            bytes.checked_mul(u64::try_from(*dim).ok()?)
        });
    if bytes.is_none_or(|bytes| bytes > MOST_BYTES) {
        let expected = format!("at most {MOST_BYTES} bytes in a batch");
        return Err(ConfigError::value(format!("{field}.dims"), expected, format!("{:?}", input.dims)));
    }
    let source = match input.input_data_type {
        // As with Triton, it counts which of them is set, and not its value.
        Some(InputDataType::ZeroData(_)) => WarmUpSource::Zero,
        Some(InputDataType::RandomData(_)) => WarmUpSource::Random,
        Some(InputDataType::InputDataFile(file)) => WarmUpSource::File(inside(field, file)?),
        None => {
            return Err(ConfigError::value(
                field,
                "zero_data, random_data or input_data_file",
                "none of them",
            ));
        }
    };
    Ok(WarmUpData { datatype, dims: input.dims, source })
}

/// Whether the path lies in the directory of samples or below.
fn inside(field: &str, file: String) -> Result<String, ConfigError> {
    let plain = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !file.is_empty() && !file.contains('\0') {
        return Ok(file);
    }
    Err(ConfigError::value(
        format!("{field}.input_data_file"),
        "a file inside the directory 'warmup' of the model's",
        format!("'{}'", file.escape_debug()),
    ))
}
