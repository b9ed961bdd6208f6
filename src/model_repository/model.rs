//! Reads a model's directory to its entry.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::paths::visible;
use super::pins::{LOCK_FILENAME, Pins};
use super::{ModelEntry, Problem, RepositoryLayout, Root, Unresolved, VersionEntry, validate_model_name};
use crate::model_config::{CONFIG_FILENAME, ModelConfig, VersionPolicy, formats};

const LEAVES: &str = "is a symbolic link that leaves the model repository, which --no-follow-links refuses";

/// Reads the directory `name`. It never fails: the entry holds the problems. `given`
/// replaces the configuration's file.
pub(super) fn entry(root: &Root, name: &str, given: Option<&str>) -> ModelEntry {
    let mut entry = ModelEntry {
        name: name.to_owned(),
        directory: root.directory_of(name),
        config: None,
        versions: Vec::new(),
        present: Vec::new(),
        op_libraries: Vec::new(),
        pins: None,
        problems: Vec::new(),
    };
    if let Err(reason) = fill(root, &mut entry, given) {
        entry.problems.push(Problem { version: None, reason });
    }
    entry
}

/// Fills the entry as far as it goes.
fn fill(root: &Root, entry: &mut ModelEntry, given: Option<&str>) -> Result<(), String> {
    validate_model_name(&entry.name).map_err(|error| error.to_string())?;
    entry.directory = resolve(root, &entry.directory, "its directory")?;
    // Filled even if the configuration is wrong.
    let alone = match &root.layout {
        RepositoryLayout::File(_, file) => Some(file.as_str()),
        RepositoryLayout::Models | RepositoryLayout::Versions(_) => None,
    };
    entry.present = match alone {
        Some(_) => vec![1],
        None => version_directories(&entry.directory)
            .map_err(|error| format!("its directory can't be read: {error}"))?,
    };
    entry.pins = read_lock(root)?;
    let config = match given {
        Some(json) => ModelConfig::from_json(json, &entry.name)
            .map_err(|error| format!("Invalid config override: {}", error.of_override()))?,
        None => read_config(root, &entry.directory, &entry.name)?,
    };
    let config = entry.config.insert(config);

    let filenames = &config.model_filename;
    if entry.present.is_empty() {
        return Err(no_version(&entry.directory, &filenames.default));
    }
    for name in &config.op_libraries {
        let what = format!("the library of operators '{name}'");
        entry.op_libraries.push(resolve(root, &entry.directory.join(name), &what)?);
    }
    let chosen = config.version_policy.choose(&entry.present);
    // As with Triton, the other versions are served if one is missing.
    if let (VersionPolicy::Specific(wanted), []) = (&config.version_policy, chosen.as_slice()) {
        for version in wanted {
            let reason = "named by version_policy, and has no directory".to_owned();
            entry.problems.push(Problem { version: Some(*version), reason });
        }
    }
    for version in chosen {
        let found = |filename: &str| match alone {
            Some(file) => resolve(root, &entry.directory.join(file), &format!("'{file}'")),
            None => model_file(root, &entry.directory, version, filename),
        };
        match found(filenames.default_in(&entry.directory.join(version.to_string()))) {
            Ok(file) => {
                let by_capability =
                    filenames.by_capability.iter().map(|(of, name)| (*of, found(name))).collect();
                entry.versions.push(VersionEntry { version, file, by_capability });
            }
            Err(reason) => entry.problems.push(Problem { version: Some(version), reason }),
        }
    }
    Ok(())
}

fn read_config(root: &Root, directory: &Path, name: &str) -> Result<ModelConfig, String> {
    // Before it is read, so that no message quotes a file outside the repository.
    // `ModelConfig::read` finds out whether the file is missing.
    if let Err(Unresolved::Outside) = root.resolve(&directory.join(CONFIG_FILENAME)) {
        return Err(format!("{CONFIG_FILENAME} {LEAVES}"));
    }
    ModelConfig::read(directory, name).map_err(|error| error.to_string())
}

