//! Reads a model's small files without following links elsewhere or reading too
//! much, and finds the line of an error.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

/// The file's name in a model's directory.
pub const SETTINGS_FILENAME: &str = "cresset.toml";

/// The most bytes of settings or labels. ImageNet's labels are 30 kB.
const MAX_BYTES: u64 = 16 << 20;

/// An error in a file in the model's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The file's own name, without its directory.
    pub file: String,
    /// The line, counted from 1; `None` for an error about the whole file.
    pub line: Option<usize>,
    /// The error, and what was expected.
    pub message: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for SettingsError {}

/// The text of the settings while they are read, for the lines in errors.
pub(super) struct SettingsSource<'a> {
    pub(super) text: &'a str,
    pub(super) directory: &'a Path,
}

impl SettingsSource<'_> {
    /// The parser's message, with quotes in place of its backticks, and with the key
    /// if the message lacks it.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> SettingsError {
        let mut message = error
            .message()
            .replace('`', "'")
            .replace('\n', ", ")
            .replace("unknown field", "unknown key")
            .replace("missing field", "missing key");
        let line = error.span().map(|span| line_of(self.text.as_bytes(), span.start));
        let key = line
            .and_then(|line| self.text.lines().nth(line - 1))
            .and_then(|text| text.split_once('='))
            .map(|(key, _)| key.trim());
        if let Some(key) = key.filter(|key| !message.contains(&format!("'{key}'"))) {
            message = format!("{key}: {message}");
        }
        SettingsError { file: SETTINGS_FILENAME.to_owned(), line, message }
    }

    pub(super) fn wrong(&self, span: &Range<usize>, message: String) -> SettingsError {
        let line = Some(line_of(self.text.as_bytes(), span.start));
        SettingsError { file: SETTINGS_FILENAME.to_owned(), line, message }
    }
}

/// The text of a file in the model's directory; `None` if there is no such file.
pub(super) fn read_text(directory: &Path, name: &str) -> Result<Option<String>, SettingsError> {
    let wrong = |line, message| SettingsError { file: name.to_owned(), line, message };
    let file = match File::open(directory.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(None, format!("can't be read: {}", lower(&error)))),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(None, format!("can't be read: {}", lower(&error))))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(None, format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        wrong(Some(line_of(error.as_bytes(), good)), "not UTF-8".to_owned())
    })
}

/// The line of byte `offset`, counted from 1.
pub(super) fn line_of(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The system's message for an error, without its number.
fn lower(error: &std::io::Error) -> String {
    error.kind().to_string()
}
