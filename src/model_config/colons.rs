//! Adds the colons that Triton's files may leave out: protobuf's C++ parser takes
//! `input [ {…} ]`, and `prost-reflect` takes `input: [ {…} ]` only.

/// How deep brackets may be nested. The deepest field of a configuration lies
/// at fourteen; the cap keeps a hostile file off the parser's stack.
const MAX_DEPTH: usize = 32;

/// A text with all colons, and the places of the added ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The text for the parser.
    pub(super) text: String,
    /// Where in `text` a colon was written, ascending.
    inserted: Vec<usize>,
}

impl Prepared {
    /// The place of a byte of `text` in the original: errors point into the user's
    /// file.
    pub(super) fn source_offset(&self, offset: usize) -> usize {
        offset - self.inserted.partition_point(|colon| *colon < offset)
    }
}

/// Brackets are nested too deep, at this byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep(pub(super) usize);

/// Writes `:` behind a field's name that a `[` follows, outside strings and
/// comments. All other errors of the text are left to the parser.
pub(super) fn write_colons(source: &str) -> Result<Prepared, TooDeep> {
    let bytes = source.as_bytes();
    let mut prepared = Prepared { text: String::with_capacity(source.len() + 16), inserted: Vec::new() };
    let mut copied = 0;
    let mut depth = 0_usize;
    // The end of the last token, if that was a field's name.
    let mut name_end = None;
    let mut after_colon = false;

    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at = match byte {
            b'#' => skip(bytes, at, |byte| byte != b'\n'),
            b'"' | b'\'' => string_end(bytes, at),
            _ if is_word(byte) => skip(bytes, at, |byte| is_word(byte) || byte == b'.'),
            _ => at + 1,
        };

        match byte {
            // Comments and blanks may stand between a name and its list.
            b'#' | b' ' | b'\t' | b'\r' | b'\n' | b'\x0b' | b'\x0c' => continue,
            b'[' | b'{' | b'<' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(TooDeep(start));
                }
                if let (b'[', Some(end)) = (byte, name_end) {
                    prepared.text.push_str(&source[copied..end]);
                    prepared.inserted.push(prepared.text.len());
                    prepared.text.push(':');
                    copied = end;
                }
            }
            b']' | b'}' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }

        // A word behind a colon is a value: `data_type: TYPE_FP32`.
        let is_name = is_word(byte) && !byte.is_ascii_digit() && !after_colon;
        name_end = is_name.then_some(at);
        after_colon = byte == b':';
    }
    prepared.text.push_str(&source[copied..]);
    Ok(prepared)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn skip(bytes: &[u8], from: usize, goes_on: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|byte| !goes_on(*byte)).map_or(bytes.len(), |length| from + length)
}

/// The place behind the closing quote, or the line's end if there is none: strings
/// don't span lines.
fn string_end(bytes: &[u8], opening: usize) -> usize {
    let quote = bytes[opening];
    let mut at = opening + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\n' => return at,
            b'\\' => at += 2,
            _ if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(source: &str) -> String {
        write_colons(source).unwrap().text
    }

    #[test]
    fn a_list_that_follows_its_name_gets_a_colon() {
        assert_eq!(written("dims [ 1, 2 ]"), "dims: [ 1, 2 ]");
        assert_eq!(written("input[{dims[1]}]"), "input:[{dims:[1]}]");
        assert_eq!(written("input # why [\n [ ]"), "input: # why [\n [ ]");
        assert_eq!(written("a { dims\n[ 1 ] }"), "a { dims:\n[ 1 ] }");
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "dims: [ 1 ]",
            "dims : [ 1 ]",
            "name: \"a [ b\"",
            "name: 'dims [ 1 ]'",
            "name: \"quote \\\" dims [ 1 ]\"",
            "# dims [ 1 ]",
            "data_type: TYPE_FP32 [x]: 1",
            "max: 8 [x]: 1",
            "dims",
            "",
        ] {
            assert_eq!(written(text), text);
        }
    }

    #[test]
    fn offsets_lead_back_to_the_source() {
        let source = "a [1] b [2] c";
        let prepared = write_colons(source).unwrap();
        assert_eq!(prepared.text, "a: [1] b: [2] c");
        for letter in ['a', 'b', 'c', '1', '2'] {
            let offset = prepared.text.find(letter).unwrap();
            assert_eq!(Some(prepared.source_offset(offset)), source.find(letter));
        }
    }

    #[test]
    fn deep_nesting_is_refused_where_it_starts() {
        assert_eq!(write_colons(&"[".repeat(1 << 20)), Err(TooDeep(MAX_DEPTH)));
        assert!(write_colons(&"{}".repeat(1000)).is_ok());
    }

    /// A configuration's text in which every list has its colon.
    fn with_colons() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            "-?[0-9]{1,4}".boxed(),
            "[A-Z_]{1,6}".boxed(),
            r#""([^"\\\n]|\\"){0,8}""#.boxed(),
            r"'([^'\\\n]|\\'){0,8}'".boxed(),
        ];
        let list = prop::collection::vec(scalar.clone(), 0..3)
            .prop_map(|items| format!("[ {} ]", items.join(", ")))
            .boxed();
        let value = prop_oneof![scalar.boxed(), list];
        let comment = "( |\t|\n|#[^\n]{0,8}\n)";
        let field = ("[a-z_]{1,6}", comment, value, comment)
            .prop_map(|(name, space, value, end)| format!("{name}{space}: {value}{end}\n"));
        let group = prop::collection::vec(field.clone(), 0..3)
            .prop_map(|fields| format!("group {{ {} }}\n", fields.concat()));
        prop::collection::vec(prop_oneof![field.boxed(), group.boxed()], 0..6).prop_map(|all| all.concat())
    }

    proptest! {
        #[test]
        fn never_panics_and_only_adds_colons(source in ".{0,80}|[\\[\\]{}<>:#\"'\\\\ a\n]{0,80}") {
            if let Ok(prepared) = write_colons(&source) {
                let mut text = prepared.text.clone();
                for colon in prepared.inserted.iter().rev() {
                    prop_assert_eq!(text.remove(*colon), ':');
                }
                prop_assert_eq!(&text, &source);
                // A colon isn't added twice.
                prop_assert_eq!(&write_colons(&prepared.text).unwrap().text, &prepared.text);
            }
        }

        #[test]
        fn a_text_that_has_its_colons_stays(source in with_colons()) {
            prop_assert_eq!(&write_colons(&source).unwrap().text, &source);
        }
    }
}
