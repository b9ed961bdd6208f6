//! Requests of different lengths in one batch: each input is padded to the
//! batch's length as it is collected, and outputs are cut back to each
//! request's own.

use bytes::{BufMut, Bytes, BytesMut};

use super::request::QueuedRequest;
use crate::error::{Error, Result};
use cresset_backend::HostBuffer;
use cresset_protocol::{Datatype, Strings, Tensor};
use cresset_scheduler::Lengths;

/// How a model's requests are padded. Dimensions are those of whole shapes:
/// the batch is dimension 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Padding {
    /// Which lengths batches have.
    pub lengths: Lengths,
    /// What becomes of each input, by its place among the model's.
    pub inputs: Vec<Fill>,
    /// The outputs that may be as long as the batch.
    pub outputs: Vec<CutBack>,
}

/// What becomes of an input in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// Nothing: its shape doesn't vary.
    AsSent,
    /// Each row is filled up with an element along a dimension.
    Padded {
        /// Along which.
        dimension: usize,
        /// The bytes of one element.
        element: Vec<u8>,
    },
    /// The same with zeros. If a request has no mask, it is made: ones for the
    /// request's own length.
    Mask {
        /// Along which.
        dimension: usize,
        /// The type of its elements; not strings.
        datatype: Datatype,
    },
    /// The request's length, for each row; it is made if the request hasn't
    /// sent it.
    Length {
        /// A type of whole numbers.
        datatype: Datatype,
    },
}

/// An output, and the dimensions in which it may be as long as the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutBack {
    /// Its name on the wire.
    pub name: String,
    /// Which.
    pub dimensions: Vec<usize>,
    /// What says so.
    pub rule: CutRule,
}

/// Whether a dimension must be as long as the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutRule {
    /// The settings name it: it must.
    Named,
    /// It is configured as one that varies: if it is as long as the batch, it
    /// is cut.
    Varies,
}

impl Padding {
    /// The length that these requests are padded to.
    pub(super) fn length(&self, requests: &[QueuedRequest]) -> u32 {
        let longest = requests.iter().map(|request| request.size.length).max().unwrap_or(0);
        self.lengths.padded(longest)
    }

    /// The shape of input `index` in a batch of this length; `shape` is a
    /// request's own.
    pub(super) fn shape(&self, index: usize, shape: &[i64], length: u32) -> Vec<i64> {
        let mut shape = shape.to_vec();
        match self.inputs.get(index) {
            Some(Fill::Padded { dimension, .. } | Fill::Mask { dimension, .. }) => {
                if let Some(size) = shape.get_mut(*dimension) {
                    *size = i64::from(length);
                }
            }
            Some(Fill::AsSent | Fill::Length { .. }) | None => {}
        }
        shape
    }

    /// Appends a request's input `index`, padded to `length`: each byte, and
    /// its padding, once into its place.
    pub(super) fn write(&self, index: usize, request: &QueuedRequest, length: u32, into: &mut HostBuffer) {
        let Some(part) = request.inputs.get(index) else { return };
        let (own, length) = (request.size.length as usize, length as usize);
        match self.inputs.get(index) {
            Some(Fill::Padded { dimension, element }) => {
                write_padded(part, *dimension, element, length, into);
            }
            Some(Fill::Mask { dimension, datatype }) => {
                let size = datatype.size().unwrap_or(0);
                if is_made(part) {
                    let (outer, inner) = around(&part.shape, *dimension);
                    let one = datatype.element(1);
                    for _ in 0..outer {
                        into.repeat(&one, own * inner);
                        into.repeat(&zero(size), length.saturating_sub(own) * inner);
                    }
                } else {
                    write_padded(part, *dimension, &zero(size), length, into);
                }
            }
            Some(Fill::Length { datatype }) if is_made(part) => {
                into.repeat(&datatype.element(request.size.length), request.rows as usize);
            }
            Some(Fill::AsSent | Fill::Length { .. }) | None => into.extend(&part.data),
        }
    }

