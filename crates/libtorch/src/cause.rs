//! Finds the cause in libtorch's error text: of two kilobytes, the line that
//! tells the client what was wrong.
//!
//! Errors from outside of the interpreter begin with the cause. The
//! interpreter's own errors have it after the trace:
//!
//! ```text
//! The following operation failed in the TorchScript interpreter.
//! Traceback of TorchScript, serialized code (most recent call last):
//!   File "code/__torch__.py", line 10, in forward      a scripted call:
//!     return torch.linear(input, weight, bias)           its code, the place
//!            ~~~~~~~~~~~~ <--- HERE                       and more code
//!
//! Traceback of TorchScript, original code (most recent call last):
//! /home/somebody/export.py(24): forward                a traced call: no code
//! RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x785 and 784x512)
//! ```
//!
//! The code may contain any text, even in the first column, and so may the
//! cause. The cause may even be another text of the interpreter: of a forked
//! call, or of a message that a model raises.

/// In the first line of each part of a trace.
const TRACEBACK: &str = "Traceback of TorchScript";

/// The interpreter's own first line.
const FAILED: &str = "The following operation failed in the TorchScript interpreter";

/// Below the place that failed.
const HERE: &str = "<--- HERE";

/// The cause in one line; empty if the text is empty.
pub(super) fn cause(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    interpreted(&lines).unwrap_or_else(|| {
        let start = lines.iter().position(|line| !line.trim().is_empty() && !line.starts_with(FAILED));
        start.map_or_else(String::new, |start| completed(lines[start], &lines[start + 1..]))
    })
}

/// The text after the interpreter's trace; `None` if there is no trace.
fn interpreted(lines: &[&str]) -> Option<String> {
    let start = lines.iter().position(|line| line.starts_with(TRACEBACK))?;
    // The cause follows the last place of the trace that has a cause after it.
    // Any later places are part of the cause: none has a cause after it, or
    // they belong to the call that failed first.
    let mut found = None;
    let mut behind_place = true;
    for (index, line) in lines.iter().enumerate().skip(start + 1) {
        if is_place(line) || line.starts_with(TRACEBACK) {
            behind_place = true;
        } else if behind_place && class(line).is_some() {
            found = Some(index);
            behind_place = false;
        }
    }
    let index = found?;
    let (name, said) = class(lines[index])?;
    let rest = &lines[index + 1..];
    if name.contains('.') {
        // The model's own message, completely.
        let said = std::iter::once(said).chain(rest.iter().copied());
        let said: Vec<&str> = said.flat_map(str::split_whitespace).collect();
        return Some(with_name(name, &said.join(" ")));
    }
    Some(with_name(name, &completed(said, rest)))
}

fn with_name(name: &str, said: &str) -> String {
    if said.is_empty() { name.to_owned() } else { format!("{name}: {said}") }
}

/// A line, with the next one if it is empty or ends in a colon.
fn completed(line: &str, rest: &[&str]) -> String {
    let line = line.trim();
    let next = rest.iter().map(|line| line.trim()).find(|line| !line.is_empty());
    match next {
        Some(next) if line.is_empty() => next.to_owned(),
        Some(next) if line.ends_with(':') => format!("{line} {next}"),
        Some(_) => line.to_owned(),
        None => line.trim_end_matches(':').to_owned(),
    }
}

/// The exception's class and its message, if a line is the last one of the
/// interpreter: `RuntimeError`, or a Python name with its module.
fn class(line: &str) -> Option<(&str, &str)> {
    let (name, said) = line.split_once(':')?;
    let is_name = name == "RuntimeError"
        || (name.contains('.')
            && name.split('.').all(is_identifier)
            && (said.is_empty() || said.starts_with(' ')));
    is_name.then(|| (name, said.trim()))
}

fn is_identifier(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
        && characters.all(|c| c == '_' || c.is_alphanumeric())
}

/// Whether a line marks a place in a trace.
fn is_place(line: &str) -> bool {
    line.ends_with(HERE) || is_traced_call(line)
}

/// `/home/somebody/export.py(24): forward`.
fn is_traced_call(line: &str) -> bool {
    let Some((place, function)) = line.rsplit_once("): ") else { return false };
    let Some((path, number)) = place.rsplit_once('(') else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    !path.is_empty() && is_number && !function.is_empty() && !function.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Torch's own texts, made by `scripts/models/failure_texts.py`.
    const TEXTS: &str = include_str!("../../../tests/failures/texts.json");

    #[test]
    fn every_text_of_torch_gives_its_cause() {
        let texts: serde_json::Value = serde_json::from_str(TEXTS).unwrap();
        let texts = texts.as_array().unwrap();
        assert!(texts.len() > 100, "{}", texts.len());
        let mut wrong = Vec::new();
        for text in texts {
            let [name, said, expected] = ["name", "text", "cause"].map(|key| text[key].as_str().unwrap());
            let found = cause(said);
            if found.trim_end_matches('.') != expected.trim_end_matches('.') {
                wrong.push(format!("{name}: {found}\n    expected {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
    }

    #[test]
    fn a_text_that_is_no_trace_begins_with_its_cause() {
        for (text, expected) in [
            ("", ""),
            ("\n\n  a\nb", "a"),
            ("forward() Expected a value\nPosition: 1", "forward() Expected a value"),
            ("these differ:\n\n  x and y\nz", "these differ: x and y"),
            (
                "Unknown builtin op: a::b.\nThe original call is:\n  ~~~ <--- HERE\n",
                "Unknown builtin op: a::b.",
            ),
        ] {
            assert_eq!(cause(text), expected);
        }
        // A trace whose end is lost.
        let cut = format!("{FAILED}.\n{TRACEBACK} (most recent call last):\na.py(1): forward\n");
        assert_eq!(cause(&cut), format!("{TRACEBACK} (most recent call last): a.py(1): forward"));
    }
}
