/// The longest name of a model in bytes, the same as a file's.
const MAX_BYTES: usize = 255;

/// A name that no model can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid model name '{}': {reason}", shortened(.name))]
pub struct InvalidModelName {
    name: String,
    reason: &'static str,
}

/// Checks that a name, from a directory or a client, may be a model's. Names get
/// into paths, URLs, metrics and logs.
///
/// # Errors
/// If it may not be. The message is safe to print.
pub fn validate_model_name(name: &str) -> Result<(), InvalidModelName> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_BYTES {
        "it is longer than 255 bytes"
    } else if name.contains('/') {
        "it holds a slash"
    } else if name.starts_with('.') {
        // Such files are hidden in a listing; `.` and `..` are among them.
        "it starts with a dot"
    } else if !name.escape_debug().eq(name.chars()) {
        // The characters that Rust escapes: control characters, invisible ones,
        // quotes and the backslash.
        "it holds characters that can't be printed, quotes or backslashes"
    } else {
        return Ok(());
    };
    Err(InvalidModelName { name: name.to_owned(), reason })
}

/// At most 64 characters of it, escaped, so that none moves a terminal's cursor.
fn shortened(name: &str) -> String {
    let mut shown: String = name.chars().take(64).collect::<String>().escape_debug().collect();
    if name.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_are_names_of_models() {
        for name in ["resnet18", "a b", "model.v2", "a..b", "größe", "模型", "1", &"x".repeat(255)] {
            assert_eq!(validate_model_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (name, message) in [
            ("", "invalid model name '': it is empty"),
            ("..", "invalid model name '..': it starts with a dot"),
            (".hidden", "invalid model name '.hidden': it starts with a dot"),
            ("../etc", "invalid model name '../etc': it holds a slash"),
            (
                "a\u{1b}[2J",
                "invalid model name 'a\\u{1b}[2J': \
                 it holds characters that can't be printed, quotes or backslashes",
            ),
            (
                "a\0",
                "invalid model name 'a\\0': it holds characters that can't be printed, quotes or backslashes",
            ),
        ] {
            assert_eq!(validate_model_name(name).unwrap_err().to_string(), message);
        }
        let long = validate_model_name(&"x".repeat(256)).unwrap_err().to_string();
        assert_eq!(long, format!("invalid model name '{}…': it is longer than 255 bytes", "x".repeat(64)));
    }
}
