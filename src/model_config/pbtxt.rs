//! `config.pbtxt` as text: protobuf's text format, in the spelling that
//! Triton's files have.

use miette::Diagnostic as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::ConfigError;
use super::messages;

/// The largest file that is read; real ones have a few hundred bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Deeper than any configuration, and shallow enough for any stack.
const MAX_DEPTH: usize = 32;

/// Reads a configuration's text.
pub(super) fn parse(text: &str) -> Result<messages::ModelConfig, ConfigError> {
    check_depth(text)?;
    let (spelled, map) = with_colons(text);
    let pool = DescriptorPool::decode(DESCRIPTORS)
        .map_err(|error| ConfigError::new(format!("the built-in messages are broken: {error}")))?;
    let descriptor = pool
        .get_message_by_name("inference.ModelConfig")
        .ok_or_else(|| ConfigError::new("the built-in messages lack ModelConfig"))?;
    let message = DynamicMessage::parse_text_format(descriptor, &spelled).map_err(|error| {
        let at = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
        located(text, map.original(at), &error.to_string())
    })?;
    message.transcode_to().map_err(|error| ConfigError::new(format!("config.pbtxt: {error}")))
}

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model_config.bin"));

fn located(text: &str, offset: usize, message: &str) -> ConfigError {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    ConfigError::new(format!("config.pbtxt:{line}:{column}: {message}"))
}

/// Where colons were put in: offsets in the new text, ascending.
struct Inserted(Vec<usize>);

impl Inserted {
    /// The offset in the user's text of an offset in the new one.
    fn original(&self, offset: usize) -> usize {
        offset - self.0.iter().take_while(|at| **at < offset).count()
    }
}

/// What stands at a place of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Name,
    Open,
    Close,
    Other,
}

/// Walks the text's tokens, passing over comments and what is inside strings;
/// `visit` gets each with its range.
fn tokens(text: &str, mut visit: impl FnMut(Token, std::ops::Range<usize>)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'#' => {
                while bytes.get(at).is_some_and(|b| *b != b'\n') {
                    at += 1
                }
            }
            b'"' | b'\'' => {
                while let Some(&inner) = bytes.get(at) {
                    at += 1;
                    match inner {
                        b'\\' => at += 1,
                        inner if inner == byte => break,
                        _ => {}
                    }
                }
                at = at.min(bytes.len());
                visit(Token::Other, start..at);
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    at += 1;
                }
                visit(Token::Name, start..at);
            }
            b'[' | b'{' | b'<' => visit(Token::Open, start..at),
            b']' | b'}' | b'>' => visit(Token::Close, start..at),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => visit(Token::Other, start..at),
        }
    }
}

/// Writes `:` between a field's name and `[`: Triton's files say
/// `input [ { … } ]`, which the text format's own parsers take only with the
/// colon.
fn with_colons(text: &str) -> (String, Inserted) {
    let mut out = String::with_capacity(text.len() + 16);
    let mut inserted = Vec::new();
    let mut copied = 0;
    let mut name_end: Option<usize> = None;
    tokens(text, |token, range| {
        let after_name = name_end.take();
        match (token, after_name) {
            (Token::Name, _) => name_end = Some(range.end),
            (Token::Open, Some(end)) if &text[range.clone()] == "[" => {
                out.push_str(&text[copied..end]);
                inserted.push(out.len());
                out.push(':');
                copied = end;
            }
            (Token::Open | Token::Close | Token::Other, _) => {}
        }
    });
    out.push_str(&text[copied..]);
    (out, Inserted(inserted))
}

/// Refuses what nests so deeply that a parser's stack would not hold it.
fn check_depth(text: &str) -> Result<(), ConfigError> {
    let mut depth = 0usize;
    let mut too_deep = None;
    tokens(text, |token, range| match token {
        Token::Open => {
            depth += 1;
            if depth > MAX_DEPTH && too_deep.is_none() {
                too_deep = Some(range.start);
            }
        }
        Token::Close => depth = depth.saturating_sub(1),
        Token::Name | Token::Other => {}
    });
    match too_deep {
        Some(at) => Err(located(text, at, &format!("nested deeper than {MAX_DEPTH} levels"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(text: &str) -> String {
        with_colons(text).0
    }

    #[test]
    fn a_colon_comes_between_a_name_and_its_list_only() {
        assert_eq!(spelled("input [ { dims: [ 1 ] } ]"), "input: [ { dims: [ 1 ] } ]");
        assert_eq!(spelled("a: \"x [\" # y [\nb\n["), "a: \"x [\" # y [\nb:\n[");
        assert_eq!(spelled("dims: [1, 2] x { y [3] }"), "dims: [1, 2] x { y: [3] }");
        assert_eq!(spelled(r#"s: 'it\'s [' t["#), r#"s: 'it\'s [' t:["#);
    }

    #[test]
    fn errors_point_into_the_users_own_text() {
        let error = parse("input [ { name: \"x\" } ]\nmax_batch_sise: 3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.pbtxt:2:1: field 'max_batch_sise' not found for message 'inference.ModelConfig'"
        );
        assert!(
            parse(&"a {".repeat(100_000)).unwrap_err().to_string().contains("nested deeper than 32 levels")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[a-c:\[\]{}"'#\\ \n<>1,é]{0,60}"#) {
            let (out, inserted) = with_colons(&text);
            prop_assert_eq!(out.len(), text.len() + inserted.0.len());
            prop_assert_eq!(inserted.original(out.len()), text.len());
            let again = with_colons(&out).0;
            prop_assert_eq!(again, out, "a text that has its colons stays as it is");
            let _ = parse(&text);
        }
    }
}
