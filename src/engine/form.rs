//! Reads the parts of a form (`multipart/form-data`) as a request to a model.

use super::items::{Items, kind, made_input};
use super::plain::{Asked, Part, Tensors, by_name, no_transform, recognised, whole};
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{Item, ItemKind};
use cresset_protocol::Tensor;
use cresset_protocol::json;

/// What the client should send instead.
fn expected(model: &ServedModel) -> String {
    let item = kind(model).unwrap_or_else(ItemKind::usual).name;
    format!("send a {item} in each part, or in each the JSON of the input that it is named for")
}

/// One part is taken as if it were the body, whatever its name; several are
/// items, or the inputs that they are named for.
pub(super) fn read(model: &ServedModel, parts: Vec<Part>, tensors: Tensors) -> Result<Asked> {
    match parts.as_slice() {
        [] => Err(Error::invalid(format!("the form has no parts: {}", expected(model)))),
        [part] if part.content.is_empty() => {
            let (name, expected) = (shown(&part.name), expected(model));
            Err(Error::invalid(format!("the form's part '{name}' is empty: {expected}")))
        }
        [part] => match input(model, part)? {
            Some(tensor) => Ok(Asked::Inputs(vec![tensor])),
            None => whole(model, &part.content, tensors),
        },
        _ => several(model, &parts),
    }
}

fn several(model: &ServedModel, parts: &[Part]) -> Result<Asked> {
    let found: Vec<(&ItemKind, Item)> = parts.iter().filter_map(|part| recognised(&part.content)).collect();
    if found.len() == parts.len() {
        let taken = kind(model);
        return match found.iter().zip(parts).find(|((kind, _), _)| taken != Some(*kind)) {
            None => {
                let items = found.into_iter().map(|(_, item)| item).collect();
                Ok(Asked::Items(Items { items, several: true }))
            }
            Some(((kind, _), part)) => Err(no_transform(model, kind, &part.content)),
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
    if !model.has_input(name) || !json || recognised(content).is_some() {
        return Ok(None);
    }
    // Strings for the input that an item fills are items.
    let inner = text.strip_prefix(b"[").unwrap_or(text).trim_ascii_start();
    let strings = matches!(inner.first(), Some(b'"' | b'{'));
    if strings && made_input(model).as_deref() == Some(name) {
        return Ok(None);
    }
    match json::decode_named_tensor(name, content, |name| model.input_datatype(name)) {
        Ok(tensor) => Ok(Some(tensor)),
        Err(error) => Err(Error::invalid(format!("the form's part '{}': {error}", shown(name)))),
    }
}

fn mixed(model: &ServedModel, parts: &[Part]) -> Error {
    /// So many show what went wrong.
    const MOST: usize = 8;
    let more = parts.len().saturating_sub(MOST);
    let mut listed: Vec<String> =
        parts.iter().take(MOST).map(|part| format!("'{}' ({})", shown(&part.name), what(part))).collect();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    let (parts, expected) = (listed.join(", "), expected(model));
    Error::invalid(format!("the form has the parts {parts}: {expected} ({})", by_name(model)))
}

/// What a part holds, for an error.
fn what(Part { content, .. }: &Part) -> String {
    match ItemKind::of(content) {
        Some((kind, _)) => (kind.describe)(content),
        None if content.is_empty() => "empty".to_owned(),
        None => match json::kind(content) {
            Ok(kind) => format!("JSON, {kind}"),
            Err(_) if content.is_ascii() => "text".to_owned(),
            Err(_) => "bytes of no known format".to_owned(),
        },
    }
}

/// A name, shortened for an error.
fn shown(name: &str) -> String {
    const LONGEST: usize = 40;
    let mut chars = name.chars();
    let head: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() { format!("{head}…") } else { head }
}
