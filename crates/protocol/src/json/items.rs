//! Items in JSON, such as photographs: strings, in the places that clients of
//! different servers use. This module finds the strings, but doesn't read their
//! content.

use std::borrow::Cow;

use super::scan::Scanner;
use crate::ProtocolError;

/// The items of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items<'a> {
    /// Their texts, in order.
    pub texts: Vec<Cow<'a, str>>,
    /// Whether they came as a list, even of one.
    pub several: bool,
}

/// The names that distinguish items from tensors.
#[derive(Clone, Copy)]
pub struct ItemNames<'a> {
    /// An item's name in errors, in the singular: `photograph`.
    pub item: &'a str,
    /// The content of its string, in errors: `a string in base64`.
    pub text: &'a str,
    /// The names that clients give an item, in addition to the input's.
    pub usual: &'a [&'a str],
    /// The input that is made from an item, if there is one.
    pub own: Option<&'a str>,
    /// Whether another input has this name: its value is a tensor.
    pub other: &'a dyn Fn(&str) -> bool,
}

impl ItemNames<'_> {
    fn are(&self, name: &str) -> bool {
        self.own == Some(name) || (self.usual.contains(&name) && !(self.other)(name))
    }
}

/// Finds the items: a string, `{"b64": "…"}`, `{"image": "…"}`, `{"image":
/// {"b64": "…"}}`, lists of these, `{"image": ["…", "…"]}` and `{"instances":
/// […]}`. `None` for any other JSON.
///
/// # Errors
/// If it is not JSON, or if there are other values next to items.
pub fn items<'a>(text: &'a [u8], names: ItemNames<'_>) -> Result<Option<Items<'a>>, ProtocolError> {
    let mut scanner = Scanner::new(text);
    let found = match scanner.peek() {
        Some(b'"') => Some(Items { texts: vec![scanner.string()?], several: false }),
        Some(b'[') => list(&mut scanner, names)?,
        Some(b'{') => object(&mut scanner, names)?,
        _ => return Ok(None),
    };
    scanner.end()?;
    Ok(found)
}

/// `{"instances": […]}`, or an item, or a list of them, by name.
fn object<'a>(scanner: &mut Scanner<'a>, names: ItemNames<'_>) -> Result<Option<Items<'a>>, ProtocolError> {
    let mut instances = None;
    let named = sole(scanner, names.item, |scanner, key| {
        if key == "instances" && instances.is_none() && scanner.peek() == Some(b'[') {
            instances = list(scanner, names)?;
            return Ok(None);
        }
        if !names.are(key) {
            return scanner.skip().map(|_| None);
        }
        if scanner.peek() == Some(b'[') {
            return list(scanner, names);
        }
        Ok(value(scanner, names)?.map(|text| Items { texts: vec![text], several: false }))
    })?;
    // Any other member next to `instances` is KServe's and is ignored.
    Ok(instances.or(named))
}

/// A list of items; if its first value is no item, it is skipped and `None`.
fn list<'a>(scanner: &mut Scanner<'a>, names: ItemNames<'_>) -> Result<Option<Items<'a>>, ProtocolError> {
    let mut texts = Vec::new();
    let mut index = 0;
    scanner.array(|scanner| {
        let passed_over = index > 0 && texts.is_empty();
        let found = if passed_over { scanner.skip().map(|_| None)? } else { element(scanner, names)? };
        match found {
            Some(text) => texts.push(text),
            None if texts.is_empty() => {}
            None => {
                return Err(ProtocolError::invalid(format!(
                    "element {index} of the list is no {}, and those before it are: {}, or {{\"b64\": \"…\"}}, is \
                     expected",
                    names.item, names.text
                )));
            }
        }
        index += 1;
        Ok(())
    })?;
    Ok((!texts.is_empty()).then_some(Items { texts, several: true }))
}

/// One item of a list.
fn element<'a>(
    scanner: &mut Scanner<'a>,
    names: ItemNames<'_>,
) -> Result<Option<Cow<'a, str>>, ProtocolError> {
    match scanner.peek() {
        Some(b'"') => scanner.string().map(Some),
        Some(b'{') => sole(scanner, names.item, |scanner, key| {
            if names.are(key) { value(scanner, names) } else { scanner.skip().map(|_| None) }
        }),
        _ => scanner.skip().map(|_| None),
    }
}

/// `"…"` or `{"b64": "…"}`; any other value is skipped and `None`.
fn value<'a>(scanner: &mut Scanner<'a>, names: ItemNames<'_>) -> Result<Option<Cow<'a, str>>, ProtocolError> {
    match scanner.peek() {
        Some(b'"') => scanner.string().map(Some),
        Some(b'{') => sole(scanner, names.item, |scanner, key| match scanner.peek() {
            Some(b'"') if key == "b64" => scanner.string().map(Some),
            _ => scanner.skip().map(|_| None),
        }),
        _ => scanner.skip().map(|_| None),
    }
}

