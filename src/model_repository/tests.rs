use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A directory of files, each given by its path and its text.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn models(directory: &Path) -> Vec<ModelEntry> {
    all(&ModelRepository::open(&[directory.to_owned()], &Access::default()).unwrap()).unwrap()
}

/// Every model's entry.
fn all(repository: &ModelRepository) -> Result<Vec<ModelEntry>, RepositoryError> {
    let entry = |name: String| Ok(repository.entry(&name, None)?.expect("it has a directory"));
    repository.names()?.into_iter().map(entry).collect()
}

/// An entry in a line: its versions, then its problems.
fn shown(entry: &ModelEntry) -> String {
    let versions: Vec<u64> = entry.versions.iter().map(|version| version.version).collect();
    let problems: Vec<String> = entry.problems.iter().map(Problem::to_string).collect();
    format!("{} {versions:?} {}", entry.name, problems.join("; "))
}

fn each(entries: &[ModelEntry]) -> Vec<String> {
    entries.iter().map(shown).collect()
}

fn all_shown(directory: &Path) -> Vec<String> {
    each(&models(directory))
}

fn open_error(path: &Path) -> String {
    ModelRepository::open(&[path.to_owned()], &Access::default()).unwrap_err().to_string()
}

#[test]
fn models_come_sorted_with_the_versions_that_their_policy_picks() {
    let repository = tree(&[
        ("b/1/model.pt", ""),
        ("b/2/model.pt", ""),
        ("b/10/model.pt", ""),
        ("a/1/net.pt", ""),
        ("a/3/net.pt", ""),
        ("a/config.pbtxt", "default_model_filename: 'net.pt' version_policy { all { } }"),
    ]);
    assert_eq!(all_shown(repository.path()), ["a [1, 3] ", "b [10] "]);
    let root = fs::canonicalize(repository.path()).unwrap();
    let entries = models(repository.path());
    assert_eq!(entries[0].versions[1].file, root.join("a/3/net.pt"));
    assert_eq!(entries[1].directory, root.join("b"));
    assert!(!entries[1].config.as_ref().unwrap().declared);
}

#[test]
fn what_is_no_model_and_no_version_is_passed_over() {
    let repository = tree(&[
        ("README.md", ""),
        (".git/config", ""),
        ("lost+found/x", ""),
        ("m/1/model.pt", ""),
        ("m/02/model.pt", ""),
        ("m/0/model.pt", ""),
        ("m/v3/model.pt", ""),
        ("m/4", "a file"),
        ("m/99999999999999999999/model.pt", ""),
        ("m/labels.txt", ""),
    ]);
    assert_eq!(all_shown(repository.path()), ["m [1] "]);
}

#[test]
fn a_model_that_cannot_be_served_says_why_beside_the_others() {
    let repository = tree(&[
        ("bare/README.md", ""),
        ("flat/model.pt", ""),
        ("gap/1/model.pt", ""),
        ("gap/2/other.pt", ""),
        ("gap/config.pbtxt", "version_policy { specific { versions: [ 1, 2, 7 ] } }"),
        ("good/1/model.pt", ""),
        ("misspelt/1/model.pt", ""),
        ("misspelt/config.pbtxt", "max_batch_sise: 8"),
        ("nested/1/model.pt/data", ""),
        ("quo'te/1/model.pt", ""),
    ]);
    assert_eq!(
        all_shown(repository.path()),
        [
            "bare [] no version directory: expected '1/model.pt'",
            "flat [] no version directory: move 'model.pt' to '1/model.pt'",
            "gap [1] version 2: '2/model.pt' is missing; 'other.pt' is there: it is empty: was it copied to its end?",
            "good [1] ",
            "misspelt [] config.pbtxt:1:1: field 'max_batch_sise' not found \
             for message 'inference.ModelConfig'",
            "nested [] version 1: '1/model.pt' is not a file",
            "quo'te [] invalid model name 'quo\\'te': \
             it holds characters that can't be printed, quotes or backslashes",
        ]
    );
}

