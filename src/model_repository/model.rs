//! A model's directory to its entry.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{ModelEntry, Problem, Root, Unresolved, VersionEntry, validate_model_name};
use crate::model_config::{CONFIG_FILENAME, ModelConfig, ModelFilenames, VersionPolicy};

const LEAVES: &str = "is a symbolic link that leaves the model repository";

/// Reads the directory `name`: never fails, what is wrong stands in the entry.
/// `given` stands for its configuration's file.
pub(super) fn entry(root: &Root, name: &str, given: Option<&str>) -> ModelEntry {
    let mut entry = ModelEntry {
        name: name.to_owned(),
        directory: root.canonical.join(name),
        config: None,
        versions: Vec::new(),
        present: Vec::new(),
        op_libraries: Vec::new(),
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
    // Told also where the configuration is wrong.
    entry.present = version_directories(&entry.directory)
        .map_err(|error| format!("its directory can't be read: {error}"))?;
    let config = match given {
        Some(json) => ModelConfig::from_json(json, &entry.name)
            .map_err(|error| format!("Invalid config override: {}", error.of_override()))?,
        None => read_config(root, &entry.directory, &entry.name)?,
    };
    let config = entry.config.insert(config);

    let ModelFilenames { default: filename, by_capability } = &config.model_filename;
    if entry.present.is_empty() {
        return Err(no_version(&entry.directory, filename));
    }
    for name in &config.op_libraries {
        let what = format!("the library of operators '{name}'");
        entry.op_libraries.push(resolve(root, &entry.directory.join(name), &what)?);
    }
    let chosen = config.version_policy.choose(&entry.present);
    if let VersionPolicy::Specific(wanted) = &config.version_policy {
        for version in wanted.iter().filter(|version| !chosen.contains(version)) {
            let reason = "named by version_policy, and has no directory".to_owned();
            entry.problems.push(Problem { version: Some(*version), reason });
        }
    }
    for version in chosen {
        let found = |filename: &str| model_file(root, &entry.directory, version, filename);
        match found(filename) {
            Ok(file) => {
                let by_capability = by_capability.iter().map(|(of, name)| (*of, found(name))).collect();
                entry.versions.push(VersionEntry { version, file, by_capability });
            }
            Err(reason) => entry.problems.push(Problem { version: Some(version), reason }),
        }
    }
    Ok(())
}

fn read_config(root: &Root, directory: &Path, name: &str) -> Result<ModelConfig, String> {
    // Before it is read: a file elsewhere is not to be quoted in a message.
    // That it is missing is told apart by whoever reads it.
    if let Err(Unresolved::Outside) = root.resolve(&directory.join(CONFIG_FILENAME)) {
        return Err(format!("{CONFIG_FILENAME} {LEAVES}"));
    }
    ModelConfig::read(directory, name).map_err(|error| error.to_string())
}

/// The numbers of the version directories. A number that starts with 0 is
/// none, as with Triton: 01 and 1 would be one version twice.
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

fn is_version(name: &str) -> bool {
    !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where there is no version directory; the commonest slip is the model's file
/// one level too high.
fn no_version(directory: &Path, filename: &str) -> String {
    if directory.join(filename).is_file() {
        format!("no version directory: move '{filename}' to '1/{filename}'")
    } else {
        format!("no version directory: expected '1/{filename}'")
    }
}

fn model_file(root: &Root, directory: &Path, version: u64, filename: &str) -> Result<PathBuf, String> {
    let relative = format!("{version}/{filename}");
    let file = resolve(root, &directory.join(&relative), &format!("'{relative}'"))?;
    if !file.is_file() {
        return Err(format!("'{relative}' is not a file"));
    }
    Ok(file)
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