/// Reads `models.lock`, if there is one.
fn read_lock(root: &Root) -> Result<Option<Pins>, String> {
    let path = root.given.join(LOCK_FILENAME);
    // A link that leads nowhere isn't the same as no file.
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    resolve(root, &path, LOCK_FILENAME)?;
    Pins::read(&root.given).map(Some)
}

/// The numbers of the version directories. As with Triton, a name that starts with 0
/// is no version: 01 and 1 would be the same one.
fn version_directories(directory: &Path) -> io::Result<Vec<u64>> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_version(name)) else { continue };
        if let (Ok(version), true) = (name.parse(), entry.path().is_dir()) {
            versions.push(version);
        }
    }
    Ok(versions)
}

pub(super) fn is_version(name: &str) -> bool {
    !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The problem of a model without a version directory. The usual mistakes are a
/// model file one level too high, and a directory with another name.
fn no_version(directory: &Path, filename: &str) -> String {
    if directory.join(filename).is_file() {
        return format!("no version directory: move '{filename}' to '1/{filename}'");
    }
    match visible(directory, Path::is_dir).iter().find(|name| means_a_version(name)) {
        Some(name) => {
            let number =
                name.trim_start_matches(|letter: char| !letter.is_ascii_digit()).trim_start_matches('0');
            let number = if number.is_empty() { "1" } else { number };
            format!("'{name}' is no version: versions are whole numbers from 1 on; rename it to '{number}'")
        }
        None => format!("no version directory: expected '1/{filename}'"),
    }
}

/// `0`, `01`, `v1`, `version-2`.
fn means_a_version(name: &str) -> bool {
    let number = name.trim_start_matches("version").trim_start_matches(['v', 'V', '-', '_', '.']);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn model_file(root: &Root, directory: &Path, version: u64, filename: &str) -> Result<PathBuf, String> {
    let relative = format!("{version}/{filename}");
    let path = directory.join(&relative);
    let file = match resolve(root, &path, &format!("'{relative}'")) {
        Err(reason) if fs::symlink_metadata(&path).is_err() => {
            return Err(match instead(&directory.join(version.to_string()), filename) {
                Some(what) => format!("{reason}; {what}"),
                None => reason,
            });
        }
        found => found?,
    };
    if !file.is_file() {
        return Err(format!("'{relative}' is not a file"));
    }
    Ok(file)
}

/// Extensions of model files for other runtimes.
const OTHERS: [&str; 7] = ["pt2", "safetensors", "onnx", "bin", "mar", "pkl", "h5"];

/// Describes the file that a version's directory holds in place of the model's.
fn instead(directory: &Path, filename: &str) -> Option<String> {
    let names = visible(directory, Path::is_file);
    let is_model = |name: &&String| {
        let suffix = Path::new(name).extension().map(|suffix| suffix.to_string_lossy().to_lowercase());
        suffix.is_some_and(|suffix| formats::has_extension(&suffix) || OTHERS.contains(&suffix.as_str()))
    };
    let name = names.iter().find(is_model).or_else(|| names.first().filter(|_| names.len() == 1))?;
    Some(match formats::mismatch_of(&directory.join(name)) {
        Some(what) => format!("'{name}' is there: {what}"),
        None if name.ends_with(".pt2") => {
            format!("'{name}' is there: torch.export's files aren't served yet; export with torch.jit.trace")
        }
        None => format!(
            "'{name}' is there: rename it to '{filename}', or set default_model_filename: \"{name}\" in config.pbtxt"
        ),
    })
}

fn resolve(root: &Root, path: &Path, what: &str) -> Result<PathBuf, String> {
    root.resolve(path).map_err(|unresolved| match unresolved {
        Unresolved::Outside => format!("{what} {LEAVES}"),
        Unresolved::Missing(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("{what} is missing")
        }
        Unresolved::Missing(error) => format!("{what} can't be reached: {error}"),
    })
}
