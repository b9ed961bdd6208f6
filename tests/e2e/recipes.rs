//! `docs/recipes.md`: the files that the page shows are served, its requests
//! are sent, and the answers are the ones that it shows.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::{Server, checkout};

/// What the page calls the server.
const ADDRESS: &str = "localhost:8000";
/// What it calls the model repository.
const REPOSITORY: &str = "my-models/";

/// A section of the page.
#[derive(Default)]
struct Recipe {
    name: String,
    /// Paths in the repository, with what lies there.
    files: Vec<(String, Vec<u8>)>,
    /// Programs, each with what it prints.
    asked: Vec<(Program, Value)>,
}

/// What asks the server.
struct Program {
    interpreter: &'static str,
    text: String,
}

/// The page's recipes; what it may hold is told here, and anything else fails.
fn recipes() -> Vec<Recipe> {
    let page = std::fs::read_to_string(checkout("docs/recipes.md")).unwrap();
    let mut recipes: Vec<Recipe> = Vec::new();
    let mut program = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("## ") {
            recipes.push(Recipe { name: name.to_owned(), ..Recipe::default() });
            continue;
        }
        // What stands before the first recipe is how to begin.
        let Some(recipe) = recipes.last_mut() else { continue };
        if let Some(comment) = line.strip_prefix("<!-- ") {
            let (place, file) = comment.trim_end_matches(" -->").split_once(" is ").expect(line);
            recipe.files.push((place.to_owned(), std::fs::read(checkout(file)).expect(file)));
        }
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = text.join("\n") + "\n";
        match info.split_once(" title=").unwrap_or((info, "")) {
            (_, place) if place.starts_with(REPOSITORY) => {
                recipe.files.push((place.to_owned(), text.into_bytes()));
            }
            ("sh", "") => program = Some(Program { interpreter: "sh", text }),
            ("python", "client.py") => program = Some(Program { interpreter: "python3", text }),
            // tests/clients runs it.
            ("python", "triton_client.py") | ("text", "triton_client.py prints") => {}
            // scripts/models/recipe_fixtures.py runs it, if it makes a fixture.
            ("python", _) => {}
            ("json", "") => {
                let program = program.take().expect("an answer stands behind what asks for it");
                recipe.asked.push((program, serde_json::from_str(&text).expect(&text)));
            }
            other => panic!("{}: the test doesn't know such a block: {other:?}", recipe.name),
        }
    }
    assert!(program.is_none(), "what asks has an answer behind it");
    recipes
}

/// The output of a program that asks `server`; `None` if this machine lacks
/// what it needs.
fn run(program: &Program, server: &Server) -> Option<Value> {
    let text = program.text.replace(ADDRESS, &server.http.to_string());
    assert_ne!(text, program.text, "it asks the page's server");
    let mut command = Command::new(program.interpreter);
    command.current_dir(checkout("")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        process => process.unwrap(),
    };
    process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    if output.status.code() == Some(127) {
        return None;
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}: {printed}", output.status);
    Some(serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}")))
}

/// Whether the page tells what came: whole numbers as they are, others to the
/// digits that processors agree on.
fn alike(told: &Value, came: &Value) -> bool {
    match (told, came) {
        (Value::Array(told), Value::Array(came)) => {
            told.len() == came.len() && told.iter().zip(came).all(|(told, came)| alike(told, came))
        }
        (Value::Object(told), Value::Object(came)) => {
            let same = |(key, told): (&String, &Value)| came.get(key).is_some_and(|came| alike(told, came));
            told.len() == came.len() && told.iter().all(same)
        }
        (Value::Number(told), Value::Number(came)) if told.is_f64() => {
            let (told, came) = (told.as_f64().unwrap(), came.as_f64().unwrap());
            (told - came).abs() <= 1e-3 * told.abs().max(1.0)
        }
        _ => told == came,
    }
}

fn lay(root: &Path, files: &[(String, Vec<u8>)]) {
    for (place, content) in files {
        let place = root.join(place);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }
}

#[test]
fn every_recipe_answers_as_the_page_says() {
    let recipes = recipes();
    assert!(recipes.len() >= 6, "the page's sections are found");
    for recipe in recipes {
        let name = &recipe.name;
        assert!(!recipe.asked.is_empty(), "{name}: nothing is asked");
        let root = tempfile::tempdir().unwrap();
        lay(root.path(), &recipe.files);
        let server = Server::start(&root.path().join(REPOSITORY), &[]);
        assert!(!server.announced.contains("NOT served"), "{name}: {}", server.announced);
        for (program, told) in &recipe.asked {
            match run(program, &server) {
                Some(came) => assert!(alike(told, &came), "{name}: the page says {told}, and {came} came"),
                None => eprintln!("{name}: left out, because this machine lacks a program: {}", program.text),
            }
        }
    }
}

#[test]
fn a_wrong_answer_is_seen() {
    let told: Value =
        serde_json::from_str(r#"{"label": "cat", "index": 1200, "score": [0.5, 20.25]}"#).unwrap();
    let came = |text: &str| alike(&told, &serde_json::from_str(text).unwrap());
    assert!(came(r#"{"index": 1200, "label": "cat", "score": [0.5003, 20.26]}"#));
    for wrong in [
        r#"{"index": 1201, "label": "cat", "score": [0.5, 20.25]}"#,
        r#"{"index": 1200, "label": "dog", "score": [0.5, 20.25]}"#,
        r#"{"index": 1200, "label": "cat", "score": [0.502, 20.25]}"#,
        r#"{"index": 1200, "label": "cat", "score": [0.5]}"#,
        r#"{"index": 1200, "label": "cat"}"#,
        r#"{"index": 1200, "label": "cat", "score": [0.5, 20.25], "more": 1}"#,
        r#"{"index": 1200, "label": "cat", "score": [0.5, null]}"#,
    ] {
        assert!(!came(wrong), "{wrong}");
    }
}
