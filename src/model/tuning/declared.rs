//! Inputs by what a configuration declares of them: zeros in the declared shapes.

use bytes::Bytes;

use crate::instance::{Fill, Padding};
use crate::model_config::{Binding, BoundInput};
use crate::trial::TrialInput;
use crate::trial::values::{Unsent, unsent};

/// Inputs of `rows` requests, each of this length. `None` if one can't be made up.
pub(in crate::model) fn padded_inputs(
    binding: &Binding,
    padding: &Padding,
    rows: u32,
    length: u32,
) -> Option<Vec<TrialInput>> {
    let input = |(bound, fill): (&BoundInput, &Fill)| {
        if bound.spec.is_none() {
            return unsent(bound, Some(rows), 1);
        }
        let spec = bound.spec.as_ref()?;
        spec.datatype.size()?;
        let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
        let mut shape: Vec<i64> = std::iter::once(i64::from(rows)).chain(dims.iter().copied()).collect();
        if let Fill::Padded { dimension, .. } | Fill::Mask { dimension, .. } = fill {
            *shape.get_mut(*dimension)? = i64::from(length);
        }
        if shape.iter().any(|size| *size < 0) {
            return None;
        }
        // A model may divide by the number of rows that its mask keeps.
        let element = match fill {
            Fill::Mask { datatype, .. } => Some(datatype.element(1)),
            Fill::Length { datatype } => Some(datatype.element(length)),
            Fill::AsSent | Fill::Padded { .. } => None,
        };
        let elements = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
        let data = element.map(|element| Bytes::from(element.repeat(elements)));
        Some(Unsent::Value(TrialInput {
            name: bound.place.to_string(),
            datatype: spec.datatype,
            shape,
            data,
        }))
    };
    sent(binding.inputs.iter().zip(&padding.inputs).map(input))
}

/// Inputs as they are configured. `None` if a dimension varies, the configuration
/// doesn't say, or the datatype has no zero.
pub(in crate::model) fn declared_inputs(binding: &Binding, batch: Option<u32>) -> Option<Vec<TrialInput>> {
    let declared = |input: &BoundInput| {
        if input.leaf.shared().is_some() || input.spec.is_none() {
            return unsent(input, batch, 1);
        }
        let spec = input.spec.as_ref()?;
        spec.datatype.size()?;
        let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
        if dims.iter().any(|size| *size < 0) {
            return None;
        }
        let shape = batch.map(i64::from).into_iter().chain(dims.iter().copied()).collect();
        Some(Unsent::Value(TrialInput {
            name: input.place.to_string(),
            datatype: spec.datatype,
            shape,
            data: None,
        }))
    };
    sent(binding.inputs.iter().map(declared))
}

/// The inputs that are sent; `None` if one can't be made up.
pub(in crate::model) fn sent(inputs: impl Iterator<Item = Option<Unsent>>) -> Option<Vec<TrialInput>> {
    let value = |input| match input {
        Some(Unsent::Out) => None,
        Some(Unsent::Value(input)) => Some(Some(input)),
        None => Some(None),
    };
    inputs.filter_map(value).collect()
}
