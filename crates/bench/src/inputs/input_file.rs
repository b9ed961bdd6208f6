//! One input's tensor from a file: `--input-file name=path`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::npy;
use crate::metadata::Input;
use cresset_protocol::{Datatype, Tensor};

/// `name=path.npy`, or `name=path` to raw little-endian elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    name: String,
    path: PathBuf,
}

impl FromStr for InputFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').ok_or_else(|| format!("expected NAME=FILE, got '{text}'"))?;
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}

impl InputFile {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The tensor for an input of this name.
    pub(super) fn read(&self, input: &Input) -> Result<Tensor> {
        let bytes =
            std::fs::read(&self.path).with_context(|| format!("cannot read '{}'", self.path.display()))?;
        let datatype: Datatype = input.datatype.parse().with_context(|| format!("input '{}'", input.name))?;
        let (shape, data) = match self.path.extension() {
            Some(extension) if extension == "npy" => self.npy(&bytes, datatype)?,
            Some(_) | None => (raw_shape(input, datatype, bytes.len())?, Bytes::from(bytes)),
        };
        Ok(Tensor { name: Arc::from(input.name.as_str()), datatype, shape, data })
    }

    fn npy(&self, bytes: &[u8], datatype: Datatype) -> Result<(Vec<i64>, Bytes)> {
        let path = self.path.display();
        let array = npy::read(bytes).with_context(|| format!("'{path}' is no .npy file that can be used"))?;
        ensure!(
            array.datatype == datatype,
            "'{path}' holds {}, but input '{}' is {datatype}",
            array.datatype,
            self.name
        );
        Ok((array.shape, array.data))
    }
}

/// The declared shape, with its one variable dimension computed from the size
/// of the file.
fn raw_shape(input: &Input, datatype: Datatype, bytes: usize) -> Result<Vec<i64>> {
    let Some(size) = datatype.size() else {
        return Ok(input.shape.iter().map(|&size| size.max(1)).collect());
    };
    let fixed: usize = input.shape.iter().filter(|&&size| size >= 0).map(|&size| size as usize).product();
    let variable = input.shape.iter().filter(|&&size| size < 0).count();
    let unit = fixed * size;
    let fits = unit > 0 && bytes > 0 && bytes.is_multiple_of(unit);
    let left = if fits { bytes / unit } else { 0 };
    match variable {
        0 if left == 1 => Ok(input.shape.clone()),
        1 if fits => Ok(input.shape.iter().map(|&size| if size < 0 { left as i64 } else { size }).collect()),
        0 | 1 => bail!(
            "input '{}' of shape {:?} takes {unit} bytes{}, the file has {bytes}",
            input.name,
            input.shape,
            if variable == 1 { ", or a multiple" } else { "" }
        ),
        _ => bail!(
            "input '{}' has shape {:?}: raw bytes don't tell which; use a .npy file",
            input.name,
            input.shape
        ),
    }
}

/// The files of a folder in the order of their names, or the file itself.
pub(crate) fn files_in(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read '{}'", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("cannot read '{}'", path.display()))?.path();
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if file.is_file() && !hidden {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(shape: &[i64]) -> Input {
        Input { name: "x".to_owned(), datatype: "FP32".to_owned(), shape: shape.to_vec() }
    }

    #[test]
    fn a_raw_files_size_tells_the_variable_dimension() {
        assert_eq!(raw_shape(&input(&[-1, 3]), Datatype::Fp32, 24).unwrap(), [2, 3]);
        assert_eq!(raw_shape(&input(&[2, 3]), Datatype::Fp32, 24).unwrap(), [2, 3]);
        for (shape, bytes) in [(&[-1, 3][..], 25), (&[2, 3], 48), (&[-1, -1], 24), (&[-1, 3], 0)] {
            assert!(raw_shape(&input(shape), Datatype::Fp32, bytes).is_err(), "{shape:?} {bytes}");
        }
    }

    #[test]
    fn a_npy_file_brings_its_shape_and_must_have_the_datatype() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, npy::tests::file("<f4", "(2, 3)", &[7; 24])).unwrap();
        let file: InputFile = format!("x={}", path.display()).parse().unwrap();
        let tensor = file.read(&input(&[-1, 3])).unwrap();
        assert_eq!((tensor.shape, tensor.data.len()), (vec![2, 3], 24));
        let wrong = Input { datatype: "INT32".to_owned(), ..input(&[-1, 3]) };
        let error = file.read(&wrong).unwrap_err().to_string();
        assert!(error.ends_with("holds FP32, but input 'x' is INT32"), "{error}");
    }
}
