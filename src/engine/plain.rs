//! Reads a plain body as a request to a model: items, such as photographs, in
//! any form that clients send, or tensors in plain JSON.

use std::borrow::Cow;

use bytes::Bytes;

use super::fitting::fit;
use super::form;
use super::items::{Items, kind, made_input};
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{Item, ItemForm, ItemKind};
use cresset_protocol::json::{self, ItemNames, PredictForm};
use cresset_protocol::{InferenceRequest, ProtocolError, ResponseFormat, Tensor, decode_request};

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
    /// Its name; empty if it has none.
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

/// The form of tensors in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tensors {
    /// An object of arrays by input name, or a request of the Open Inference
    /// Protocol.
    Named,
    /// The forms of `:predict`: rows, or columns.
    Predict,
}

/// A plain body as it was read.
#[derive(Debug)]
pub(super) enum Asked {
    /// Items for a model that takes them.
    Items(Items),
    /// Inputs by name.
    Inputs(Vec<Tensor>),
    /// The same, to be answered as TensorFlow Serving answers columns.
    Columns(Vec<Tensor>),
    /// Inputs by name of rows that are of different lengths, each by itself.
    Rows(PredictForm, Vec<Vec<Tensor>>),
    /// A request of the Open Inference Protocol, and how its answer is to be
    /// written.
    Inference(InferenceRequest, ResponseFormat),
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
    /// Gives plain tensors the shapes that the model expects.
    fn fitted(self, model: &ServedModel) -> Self {
        match self {
            Self::Inputs(inputs) => Self::Inputs(fit(model, inputs)),
            Self::Columns(inputs) => Self::Columns(fit(model, inputs)),
            Self::Rows(form, rows) => Self::Rows(form, rows.into_iter().map(|row| fit(model, row)).collect()),
            Self::Items(_) | Self::Inference(..) => self,
        }
    }
}

/// Reads a body by its content: its Content-Type may be anything.
pub(super) fn whole(model: &ServedModel, body: &Bytes, tensors: Tensors) -> Result<Asked> {
    if let Some((item_kind, item)) = recognised(body) {
        return match kind(model) == Some(item_kind) {
            true => Ok(Asked::Items(Items::one(item))),
            false => Err(no_transform(model, item_kind, body)),
        };
    }
    let first = body.trim_ascii_start().first();
    if first.is_none() {
        let item = kind(model).map_or_else(String::new, |kind| format!("a {} or ", kind.name));
        return Err(Error::invalid(format!("the body is empty: expected {item}JSON")));
    }
    let object = first == Some(&b'{');
    if tensors == Tensors::Named && object && json::is_inference_request(body) {
        let (request, format) = decode_request(model.name(), body, None)?;
        return Ok(Asked::Inference(request, format));
    }
    if let Some(items) = in_json(model, body)? {
        return Ok(Asked::Items(items));
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
            // Texts need no name if there is one input for them.
            (Some(text), Some(b'"' | b'[')) => {
                Ok(Asked::Inputs(vec![json::decode_named_tensor(text, body, datatype_of)?]))
            }
            _ => Err(no_object(model, body)),
        },
    }
}

/// The rows of a body whose rows are of different lengths, if the model pads
/// them. Each is a request of its own, and may share batches like any other.
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

/// The item that the bytes are, and its kind, if they are one.
pub(super) fn recognised(body: &Bytes) -> Option<(&'static ItemKind, Item)> {
    let (kind, form) = ItemKind::of(body)?;
    Some((kind, Item::new(form, body.clone())))
}

/// Whether a string may be one of the model's tensors.
fn takes_strings(model: &ServedModel) -> bool {
    model.metadata(Vec::new()).inputs.iter().any(|input| matches!(&*input.datatype, "" | "BYTES"))
}

/// The items in a body of JSON, if it holds items.
fn in_json(model: &ServedModel, body: &Bytes) -> Result<Option<Items>> {
    let Some(kind) = kind(model) else {
        return match ItemKind::ALL.into_iter().find_map(|kind| Some((kind, foreign(model, kind, body)?))) {
            Some((kind, text)) => Err(no_transform(model, kind, text.as_bytes())),
            None => Ok(None),
        };
    };
    if !matches!(body.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
        return Ok(None);
    }
    let own = made_input(model);
    let other = |name: &str| own.as_deref() != Some(name) && model.has_input(name);
    let found = json::items(body, names(kind, own.as_deref(), &other));
    let Some(found) = found? else { return Ok(None) };
    let item = |text| {
        Item::Text(match text {
            // A slice of the body, which keeps the body's memory permit.
            Cow::Borrowed(text) => body.slice_ref(str::as_bytes(text)),
            Cow::Owned(text) => Bytes::from(text),
        })
    };
    Ok(Some(Items { items: found.texts.into_iter().map(item).collect(), several: found.several }))
}

fn names<'a>(kind: &'a ItemKind, own: Option<&'a str>, other: &'a dyn Fn(&str) -> bool) -> ItemNames<'a> {
    ItemNames { item: kind.name, text: kind.text, usual: kind.keys, own, other }
}

/// The first item in JSON for a model that takes none, if no string of it is a
/// tensor.
fn foreign<'a>(model: &ServedModel, kind: &ItemKind, body: &'a [u8]) -> Option<Cow<'a, str>> {
    /// Only the beginning is searched, not all of a tensor's numbers.
    const HEAD: usize = 512;
    let head = body.get(..HEAD).unwrap_or(body);
    let is_item = |text: &[u8]| (kind.recognise)(text) == Some(ItemForm::Text);
    if !head.split(|byte| *byte == b'"').any(is_item) {
        return None;
    }
    // An error in the JSON is reported when it is read as tensors.
    let other = |name: &str| model.has_input(name);
    let json::Items { texts, several } = json::items(body, names(kind, None, &other)).ok()??;
    let text = texts.into_iter().next().filter(|text| is_item(text.as_bytes()))?;
    (!several || !takes_strings(model)).then_some(text)
}

/// The error for an item that the model doesn't take.
pub(super) fn no_transform(model: &ServedModel, kind: &ItemKind, item: &[u8]) -> Error {
    Error::invalid(format!(
        "the body is {}, but model '{}' declares no {} in its cresset.toml: send tensors, by input name ({})",
        (kind.describe)(item),
        model.name(),
        kind.table,
        by_name(model)
    ))
}

/// The error for a body that is neither an item nor an object.
fn no_object(model: &ServedModel, body: &Bytes) -> Error {
    let kind = kind(model);
    match (json::kind(body), kind) {
        (Ok(came), _) => Error::invalid(format!(
            "{}an object by input name was expected (for example {}) and {came} came",
            kind.map_or_else(String::new, |kind| format!("a {} or ", kind.name)),
            by_name(model)
        )),
        (Err(error), _) if matches!(body.trim_ascii_start().first(), Some(b'[' | b'"')) => error.into(),
        (Err(_), Some(kind)) => (kind.refuse)(body).into(),
        (Err(_), None) => Error::invalid("the body isn't JSON: expected an object of arrays by input name"),
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
