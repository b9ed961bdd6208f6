//! Marks of the versions that are being loaded. A mark that outlives its process
//! names the version that may have ended it, so that a server doesn't start and
//! die for ever.
//!
//! A mark is a file that holds the version and the model's name. While its
//! process lives it is locked, so that other servers on the same repository don't
//! take a load for a death. It is removed when the load has ended, well or not.
//!
//! What the next start does with marks of a dead process:
//!
//! - one mark: that version is left out, once. The mark is removed by that.
//! - several marks, because versions were loaded at the same time: their models
//!   are loaded last. A start loads one version at a time, so if one of them ends
//!   the process again, its mark is alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest as _, Sha256};

/// The longest mark: a version and a model's name.
const LONGEST: u64 = 512;

/// A server's marks.
#[derive(Debug, Default)]
pub struct LoadMarks {
    /// Where they are; `None` if there is no place for them.
    directory: Option<PathBuf>,
    state: Mutex<MarkState>,
    /// The version that this start leaves out.
    left_out: OnceLock<Suspect>,
}

#[derive(Debug, Default)]
struct MarkState {
    /// The marks of this process, locked by it.
    held: BTreeMap<PathBuf, File>,
    /// Whether the server stops: what it doesn't finish is no model's fault.
    stopping: bool,
    /// Whether it was said that marks can't be written.
    told: bool,
}

/// A version that was being loaded when its process ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suspect {
    pub(super) model: String,
    pub(super) version: u64,
}

/// A load that is under way, until it is dropped.
pub(super) struct Mark<'a> {
    marks: &'a LoadMarks,
    path: Option<PathBuf>,
}

impl LoadMarks {
    /// The marks of a server on these repositories. They are in `state`, or, if that
    /// isn't given, in a directory of this user's among the temporary files. If no
    /// mark can be written there, there are none.
    #[must_use]
    pub fn open(state: Option<&Path>, repositories: &[PathBuf]) -> Self {
        let mut key = Sha256::new();
        for path in repositories {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            key.update(path.as_os_str().as_encoded_bytes());
            key.update([0]);
        }
        let key = format!("{:x}", key.finalize());
        let place = match state {
            Some(state) => state.to_owned(),
            None => own_temporary(),
        };
        let directory = place.join(format!("loading-{}", &key[..16]));
        let made = make(&place, state.is_none()).and_then(|()| make(&directory, false));
        match made {
            Ok(()) => Self { directory: Some(directory), ..Self::default() },
            Err(error) => {
                tracing::debug!(
                    "a model that ends the process while it is loaded will be tried again at each start: there is no \
                     place to note which one it was: {}: {error}; --state-dir names one",
                    directory.display()
                );
                Self::default()
            }
        }
    }

    /// Takes the marks of processes that have died, and removes them.
    pub(super) fn take(&self) -> BTreeSet<Suspect> {
        let Some(directory) = &self.directory else { return BTreeSet::new() };
        let marks =
            fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        marks.filter_map(|path| stale(&path)).collect()
    }

    /// Notes that this version is left out by the present start.
    pub(super) fn leave_out(&self, suspect: Suspect) {
        let _ = self.left_out.set(suspect);
    }

    /// Whether the present start leaves this version out.
    pub(super) fn leaves_out(&self, model: &str, version: u64) -> bool {
        self.left_out.get().is_some_and(|left| left.model == model && left.version == version)
    }

