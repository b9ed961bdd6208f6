//! Names the kind of a file that can't be served, by its first bytes, and the
//! next step.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// How many bytes of a file are looked at.
const START: u64 = 4096;

/// The first bytes of a file, enough to identify its kind.
///
/// # Errors
/// If it can't be read.
pub fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(START).read_to_end(&mut start)?;
    Ok(start)
}

/// The kind of a file by its first bytes, and the next step. `export` says how
/// a model is converted to a served format. `None` for a zip archive that may
/// hold TorchScript.
#[must_use]
pub fn told(start: &[u8], export: &str) -> Option<String> {
    let holds = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    let weights =
        |what: &str| format!("it is {what}: weights without code; load them into the module and {export}");
    let found = match start {
        [] => "it is empty: was it copied to its end?".to_owned(),
        _ if start.starts_with(b"version https://git-lfs.github.com/spec/") => {
            "it is a Git LFS pointer, not the file itself: run git lfs pull".to_owned()
        }
        _ if start.starts_with(b"/annex/objects/") || start.starts_with(b"../.git/annex") => {
            "it is a git-annex pointer, not the file itself: run git annex get".to_owned()
        }
        _ if start.starts_with(b"GGUF") => format!("it is GGUF, as llama.cpp reads it; {export}"),
        _ if start.starts_with(b"\x89HDF\r\n\x1a\n") => format!("it is HDF5, as Keras saves it; {export}"),
        _ if start.starts_with(b"PK\x03\x04") => return zipped(start, export),
        _ if is_safetensors(start) => weights("a safetensors file"),
        // Protocol 2 or later: torch.save before 1.6, or any other Python
        // program.
        [0x80, 2..=5, ..] => format!("it is a pickle, as torch.save writes; {export}"),
        _ if start.starts_with(b"\x1f\x8b") => "it is gzip: unpack it".to_owned(),
        _ if start.get(257..262) == Some(b"ustar") => "it is a tar archive: unpack it".to_owned(),
        _ if start.starts_with(b"\x7fELF") => {
            format!("it is a shared library, as AOTInductor compiles; {export}")
        }
        _ if is_text(start) && (holds(b"<html") || holds(b"<!DOCTYPE") || holds(b"<!doctype")) => {
            "it is a web page, not a model: the download got an error or a login page".to_owned()
        }
        _ if is_text(start) && start.trim_ascii_start().starts_with(b"<?xml") && holds(b"<net") => {
            format!("it is OpenVINO's XML; {export}")
        }
        // The first field of an ONNX model is its version, followed by its
        // producer.
        [8, 1..=32, ..] if holds(b"pytorch") || holds(b"onnx") || start.get(2) == Some(&0x12) => {
            format!("it is an ONNX model; {export}")
        }
        _ if start.get(4..8) == Some(b"TFL3") => format!("it is a TensorFlow Lite model; {export}"),
        _ if holds(b"saved_model") || holds(b"serve\x12") => {
            format!("it is a TensorFlow SavedModel; {export}")
        }
        _ => "it is not a zip archive".to_owned(),
    };
    Some(found)
}

/// The kind of a zip archive, by the names of its first members.
fn zipped(start: &[u8], export: &str) -> Option<String> {
    let holds = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    if holds(b"archive_format") || holds(b"serialized_exported_program.json") || holds(b"models/model.json") {
        return Some(format!("it was saved by torch.export (.pt2), which isn't served yet; {export}"));
    }
    if holds(b"model.weights.h5") {
        return Some(format!("it is a Keras archive; {export}"));
    }
    holds(b"MAR-INF/").then(|| {
        "it is TorchServe's model archive (.mar): unpack it, and take the file that its manifest names as \
         serializedFile, if that is TorchScript"
            .to_owned()
    })
}

/// Eight bytes of length, then a JSON object.
fn is_safetensors(start: &[u8]) -> bool {
    let Some((length, rest)) = start.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    (2..100_000_000).contains(&length) && rest.starts_with(b"{\"")
}

fn is_text(start: &[u8]) -> bool {
    !start.contains(&0) && start.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let safetensors = [&20_u64.to_le_bytes()[..], br#"{"w":{"dtype":"F32"}}"#].concat();
        for (start, word) in [
            (&b""[..], "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
            (&safetensors, "safetensors file: weights without code"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (b"\x80\x02}q\0", "pickle"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"\x08\x08\x12\x07pytorch\x1a", "ONNX"),
            (b"PK\x03\x04........m/archive_format", "torch.export"),
            (b"PK\x03\x04........MAR-INF/MANIFEST.json", "serializedFile"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"hello", "not a zip archive"),
        ] {
            let told = told(start, "export it").unwrap();
            assert!(told.contains(word), "{word}: {told}");
        }
        assert_eq!(told(b"PK\x03\x04....model/data.pkl", ""), None);
    }
}
