//! A batch's outputs as responses: each request gets its own rows, as slices of
//! one memory.

use std::sync::Arc;

use super::classify::classify;
use crate::error::{Error, Result};
use crate::model_config::{Binding, BoundOutput, CONFIG_FILENAME, TensorConfig, output_name};
use cresset_backend::BatchOutput;
use cresset_protocol::{Datatype, RequestedOutput, Strings, Tensor, fill_shape};

/// What dimension 0 of a batch's outputs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLayout {
    /// A dimension like any other: the model doesn't batch.
    Whole,
    /// The batch, of so many rows.
    Rows(u32),
    /// The batch or not: one request of so many rows ran by itself.
    Alone(u32),
}

/// Why outputs can't be answered with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The model never gives such an output, or gives it in another datatype.
    #[error("{0}")]
    Never(String),
    /// This time the shape isn't as declared.
    #[error("{0}")]
    Shape(String),
    /// Dimension 0 should be the batch, and isn't.
    #[error("{0}")]
    NotRows(String),
}

impl From<Unfit> for Error {
    fn from(error: Unfit) -> Self {
        Error::internal(error.to_string())
    }
}

/// Names outputs and holds them against the configuration, in its order; all
/// that the model gives if it declares none.
///
/// # Errors
/// The first that isn't as declared.
pub fn name_outputs(
    outputs: &[BatchOutput],
    binding: &Binding,
    layout: OutputLayout,
) -> std::result::Result<Vec<Tensor>, Unfit> {
    if binding.outputs.is_empty() {
        let named = |(index, output): (usize, &BatchOutput)| {
            let name = output_name(index, output.name.as_deref());
            layout.check_rows(&name, output)?;
            let (shape, data) = (output.shape.clone(), output.data.clone());
            Ok(Tensor { name: Arc::from(name), datatype: output.datatype, shape, data })
        };
        return outputs.iter().enumerate().map(named).collect();
    }
    let declared = |bound: &BoundOutput| match bound.find(outputs) {
        Some(output) => configured(bound, output, layout),
        None => Err(Unfit::Never(format!(
            "output '{}' in the model configuration refers to output {} of the model, which gives {}",
            bound.name,
            bound.index,
            outputs.len()
        ))),
    };
    binding.outputs.iter().map(declared).collect()
}

fn configured(
    bound: &BoundOutput,
    output: &BatchOutput,
    layout: OutputLayout,
) -> std::result::Result<Tensor, Unfit> {
    let BoundOutput { name, spec, .. } = bound;
    let mut shape = output.shape.clone();
    if let Some(spec) = spec {
        if spec.datatype != output.datatype {
            return Err(Unfit::Never(format!(
                "configuration expects datatype {} for output '{name}', model provides {}",
                spec.datatype, output.datatype
            )));
        }
        layout.check_rows(name, output)?;
        shape = layout.declared_shape(output, spec).ok_or_else(|| {
            let behind = if layout == OutputLayout::Whole { "" } else { " behind the batch" };
            Unfit::Shape(format!(
                "output '{name}' has shape {shape:?}, but {CONFIG_FILENAME} declares dims {:?}{behind}",
                spec.dims
            ))
        })?;
    }
    let (name, data) = (Arc::from(name.as_str()), output.data.clone());
    Ok(Tensor { name, datatype: output.datatype, shape, data })
}

impl OutputLayout {
    /// Whether dimension 0 is the batch, if it should be. Of strings the model gives one
    /// list for all rows.
    fn check_rows(self, name: &str, output: &BatchOutput) -> std::result::Result<(), Unfit> {
        let Self::Rows(rows) = self else { return Ok(()) };
        let first = output.shape.first().copied();
        let rows_there = if output.datatype == Datatype::Bytes {
            first.is_some_and(|first| first % i64::from(rows.max(1)) == 0)
        } else {
            first == Some(i64::from(rows))
        };
        if rows_there {
            return Ok(());
        }
        Err(Unfit::NotRows(format!("output '{name}' has shape {:?} for a batch of {rows}", output.shape)))
    }

