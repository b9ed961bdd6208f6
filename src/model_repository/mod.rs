//! Directories of models in Triton's layout: `<model>/config.pbtxt` and
//! `<model>/<version>/model.pt`.

mod name;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model_config::ModelConfig;

pub use name::check_model_name;

/// One or more directories whose models are served together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRepository {
    /// Each with all links resolved: nothing outside is served.
    roots: Vec<PathBuf>,
}

/// A repository that can't be served. The text names the directory and what
/// was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RepositoryError(String);

/// A directory that holds a model, or should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// The directory's name.
    pub name: String,
    /// Where it is.
    pub directory: PathBuf,
    /// The repository that it must not leave.
    root: PathBuf,
}

impl ModelRepository {
    /// Opens directories.
    ///
    /// # Errors
    /// One that isn't there, or isn't a directory.
    pub fn open(paths: &[PathBuf]) -> Result<Self, RepositoryError> {
        let roots = paths.iter().map(|path| {
            let shown = path.display();
            match path.canonicalize() {
                Ok(root) if root.is_dir() => Ok(root),
                Ok(_) => Err(RepositoryError(format!("model repository '{shown}' isn't a directory"))),
                Err(error) => {
                    Err(RepositoryError(format!("model repository '{shown}' can't be read: {error}")))
                }
            }
        });
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }

    /// The models that are there now, by name. Hidden entries and plain files
    /// are passed over.
    ///
    /// # Errors
    /// A directory that can't be read, none with a model in it, or a name
    /// that is there twice.
    pub fn models(&self) -> Result<Vec<ModelEntry>, RepositoryError> {
        let mut models: BTreeMap<String, ModelEntry> = BTreeMap::new();
        for root in &self.roots {
            for (name, directory) in subdirectories(root)? {
                if check_model_name(&name).is_err() {
                    tracing::warn!(directory = name, "passed over: this can't be a model's name");
                    continue;
                }
                let entry = ModelEntry { name: name.clone(), directory, root: root.clone() };
                if let Some(other) = models.insert(name.clone(), entry) {
                    return Err(RepositoryError(format!(
                        "model '{name}' is in two repositories: '{}' and '{}'",
                        other.root.display(),
                        root.display()
                    )));
                }
            }
        }
        if models.is_empty() {
            let roots: Vec<String> = self.roots.iter().map(|root| format!("'{}'", root.display())).collect();
            return Err(RepositoryError(format!(
                "model repository {} holds no model: expected <model>/<version>/model.pt",
                roots.join(", ")
            )));
        }
        Ok(models.into_values().collect())
    }
}

impl ModelEntry {
    /// The versions to serve with their files, ascending.
    ///
    /// # Errors
    /// Why none can be served.
    pub fn choose_versions(&self, config: &ModelConfig) -> Result<Vec<(u64, PathBuf)>, String> {
        let there = subdirectories(&self.directory).map_err(|error| error.to_string())?;
        let numbers: Vec<u64> = there.iter().filter_map(|(name, _)| version_number(name)).collect();
        if numbers.is_empty() {
            return Err(format!("it has no version: expected 1/{} in its directory", config.model_filename));
        }
        let chosen = config.version_policy.choose(&numbers);
        if chosen.is_empty() {
            return Err(format!("version_policy chooses none of its versions {numbers:?}"));
        }
        chosen.into_iter().map(|version| Ok((version, self.file(version, config)?))).collect()
    }

    /// A version's file, which must lie inside the repository.
    fn file(&self, version: u64, config: &ModelConfig) -> Result<PathBuf, String> {
        let file = self.directory.join(version.to_string()).join(&config.model_filename);
        let missing = || format!("version {version} has no file '{}'", config.model_filename);
        let resolved = file.canonicalize().map_err(|_| missing())?;
        if !resolved.starts_with(&self.root) {
            return Err(format!("the file of version {version} is a link that leaves the model repository"));
        }
        if resolved.is_file() { Ok(resolved) } else { Err(missing()) }
    }
}

/// A version's number: a whole one without zeros in front, as Triton reads
/// directory names.
fn version_number(name: &str) -> Option<u64> {
    if name.starts_with('0') || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}

fn subdirectories(directory: &Path) -> Result<Vec<(String, PathBuf)>, RepositoryError> {
    let unreadable = |error: std::io::Error| {
        RepositoryError(format!("directory '{}' can't be read: {error}", directory.display()))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.starts_with('.') && path.is_dir() {
            found.push((name.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        root
    }

    fn open(root: &tempfile::TempDir) -> ModelRepository {
        ModelRepository::open(&[root.path().to_owned()]).unwrap()
    }

    fn config(text: &str, name: &str) -> ModelConfig {
        ModelConfig::parse(text, name).unwrap()
    }

    #[test]
    fn versions_are_whole_numbers_and_chosen_by_policy() {
        let root = root(&[
            "a/1/model.pt",
            "a/3/model.pt",
            "a/03/model.pt",
            "a/x/model.pt",
            "a/.4/model.pt",
            "a/README",
            "b/2/other.pt",
            ".hidden/1/model.pt",
            "file",
        ]);
        let models = open(&root).models().unwrap();
        assert_eq!(models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let versions = |model: &ModelEntry, text: &str| -> Vec<u64> {
            model.choose_versions(&config(text, &model.name)).unwrap().into_iter().map(|(v, _)| v).collect()
        };
        assert_eq!(versions(&models[0], ""), [3]);
        assert_eq!(versions(&models[0], "version_policy { all { } }"), [1, 3]);
        assert_eq!(versions(&models[1], "default_model_filename: \"other.pt\""), [2]);
        assert_eq!(
            models[1].choose_versions(&config("", "b")),
            Err("version 2 has no file 'model.pt'".to_owned())
        );
        assert_eq!(
            models[0].choose_versions(&config("version_policy { specific { versions: 9 } }", "a")),
            Err("version_policy chooses none of its versions [1, 3]".to_owned())
        );
    }

    #[test]
    fn a_link_out_of_the_repository_is_not_followed() {
        let outside = root(&["model.pt"]);
        let root = root(&["a/1/x"]);
        std::os::unix::fs::symlink(outside.path().join("model.pt"), root.path().join("a/1/model.pt"))
            .unwrap();
        let models = open(&root).models().unwrap();
        assert_eq!(
            models[0].choose_versions(&config("", "a")),
            Err("the file of version 1 is a link that leaves the model repository".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_served_is_one_clear_line() {
        let empty = root(&[]);
        let message = open(&empty).models().unwrap_err().to_string();
        assert!(message.ends_with("holds no model: expected <model>/<version>/model.pt"), "{message}");
        let (first, second) = (root(&["m/1/model.pt"]), root(&["m/1/model.pt"]));
        let both = ModelRepository::open(&[first.path().to_owned(), second.path().to_owned()]).unwrap();
        assert!(both.models().unwrap_err().to_string().starts_with("model 'm' is in two repositories: "));
        let missing = ModelRepository::open(&[PathBuf::from("/nowhere")]).unwrap_err().to_string();
        assert!(missing.starts_with("model repository '/nowhere' can't be read: "), "{missing}");
    }
}
