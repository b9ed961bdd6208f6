//! What `[batching]` and `[padding]` of `cresset.toml` make of a model's
//! batches, held against the model.

use std::sync::Arc;

use crate::instance::{CutBack, CutRule, Fill, Padding};
use crate::model_config::{Binding, BoundInput, BoundOutput, DynamicBatching, ModelConfig, TensorConfig};
use crate::model_settings::{
    BatchingSettings, LargeRequests, Number, PaddedInput, PaddedOutput, PaddingSettings, Placed,
    SETTINGS_FILENAME, SettingsError, Told,
};
use crate::trial::TrialInput;
use cresset_protocol::{Datatype, Element, Tensor, with_element};
use cresset_scheduler::{BatchingPolicy, Lengths, RowSize};

/// How a model's requests share batches, beyond its configuration.
#[derive(Debug, Clone)]
pub(in crate::model) struct Batching {
    pub(in crate::model) padding: Option<Arc<Padding>>,
    pub(in crate::model) max_elements: Option<u64>,
    pub(in crate::model) large_requests: LargeRequests,
}

impl Batching {
    /// Holds the settings against the model; `apart` is why requests of
    /// different callers don't run together, if they don't.
    ///
    /// # Errors
    /// The line with a name or number that doesn't fit the model.
    pub(in crate::model) fn new(
        settings: &BatchingSettings,
        config: &ModelConfig,
        binding: &Binding,
        apart: Option<&str>,
    ) -> Result<Self, SettingsError> {
        let BatchingSettings { max_elements, large_requests, padding } = settings;
        if config.dynamic_batching.is_none() {
            let asked = [
                padding.as_ref().map(|padding| ("[padding]", Some(padding.line.0))),
                max_elements.map(|_| ("[batching] max_elements", None)),
                (*large_requests == LargeRequests::Split)
                    .then_some(("[batching] split_large_requests", None)),
            ];
            if let Some((what, line)) = asked.into_iter().flatten().next() {
                let reason = apart.unwrap_or("config.pbtxt has no dynamic_batching");
                return Err(wrong(
                    line,
                    format!("{what} is about batches, and the model has none: {reason}"),
                ));
            }
        }
        let padding = padding.as_ref().map(|padding| resolve(padding, config, binding)).transpose()?;
        Ok(Self {
            padding: padding.map(Arc::new),
            max_elements: *max_elements,
            large_requests: *large_requests,
        })
    }

    /// What a batch may hold: `max_batch_size` rows, or one request if the model
    /// shares no batches.
    pub(in crate::model) fn policy(
        &self,
        max_batch_size: u32,
        dynamic: Option<&DynamicBatching>,
    ) -> BatchingPolicy {
        let dynamic = dynamic.filter(|_| max_batch_size > 0);
        BatchingPolicy {
            max_batch_size: dynamic.map(|_| max_batch_size),
            max_elements: self.max_elements,
            lengths: self.padding.as_ref().map(|padding| padding.lengths),
            preferred_batch_sizes: dynamic
                .map_or_else(Vec::new, |dynamic| dynamic.preferred_batch_sizes.clone()),
        }
    }

    /// Whether a request of more rows than a batch takes runs in parts.
    pub(in crate::model) fn splits(&self) -> bool {
        self.large_requests == LargeRequests::Split
    }

    /// The size of a request's rows, by its inputs and its length.
    pub(in crate::model) fn row_size(&self, inputs: &[Tensor], length: u32) -> RowSize {
        let mut size = RowSize { length, per_length: 0, fixed: 0 };
        if self.max_elements.is_none() {
            return size;
        }
        for (index, input) in inputs.iter().enumerate() {
            let along = self.dimension(index);
            let inner = input.shape.iter().enumerate().skip(1).filter(|(place, _)| Some(*place) != along);
            let elements = inner.fold(1_u64, |elements, (_, size)| {
                elements.saturating_mul(u64::try_from(*size).unwrap_or(0))
            });
            let largest = if along.is_some() { &mut size.per_length } else { &mut size.fixed };
            *largest = elements.max(*largest);
        }
        size
    }

