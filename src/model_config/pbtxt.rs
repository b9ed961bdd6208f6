//! Parses the text of a `config.pbtxt` to its message.

use miette::Diagnostic as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, text_format::ParseError};

use super::ConfigError;
use super::colons::{TooDeep, write_colons};
use cresset_protocol::messages::config as proto;

/// Far more than any configuration: a larger file is something else.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Parses protobuf's text format, as Triton's parser takes it.
///
/// # Errors
/// [`ConfigError::Syntax`] with the line and the column of the user's file.
pub(super) fn parse(source: &str) -> Result<DynamicMessage, ConfigError> {
    // Editors on Windows put a mark at the start that C++'s parser skips too.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let prepared = write_colons(source)
        .map_err(|TooDeep(offset)| syntax(source, offset, "brackets are nested too deep".to_owned()))?;
    DynamicMessage::parse_text_format(descriptor()?, &prepared.text).map_err(|error| {
        let offset = match span_start(&error) {
            Some(offset) => prepared.source_offset(offset),
            None => source.trim_end().len(),
        };
        syntax(source, offset, error.to_string())
    })
}

/// The descriptors of the messages: names, numbers and types of all fields.
pub(super) fn descriptor() -> Result<MessageDescriptor, ConfigError> {
    // Decoded for each file, to avoid a global: it takes milliseconds, far less than
    // loading a model.
    let pool = DescriptorPool::decode(proto::DESCRIPTORS)
        .map_err(|error| ConfigError::Read(format!("its descriptors don't decode: {error}")))?;
    pool.get_message_by_name("inference.ModelConfig")
        .ok_or_else(|| ConfigError::Read("its message is not among the descriptors".to_owned()))
}

fn syntax(source: &str, offset: usize, message: String) -> ConfigError {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ConfigError::Syntax {
        line: 1 + before.matches('\n').count(),
        column: 1 + before[line_start..].chars().count(),
        message,
    }
}

/// Where the error lies; `None` at the end of the text.
fn span_start(error: &ParseError) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_fails(source: &str, message: &str) {
        assert_eq!(parse(source).unwrap_err().to_string(), message);
    }

    #[test]
    fn errors_point_into_the_users_file() {
        assert_fails(
            "name: 'm'\ninput [ { dims [ 1 ] } ]\n      max_batch_sise: 8\n",
            "config.pbtxt:3:7: field 'max_batch_sise' not found for message 'inference.ModelConfig'",
        );
        assert_fails(
            "input [ { name: 'é' dims [ 1 ] data_type: FP32 } ]",
            "config.pbtxt:1:43: value 'FP32' was not found for enum 'inference.DataType'",
        );
        assert_fails(
            "\u{feff}max_batch_size: 'eight'",
            "config.pbtxt:1:17: expected an integer, but found '\"eight\"'",
        );
        assert_fails(
            "input [ { name: 'x' }\n\n",
            "config.pbtxt:1:22: expected ',' or ']', but reached end of input",
        );
        assert_fails("name: 'm'\nname: 'n'", "config.pbtxt:2:7: 'name' is already set");
        assert_fails("name: 'open\nmax_batch_size: 8", "config.pbtxt:1:12: invalid string character");
        assert_fails(
            "dynamic_batching { }\nsequence_batching { }",
            "config.pbtxt:2:19: a value is already set for oneof 'scheduling_choice'",
        );
        assert_fails(
            "max_batch_size: 99999999999",
            "config.pbtxt:1:17: expected value to be a signed 32-bit integer, \
             but the value 99999999999 is out of range",
        );
        assert_fails(&"{".repeat(100_000), "config.pbtxt:1:33: brackets are nested too deep");
    }

    proptest! {
        #[test]
        fn never_panics(source in ".{0,60}|[a-z_]{1,5}: .{0,30}|(name|input|dims|[\\[\\]{}:,;'\"0-9 -])*") {
            let _ = parse(&source);
        }
    }
}
