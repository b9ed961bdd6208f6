//! The expected answer of a body, in a file beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::expected::Expected;
use cresset_protocol::Datatype;

/// How such a file holds the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedForm {
    Json,
    /// Little-endian elements, and nothing else.
    Raw(Datatype),
}

/// By the ending after the body's whole name. Strings are missing: their size
/// doesn't tell them apart from raw elements.
const ENDINGS: [(&str, ExpectedForm); 14] = [
    (".expected.json", ExpectedForm::Json),
    (".expected.bool", ExpectedForm::Raw(Datatype::Bool)),
    (".expected.uint8", ExpectedForm::Raw(Datatype::Uint8)),
    (".expected.uint16", ExpectedForm::Raw(Datatype::Uint16)),
    (".expected.uint32", ExpectedForm::Raw(Datatype::Uint32)),
    (".expected.uint64", ExpectedForm::Raw(Datatype::Uint64)),
    (".expected.int8", ExpectedForm::Raw(Datatype::Int8)),
    (".expected.int16", ExpectedForm::Raw(Datatype::Int16)),
    (".expected.int32", ExpectedForm::Raw(Datatype::Int32)),
    (".expected.int64", ExpectedForm::Raw(Datatype::Int64)),
    (".expected.fp16", ExpectedForm::Raw(Datatype::Fp16)),
    (".expected.bf16", ExpectedForm::Raw(Datatype::Bf16)),
    (".expected.fp32", ExpectedForm::Raw(Datatype::Fp32)),
    (".expected.fp64", ExpectedForm::Raw(Datatype::Fp64)),
];

/// Whether a file is not a body but the answer to one.
pub(super) fn is_expected(file: &Path) -> bool {
    let name = file.to_string_lossy();
    ENDINGS.iter().any(|(ending, _)| name.ends_with(ending))
}

/// The answer that a file beside `body` says is expected, if there is one.
///
/// # Errors
/// If the file can't be read or used, or if there are two of them.
pub(super) fn expected(body: &Path, tolerance: f64) -> Result<Option<Expected>> {
    let beside = |ending: &str| {
        let mut name = body.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let all = ENDINGS.iter().map(|&(ending, form)| (beside(ending), form));
    let mut found = all.filter(|(file, _)| file.exists());
    let Some((file, form)) = found.next() else { return Ok(None) };
    if let Some((other, _)) = found.next() {
        bail!("'{}' and '{}' both say what is expected: keep one", file.display(), other.display());
    }
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read '{}'", file.display()))?;
    Ok(Some(match form {
        ExpectedForm::Json => {
            let value =
                serde_json::from_slice(&bytes).with_context(|| format!("'{}' is no JSON", file.display()))?;
            Expected::json(value, tolerance)
        }
        ExpectedForm::Raw(datatype) => Expected::raw(datatype, bytes.into(), tolerance),
    }))
}
