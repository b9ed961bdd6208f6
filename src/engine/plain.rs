//! What a plain body asks of a model: photographs in one of the ways in which
//! clients send them, or tensors without ceremony.

use std::borrow::Cow;

use bytes::Bytes;

use super::fitting::fit;
use super::form;
use super::photographs::{Encoded, Photographs};
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{begins_as_image, recognise};
use cresset_protocol::json::{self, PhotographNames, PredictForm};
use cresset_protocol::{InferenceRequest, ProtocolError, Tensor, decode_request};

/// A plain body, as a surface hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    /// As it came.
    Whole(Bytes),
    /// The parts of a form.
    Parts(Vec<Part>),
}

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name; empty where it has none.
    pub name: String,
    /// What is in it.
    pub content: Bytes,
}

impl Plain {
    /// In bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(body) => body.len(),
            Self::Parts(parts) => parts.iter().map(|part| part.content.len()).sum(),
        }
    }
}

/// What tensors look like in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tensors {
    /// An object of arrays by input name, or a request of the Open Inference
    /// Protocol.
    Named,
    /// What `:predict` takes: rows, or columns.
    Predict,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// Of a model that takes them.
    Photographs(Photographs),
    /// Inputs by name.
    Inputs(Vec<Tensor>),
    /// The same, to be answered as TensorFlow Serving answers columns.
    Columns(Vec<Tensor>),
    /// Inputs by name of rows that are of different lengths, each by itself.
    Rows(PredictForm, Vec<Vec<Tensor>>),
    /// A request of the Open Inference Protocol.
    Inference(InferenceRequest),
}

/// Reads a plain body for `model`.
///
/// # Errors
/// What is wrong with it, and what the model takes.
pub(super) fn read(model: &ServedModel, plain: Plain, tensors: Tensors) -> Result<Asked> {
    Ok(match plain {
        Plain::Whole(body) => whole(model, &body, tensors),
        Plain::Parts(parts) => form::read(model, parts, tensors),
    }?
    .fitted(model))
}

impl Asked {
    /// With plain tensors in the shapes that the model expects.
    fn fitted(self, model: &ServedModel) -> Self {
        match self {
            Self::Inputs(inputs) => Self::Inputs(fit(model, inputs)),
            Self::Columns(inputs) => Self::Columns(fit(model, inputs)),
            Self::Rows(form, rows) => Self::Rows(form, rows.into_iter().map(|row| fit(model, row)).collect()),
            Self::Photographs(_) | Self::Inference(_) => self,
        }
    }
}

/// What a body is is read off the body: clients put any Content-Type on it.
pub(super) fn whole(model: &ServedModel, body: &Bytes, tensors: Tensors) -> Result<Asked> {
    if let Some(photograph) = photograph(body) {
        return match takes_photographs(model) {
            true => Ok(Asked::Photographs(Photographs::one(photograph))),
            false => Err(no_transform(model, body)),
        };
    }
    let first = body.trim_ascii_start().first();
    if first.is_none() {
        let what = if takes_photographs(model) { "a photograph or JSON" } else { "JSON" };
        return Err(Error::invalid(format!("the body is empty: expected {what}")));
    }
    let object = first == Some(&b'{');
    if tensors == Tensors::Named && object && json::is_inference_request(body) {
        return Ok(Asked::Inference(decode_request(model.name(), body, None)?));
    }
    if let Some(photographs) = in_json(model, body)? {
        return Ok(Asked::Photographs(photographs));
    }
    let datatype_of = |name: &str| model.input_datatype(name);
    let as_rows = |error: ProtocolError| match rows_of_lengths(model, body, tensors) {
        Some((form, rows)) => Ok(Asked::Rows(form, rows)),
        None => Err(error.into()),
    };
    match tensors {
        Tensors::Predict => match json::decode_predict(body, model.only_input(), datatype_of) {
            Ok((PredictForm::Rows, inputs)) => Ok(Asked::Inputs(inputs)),
            Ok((PredictForm::Columns, inputs)) => Ok(Asked::Columns(inputs)),
            Err(error) => as_rows(error),
        },
        Tensors::Named if object => {
            json::decode_named_tensors(body, datatype_of).map(Asked::Inputs).or_else(as_rows)
        }
        Tensors::Named => match (model.only_text(), first) {
            // Texts need no name where there is one input for them.
            (Some(text), Some(b'"' | b'[')) => {
                Ok(Asked::Inputs(vec![json::decode_named_tensor(text, body, datatype_of)?]))
            }
            _ => Err(no_object(model, body)),
        },
    }
}