    /// How many rows the parts of a request have, if it runs in parts: as many as a
    /// batch takes.
    pub(in crate::model) fn rows_of_parts(
        &self,
        rows: u32,
        max_batch_size: u32,
        size: &RowSize,
    ) -> Option<u32> {
        if self.large_requests == LargeRequests::Refused {
            return None;
        }
        let length = self.padding.as_ref().map_or(0, |padding| padding.lengths.padded(size.length));
        let elements = size.elements(length).max(1);
        let most = self.max_elements.map_or(u64::MAX, |most| most / elements);
        let most = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, max_batch_size.max(1));
        (rows > most).then_some(most)
    }

    /// Whether a batch of these inputs keeps to the limit.
    pub(in crate::model) fn allows(&self, inputs: &[TrialInput]) -> bool {
        let elements = |input: &TrialInput| u64::try_from(input.shape.iter().product::<i64>()).unwrap_or(0);
        let largest = inputs.iter().map(elements).max().unwrap_or(0);
        self.max_elements.is_none_or(|most| largest <= most)
    }

    /// The dimension along which input `index` is padded.
    pub(in crate::model) fn dimension(&self, index: usize) -> Option<usize> {
        match self.padding.as_ref()?.inputs.get(index)? {
            Fill::Padded { dimension, .. } | Fill::Mask { dimension, .. } => Some(*dimension),
            Fill::AsSent | Fill::Length { .. } => None,
        }
    }

    /// Whether input `index` is made if a request doesn't bring it.
    pub(in crate::model) fn makes(&self, index: usize) -> bool {
        let fill = self.padding.as_ref().and_then(|padding| padding.inputs.get(index));
        matches!(fill, Some(Fill::Mask { .. } | Fill::Length { .. }))
    }
}

fn wrong(line: Option<usize>, message: String) -> SettingsError {
    SettingsError { file: SETTINGS_FILENAME.to_owned(), line, message }
}

fn wrong_at(name: &Placed, message: String) -> SettingsError {
    wrong(Some(name.line.0), message)
}

/// Finds the tensors that the settings name.
fn resolve(
    settings: &PaddingSettings,
    config: &ModelConfig,
    binding: &Binding,
) -> Result<Padding, SettingsError> {
    let mut inputs = vec![Fill::AsSent; binding.inputs.len()];
    for input in &settings.inputs {
        let (index, spec) = find(&input.name, binding)?;
        inputs[index] = padded(input, spec)?;
    }
    match &settings.told {
        Told::Mask(name) => {
            let (index, spec) = find(name, binding)?;
            inputs[index] = Fill::Mask { dimension: mask_dimension(name, spec)?, datatype: spec.datatype };
        }
        Told::Length(name) => {
            let (index, spec) = find(name, binding)?;
            inputs[index] = length(name, spec)?;
        }
        Told::Nothing => {}
    }
    let outputs = match &settings.outputs {
        Some(named) => named.iter().map(|output| cut_back(output, config)).collect::<Result<_, _>>()?,
        None => binding.outputs.iter().filter_map(varying).collect(),
    };
    let PaddingSettings { multiple_of, max_length, max_waste, .. } = *settings;
    Ok(Padding { lengths: Lengths { multiple_of, max_length, max_waste }, inputs, outputs })
}

/// An input that config.pbtxt declares, of one shape on the wire and in the
/// model.
fn find<'a>(name: &Placed, binding: &'a Binding) -> Result<(usize, &'a TensorConfig), SettingsError> {
    let found = binding.inputs.iter().enumerate().find(|(_, input)| input.name == name.name);
    let Some((index, BoundInput { spec: Some(spec), .. })) = found else {
        let names: Vec<String> = binding.inputs.iter().map(|input| format!("'{}'", input.name)).collect();
        return Err(wrong_at(
            name,
            match found {
                None => {
                    format!("[padding] names input '{}': the model takes {}", name.name, names.join(", "))
                }
                Some(_) => {
                    format!("[padding] names input '{}', which config.pbtxt doesn't declare", name.name)
                }
            },
        ));
    };
    if binding.inputs.get(index).is_some_and(|input| input.leaf.shared().is_some()) {
        return Err(wrong_at(
            name,
            format!(
                "[padding] names input '{}', which is the same for all rows of a batch: forward takes no tensor there",
                name.name
            ),
        ));
    }
    if spec.datatype == Datatype::Bytes {
        return Err(wrong_at(
            name,
            format!("[padding] names input '{}' of TYPE_STRING: a tensor of numbers was expected", name.name),
        ));
    }
    Ok((index, spec))
}

fn padded(input: &PaddedInput, spec: &TensorConfig) -> Result<Fill, SettingsError> {
    let dimension = varying_dimension(&input.name, spec, input.dimension)?;
    let element = element(spec.datatype, input.value).ok_or_else(|| {
        let value = match input.value {
            Number::Whole(value) => value.to_string(),
            Number::Real(value) => value.to_string(),
        };
        let (name, datatype) = (&input.name.name, spec.datatype);
        wrong_at(&input.name, format!("value of input '{name}' is {value}, which is no {datatype}"))
    })?;
    Ok(Fill::Padded { dimension, element })
}

