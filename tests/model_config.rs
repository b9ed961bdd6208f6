//! Every file of `tests/pbtxt/` and its result: the configuration or the error,
//! in the snapshot of the same name.

use std::fs;
use std::path::{Path, PathBuf};

use cresset::model_config::ModelConfig;

#[test]
fn every_file_gives_what_its_snapshot_says() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("pbtxt/expected");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pbtxt");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pbtxt"))
        .collect();
    files.sort();
    assert!(files.len() > 60, "the files are not where they were");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let result = ModelConfig::from_pbtxt(&fs::read_to_string(&file).unwrap(), "m");
        assert_eq!(result.is_err(), name.starts_with("refused_"), "{name}: {result:?}");
        let shown = match result {
            Ok(config) => format!("{config:#?}"),
            Err(error) => error.to_string(),
        };
        insta::assert_snapshot!(name, shown);
    }
}
