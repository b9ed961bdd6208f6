//! A cursor over JSON text.

use std::borrow::Cow;

use super::decimal::Decimal;
use crate::ProtocolError;

/// Deeper than any request needs, and shallow enough for any stack.
const MAX_DEPTH: usize = 100;

/// Reads JSON from left to right, one token at a time. Errors carry the offset
/// of the token.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The length of the remaining text.
    pub(super) fn remaining(&self) -> usize {
        self.text.len() - self.at
    }

    /// The next byte that is not white space; not consumed.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => return Some(byte),
            }
        }
        None
    }

    /// Consumes `byte` if it is next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Consumes `byte`.
    pub(super) fn consume(&mut self, byte: u8, what: &str) -> Result<(), ProtocolError> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(what)) }
    }

    /// Checks that only white space follows.
    pub(super) fn end(&mut self) -> Result<(), ProtocolError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the text")),
        }
    }

    /// One level down, into `[` or `{`.
    pub(super) fn enter(&mut self) -> Result<(), ProtocolError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("JSON nesting depth exceeds maximum allowed limit ({MAX_DEPTH})")));
        }
        Ok(())
    }

    /// One level up.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Reads `{ "key": value, … }`; `member` must consume each value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        self.consume(b'{', "an object")?;
        self.enter()?;
        if !self.eat(b'}') {
            loop {
                let key = self.string()?;
                self.consume(b':', "':' after a key")?;
                member(self, &key)?;
                if self.eat(b',') {
                    continue;
                }
                self.consume(b'}', "',' or '}'")?;
                break;
            }
        }
        self.leave();
        Ok(())
    }

    /// Reads `[ value, … ]`; `element` must consume each value.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        self.consume(b'[', "an array")?;
        self.enter()?;
        if !self.eat(b']') {
            loop {
                element(self)?;
                if self.eat(b',') {
                    continue;
                }
                self.consume(b']', "',' or ']'")?;
                break;
            }
        }
        self.leave();
        Ok(())
    }

    /// Reads a string, unescaped.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, ProtocolError> {
        let (token, escaped) = self.string_token()?;
        if escaped {
            // Escapes and surrogates are rare, so a complete parser decodes
            // them.
            return serde_json::from_slice::<String>(token)
                .map(Cow::Owned)
                .map_err(|error| self.error(format!("a string with a bad escape: {error}")));
        }
        let content = &token[1..token.len() - 1];
        if let Some(control) = content.iter().find(|byte| **byte < 0x20) {
            return Err(self.error(format!("a string with the control character 0x{control:02x} in it")));
        }
        std::str::from_utf8(content)
            .map(Cow::Borrowed)
            .map_err(|_| self.error("a string that isn't UTF-8".to_owned()))
    }

    /// The next string with its quotes, and whether it holds escapes.
    fn string_token(&mut self) -> Result<(&'a [u8], bool), ProtocolError> {
        self.consume(b'"', "a string")?;
        let start = self.at - 1;
        let mut escaped = false;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => return Ok((&self.text[start..self.at], escaped)),
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        Err(self.error("a string that doesn't end".to_owned()))
    }

    /// Reads a number by JSON's grammar, and says whether it is an integer.
    #[inline]
    pub(super) fn number(&mut self) -> Result<(&'a str, bool), ProtocolError> {
        self.peek();
        let start = self.at;
        let mut at = self.at;
        let digits = |at: &mut usize| {
            let first = *at;
            while self.text.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - first
        };
        if self.text.get(at) == Some(&b'-') {
            at += 1;
        }
        let leading_zero = self.text.get(at) == Some(&b'0');
        let whole = digits(&mut at);
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.unexpected("a number"));
        }
        let mut integer = true;
        if self.text.get(at) == Some(&b'.') {
            integer = false;
            at += 1;
            if digits(&mut at) == 0 {
                return Err(self.unexpected("a number with digits behind its point"));
            }
        }
        if matches!(self.text.get(at), Some(b'e' | b'E')) {
            integer = false;
            at += 1;
            if matches!(self.text.get(at), Some(b'+' | b'-')) {
                at += 1;
            }
            if digits(&mut at) == 0 {
                return Err(self.unexpected("a number with digits in its exponent"));
            }
        }
        self.at = at;
        // All bytes are ASCII.
        let token = std::str::from_utf8(&self.text[start..at]).map_err(|_| self.unexpected("a number"))?;
        Ok((token, integer))
    }

    /// Reads a number, if `convert` returns a value for it. Otherwise it
    /// consumes nothing and returns `None`.
    #[inline]
    pub(super) fn decimal<T>(&mut self, convert: impl FnOnce(Decimal) -> Option<T>) -> Option<T> {
        self.peek()?;
        let (decimal, length) = Decimal::read(self.text.get(self.at..)?)?;
        let value = convert(decimal)?;
        self.at += length;
        Some(value)
    }

    /// Consumes `word` if it is next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Whether `word` is next.
    pub(super) fn starts_with(&mut self, word: &str) -> bool {
        self.peek();
        self.text[self.at..].starts_with(word.as_bytes())
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&mut self) -> Result<bool, ProtocolError> {
        if self.eat_word("true") {
            Ok(true)
        } else if self.eat_word("false") {
            Ok(false)
        } else {
            Err(self.unexpected("true or false"))
        }
    }

    /// Reads a whole number that fits an `i64`.
    pub(super) fn integer(&mut self, what: &str) -> Result<i64, ProtocolError> {
        let at = self.at;
        let (token, _) = self.number()?;
        token.parse().map_err(|_| ProtocolError::Syntax {
            at,
            message: format!("expected {what} as an integer of 64 bits, got {token}"),
        })
    }

    /// Skips a value of any kind and returns its text.
    pub(super) fn skip(&mut self) -> Result<&'a [u8], ProtocolError> {
        self.peek();
        let start = self.at;
        self.skip_value()?;
        Ok(&self.text[start..self.at])
    }

    fn skip_value(&mut self) -> Result<(), ProtocolError> {
        match self.peek() {
            Some(b'{') => self.object(|scanner, _| scanner.skip_value()),
            Some(b'[') => self.array(Self::skip_value),
            Some(b'"') => self.string_token().map(|_| ()),
            Some(b't' | b'f') => self.boolean().map(|_| ()),
            Some(b'n') if self.eat_word("null") => Ok(()),
            Some(_) if self.not_finite().is_some() => Ok(()),
            _ => self.number().map(|_| ()),
        }
    }

    /// Reads one of the words for NaN and infinities.
    pub(super) fn not_finite(&mut self) -> Option<f64> {
        const WORDS: [(&str, f64); 5] = [
            ("NaN", f64::NAN),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
        ];
        match self.peek() {
            Some(b'N' | b'I' | b'-') => {}
            _ => return None,
        }
        WORDS.into_iter().find(|(word, _)| self.eat_word(word)).map(|(_, value)| value)
    }

    /// An error at this offset.
    pub(super) fn error(&self, message: String) -> ProtocolError {
        ProtocolError::Syntax { at: self.at, message }
    }

    /// An error: something other than `expected` came.
    pub(super) fn unexpected(&mut self, expected: &str) -> ProtocolError {
        let got = match self.peek() {
            None => "the end of the text".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("'{}'", char::from(byte)),
            Some(byte) => format!("the byte 0x{byte:02x}"),
        };
        self.error(format!("expected {expected}, got {got}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skipped(text: &str) -> Result<(), ProtocolError> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.skip()?;
        scanner.end()
    }

    #[test]
    fn takes_json_and_nothing_else() {
        for good in
            ["{}", "[]", r#"{"a": [1, -2.5e+3, true, null, "x\"y"]}"#, "0", "-0.0", "NaN", "[-Infinity, Inf]"]
        {
            assert_eq!(skipped(good), Ok(()), "{good}");
        }
        for bad in
            ["", "{", "[1,]", "{\"a\" 1}", "01", "1.", ".5", "+1", "1e", "\"", "\"\\", "nul", "[1 2]", "{}{}"]
        {
            assert!(skipped(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deep_nest_is_refused_before_the_stack_is() {
        assert_eq!(skipped(&("[".repeat(50) + &"]".repeat(50))), Ok(()));
        for depth in [101, 120, 100_000] {
            let error = skipped(&"[".repeat(depth)).unwrap_err();
            assert!(
                error.to_string().contains("JSON nesting depth exceeds maximum allowed limit (100)"),
                "{error}"
            );
        }
    }

    #[test]
    fn errors_name_place_and_cause() {
        assert_eq!(
            skipped("[1, oops]").unwrap_err().to_string(),
            "invalid JSON at byte 4: expected a number, got 'o'"
        );
        assert_eq!(
            skipped("{\"a\":").unwrap_err().to_string(),
            "invalid JSON at byte 5: expected a number, got the end of the text"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_random_text(text in r#"[\[\]{}:,"0-9eE.+\-a-u\\ ]{0,24}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            let ours = skipped(&text).is_ok();
            // Our scanner doesn't look inside strings that it skips.
            prop_assert!(ours == theirs || (ours && text.contains('\\')), "{text:?}: ours {ours}, theirs {theirs}");
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut scanner = Scanner::new(&bytes);
            let _ = scanner.skip();
        }
    }
}
