//! Tensors as JSON text. Floats are written in the shortest form that reads
//! back as the same value; NaN and Infinity by the given rule.

use std::io::Write as _;

use half::{bf16, f16};

use crate::non_finite::word;
use crate::{Datatype, InferenceResponse, NonFinite, OutputForm, ResponseFormat, Tensor};

/// Writes a response's JSON. For outputs in binary form, it writes only their
/// description.
pub(crate) fn write_response(
    response: &InferenceResponse,
    format: &ResponseFormat,
    non_finite: NonFinite,
) -> Vec<u8> {
    let formed = || response.outputs.iter().enumerate().map(|(index, tensor)| (tensor, format.form(index)));
    let mut out = Vec::with_capacity(160 + formed().map(room).sum::<usize>());
    out.extend_from_slice(b"{\"model_name\":");
    write_string(&mut out, &response.model_name);
    // Writing to a Vec can't fail.
    let _ = write!(out, ",\"model_version\":\"{}\"", response.model_version);
    if !response.id.is_empty() {
        out.extend_from_slice(b",\"id\":");
        write_string(&mut out, &response.id);
    }
    out.extend_from_slice(b",\"outputs\":[");
    for (index, (tensor, form)) in formed().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_output(&mut out, tensor, form, non_finite);
    }
    out.extend_from_slice(b"]}");
    out
}

fn room((tensor, form): (&Tensor, OutputForm)) -> usize {
    const HEADER: usize = 96;
    match form {
        OutputForm::Binary => HEADER,
        // About the length of a float in its shortest form.
        OutputForm::Json => HEADER + tensor.data.len() / tensor.datatype.size().unwrap_or(1) * 12,
    }
}

fn write_output(out: &mut Vec<u8>, tensor: &Tensor, form: OutputForm, non_finite: NonFinite) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, &tensor.name);
    let _ = write!(out, ",\"datatype\":\"{}\",\"shape\":[", tensor.datatype);
    for (index, dimension) in tensor.shape.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(itoa::Buffer::new().format(*dimension).as_bytes());
    }
    match form {
        OutputForm::Binary => {
            let _ = write!(out, "],\"parameters\":{{\"binary_data_size\":{}}}}}", tensor.data.len());
        }
        OutputForm::Json => {
            out.extend_from_slice(b"],\"data\":[");
            let mut elements = Elements::new(tensor, non_finite);
            let mut first = true;
            while elements.write_next(out, &mut first) {}
            out.extend_from_slice(b"]}");
        }
    }
}

/// The elements of a tensor's data, written one after the other.
pub(super) struct Elements<'a> {
    datatype: Datatype,
    non_finite: NonFinite,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(super) fn new(tensor: &'a Tensor, non_finite: NonFinite) -> Self {
        Self { datatype: tensor.datatype, non_finite, rest: &tensor.data }
    }

    /// Writes the next element, after a comma unless it is the first. False if
    /// there are no more.
    pub(super) fn write_next(&mut self, out: &mut Vec<u8>, first: &mut bool) -> bool {
        let length = match self.datatype.size() {
            Some(size) => size,
            None => match self.take_array::<4>() {
                Some(length) => u32::from_le_bytes(length) as usize,
                None => return false,
            },
        };
        if self.rest.len() < length || (length == 0 && self.datatype.size().is_some()) {
            return false;
        }
        let (element, rest) = self.rest.split_at(length);
        self.rest = rest;
        if !std::mem::replace(first, false) {
            out.push(b',');
        }
        write_element(out, self.datatype, element, self.non_finite);
        true
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }
}

fn write_element(out: &mut Vec<u8>, datatype: Datatype, element: &[u8], non_finite: NonFinite) {
    /// Copies the element into an array of the datatype's size; the caller has
    /// cut it to this size.
    fn array<const N: usize>(element: &[u8]) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(element);
        array
    }
    let mut integer = itoa::Buffer::new();
    let text = match datatype {
        Datatype::Bool => {
            if element == [0] {
                "false"
            } else {
                "true"
            }
        }
        Datatype::Uint8 => integer.format(u8::from_le_bytes(array(element))),
        Datatype::Uint16 => integer.format(u16::from_le_bytes(array(element))),
        Datatype::Uint32 => integer.format(u32::from_le_bytes(array(element))),
        Datatype::Uint64 => integer.format(u64::from_le_bytes(array(element))),
        Datatype::Int8 => integer.format(i8::from_le_bytes(array(element))),
        Datatype::Int16 => integer.format(i16::from_le_bytes(array(element))),
        Datatype::Int32 => integer.format(i32::from_le_bytes(array(element))),
        Datatype::Int64 => integer.format(i64::from_le_bytes(array(element))),
        Datatype::Fp16 => return write_f32(out, f16::from_le_bytes(array(element)).to_f32(), non_finite),
        Datatype::Bf16 => return write_f32(out, bf16::from_le_bytes(array(element)).to_f32(), non_finite),
        Datatype::Fp32 => return write_f32(out, f32::from_le_bytes(array(element)), non_finite),
        Datatype::Fp64 => return write_f64(out, f64::from_le_bytes(array(element)), non_finite),
        Datatype::Bytes => return write_string(out, &String::from_utf8_lossy(element)),
    };
    out.extend_from_slice(text.as_bytes());
}

fn write_f32(out: &mut Vec<u8>, value: f32, non_finite: NonFinite) {
    if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        write_non_finite(out, f64::from(value), non_finite);
    }
}

fn write_f64(out: &mut Vec<u8>, value: f64, non_finite: NonFinite) {
    if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        write_non_finite(out, value, non_finite);
    }
}

fn write_non_finite(out: &mut Vec<u8>, value: f64, non_finite: NonFinite) {
    match non_finite {
        NonFinite::Words => out.extend_from_slice(word(value).as_bytes()),
        NonFinite::Text => write_string(out, word(value)),
        // For `Error` the caller has checked that there is none.
        NonFinite::Null | NonFinite::Error => out.extend_from_slice(b"null"),
    }
}

/// Writes `text` in quotes, escaped.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    // Neither serialising a str nor writing to a Vec can fail.
    let _ = serde_json::to_writer(out, text);
}
