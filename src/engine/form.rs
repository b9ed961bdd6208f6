//! The parts of a form (`multipart/form-data`), as what they ask of a model.

use super::photographs::{Encoded, Photographs};
use super::plain::{Asked, Part, Tensors, by_name, no_transform, photograph, takes_photographs, whole};
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::recognise;
use cresset_protocol::Tensor;
use cresset_protocol::json;

/// What is to be sent, where it isn't what came.
const EXPECTED: &str =
    "send a photograph in each part, or in each the JSON of the input that it is named for";

/// One part is taken as if it were the body, whatever its name; several are
/// photographs, or the inputs that they are named for.
pub(super) fn read(model: &ServedModel, parts: Vec<Part>, tensors: Tensors) -> Result<Asked> {
    match parts.as_slice() {
        [] => Err(Error::invalid(format!("the form has no parts: {EXPECTED}"))),
        [part] if part.content.is_empty() => {
            Err(Error::invalid(format!("the form's part '{}' is empty: {EXPECTED}", shown(&part.name))))
        }
        [part] => match input(model, part)? {
            Some(tensor) => Ok(Asked::Inputs(vec![tensor])),
            None => whole(model, &part.content, tensors),
        },
        _ => several(model, &parts),
    }
}

fn several(model: &ServedModel, parts: &[Part]) -> Result<Asked> {
    let images: Vec<Encoded> = parts.iter().filter_map(|part| photograph(&part.content)).collect();
    if images.len() == parts.len() {
        return match takes_photographs(model) {
            true => Ok(Asked::Photographs(Photographs { images, several: true })),
            false => Err(no_transform(model, &parts[0].content)),
        };
    }
    let mut inputs: Vec<Tensor> = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(tensor) = input(model, part)? else { return Err(mixed(model, parts)) };
        if inputs.iter().any(|known| known.name == tensor.name) {
            return Err(Error::invalid(format!("the form has two parts for the input '{}'", tensor.name)));
        }
        inputs.push(tensor);
    }
    Ok(Asked::Inputs(inputs))
}

/// The tensor in a part that is named for an input and holds JSON that isn't
/// an object.
fn input(model: &ServedModel, Part { name, content }: &Part) -> Result<Option<Tensor>> {
    let text = content.trim_ascii_start();
    let json = matches!(text.first(), Some(b'[' | b'"' | b't' | b'f' | b'-' | b'0'..=b'9' | b'N' | b'I'));
    if !model.has_input(name) || !json || photograph(content).is_some() {
        return Ok(None);
    }
    // Strings for the input that a photograph fills are photographs.
    let inner = text.strip_prefix(b"[").unwrap_or(text).trim_ascii_start();
    let strings = matches!(inner.first(), Some(b'"' | b'{'));
    if strings && takes_photographs(model) && model.image_input() == Some(name) {
        return Ok(None);
    }
    match json::decode_named_tensor(name, content, |name| model.input_datatype(name)) {
        Ok(tensor) => Ok(Some(tensor)),
        Err(error) => Err(Error::invalid(format!("the form's part '{}': {error}", shown(name)))),
    }
}

fn mixed(model: &ServedModel, parts: &[Part]) -> Error {
    /// Enough to see what went wrong.
    const MOST: usize = 8;
    let more = parts.len().saturating_sub(MOST);
    let mut listed: Vec<String> =
        parts.iter().take(MOST).map(|part| format!("'{}' ({})", shown(&part.name), what(part))).collect();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    Error::invalid(format!("the form has the parts {}: {EXPECTED} ({})", listed.join(", "), by_name(model)))
}

/// What a part holds, for an error.
fn what(Part { content, .. }: &Part) -> String {
    match recognise(content) {
        Some(kind) => kind.to_string(),
        None if content.is_empty() => "empty".to_owned(),
        None if photograph(content).is_some() => "a photograph in base64".to_owned(),
        None => match json::kind(content) {
            Ok(kind) => format!("JSON, {kind}"),
            Err(_) if content.is_ascii() => "text".to_owned(),
            Err(_) => "bytes of no known format".to_owned(),
        },
    }
}

/// A name as it comes back in an error.
fn shown(name: &str) -> String {
    const LONGEST: usize = 40;
    let mut chars = name.chars();
    let head: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() { format!("{head}…") } else { head }
}