    /// An output's shape in answers; `None` if the model gave another than the
    /// declared one.
    fn declared_shape(self, output: &BatchOutput, spec: &TensorConfig) -> Option<Vec<i64>> {
        let (shape, dims) = (output.shape.as_slice(), spec.dims.as_slice());
        let rows = match self {
            Self::Whole => None,
            Self::Rows(rows) | Self::Alone(rows) => Some(i64::from(rows.max(1))),
        };
        let (batch, inner) = shape.split_at(usize::from(rows.is_some()).min(shape.len()));
        let declared = if spec.reshape.is_some() {
            fill_shape(dims, inner).map(|inner| [batch, &inner].concat())
        } else if fits(inner, dims) && batch.len() == usize::from(rows.is_some()) {
            Some(shape.to_vec())
        } else if inner.is_empty() || output.datatype == Datatype::Bytes {
            // Strings, Python's numbers and one number a row have no shape of
            // their own, or one that dims can't spell: they take the
            // configuration's.
            let wanted: Vec<i64> = rows.into_iter().chain(dims.iter().copied()).collect();
            fill_shape(&wanted, shape)
        } else {
            None
        };
        // Outputs that aren't rows may be declared as they come: all of them
        // belong to the one row.
        declared.or_else(|| match self {
            Self::Alone(1) if fits(shape, dims) => Some([&[1], shape].concat()),
            Self::Alone(_) if fits(shape, dims) => Some(shape.to_vec()),
            Self::Alone(_) | Self::Whole | Self::Rows(_) => None,
        })
    }
}

/// Whether a shape is as declared, -1 standing for any size.
fn fits(shape: &[i64], dims: &[i64]) -> bool {
    shape.len() == dims.len() && shape.iter().zip(dims).all(|(size, dim)| *dim < 0 || size == dim)
}

/// Takes the next `rows` off the front of each of `outputs`.
pub(super) fn take_rows(outputs: &mut [Tensor], rows: u32) -> Vec<Tensor> {
    outputs
        .iter_mut()
        .map(|output| {
            let left = output.shape.first().copied().unwrap_or(0);
            let mut shape = output.shape.clone();
            if let (Some(taken), Some(left)) = (shape.first_mut(), output.shape.first_mut()) {
                *taken = i64::from(rows).min(*left);
                *left -= *taken;
            }
            let bytes = match output.datatype.size() {
                Some(_) => {
                    let left = usize::try_from(left).unwrap_or(0).max(1);
                    output.data.len() / left * left.min(rows as usize)
                }
                None => bytes_of_strings(&output.data, &shape),
            };
            Tensor {
                name: output.name.clone(),
                datatype: output.datatype,
                shape,
                data: output.data.split_to(bytes.min(output.data.len())),
            }
        })
        .collect()
}

/// How many bytes the first strings of `data` take, as many as `shape` holds.
fn bytes_of_strings(data: &[u8], shape: &[i64]) -> usize {
    let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
    let mut strings = Strings::new(data);
    strings.by_ref().take(count).for_each(drop);
    data.len() - strings.rest().len()
}