#[test]
fn links_are_followed_anywhere_or_inside_the_repository_only() {
    let elsewhere = tree(&[("m/1/model.pt", ""), ("config.pbtxt", "max_batch_size: 3")]);
    let repository = tree(&[
        ("inside/1/model.pt", ""),
        ("config/1/model.pt", ""),
        ("dangling/1/model.pt", ""),
        ("file/1/.keep", ""),
        ("version/.keep", ""),
    ]);
    let at = |path: &str| repository.path().join(path);
    symlink(at("inside"), at("alias")).unwrap();
    symlink(elsewhere.path().join("config.pbtxt"), at("config/config.pbtxt")).unwrap();
    symlink("nowhere", at("dangling/config.pbtxt")).unwrap();
    symlink(elsewhere.path().join("m/1/model.pt"), at("file/1/model.pt")).unwrap();
    symlink(elsewhere.path().join("m"), at("model")).unwrap();
    symlink("nowhere", at("nowhere")).unwrap();
    symlink(elsewhere.path().join("m/1"), at("version/1")).unwrap();
    let shown_with = |follow_links| {
        let access = Access { follow_links, ..Access::default() };
        let repository = ModelRepository::open(&[repository.path().to_owned()], &access).unwrap();
        each(&all(&repository).unwrap())
    };
    let dangling = "dangling [] config.pbtxt: can't be read: No such file or directory (os error 2)";
    // A link that leads nowhere, or round in a circle.
    let nowhere =
        "nowhere [] its directory can't be reached: Too many levels of symbolic links (os error 40)";
    assert_eq!(
        shown_with(true),
        [
            "alias [1] ",
            "config [1] ",
            dangling,
            "file [1] ",
            "inside [1] ",
            "model [1] ",
            nowhere,
            "version [1] "
        ]
    );
    let leaves = "is a symbolic link that leaves the model repository, which --no-follow-links refuses";
    assert_eq!(
        shown_with(false),
        [
            "alias [1] ",
            &format!("config [] config.pbtxt {leaves}"),
            dangling,
            &format!("file [] version 1: '1/model.pt' {leaves}"),
            "inside [1] ",
            &format!("model [] its directory {leaves}"),
            nowhere,
            &format!("version [] version 1: '1/model.pt' {leaves}"),
        ]
    );
}

/// KServe's /mnt/models is a link through /proc to another container's root, so its
/// target has no other path here.
#[test]
fn paths_are_used_as_they_are_given() {
    let place = tree(&[("models/m/1/model.pt", "")]);
    let link = place.path().join("mnt");
    symlink(place.path().join("models"), &link).unwrap();
    let entry = models(&link).remove(0);
    assert_eq!(entry.directory, link.join("m"));
    assert_eq!(entry.versions[0].file, link.join("m/1/model.pt"));
}

#[test]
fn one_model_is_served_wherever_it_lies() {
    let place = tree(&[
        ("versions/1/model.pt", ""),
        ("versions/3/model.pt", ""),
        ("configured/config.pbtxt", ""),
        ("configured/1/model.pt", ""),
        ("flat/model.pt", ""),
        ("files/best.torchscript", ""),
        ("colon/at:12:00/m/1/model.pt", ""),
    ]);
    let at = |path: &str| place.path().join(path);
    let shown_at = |path: &str, single: Option<&str>| {
        let access = Access { single: single.map(str::to_owned), ..Access::default() };
        each(&all(&ModelRepository::open(&[at(path)], &access).unwrap()).unwrap())
    };
    assert_eq!(shown_at("versions", None), ["versions [3] "]);
    assert_eq!(shown_at("configured", Some("resnet")), ["resnet [1] "]);
    assert_eq!(shown_at("flat", None), ["flat [1] "]);
    assert_eq!(shown_at("files/best.torchscript", None), ["best [1] "]);
    assert_eq!(shown_at("colon/at:12:00", None), ["m [1] "]);
    let two = format!("{}:{}", at("versions").display(), at("flat").display());
    let two = ModelRepository::open(&[PathBuf::from(two)], &Access::default()).unwrap();
    assert_eq!(each(&all(&two).unwrap()), ["flat [1] ", "versions [3] "]);
    for remote in ["s3://bucket/models", "gs://b", "hf://org/model", "https://x/y.pt"] {
        let error = open_error(Path::new(remote));
        assert!(error.contains(&format!("'{remote}' is a remote address")), "{error}");
    }
}

#[test]
fn what_lies_there_instead_is_named() {
    let models = tree(&[
        ("zero/0/model.pt", ""),
        ("padded/01/model.pt", ""),
        ("v/v1/model.pt", ""),
        ("othername/1/best.torchscript", "PK\u{3}\u{4}"),
        ("exported/1/model.pt2", "PK\u{3}\u{4}     x/archive_format"),
        ("pointer/1/weights.safetensors", "version https://git-lfs.github.com/spec/v1"),
    ]);
    assert_eq!(
        all_shown(models.path()),
        [
            "exported [] version 1: '1/model.pt' is missing; 'model.pt2' is there: it was saved by torch.export (.pt2), \
             which isn't served yet; export the model with torch.jit.trace or torch.jit.script",
            "othername [] version 1: '1/model.pt' is missing; 'best.torchscript' is there: rename it to 'model.pt', or \
             set default_model_filename: \"best.torchscript\" in config.pbtxt",
            "padded [] '01' is no version: versions are whole numbers from 1 on; rename it to '1'",
            "pointer [] version 1: '1/model.pt' is missing; 'weights.safetensors' is there: it is a Git LFS pointer, not \
             the file itself: run git lfs pull",
            "v [] 'v1' is no version: versions are whole numbers from 1 on; rename it to '1'",
            "zero [] '0' is no version: versions are whole numbers from 1 on; rename it to '1'",
        ]
    );
}

