//! The paths of a model repository.

use std::fs;
use std::path::{Path, PathBuf};

use super::model::is_version;
use super::{RepositoryError, RepositoryLayout};
use crate::model_config::{CONFIG_FILENAME, formats};

/// The paths in one setting: the whole if such a path exists, else the paths
/// between its colons.
///
/// # Errors
/// If it is a remote address.
pub(super) fn several(given: &Path) -> Result<Vec<PathBuf>, RepositoryError> {
    let text = given.to_string_lossy();
    if let Some((scheme, _)) = text.split_once("://")
        && !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    {
        return Err(RepositoryError::Remote(text.into_owned()));
    }
    if !text.contains(':') || fs::symlink_metadata(given).is_ok() {
        return Ok(vec![given.to_owned()]);
    }
    let parts: Vec<PathBuf> = text.split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect();
    // Either one missing path, or several, one of which exists.
    let any = parts.iter().any(|part| part.exists());
    Ok(if any { parts } else { vec![given.to_owned()] })
}

/// The kind of contents at a path, and its directory. `named` is the name for a
/// single model.
///
/// # Errors
/// If it is a file, and no model's.
pub(super) fn layout(
    given: &Path,
    is_directory: bool,
    named: Option<&str>,
) -> Result<(PathBuf, RepositoryLayout), RepositoryError> {
    let own = |name: Option<&std::ffi::OsStr>| match (named, name) {
        (Some(named), _) => named.to_owned(),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => "model".to_owned(),
    };
    if !is_directory {
        let suffix = given.extension().and_then(|suffix| suffix.to_str());
        let (Some(file), true) = (given.file_name(), suffix.is_some_and(formats::has_extension)) else {
            return Err(RepositoryError::NotADirectory(given.into()));
        };
        let parent = given.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let layout = RepositoryLayout::File(own(given.file_stem()), file.to_string_lossy().into_owned());
        return Ok((parent.to_owned(), layout));
    }
    // `.` and `/` have no name of their own.
    let name = || match given.file_name() {
        Some(name) => own(Some(name)),
        None => own(fs::canonicalize(given).ok().as_deref().and_then(Path::file_name)),
    };
    let layout = if let Some(file) = formats::model_file_in(given) {
        RepositoryLayout::File(name(), file.to_owned())
    } else if given.join(CONFIG_FILENAME).exists() || holds_versions(given) {
        RepositoryLayout::Versions(name())
    } else {
        RepositoryLayout::Models
    };
    Ok((given.to_owned(), layout))
}

/// Whether a directory holds nothing but versions of one model.
fn holds_versions(directory: &Path) -> bool {
    let names = visible(directory, Path::is_dir);
    let is_one = |name: &String| is_version(name) && formats::model_file_in(&directory.join(name)).is_some();
    !names.is_empty() && names.iter().all(is_one)
}

/// The names of a directory's entries of this `kind`, ascending, without hidden
/// ones; none if it can't be read.
pub(super) fn visible(directory: &Path, kind: fn(&Path) -> bool) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| kind(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}