    /// A request's outputs, which were padded to `length`, cut back to its own
    /// length.
    pub(super) fn cut_back(&self, outputs: Vec<Tensor>, own: u32, length: u32) -> Result<Vec<Tensor>> {
        let cut = |output: Tensor| match self.outputs.iter().find(|cut| cut.name == *output.name) {
            Some(cut) => cut.apply(output, i64::from(own), i64::from(length)),
            None => Ok(output),
        };
        outputs.into_iter().map(cut).collect()
    }
}

impl CutBack {
    fn apply(&self, mut output: Tensor, own: i64, length: i64) -> Result<Tensor> {
        for dimension in &self.dimensions {
            let size = output.shape.get(*dimension).copied();
            if size != Some(length) {
                if self.rule == CutRule::Varies {
                    continue;
                }
                return Err(Error::internal(format!(
                    "output '{}' has shape {:?} for inputs padded to {length}: [padding.outputs] in cresset.toml \
                     says that dimension {} behind the batch is as long",
                    self.name,
                    output.shape,
                    dimension - 1
                )));
            }
            output = shortened(output, *dimension, own);
        }
        Ok(output)
    }
}

/// Whether an input isn't the client's: it has no data, though it has rows.
fn is_made(part: &Tensor) -> bool {
    part.data.is_empty()
}

/// How many runs of elements there are up to a dimension, and how many elements
/// one step along it takes.
fn around(shape: &[i64], dimension: usize) -> (usize, usize) {
    let product = |sizes: &[i64]| sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).product();
    let (before, behind) = shape.split_at(dimension.min(shape.len()));
    (product(before), product(behind.get(1..).unwrap_or(&[])))
}

fn write_padded(part: &Tensor, dimension: usize, element: &[u8], length: usize, into: &mut HostBuffer) {
    let (outer, inner) = around(&part.shape, dimension);
    let own = part.shape.get(dimension).and_then(|own| usize::try_from(*own).ok()).unwrap_or(0);
    let missing = length.saturating_sub(own) * inner;
    let run = own * inner * element.len();
    if missing == 0 {
        into.extend(&part.data);
        return;
    }
    for index in 0..outer {
        into.extend(part.data.get(index * run..(index + 1) * run).unwrap_or(&[]));
        into.repeat(element, missing);
    }
}

/// Of every type but strings.
fn zero(size: usize) -> Vec<u8> {
    vec![0; size]
}

/// The first `own` of a dimension. One run is a slice of the same memory; more
/// are put together anew.
fn shortened(output: Tensor, dimension: usize, own: i64) -> Tensor {
    let (outer, inner) = around(&output.shape, dimension);
    let size = |size: i64| usize::try_from(size).unwrap_or(0);
    let (whole, kept) = (size(output.shape[dimension]) * inner, size(own) * inner);
    let mut shape = output.shape;
    shape[dimension] = own;
    let data = match output.datatype.size() {
        _ if kept >= whole => output.data,
        Some(bytes) if outer <= 1 => output.data.slice(..(outer * kept * bytes).min(output.data.len())),
        Some(bytes) => {
            let mut data = BytesMut::with_capacity(outer * kept * bytes);
            output
                .data
                .chunks_exact((whole * bytes).max(1))
                .for_each(|run| data.put_slice(&run[..kept * bytes]));
            data.freeze()
        }
        None => strings(&output.data, whole, kept),
    };
    Tensor { name: output.name, datatype: output.datatype, shape, data }
}

/// Of each `whole` strings the first `kept`.
fn strings(data: &[u8], whole: usize, kept: usize) -> Bytes {
    let mut left = BytesMut::new();
    for (index, string) in Strings::new(data).enumerate() {
        if index % whole < kept {
            left.put_u32_le(u32::try_from(string.len()).unwrap_or(u32::MAX));
            left.put_slice(string);
        }
    }
    left.freeze()
}

#[cfg(test)]
mod tests;