/// A place among an input's dims as a dimension of whole shapes.
fn varying_dimension(
    name: &Placed,
    spec: &TensorConfig,
    given: Option<usize>,
) -> Result<usize, SettingsError> {
    let (input, dims) = (&name.name, &spec.dims);
    if spec.reshape.is_some() {
        return Err(wrong_at(
            name,
            format!("input '{input}' is reshaped by config.pbtxt, and can't be padded"),
        ));
    }
    let varying: Vec<usize> = (0..dims.len()).filter(|place| dims[*place] < 0).collect();
    let place = match (given, varying.as_slice()) {
        (Some(place), _) => place,
        (None, [only]) => *only,
        (None, _) => {
            return Err(wrong_at(
                name,
                format!(
                    "input '{input}' has dims {dims:?} with {} that vary: 'dimension' says which is padded",
                    varying.len()
                ),
            ));
        }
    };
    match dims.get(place) {
        Some(-1) => Ok(place + 1),
        Some(size) => Err(wrong_at(
            name,
            format!(
                "dimension {place} of input '{input}' is {size} in config.pbtxt: one that varies, -1, was expected"
            ),
        )),
        None => Err(wrong_at(
            name,
            format!(
                "dimension is {place}, but input '{input}' has dims {dims:?}: 0 to {} was expected",
                dims.len() - 1
            ),
        )),
    }
}

/// A mask can be made only if its shape follows from the length.
fn mask_dimension(name: &Placed, spec: &TensorConfig) -> Result<usize, SettingsError> {
    varying_dimension(name, spec, None)
}

fn length(name: &Placed, spec: &TensorConfig) -> Result<Fill, SettingsError> {
    let shape = spec.reshape.as_ref().unwrap_or(&spec.dims);
    if shape.iter().any(|size| *size != 1) {
        return Err(wrong_at(
            name,
            format!(
                "length input '{}' has dims {:?}: one number for each row, [ 1 ], was expected",
                name.name, spec.dims
            ),
        ));
    }
    match spec.datatype {
        datatype @ (Datatype::Int32 | Datatype::Int64 | Datatype::Uint32 | Datatype::Uint64) => {
            Ok(Fill::Length { datatype })
        }
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Fp16
        | Datatype::Bf16
        | Datatype::Fp32
        | Datatype::Fp64
        | Datatype::Bytes => Err(wrong_at(
            name,
            format!(
                "length input '{}' is of {}: whole numbers of 32 or 64 bits were expected",
                name.name, spec.datatype
            ),
        )),
    }
}

/// What `[padding.outputs]` says of an output.
fn cut_back(output: &PaddedOutput, config: &ModelConfig) -> Result<CutBack, SettingsError> {
    let name = &output.name.name;
    if !config.outputs.is_empty() {
        let Some(spec) = config.outputs.iter().find(|known| known.name == *name) else {
            return Err(wrong_at(
                &output.name,
                format!("[padding.outputs] names '{name}': the model has no such output"),
            ));
        };
        let dims = &spec.dims;
        if let Some(place) = output.dimensions.iter().find(|place| dims.get(**place) != Some(&-1)) {
            let message = format!(
                "[padding.outputs] {name} is {place}, but output '{name}' has dims {dims:?}: \
                 the place of one that varies, -1, was expected"
            );
            return Err(wrong_at(&output.name, message));
        }
    }
    let dimensions = output.dimensions.iter().map(|place| place + 1).collect();
    Ok(CutBack { name: name.clone(), dimensions, rule: CutRule::Named })
}

/// The dimensions of an output that vary by its configuration.
fn varying(output: &BoundOutput) -> Option<CutBack> {
    let dims = &output.spec.as_ref()?.dims;
    let dimensions: Vec<usize> =
        (0..dims.len()).filter(|place| dims[*place] < 0).map(|place| place + 1).collect();
    let cut = CutBack { name: output.name.clone(), dimensions, rule: CutRule::Varies };
    (!cut.dimensions.is_empty()).then_some(cut)
}

/// A number as an element's bytes; `None` if the type doesn't hold it.
fn element(datatype: Datatype, value: Number) -> Option<Vec<u8>> {
    fn bytes<T: Element>(value: Number) -> Option<Vec<u8>> {
        let number = match value {
            Number::Whole(value) => T::from_whole(value),
            Number::Real(value) => T::from_real(value),
        };
        let mut bytes = Vec::new();
        number?.append(&mut bytes);
        Some(bytes)
    }
    let bytes = with_element!(datatype, T => bytes::<T>(value))?;
    bytes.filter(|bytes| datatype != Datatype::Bool || bytes[0] <= 1)
}

#[cfg(test)]
mod tests;