/// The outputs that a request asks for, in its order and as it asks for them;
/// all of them if it names none.
pub(super) fn choose(
    outputs: Vec<Tensor>,
    asked: &[RequestedOutput],
    binding: &Binding,
    batched: bool,
) -> Result<Vec<Tensor>> {
    if asked.is_empty() {
        return Ok(outputs);
    }
    let find = |asked: &RequestedOutput| {
        let Some(output) = outputs.iter().find(|output| *output.name == *asked.name) else {
            let names: Vec<String> = outputs.iter().map(|output| format!("'{}'", output.name)).collect();
            return Err(Error::invalid(format!(
                "unexpected inference output '{}': the model gives {}",
                asked.name,
                names.join(", ")
            )));
        };
        if asked.classification == 0 {
            return Ok(output.clone());
        }
        let bound = binding.outputs.iter().find(|bound| bound.name == asked.name);
        let spec = bound.and_then(|bound| bound.spec.as_ref());
        let labels: &[String] = spec.map_or(&[], |spec| &*spec.labels);
        classify(output, asked.classification, batched, labels)
    };
    asked.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn tensor(datatype: Datatype, shape: &[i64], data: &[u8]) -> Tensor {
        Tensor { name: Arc::from("y"), datatype, shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }
    }

    #[test]
    fn rows_are_taken_one_request_after_the_other() {
        let words: [&[u8]; 4] = [b"one", b"", b"three", b"\xff"];
        let wire = |words: &[&[u8]]| {
            words.iter().flat_map(|w| [&[w.len() as u8, 0, 0, 0][..], w].concat()).collect()
        };
        let (all, first, rest): (Vec<u8>, Vec<u8>, Vec<u8>) =
            (wire(&words), wire(&words[..1]), wire(&words[1..]));
        let mut outputs = [
            tensor(Datatype::Int16, &[4, 2], &(0..16).collect::<Vec<u8>>()),
            tensor(Datatype::Bytes, &[4, 1], &all),
            tensor(Datatype::Fp32, &[4, 0], &[]),
        ];
        let one = take_rows(&mut outputs, 1);
        assert_eq!(one[0], tensor(Datatype::Int16, &[1, 2], &[0, 1, 2, 3]));
        assert_eq!(one[1], tensor(Datatype::Bytes, &[1, 1], &first));
        assert_eq!(one[2], tensor(Datatype::Fp32, &[1, 0], &[]));
        let three = take_rows(&mut outputs, 3);
        assert_eq!(three[0], tensor(Datatype::Int16, &[3, 2], &(4..16).collect::<Vec<u8>>()));
        assert_eq!(three[1], tensor(Datatype::Bytes, &[3, 1], &rest));
        assert!(outputs.iter().all(|output| output.data.is_empty() && output.shape[0] == 0));
    }

    /// The shape that clients get of an output, by the configuration's dims.
    fn told(datatype: Datatype, shape: &[i64], dims: &[i64], layout: OutputLayout) -> Option<Vec<i64>> {
        let output = BatchOutput { name: None, datatype, shape: shape.to_vec(), data: Bytes::new() };
        let spec = TensorConfig {
            name: "y".to_owned(),
            datatype,
            dims: dims.to_vec(),
            reshape: None,
            optional: false,
            label_filename: None,
            labels: Arc::default(),
        };
        let bound = BoundOutput { name: "y".to_owned(), index: 0, spec: Some(spec) };
        configured(&bound, &output, layout).ok().map(|tensor| tensor.shape)
    }

    #[test]
    fn strings_and_numbers_get_the_configured_shape_where_it_fits() {
        use Datatype::{Bytes, Fp32};
        use OutputLayout::{Rows, Whole};
        assert_eq!(told(Bytes, &[3], &[1], Rows(3)), Some(vec![3, 1]));
        assert_eq!(told(Bytes, &[6], &[2], Rows(3)), Some(vec![3, 2]));
        assert_eq!(told(Bytes, &[6], &[-1], Rows(3)), Some(vec![3, 2]));
        assert_eq!(told(Bytes, &[5], &[1], Rows(3)), None);
        assert_eq!(told(Bytes, &[5], &[-1], Whole), Some(vec![5]));
        assert_eq!(told(Fp32, &[3], &[1], Rows(3)), Some(vec![3, 1]), "one number a row");
        assert_eq!(told(Fp32, &[3], &[2], Rows(3)), None);
        assert_eq!(told(Fp32, &[], &[1], Whole), Some(vec![1]));
        assert_eq!(told(Fp32, &[], &[1, 1], Whole), Some(vec![1, 1]));
        assert_eq!(told(Fp32, &[], &[2], Whole), None);
    }

    #[test]
    fn declared_dims_are_held() {
        use Datatype::Fp32;
        use OutputLayout::{Alone, Rows, Whole};
        assert_eq!(told(Fp32, &[2, 5, 4], &[-1, 4], Rows(2)), Some(vec![2, 5, 4]));
        for (shape, dims, layout) in [
            (&[2, 5, 3][..], &[-1, 4][..], Rows(2)),
            (&[2, 4], &[-1, 4], Rows(2)),
            (&[3, 5, 4], &[-1, 4], Rows(2)),
            (&[4, 1], &[4], Whole),
            (&[5], &[4], Whole),
        ] {
            assert_eq!(told(Fp32, shape, dims, layout), None, "{shape:?} as {dims:?}");
        }
        // By itself a request gets what the model gives.
        assert_eq!(told(Fp32, &[7, 4], &[-1, 4], Alone(1)), Some(vec![1, 7, 4]));
        assert_eq!(told(Fp32, &[7, 4], &[-1, 4], Alone(2)), Some(vec![7, 4]));
        assert_eq!(told(Fp32, &[12, 1, 4], &[-1, 4], Alone(1)), Some(vec![12, 1, 4]));
        assert_eq!(told(Fp32, &[7], &[-1], Alone(1)), Some(vec![1, 7]));
        assert_eq!(told(Fp32, &[7, 3], &[-1, 4], Alone(1)), None);
    }
}
