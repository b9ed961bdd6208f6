//! The invariants of the sources, checked by searching their text.
// A test may say what it expects.
#![allow(clippy::unwrap_used)]

#[path = "house/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sources::{Module, Sources};

/// Every Rust source under `src/<room>`, with its text.
fn sources(room: &str) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut found);
    assert!(!found.is_empty(), "src/{room} has sources");
    found
}

/// Lines of code (comments aside) that hold one of `words`.
fn offences(room: &str, words: &[&str], except: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(room) {
        if !except.is_empty() && path.to_string_lossy().contains(except) {
            continue;
        }
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        let bad = lines.filter(|(_, line)| words.iter().any(|word| names(line, word)));
        found.extend(bad.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
    }
    found
}

/// Whether `word` stands in `line` and is not the end of a longer name.
fn names(line: &str, word: &str) -> bool {
    let own = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| own(&line[..at]))
}

#[test]
fn libtorch_is_named_where_the_backend_is_chosen_and_nowhere_else() {
    assert_eq!(offences("", &["cresset_libtorch::"], "main.rs"), [""; 0]);
}

#[test]
fn the_http_surface_knows_the_engine_and_nothing_below_it() {
    assert_eq!(offences("http", &["cresset_scheduler", "crate::instance", "cresset_backend"], ""), [""; 0]);
}

#[test]
fn the_grpc_surface_knows_the_engine_and_nothing_below_it() {
    let below = ["cresset_scheduler", "crate::instance", "cresset_backend", "crate::http"];
    assert_eq!(offences("grpc", &below, ""), [""; 0]);
    assert_eq!(offences("http", &["crate::grpc"], ""), [""; 0]);
}

#[test]
fn rooms_know_each_other_downwards_only() {
    for (room, above) in [
        ("instance", &["crate::http", "crate::grpc", "crate::engine", "crate::model::"][..]),
        ("model", &["crate::http", "crate::grpc", "crate::engine"]),
        ("model/tuning", &["model::loading"]),
        ("model/answering", &["model::loading", "model::tuning"]),
        ("engine", &["crate::http", "crate::grpc"]),
        (
            "inspect",
            &[
                "crate::http",
                "crate::grpc",
                "crate::engine",
                "crate::model::",
                "crate::instance",
                "cresset_scheduler",
            ],
        ),
        (
            "model_settings",
            &[
                "crate::http",
                "crate::grpc",
                "crate::engine",
                "crate::model::",
                "crate::instance",
                "cresset_scheduler",
            ],
        ),
        (
            "transform",
            &[
                "crate::http",
                "crate::engine",
                "crate::model::",
                "crate::model_settings",
                "crate::instance",
                "cresset_backend",
            ],
        ),
    ] {
        assert_eq!(offences(room, above, ""), [""; 0], "{room}");
    }
}

/// The sources of every crate of the workspace, by their folders.
fn crates() -> Vec<(String, Sources)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().file_name());
    let folders = names.map(|name| format!("crates/{}/src", name.to_str().unwrap()));
    let folders = std::iter::once("src".to_owned()).chain(folders);
    folders.map(|folder| (folder.clone(), Sources::read(root, &folder))).collect()
}

