//! The file of labels.

use std::path::{Component, Path};

use super::source::{SettingsError, read_text};
use crate::links;

/// Reads labels from a plain file name, and checks that no label is missing.
pub(super) fn read(directory: &Path, name: &str) -> Result<Vec<String>, SettingsError> {
    let wrong =
        |line, message: &str| SettingsError { file: name.to_owned(), line, message: message.to_owned() };
    if !is_plain_name(name) {
        return Err(wrong(None, "not a plain file name: labels lie in the model's own directory"));
    }
    let labels = read_lines(directory, name)?;
    match labels.iter().position(String::is_empty) {
        Some(index) => Err(wrong(Some(index + 1), "a label is missing: the line is blank")),
        None => Ok(labels),
    }
}

/// Reads a file of labels: one a line, line 1 for score 0. A byte order mark
/// and carriage returns are dropped. `name` is a relative path inside the
/// model's directory, without `..`.
///
/// # Errors
/// If the file can't be read or a line is wrong.
pub fn read_lines(directory: &Path, name: &str) -> Result<Vec<String>, SettingsError> {
    let wrong =
        |message: &str| SettingsError { file: name.to_owned(), line: None, message: message.to_owned() };
    if !links::are_followed() && leaves(directory, name) {
        return Err(wrong("a link that leaves the model's directory, which --no-follow-links refuses"));
    }
    let text = read_text(directory, name)?.ok_or_else(|| wrong("not found in the model's directory"))?;
    let labels: Vec<String> =
        text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(|line| line.trim().to_owned()).collect();
    if labels.is_empty() {
        return Err(wrong("empty: one label a line was expected"));
    }
    Ok(labels)
}

fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    plain && !name.contains(['\\', '\0'])
}

/// Whether a link leads out of the directory. Links inside it are allowed:
/// Kubernetes mounts a ConfigMap by them.
fn leaves(directory: &Path, name: &str) -> bool {
    match (directory.canonicalize(), directory.join(name).canonicalize()) {
        (Ok(directory), Ok(file)) => !file.starts_with(directory),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(bytes: &[u8]) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("labels.txt"), bytes).unwrap();
        read(directory.path(), "labels.txt").map_err(|error| error.to_string())
    }

    #[test]
    fn one_label_a_line_however_the_lines_end() {
        assert_eq!(labels(b"a\nb c\n"), Ok(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(labels(b"\xef\xbb\xbfa\r\nb"), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_file_that_is_no_list_of_labels_says_where() {
        assert_eq!(labels(b""), Err("labels.txt: empty: one label a line was expected".to_owned()));
        assert_eq!(
            labels(b"a\n \nb\n"),
            Err("labels.txt, line 2: a label is missing: the line is blank".to_owned())
        );
        assert_eq!(labels(b"a\n\xff\n"), Err("labels.txt, line 2: not UTF-8".to_owned()));
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let absolute = outside.path().to_str().unwrap();
        for name in
            ["", ".", "..", "../labels.txt", "a/labels.txt", "labels.txt/", "..\\labels.txt", absolute]
        {
            let error = read(directory.path(), name).unwrap_err();
            assert_eq!(
                error.message, "not a plain file name: labels lie in the model's own directory",
                "{name:?}"
            );
        }
        let missing = read(directory.path(), "labels.txt").unwrap_err();
        assert_eq!(missing.to_string(), "labels.txt: not found in the model's directory");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_may_stay_inside_and_may_not_leave() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("out.txt")).unwrap();
        assert!(leaves(directory.path(), "out.txt"));
        std::fs::write(directory.path().join("real.txt"), "a").unwrap();
        std::os::unix::fs::symlink("real.txt", directory.path().join("in.txt")).unwrap();
        assert!(!leaves(directory.path(), "in.txt"));
        assert_eq!(read(directory.path(), "in.txt").unwrap(), ["a"]);
    }
}
