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
    all(&ModelRepository::open(&[directory.to_owned()]).unwrap()).unwrap()
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

fn all_shown(directory: &Path) -> Vec<String> {
    models(directory).iter().map(shown).collect()
}

fn open_error(path: &Path) -> String {
    ModelRepository::open(&[path.to_owned()]).unwrap_err().to_string()
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
            "gap [1] version 7: named by version_policy, and has no directory; \
             version 2: '2/model.pt' is missing",
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
fn links_are_followed_inside_the_repository_only() {
    let elsewhere = tree(&[("m/1/model.pt", ""), ("config.pbtxt", "secret: 'of another user'")]);
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
    assert_eq!(
        all_shown(repository.path()),
        [
            "alias [1] ",
            "config [] config.pbtxt is a symbolic link that leaves the model repository",
            "dangling [] config.pbtxt: can't be read: No such file or directory (os error 2)",
            "file [] version 1: '1/model.pt' is a symbolic link that leaves the model repository",
            "inside [1] ",
            "model [] its directory is a symbolic link that leaves the model repository",
            // A link that leads nowhere, or round in a circle.
            "nowhere [] its directory can't be reached: \
             Too many levels of symbolic links (os error 40)",
            "version [] version 1: '1/model.pt' is a symbolic link that leaves the model repository",
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
             expected a directory that holds <model>/<version>/model.pt"
        )
    );
    let model = tree(&[("config.pbtxt", ""), ("1/model.pt", "")]);
    assert_eq!(
        open_error(model.path()),
        format!(
            "model repository '{}' is a model's directory: give the directory above it",
            model.path().display()
        )
    );
}

#[test]
fn several_repositories_are_one_unless_a_name_is_in_two() {
    let (one, two) = (tree(&[("a/1/model.pt", "")]), tree(&[("b/1/model.pt", "")]));
    let paths: Vec<PathBuf> = vec![one.path().into(), two.path().into()];
    let repository = ModelRepository::open(&paths).unwrap();
    assert_eq!(all(&repository).unwrap().len(), 2);

    fs::create_dir(two.path().join("a")).unwrap();
    assert_eq!(
        all(&repository).unwrap_err().to_string(),
        format!(
            "model 'a' is in two model repositories, '{}' and '{}': rename or remove one",
            one.path().display(),
            two.path().display()
        )
    );
}