/// The rows of a body whose rows are of different lengths, where the model pads
/// them. Each is a request of its own, and shares batches as those do.
fn rows_of_lengths(
    model: &ServedModel,
    body: &Bytes,
    tensors: Tensors,
) -> Option<(PredictForm, Vec<Vec<Tensor>>)> {
    if !model.pads() {
        return None;
    }
    let datatype_of = |name: &str| model.input_datatype(name);
    let (form, rows) = match tensors {
        Tensors::Named => (PredictForm::Columns, json::decode_named_rows(body, datatype_of).ok()?),
        Tensors::Predict => json::decode_predict_rows(body, model.only_input(), datatype_of).ok()?,
    };
    let most = usize::try_from(model.max_batch_size()).unwrap_or(usize::MAX);
    (rows.len() > 1 && rows.len() <= most).then_some((form, rows))
}

/// The one photograph that bytes are, as they are or in base64.
pub(super) fn photograph(body: &Bytes) -> Option<Encoded> {
    if recognise(body).is_some() {
        Some(Encoded::Bytes(body.clone()))
    } else if begins_as_image(body) {
        Some(Encoded::Base64(body.clone()))
    } else {
        None
    }
}

/// Whether a photograph is one of the model's inputs.
pub(super) fn takes_photographs(model: &ServedModel) -> bool {
    model.transforms().is_some_and(|transforms| transforms.image.is_some())
}

/// Whether a string may be one of the model's tensors.
fn takes_strings(model: &ServedModel) -> bool {
    model.metadata(Vec::new()).inputs.iter().any(|input| matches!(&*input.datatype, "" | "BYTES"))
}

/// The photographs in a body of JSON, where that is what it holds.
fn in_json(model: &ServedModel, body: &Bytes) -> Result<Option<Photographs>> {
    if !takes_photographs(model) {
        return match foreign(model, body) {
            Some(text) => Err(no_transform(model, text.as_bytes())),
            None => Ok(None),
        };
    }
    if !matches!(body.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
        return Ok(None);
    }
    let own = model.image_input();
    let other = |name: &str| own != Some(name) && model.has_input(name);
    let found = json::photographs(body, PhotographNames { own, other: &other });
    let Some(found) = found? else { return Ok(None) };
    let image = |text| {
        Encoded::Base64(match text {
            // A slice of the body, with the memory that it was lent.
            Cow::Borrowed(text) => body.slice_ref(str::as_bytes(text)),
            Cow::Owned(text) => Bytes::from(text),
        })
    };
    Ok(Some(Photographs { images: found.texts.into_iter().map(image).collect(), several: found.several }))
}

/// The first photograph in JSON for a model that takes none, where no string of
/// it is a tensor.
fn foreign<'a>(model: &ServedModel, body: &'a [u8]) -> Option<Cow<'a, str>> {
    /// It stands at the beginning: a tensor's numbers aren't gone over for it.
    const HEAD: usize = 512;
    let head = body.get(..HEAD).unwrap_or(body);
    if !head.split(|byte| *byte == b'"').any(begins_as_image) {
        return None;
    }
    // What is wrong with the JSON is told by whoever reads it as tensors.
    let names = PhotographNames { own: None, other: &|name| model.has_input(name) };
    let json::Photographs { texts, several } = json::photographs(body, names).ok()??;
    let text = texts.into_iter().next().filter(|text| begins_as_image(text.as_bytes()))?;
    (!several || !takes_strings(model)).then_some(text)
}

/// A photograph came for a model that takes none.
pub(super) fn no_transform(model: &ServedModel, photograph: &[u8]) -> Error {
    let what =
        recognise(photograph).map_or_else(|| "a photograph in base64".to_owned(), |kind| kind.to_string());
    Error::invalid(format!(
        "the body is {what}, but model '{}' declares no [transform.image] in its cresset.toml: send tensors, by input \
         name ({})",
        model.name(),
        by_name(model)
    ))
}

/// Neither a photograph nor an object.
fn no_object(model: &ServedModel, body: &Bytes) -> Error {
    let photographs = takes_photographs(model);
    match json::kind(body) {
        Ok(kind) => Error::invalid(format!(
            "{}an object by input name was expected (for example {}) and {kind} came",
            if photographs { "a photograph or " } else { "" },
            by_name(model)
        )),
        Err(error) if matches!(body.trim_ascii_start().first(), Some(b'[' | b'"')) => error.into(),
        Err(_) if photographs => crate::transform::not_an_image(body).into(),
        Err(_) => Error::invalid("the body isn't JSON: expected an object of arrays by input name"),
    }
}

/// `{"x": …, "y": …}`, of the model's inputs.
pub(super) fn by_name(model: &ServedModel) -> String {
    /// More are understood without being read.
    const MOST: usize = 8;
    let inputs = model.metadata(Vec::new()).inputs;
    let more = if inputs.len() > MOST { ", …" } else { "" };
    let named: Vec<String> = inputs
        .iter()
        .take(MOST)
        .map(|input| format!("{}: …", serde_json::Value::from(&*input.name)))
        .collect();
    format!("{{{}{more}}}", named.join(", "))
}