    /// Marks a version as being loaded.
    pub(super) fn begin(&self, model: &str, version: u64) -> Mark<'_> {
        let mut state = self.lock();
        let Some(directory) = self.directory.as_ref().filter(|_| !state.stopping) else {
            return Mark { marks: self, path: None };
        };
        match write(directory, model, version) {
            Ok((path, file)) => {
                state.held.insert(path.clone(), file);
                Mark { marks: self, path: Some(path) }
            }
            Err(error) => {
                if !std::mem::replace(&mut state.told, true) {
                    tracing::debug!(%error, "can't note in {} which model is being loaded", directory.display());
                }
                Mark { marks: self, path: None }
            }
        }
    }

    /// The server stops in order: removes all marks, and makes no more.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for path in std::mem::take(&mut state.held).into_keys() {
            let _ = fs::remove_file(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, MarkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        // Removed before it is unlocked, which dropping it does.
        if let Some(_file) = self.marks.lock().held.remove(path) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes a mark, and locks it.
fn write(directory: &Path, model: &str, version: u64) -> io::Result<(PathBuf, File)> {
    let path = directory.join(format!("{:016x}", fastrand::u64(..)));
    let mut file = File::options().write(true).create_new(true).open(&path)?;
    let written = file.try_lock().map_err(io::Error::from).and_then(|()| write!(file, "{version} {model}"));
    match written {
        Ok(()) => Ok((path, file)),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// What a mark says, if its process is dead; then it is removed.
fn stale(path: &Path) -> Option<Suspect> {
    let mut file = File::open(path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        // Its process lives, or can't be told from a dead one.
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    let read = (&mut file).take(LONGEST).read_to_string(&mut text);
    fs::remove_file(path).ok()?;
    // A mark without text wasn't locked yet; its load goes on without one.
    let (version, model) = read.ok().and(text.split_once(' '))?;
    Some(Suspect { model: model.to_owned(), version: version.parse().ok()? })
}

/// This user's directory among the temporary files.
fn own_temporary() -> PathBuf {
    // SAFETY: it has no precondition.
    let user = unsafe { libc::geteuid() };
    std::env::temp_dir().join(format!("cresset-{user}"))
}

/// Makes a directory for this user alone. If it is to be this user's `own`, nobody
/// else can have made it: other users may write beside it.
fn make(directory: &Path, own: bool) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = if own { fs::symlink_metadata(directory)? } else { fs::metadata(directory)? };
    // SAFETY: it has no precondition.
    let user = unsafe { libc::geteuid() };
    if !found.is_dir() || (own && found.uid() != user) {
        return Err(io::Error::other("it is another user's, or no directory"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(model: &str, version: u64) -> Suspect {
        Suspect { model: model.to_owned(), version }
    }

    /// The marks that are there.
    fn files(marks: &LoadMarks) -> Vec<PathBuf> {
        let directory = marks.directory.as_ref().unwrap();
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_mark_is_there_while_a_version_is_loaded() {
        let state = tempfile::tempdir().unwrap();
        let open = || LoadMarks::open(Some(state.path()), &["models".into()]);
        let marks = open();
        let [first, second] = [marks.begin("a model", 1), marks.begin("b", 20)];
        assert_eq!(files(&marks).len(), 2);
        // Another server on the same repository, which starts meanwhile.
        assert_eq!(open().take(), BTreeSet::new());
        drop(first);
        assert_eq!(files(&marks).len(), 1);
        drop(second);
        assert!(files(&marks).is_empty());
    }

    #[test]
    fn the_marks_of_a_dead_process_are_taken_once() {
        let state = tempfile::tempdir().unwrap();
        let marks = LoadMarks::open(Some(state.path()), &["models".into()]);
        for (model, version) in [("a model", 1), ("b", 20)] {
            let mark = marks.begin(model, version);
            // What the death of a process does: the lock goes, and the file stays.
            marks.lock().held.clear();
            std::mem::forget(mark);
        }
        fs::write(marks.directory.as_ref().unwrap().join("empty"), "").unwrap();
        let other = LoadMarks::open(Some(state.path()), &["other".into()]);
        assert_eq!(other.take(), BTreeSet::new(), "of another repository");
        assert_eq!(marks.take(), BTreeSet::from([suspect("a model", 1), suspect("b", 20)]));
        assert_eq!((marks.take(), files(&marks).len()), (BTreeSet::new(), 0));
    }

    #[test]
    fn a_stop_leaves_no_mark() {
        let state = tempfile::tempdir().unwrap();
        let marks = LoadMarks::open(Some(state.path()), &["models".into()]);
        let under_way = marks.begin("a", 1);
        marks.stop();
        let _later = marks.begin("b", 1);
        assert!(files(&marks).is_empty());
        drop(under_way);
    }

    #[test]
    fn without_a_place_there_are_no_marks() {
        let marks = LoadMarks::open(Some(Path::new("/dev/null")), &["models".into()]);
        let _mark = marks.begin("a", 1);
        assert_eq!((marks.directory.clone(), marks.take()), (None, BTreeSet::new()));
        // A directory that somebody else put among the temporary files.
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("cresset");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(make(&link, true).is_err());
        assert!(make(&link, false).is_ok());
    }
}
