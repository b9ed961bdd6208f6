//! A directory of models in Triton's layout:
//!
//! ```text
//! <repository>/<model>/config.pbtxt        may be missing
//! <repository>/<model>/<version>/model.pt
//! <repository>/models.lock                 may be missing
//! ```
//!
//! A model that can't be served is an entry that says why, so that the other
//! models are served. There are two kinds of errors: a repository that can't be
//! read, and two models of the same name, which concerns that name only.

mod error;
mod model;
mod name;
mod paths;
mod pins;
mod stamp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::model_config::ModelConfig;
use cresset_nvidia::ComputeCapability;

pub use error::RepositoryError;
pub use name::{InvalidModelName, validate_model_name};
pub use pins::Pins;
pub use stamp::{FileStamp, ModelStamp};

/// One repository of models, in one or several directories.
#[derive(Debug, Clone)]
pub struct ModelRepository {
    directories: Vec<Root>,
}

/// The rules for reading a repository.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether links may lead out of it, as those of DVC, git-annex, Hugging Face's
    /// cache and Kubernetes' volumes do.
    pub follow_links: bool,
    /// The model's name if the path is a single model's directory or file; `None`
    /// for the directory's or the file's own name.
    pub single: Option<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self { follow_links: true, single: None }
    }
}

/// A repository's directory.
#[derive(Debug, Clone)]
struct Root {
    /// As the user gave it. Its target may have no other path: KServe's /mnt/models
    /// is a link through /proc.
    given: PathBuf,
    /// The file system's numbers for it, which are the same by every path.
    identity: (u64, u64),
    follow_links: bool,
    layout: RepositoryLayout,
}

/// The kinds of contents of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RepositoryLayout {
    /// Models, each in a directory of its own.
    Models,
    /// The versions of one model, of this name.
    Versions(String),
    /// The one version of a model of this name: this file.
    File(String, String),
}

/// A model's directory, and the versions in it that can be served.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// The directory's name.
    pub name: String,
    /// Where its `config.pbtxt` and its versions lie.
    pub directory: PathBuf,
    /// `None` if it can't be read, or the model's name or place is refused: `problems`
    /// says why.
    pub config: Option<ModelConfig>,
    /// The versions to serve, ascending: the version policy picks them, and they have
    /// a file.
    pub versions: Vec<VersionEntry>,
    /// The versions that have a directory, whether they are served or not.
    pub present: Vec<u64>,
    /// The libraries of operators that its configuration names.
    pub op_libraries: Vec<PathBuf>,
    /// What its files must be; `None` if the repository has no `models.lock`.
    pub pins: Option<Pins>,
    /// Why the model, or a version of it, isn't served; empty if all is well.
    pub problems: Vec<Problem>,
}

/// A version that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionEntry {
    /// The directory's number.
    pub version: u64,
    /// The model's file.
    pub file: PathBuf,
    /// The files for GPUs of each compute capability, or the error for that file.
    /// Files for GPUs that this machine lacks may be missing.
    pub by_capability: BTreeMap<ComputeCapability, Result<PathBuf, String>>,
}