#[test]
fn a_directory_that_is_no_repository_is_refused_in_one_line() {
    let empty = tree(&[("README.md", ""), (".hidden/1/model.pt", "")]);
    let path = empty.path().display();
    assert_eq!(
        open_error(empty.path()),
        format!("model repository '{path}' holds no model: expected <model>/<version>/model.pt")
    );
    assert_eq!(
        open_error(&empty.path().join("missing")),
        format!("model repository '{path}/missing' can't be read: no such directory")
    );
    assert_eq!(
        open_error(&empty.path().join("README.md")),
        format!(
            "model repository '{path}/README.md' is not a directory: \
             expected a directory that holds <model>/<version>/model.pt, or one model's file \
             (.pt, .pth, .ts, .torchscript)"
        )
    );
}

#[test]
fn several_repositories_are_one_unless_a_name_is_in_two() {
    let (one, two) = (tree(&[("a/1/model.pt", "")]), tree(&[("b/1/model.pt", "")]));
    let paths: Vec<PathBuf> = vec![one.path().into(), two.path().into()];
    let repository = ModelRepository::open(&paths, &Access::default()).unwrap();
    assert_eq!(all(&repository).unwrap().len(), 2);

    fs::create_dir(two.path().join("a")).unwrap();
    assert_eq!(repository.names().unwrap(), ["a", "b"]);
    assert_eq!(shown(&repository.entry("b", None).unwrap().unwrap()), "b [1] ", "the others are served");
    assert_eq!(
        all(&repository).unwrap_err().to_string(),
        format!(
            "model 'a' is in two model repositories, '{}' and '{}': rename or remove one",
            one.path().display(),
            two.path().display()
        )
    );
}

#[test]
fn a_directory_that_is_given_twice_is_taken_once() {
    let place = tree(&[("models/a/1/model.pt", ""), ("files/x.pt", ""), ("files/y.pt", "")]);
    let at = |path: &str| place.path().join(path);
    symlink(at("models"), at("link")).unwrap();
    for again in ["models", "models/", "link", "files/../models"] {
        let repository = ModelRepository::open(&[at("models"), at(again)], &Access::default()).unwrap();
        assert_eq!(each(&all(&repository).unwrap()), ["a [1] "], "{again}");
    }
    let files = ["files/x.pt", "files/y.pt", "files/x.pt"].map(at);
    let repository = ModelRepository::open(&files, &Access::default()).unwrap();
    assert_eq!(repository.names().unwrap(), ["x", "y"], "two files of one directory are two models");
}

#[test]
fn every_directory_without_a_model_is_named() {
    let (one, none) = (tree(&[("a/1/model.pt", "")]), tree(&[]));
    let paths = [one.path().to_owned(), none.path().to_owned()];
    let repository = ModelRepository::open_for_change(&paths, &Access::default()).unwrap();
    let empty: Vec<String> = repository.empty().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(empty, [open_error(none.path())]);
    assert_eq!(ModelRepository::open(&paths, &Access::default()).unwrap_err().to_string(), empty[0]);
}

#[test]
fn a_lock_that_cannot_be_read_is_not_the_same_as_none() {
    let repository = tree(&[("m/1/model.pt", "")]);
    let lock = repository.path().join("models.lock");
    let entry = models(repository.path()).remove(0);
    assert_eq!((shown(&entry), entry.pins.is_none()), ("m [1] ".to_owned(), true));
    symlink("nowhere", &lock).unwrap();
    // A link that leads nowhere counts as a model, too.
    assert_eq!(all_shown(repository.path())[0], "m [] models.lock is missing");
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "one line").unwrap();
    let expected =
        "m [] models.lock line 1: expected a sha256 in hex, two spaces and a path, as sha256sum writes them";
    assert_eq!(all_shown(repository.path()), [expected]);
    fs::write(&lock, "").unwrap();
    let entry = models(repository.path()).remove(0);
    assert_eq!((shown(&entry), entry.pins.is_some()), ("m [1] ".to_owned(), true));
}
