//! `models.lock`: the contents that a repository's files must have, as
//! `sha256sum` writes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Its name, in the directory that `--model-repository` names.
pub(super) const LOCK_FILENAME: &str = "models.lock";

/// How much of a file is read at a time.
const CHUNK: usize = 1 << 20;

/// What `models.lock` says. Every file of a model that is loaded must be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// The directory that the paths begin at.
    root: PathBuf,
    /// By path: the sha256, in lower case.
    sums: BTreeMap<String, String>,
}

impl Pins {
    /// Reads the file in a repository's directory.
    ///
    /// # Errors
    /// It can't be read, or a line of it.
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(root.join(LOCK_FILENAME))
            .map_err(|error| format!("{LOCK_FILENAME} can't be read: {}", error.kind()))?;
        let mut sums = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |what: &str| format!("{LOCK_FILENAME} line {}: {what}", number + 1);
            let (path, sum) = entry(line).ok_or_else(|| {
                refused("expected a sha256 in hex, two spaces and a path, as sha256sum writes them")
            })?;
            if sums.insert(path, sum.clone()).is_some_and(|other| other != sum) {
                return Err(refused("the same path has another sha256 further up"));
            }
        }
        Ok(Self { root: root.to_owned(), sums })
    }

    /// Reads these files and checks that each is what is listed.
    ///
    /// # Errors
    /// The first that isn't listed, is something else, or can't be read.
    pub fn check<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<(), String> {
        paths.into_iter().try_for_each(|path| self.check_one(path))
    }

    fn check_one(&self, path: &Path) -> Result<(), String> {
        let own = plain(path.strip_prefix(&self.root).unwrap_or(path));
        let Some(listed) = self.sums.get(&own) else {
            return Err(format!(
                "{LOCK_FILENAME} doesn't list '{own}': add the line that sha256sum writes for it, or remove {LOCK_FILENAME}"
            ));
        };
        let sum = sha256(path).map_err(|error| format!("'{own}' can't be read: {}", error.kind()))?;
        if sum == *listed {
            return Ok(());
        }
        Err(format!(
            "'{own}' isn't the file that {LOCK_FILENAME} lists: its sha256 is {sum}, and {listed} is expected; copy the \
             right file, or list this one"
        ))
    }
}

/// A line's path and sum.
fn entry(line: &str) -> Option<(String, String)> {
    // A path with a backslash or a line break is marked so.
    let (line, escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
    let (sum, path) = line.split_once(' ')?;
    // The second character says how the file was read; it makes no difference.
    let path = path.strip_prefix([' ', '*'])?;
    if sum.len() != 64 || !sum.bytes().all(|digit| digit.is_ascii_hexdigit()) || path.is_empty() {
        return None;
    }
    let path = if escaped { path.replace("\\n", "\n").replace("\\\\", "\\") } else { path.to_owned() };
    Some((plain(Path::new(&path)), sum.to_ascii_lowercase()))
}

/// A path without what makes no difference: `./a//b` is `a/b`.
fn plain(path: &Path) -> String {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.collect::<PathBuf>().to_string_lossy().into_owned()
}

/// A file's sha256, in lower case.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("{:x}", sum.finalize())),
            count => sum.update(&chunk[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "abc", as FIPS 180-2 has it.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// What a repository of one file with `lock` beside it says of a file of the
    /// model.
    fn told(lock: &str, path: &str) -> Result<(), String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("m/1")).unwrap();
        fs::write(root.path().join("m/1/model.pt"), "abc").unwrap();
        fs::write(root.path().join(LOCK_FILENAME), lock).unwrap();
        Pins::read(root.path())?.check([&*root.path().join("m").join(path)])
    }

    #[test]
    fn a_listed_file_is_held_to_its_sum() {
        let upper = ABC.to_uppercase();
        for line in [
            format!("{ABC}  m/1/model.pt\n"),
            format!("{ABC} *./m/1/model.pt"),
            format!("# made by hand\n\n{upper}  m//1/model.pt\r\n{ABC}  elsewhere"),
        ] {
            assert_eq!(told(&line, "1/model.pt"), Ok(()), "{line}");
        }
        let other =
            told(&format!("{}  m/1/model.pt", ABC.replace("ba78", "ba79")), "1/model.pt").unwrap_err();
        assert!(
            other.starts_with("'m/1/model.pt' isn't the file that models.lock lists") && other.contains(ABC),
            "{other}"
        );
        for lock in ["", &format!("{ABC}  m/2/model.pt"), &format!("{ABC}  /m/1/model.pt")] {
            let unlisted = told(lock, "1/model.pt").unwrap_err();
            assert!(unlisted.starts_with("models.lock doesn't list 'm/1/model.pt'"), "{unlisted}");
        }
        let missing = told(&format!("{ABC}  m/2/model.pt"), "2/model.pt").unwrap_err();
        assert_eq!(missing, "'m/2/model.pt' can't be read: entity not found");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_nothing_is_served() {
        for line in [
            "m/1/model.pt",
            &format!("{ABC} m/1/model.pt"),
            &format!("SHA256 (m) = {ABC}"),
            &format!("{ABC}0  m"),
        ] {
            let refused = told(&format!("{ABC}  a\n{line}"), "1/model.pt").unwrap_err();
            assert!(refused.starts_with("models.lock line 2: expected a sha256"), "{refused}");
        }
        let twice = told(&format!("{ABC}  a\n{}  ./a", ABC.replace('b', "c")), "1/model.pt").unwrap_err();
        assert_eq!(twice, "models.lock line 2: the same path has another sha256 further up");
    }

    #[test]
    fn names_with_line_breaks_are_read_as_sha256sum_writes_them() {
        let read = |line: &str| entry(line).map(|(path, _)| path);
        assert_eq!(read(&format!("\\{ABC}  a\\nb")), Some("a\nb".to_owned()));
        assert_eq!(read(&format!("{ABC}  a\\nb")), Some("a\\nb".to_owned()));
    }
}
