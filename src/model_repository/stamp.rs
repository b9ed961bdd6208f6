//! Tells whether a model's files were changed, by the file system's data on them.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The data that change with a file's content: a file that is copied over, moved
/// into place or written again differs in one of these. Links count as their
/// targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl FileStamp {
    /// The file's present stamp.
    ///
    /// # Errors
    /// If it is missing or can't be reached.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::metadata(path)?))
    }
}

impl From<&Metadata> for FileStamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The stamps of a model's directory, of the files in it (`config.pbtxt`,
/// `cresset.toml`, labels) and of the files in its versions' directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelStamp(BTreeMap<PathBuf, Option<FileStamp>>);

impl ModelStamp {
    /// Takes the stamps of `directories`, usually one. A file that can't be reached
    /// differs from one that can.
    pub(super) fn of(directories: impl Iterator<Item = PathBuf>) -> Self {
        let mut stamp = Self::default();
        for directory in directories {
            for file in stamp.look_into(directory) {
                let version = file.file_name().and_then(|name| name.to_str());
                if version.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
                    stamp.look_into(file);
                }
            }
        }
        stamp
    }

    /// Takes the stamps of a path and of its entries, and returns the entries'
    /// paths.
    fn look_into(&mut self, path: PathBuf) -> Vec<PathBuf> {
        let inside: Vec<PathBuf> = match fs::read_dir(&path) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(_) => Vec::new(),
        };
        for path in inside.iter().chain([&path]) {
            self.0.insert(path.clone(), FileStamp::of(path).ok());
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn every_way_of_changing_a_model_changes_its_stamp() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("1/deeper/still")).unwrap();
        fs::write(at("1/model.pt"), "one").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let mut last = ModelStamp::default();
        let mut step = |what: &str, changes: bool| {
            let now = ModelStamp::of([root.path().to_owned()].into_iter());
            assert_eq!(now != last, changes, "{what}");
            last = now;
        };
        step("the first look", true);
        step("nothing", false);
        fs::write(at("1/model.pt"), "other").unwrap();
        fs::File::options().write(true).open(at("1/model.pt")).unwrap().set_modified(long_ago).unwrap();
        step("another length", true);
        fs::write(at("1/next"), "OTHER").unwrap();
        fs::File::options().write(true).open(at("1/next")).unwrap().set_modified(long_ago).unwrap();
        fs::rename(at("1/next"), at("1/model.pt")).unwrap();
        step("another file of the same length and time", true);
        fs::File::options()
            .write(true)
            .open(at("1/model.pt"))
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
        step("another time", true);
        fs::write(at("config.pbtxt"), "").unwrap();
        step("a configuration", true);
        fs::create_dir(at("2")).unwrap();
        step("a version", true);
        fs::write(at("2/model.pt"), "").unwrap();
        step("its file", true);
        fs::write(at("1/deeper/still/notes"), "").unwrap();
        step("what no model is read from", false);
        fs::remove_dir_all(at("1")).unwrap();
        step("a version that goes", true);
    }
}
