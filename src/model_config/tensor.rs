//! `input [ … ]` and `output [ … ]`.

use std::collections::HashSet;
use std::path::{Component, Path};
use std::sync::Arc;

use super::ConfigError;
use cresset_protocol::Datatype;
use cresset_protocol::messages::config::{self as proto, DataType, model_input::Format};

/// An input or an output, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorConfig {
    /// Its name on the wire.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// -1 for a dimension that varies; without the batch dimension.
    pub dims: Vec<i64>,
    /// The shape that the model itself sees or gives, without the batch
    /// dimension, if it differs from `dims`.
    pub reshape: Option<Vec<i64>>,
    /// Whether a request may leave it out; inputs only.
    pub optional: bool,
    /// A file of labels, one a line, beside the configuration; outputs only.
    pub label_filename: Option<String>,
    /// The labels in that file, once it was read: one for each score.
    pub labels: Arc<[String]>,
}

/// Reads all inputs; `batched` if dimension 0 is the batch.
pub(super) fn inputs(
    inputs: Vec<proto::ModelInput>,
    batched: bool,
) -> Result<Vec<TensorConfig>, ConfigError> {
    let mut names = HashSet::new();
    let mut tensors = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.into_iter().enumerate() {
        let field = format!("input[{index}]");
        check_format(&input, &field)?;
        let tensor = TensorConfig {
            datatype: datatype(&field, input.data_type)?,
            dims: dims(&field, input.dims)?,
            name: name(&field, input.name, &mut names)?,
            reshape: input.reshape.map(|reshape| reshape.shape),
            optional: input.optional,
            label_filename: None,
            labels: Arc::default(),
        };
        check_reshape(&field, &tensor, batched)?;
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Reads all outputs; `batched` if dimension 0 is the batch.
pub(super) fn outputs(
    outputs: Vec<proto::ModelOutput>,
    batched: bool,
) -> Result<Vec<TensorConfig>, ConfigError> {
    let mut names = HashSet::new();
    let mut tensors = Vec::with_capacity(outputs.len());
    for (index, output) in outputs.into_iter().enumerate() {
        let field = format!("output[{index}]");
        let tensor = TensorConfig {
            datatype: datatype(&field, output.data_type)?,
            dims: dims(&field, output.dims)?,
            name: name(&field, output.name, &mut names)?,
            reshape: output.reshape.map(|reshape| reshape.shape),
            optional: false,
            label_filename: label_filename(&field, output.label_filename)?,
            labels: Arc::default(),
        };
        check_reshape(&field, &tensor, batched)?;
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn name(field: &str, name: String, names: &mut HashSet<String>) -> Result<String, ConfigError> {
    let field = format!("{field}.name");
    if name.is_empty() {
        return Err(ConfigError::value(field, "a name", "none"));
    }
    if !names.insert(name.clone()) {
        return Err(ConfigError::value(field, "each name once", format!("'{name}' again")));
    }
    Ok(name)
}

pub(super) fn datatype(field: &str, number: i32) -> Result<Datatype, ConfigError> {
    let field = format!("{field}.data_type");
    let Ok(datatype) = DataType::try_from(number) else {
        return Err(ConfigError::value(field, "a datatype", number));
    };
    match datatype {
        DataType::TypeInvalid => Err(ConfigError::value(field, "a datatype", "none")),
        DataType::TypeBool => Ok(Datatype::Bool),
        DataType::TypeUint8 => Ok(Datatype::Uint8),
        DataType::TypeUint16 => Ok(Datatype::Uint16),
        DataType::TypeUint32 => Ok(Datatype::Uint32),
        DataType::TypeUint64 => Ok(Datatype::Uint64),
        DataType::TypeInt8 => Ok(Datatype::Int8),
        DataType::TypeInt16 => Ok(Datatype::Int16),
        DataType::TypeInt32 => Ok(Datatype::Int32),
        DataType::TypeInt64 => Ok(Datatype::Int64),
        DataType::TypeFp16 => Ok(Datatype::Fp16),
        DataType::TypeBf16 => Ok(Datatype::Bf16),
        DataType::TypeFp32 => Ok(Datatype::Fp32),
        DataType::TypeFp64 => Ok(Datatype::Fp64),
        DataType::TypeString => Ok(Datatype::Bytes),
    }
}

fn dims(field: &str, dims: Vec<i64>) -> Result<Vec<i64>, ConfigError> {
    let field = format!("{field}.dims");
    if dims.is_empty() {
        return Err(ConfigError::value(
            field,
            "one dimension or more, and dims: [ 1 ] with reshape: { shape: [ ] } if a row is one number",
            "none",
        ));
    }
    check_dims(&field, &dims)?;
    Ok(dims)
}

fn check_dims(field: &str, dims: &[i64]) -> Result<(), ConfigError> {
    match dims.iter().find(|dim| **dim < 1 && **dim != -1) {
        Some(dim) => {
            Err(ConfigError::value(field, "dimensions of 1 or more, or -1 for one that varies", dim))
        }
        None => Ok(()),
    }
}

fn check_format(input: &proto::ModelInput, field: &str) -> Result<(), ConfigError> {
    let format = input.format();
    let image = matches!(format, Format::Nhwc | Format::Nchw);
    if image && input.dims.len() != 3 {
        return Err(ConfigError::value(
            format!("{field}.dims"),
            format!("three dimensions, as its format is {}", format.as_str_name()),
            format!("{:?}", input.dims),
        ));
    }
    Ok(())
}

/// `dims` and `reshape` must hold the same elements: as many before, between and
/// behind the dimensions that vary. So [2, 4, -1, 6] may become [8, -1, 1, 6].
/// (Triton's rule.)
fn check_reshape(field: &str, tensor: &TensorConfig, batched: bool) -> Result<(), ConfigError> {
    let Some(shape) = &tensor.reshape else { return Ok(()) };
    let field = format!("{field}.reshape");
    check_dims(&field, shape)?;
    if shape.is_empty() && !batched {
        return Err(ConfigError::value(
            field,
            "one dimension or more, as max_batch_size is 0",
            "an empty shape",
        ));
    }
    let (Some(from), Some(to)) = (runs(&tensor.dims), runs(shape)) else {
        return Err(ConfigError::value(field, "a number of elements below 2^63", "more"));
    };
    if from != to {
        return Err(ConfigError::value(
            field,
            format!("as many elements as dims {:?}, around each -1", tensor.dims),
            format!("{shape:?}"),
        ));
    }
    Ok(())
}

/// How many elements there are before, between and behind the dimensions that
/// vary; `None` if that overflows.
fn runs(dims: &[i64]) -> Option<Vec<i64>> {
    dims.split(|dim| *dim == -1)
        .map(|run| run.iter().try_fold(1_i64, |count, dim| count.checked_mul(*dim)))
        .collect()
}

/// Whether the path lies beside the configuration or below it, inside the model's
/// directory.
fn label_filename(field: &str, filename: String) -> Result<Option<String>, ConfigError> {
    let inside = Path::new(&filename).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || filename.contains('\0') {
        return Err(ConfigError::value(
            format!("{field}.label_filename"),
            "a file inside the model's directory",
            format!("'{}'", filename.escape_debug()),
        ));
    }
    Ok(Some(filename).filter(|filename| !filename.is_empty()))
}