/// The files of each circle of imports, by their modules.
fn circles(sources: &Sources) -> BTreeSet<BTreeSet<&Module>> {
    let imports: BTreeMap<&Module, BTreeSet<&Module>> =
        sources.0.keys().map(|module| (module, sources.imported_by(module))).collect();
    let reached = |from: &Module| {
        let mut found = BTreeSet::new();
        let mut next: Vec<&Module> = imports[from].iter().copied().collect();
        while let Some(module) = next.pop() {
            if found.insert(module) {
                next.extend(&imports[module]);
            }
        }
        found
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        sources.0.keys().map(|module| (module, reached(module))).collect();
    let circle = |(module, others): (&&Module, &BTreeSet<&Module>)| -> BTreeSet<_> {
        sources.0.keys().filter(|other| others.contains(other) && reached[other].contains(module)).collect()
    };
    reached.iter().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// A room is a crate under `crates`, or a directory or a single file under `src`.
/// [`Sources::imported_by`] says what an import is. What is compiled for tests only
/// may import what it likes.
#[test]
fn files_import_each_other_in_circles_of_three_at_most_and_within_a_room() {
    let mut wrong = Vec::new();
    for (folder, sources) in crates() {
        for circle in circles(&sources) {
            let room = |module: &&Module| (folder == "src").then(|| module.first().cloned());
            let rooms: BTreeSet<_> = circle.iter().map(room).collect();
            if circle.len() > 3 || rooms.len() > 1 {
                let files = circle.iter().map(|module| sources.0[*module].path.display().to_string());
                wrong.push(files.collect::<Vec<_>>().join(", "));
            }
        }
    }
    assert!(wrong.is_empty(), "these files import each other in circles:\n{}", wrong.join("\n"));
}

/// A name that is two things has to be looked up each time that it is read.
#[test]
fn no_type_name_is_defined_twice_within_a_crate() {
    let mut twice = Vec::new();
    for (_, sources) in crates() {
        let mut defined: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for source in sources.0.values() {
            for name in source.types() {
                defined.entry(name).or_default().push(source.path.display().to_string());
            }
        }
        let several = defined.into_iter().filter(|(_, files)| files.len() > 1);
        twice.extend(several.map(|(name, files)| format!("{name}: {}", files.join(", "))));
    }
    assert!(twice.is_empty(), "these names are defined more than once:\n{}", twice.join("\n"));
}

#[test]
fn a_model_is_asked_in_one_place() {
    assert_eq!(offences("", &["model.infer("], "engine/infer.rs"), [""; 0]);
}

#[test]
fn statuses_are_named_in_one_file() {
    let failing = ["StatusCode::", "HttpResponse::Bad", "HttpResponse::Internal", "HttpResponse::Not"];
    let named = offences("http", &failing, "status.rs");
    assert_eq!(named, [""; 0]);
}

#[test]
fn grpc_codes_are_named_in_one_file() {
    let status =
        ["Status::new", "Status::i", "Status::n", "Status::u", "Status::r", "Status::d", "Status::c"];
    // Not those of our own errors.
    let code: Vec<String> =
        ('A'..='Z').flat_map(|c| [format!(" Code::{c}"), format!("(Code::{c}")]).collect();
    let words: Vec<&str> = status.into_iter().chain(code.iter().map(String::as_str)).collect();
    let named = offences("grpc", &words, "status.rs");
    assert_eq!(named, [""; 0]);
}

/// Docker then builds it once for both images, and they hold the same binary.
#[test]
fn both_dockerfiles_build_the_same() {
    let built = |name: &str| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let from = text.find("ARG DEBIAN=").unwrap();
        let to = text.find("# --- what is carried").unwrap();
        text[from..to].to_owned()
    };
    let cpu = built("Dockerfile.cpu");
    assert!(cpu.contains("cargo build --release"), "{cpu}");
    assert_eq!(cpu, built("Dockerfile.cuda"));
}

#[test]
fn an_index_lists_every_page() {
    for folder in ["docs", "docs/design"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let index = fs::read_to_string(folder.join("index.md")).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let page = entry.unwrap().file_name().into_string().unwrap();
            let listed = index.contains(&format!("]({page})"));
            let exempt = page == "index.md" || !page.ends_with(".md");
            assert!(listed || exempt, "{}/index.md lacks {page}", folder.display());
        }
    }
}

/// The project's pages, by their paths from the checkout. Other folders may
/// hold pages of others: a virtual environment, a build's output.
fn pages() -> Vec<String> {
    fn walk(root: &Path, folder: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            if root.join(&path).is_dir() {
                walk(root, &path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        .map(str::to_owned)
        .to_vec();
    for folder in ["docs", "crates", "deploy", "models", "scripts", "tests"] {
        walk(root, folder, &mut found);
    }
    found
}

/// What stands between `](` and `)`, outside blocks of code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let behind = prose.flat_map(|part| part.split("](").skip(1));
    behind.filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors of a page's headings, as a browser of the repository makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    headings
        .map(|heading| {
            let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in pages() {
        let text = fs::read_to_string(root.join(&page)).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let beside = Path::new(&page).parent().unwrap();
            let target = if file.is_empty() { root.join(&page) } else { root.join(beside).join(file) };
            assert!(target.exists(), "{page}: '{link}' leads nowhere");
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    there.iter().any(|each| each == anchor),
                    "{page}: '{link}': no such heading in {there:?}"
                );
            }
        }
    }
}

/// A newcomer reads it at one sitting; the rest is in docs/.
#[test]
fn the_readme_is_short() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert!(fs::read_to_string(readme).unwrap().lines().count() < 200);
}