/// Why a model, or a version of it, isn't served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The version that it concerns; `None` for the whole model.
    pub version: Option<u64>,
    /// The message, for the author of the repository.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "version {version}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl ModelRepository {
    /// Opens the repository in `paths`.
    ///
    /// # Errors
    /// If a path is missing, can't be read, or holds no model.
    pub fn open(paths: &[PathBuf], access: &Access) -> Result<Self, RepositoryError> {
        let repository = Self::open_for_change(paths, access)?;
        match repository.empty()?.into_iter().next() {
            Some(empty) => Err(empty),
            None => Ok(repository),
        }
    }

    /// As [`ModelRepository::open`], but a directory may be empty, for models that
    /// come later. A directory that is given twice is taken once.
    ///
    /// # Errors
    /// If a path is missing or can't be read.
    pub fn open_for_change(paths: &[PathBuf], access: &Access) -> Result<Self, RepositoryError> {
        let mut directories: Vec<Root> = Vec::new();
        for path in paths {
            for path in paths::several(path)? {
                let root = Root::open(&path, access)?;
                match directories.iter().find(|other| other.is_same(&root)) {
                    Some(first) => tracing::warn!(
                        "model repository '{}' is given twice, first as '{}': it is taken once",
                        path.display(),
                        first.given.display()
                    ),
                    None => directories.push(root),
                }
            }
        }
        Ok(Self { directories })
    }

    /// A message for each directory that holds no model now.
    ///
    /// # Errors
    /// If a directory can't be read any more.
    pub fn empty(&self) -> Result<Vec<RepositoryError>, RepositoryError> {
        let mut empty = Vec::new();
        for root in &self.directories {
            if root.model_directories()?.is_empty() {
                empty.push(RepositoryError::Empty(root.given.clone()));
            }
        }
        Ok(empty)
    }

    /// The names of the models that are there now, ascending, including names that
    /// two models have.
    ///
    /// # Errors
    /// If a directory can't be read any more.
    pub fn names(&self) -> Result<Vec<String>, RepositoryError> {
        Ok(self.places()?.into_keys().collect())
    }

    /// The same, with an error for each name that two models have.
    ///
    /// # Errors
    /// If a directory can't be read any more.
    pub fn listing(&self) -> Result<BTreeMap<String, Option<RepositoryError>>, RepositoryError> {
        let told = |(name, roots): (String, Vec<&Root>)| {
            let wrong = distinct(&name, &roots).err();
            (name, wrong)
        };
        Ok(self.places()?.into_iter().map(told).collect())
    }

    /// Reads the directory of the model `name`; `None` if there is none. `config`, if
    /// it is given, replaces its `config.pbtxt`: protobuf's JSON, as in Triton's load
    /// call.
    ///
    /// # Errors
    /// If a directory can't be read any more, or two hold this model.
    pub fn entry(&self, name: &str, config: Option<&str>) -> Result<Option<ModelEntry>, RepositoryError> {
        // A name from a client is looked up first, and never joined to a path
        // unchecked.
        let roots = self.places()?.remove(name).unwrap_or_default();
        distinct(name, &roots)?;
        Ok(roots.first().map(|root| model::entry(root, name, config)))
    }

    /// A stamp of every model, to tell later whether it was changed.
    ///
    /// # Errors
    /// If a directory can't be read any more.
    pub fn stamps(&self) -> Result<BTreeMap<String, ModelStamp>, RepositoryError> {
        let places = self.places()?.into_iter();
        Ok(places
            .map(|(name, roots)| {
                let directories = roots.iter().map(|root| root.directory_of(&name));
                // What a lock refused may be right by the next one.
                let locks = roots.iter().map(|root| root.given.join(pins::LOCK_FILENAME));
                let stamp = ModelStamp::of(directories.chain(locks));
                (name, stamp)
            })
            .collect())
    }

    /// Each name with the directories that hold it.
    fn places(&self) -> Result<BTreeMap<String, Vec<&Root>>, RepositoryError> {
        let mut places: BTreeMap<String, Vec<&Root>> = BTreeMap::new();
        for root in &self.directories {
            for name in root.model_directories()? {
                places.entry(name).or_default().push(root);
            }
        }
        Ok(places)
    }
}

/// Refuses a name that two models have.
fn distinct(name: &str, roots: &[&Root]) -> Result<(), RepositoryError> {
    match roots {
        [first, second, ..] => Err(RepositoryError::Duplicate {
            name: name.to_owned(),
            first: first.given.clone(),
            second: second.given.clone(),
        }),
        [] | [_] => Ok(()),
    }
}

impl Root {
    fn open(given: &Path, access: &Access) -> Result<Self, RepositoryError> {
        let found = fs::metadata(given).map_err(|error| RepositoryError::Unreadable(given.into(), error))?;
        let identity = (found.dev(), found.ino());
        let (given, layout) = paths::layout(given, found.is_dir(), access.single.as_deref())?;
        let root = Self { given, identity, follow_links: access.follow_links, layout };
        root.model_directories()?;
        Ok(root)
    }

    /// Whether both are one directory or file, with the same name: a model may have
    /// another name by another path.
    fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity && self.layout == other.layout
    }

    /// The path of the model `name`.
    fn directory_of(&self, name: &str) -> PathBuf {
        match self.layout {
            RepositoryLayout::Models => self.given.join(name),
            RepositoryLayout::Versions(_) | RepositoryLayout::File(..) => self.given.clone(),
        }
    }

    /// The names of all directories that aren't hidden, or of the one model.
    fn model_directories(&self) -> Result<Vec<String>, RepositoryError> {
        if let RepositoryLayout::Versions(name) | RepositoryLayout::File(name, _) = &self.layout {
            return Ok(vec![name.clone()]);
        }
        let failed = |error| RepositoryError::Unreadable(self.given.clone(), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.given).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Every ext4 volume has a `lost+found` at its top.
            if name.starts_with('.') || name == "lost+found" {
                continue;
            }
            // A link counts as its target. A link that leads nowhere is reported as a
            // model with a missing directory.
            let is_link = entry.file_type().map_err(failed)?.is_symlink();
            let is_directory = fs::metadata(entry.path()).map_or(is_link, |metadata| metadata.is_dir());
            if is_directory {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The path itself, if something is there and links may lead to it.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Unresolved> {
        fs::metadata(path).map_err(Unresolved::Missing)?;
        if !self.follow_links {
            let real = |path: &Path| fs::canonicalize(path).map_err(Unresolved::Missing);
            if !real(path)?.starts_with(real(&self.given)?) {
                return Err(Unresolved::Outside);
            }
        }
        Ok(path.to_owned())
    }
}

/// Why a path of a repository isn't followed.
enum Unresolved {
    /// Nothing is there, or it can't be reached.
    Missing(std::io::Error),
    /// A symbolic link leads out of the repository.
    Outside,
}