/// The result of `read` for the one member of an object for which it has one.
/// It consumes each value.
fn sole<'a, T>(
    scanner: &mut Scanner<'a>,
    item: &str,
    mut read: impl FnMut(&mut Scanner<'a>, &str) -> Result<Option<T>, ProtocolError>,
) -> Result<Option<T>, ProtocolError> {
    let mut found: Option<(String, T)> = None;
    let mut beside: Option<String> = None;
    scanner.object(|scanner, key| {
        // Text about an item, as TorchServe's clients send it, is not data.
        let data = matches!(scanner.peek(), Some(b'[' | b'{'));
        match (read(scanner, key)?, &found) {
            (Some(value), None) => found = Some((key.to_owned(), value)),
            (Some(_), Some((first, _))) => {
                return Err(ProtocolError::invalid(format!(
                    "two {item}s are given, as '{first}' and '{key}': of several a list is expected, \
                     [\"…\", \"…\"]"
                )));
            }
            (None, _) if data => beside = Some(key.to_owned()),
            (None, _) => {}
        }
        Ok(())
    })?;
    match (found, beside) {
        (Some((key, _)), Some(other)) => Err(ProtocolError::invalid(format!(
            "'{other}' stands beside the {item} '{key}': a {item} is expected alone"
        ))),
        (found, _) => Ok(found.map(|(_, value)| value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For a model with a photograph as `x`, and another input.
    fn read(text: &str) -> Result<Option<(Vec<String>, bool)>, String> {
        let names = ItemNames {
            item: "photograph",
            text: "a string in base64",
            usual: &["b64", "data", "image", "body", "file"],
            own: Some("x"),
            other: &|name| name == "file",
        };
        let found = items(text.as_bytes(), names).map_err(|error| error.to_string())?;
        Ok(found.map(|found| (found.texts.into_iter().map(Cow::into_owned).collect(), found.several)))
    }

    #[test]
    fn one_photograph_stands_in_many_ways() {
        for text in [
            r#""abc""#,
            r#"{"b64": "abc"}"#,
            r#"{"data": "abc"}"#,
            r#"{"image": "abc"}"#,
            r#"{"body": "abc"}"#,
            r#"{"x": "abc"}"#,
            r#"{"image": {"b64": "abc"}}"#,
            r#"{"data": "abc", "target": 0, "id": "mine"}"#,
            r#" {"x" : {"b64" : "\u0061bc"} } "#,
        ] {
            assert_eq!(read(text), Ok(Some((vec!["abc".to_owned()], false))), "{text}");
        }
    }

    #[test]
    fn several_stand_in_a_list() {
        let two = vec!["a".to_owned(), "b".to_owned()];
        for text in [
            r#"["a", "b"]"#,
            r#"[{"b64": "a"}, {"image": {"b64": "b"}}]"#,
            r#"{"x": ["a", {"b64": "b"}]}"#,
            r#"{"instances": ["a", "b"]}"#,
            r#"{"signature_name": "s", "instances": [{"b64": "a"}, {"data": "b"}]}"#,
            r#"{"instances": [{"x": {"b64": "a"}}, {"image": {"b64": "b"}}]}"#,
        ] {
            assert_eq!(read(text), Ok(Some((two.clone(), true))), "{text}");
        }
        assert_eq!(read(r#"["a"]"#), Ok(Some((vec!["a".to_owned()], true))));
    }

    #[test]
    fn numbers_and_other_inputs_are_none() {
        for text in [
            "[]",
            "{}",
            "3",
            "[[1, 2], [3]]",
            r#"{"x": [[1, 2]]}"#,
            r#"{"data": [1, 2]}"#,
            r#"{"file": "a"}"#,
            r#"{"unknown": "a"}"#,
            r#"{"instances": [[1, 2], "a"]}"#,
            r#"{"instances": []}"#,
            r#"{"image": {"url": "a"}}"#,
        ] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_stands_beside_a_photograph_is_named() {
        for (text, message) in [
            (
                r#"{"image": "a", "ids": [7]}"#,
                "'ids' stands beside the photograph 'image': a photograph is expected alone",
            ),
            (
                r#"{"image": "a", "x": "b"}"#,
                "two photographs are given, as 'image' and 'x': of several a list is expected, [\"…\", \"…\"]",
            ),
            (
                r#"["a", 3]"#,
                "element 1 of the list is no photograph, and those before it are: a string in base64, or \
                 {\"b64\": \"…\"}, is expected",
            ),
            (r#"{"image": "a""#, "invalid JSON at byte 13: expected ',' or '}', got the end of the text"),
            (r#"["a"] x"#, "invalid JSON at byte 6: expected the end of the text, got 'x'"),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"[\[\]{}:,"0-9abx46instances ]{0,40}"#) {
            let _ = read(&text);
        }
    }
}
