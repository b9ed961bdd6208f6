//! `docs/compatibility.md`: what is served of Triton's files and protocols,
//! and what is refused and why. Made from tables in which every line has a
//! probe; those of the endpoints and the calls are tried by `tests/e2e`.
//!
//! `UPDATE_COMPATIBILITY=1 cargo test --test compatibility` writes the page
//! anew.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fields;
mod flags;
mod protocol;
mod table;

use std::fmt::Write as _;
use std::path::Path;

use fields::Row;

#[test]
fn the_page_says_what_the_probes_find() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let page = page();
    assert!(!page.to_lowercase().contains("ignored"), "nothing is");
    if std::env::var_os("UPDATE_COMPATIBILITY").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (there, made)) in there.lines().zip(page.lines()).enumerate() {
        assert_eq!(
            there,
            made,
            "line {} of docs/compatibility.md; see tests/compatibility/main.rs",
            number + 1
        );
    }
    assert_eq!(there.lines().count(), page.lines().count(), "see tests/compatibility/main.rs");
}

fn page() -> String {
    let mut page = String::from(
        "# Compatibility with Triton Inference Server\n\n\
         What is served of Triton's configuration and protocols, and what is refused and why. A test makes this page: \
         it takes every field, path and call from the descriptors and the tables in `tests/compatibility`, tries each, \
         and fails if the page says otherwise.\n\n\
         A field of `config.pbtxt` that is refused keeps its model from being served, with the words of this table; set \
         to its default it asks for nothing.\n",
    );
    table(&mut page, "config.pbtxt", "field", &fields::rows());
    table(&mut page, "Keys of `parameters` in config.pbtxt", "key", &fields::switches());
    table(&mut page, "HTTP", "path", &protocol::endpoints());
    table(&mut page, "gRPC", "call", &protocol::calls());
    table(&mut page, "Fields of gRPC requests", "field", &protocol::fields());
    flags::table(&mut page);
    page
}

fn table(page: &mut String, title: &str, what: &str, rows: &[Row]) {
    assert!(!rows.is_empty());
    let _ = write!(page, "\n## {title}\n\n| {what} | | |\n|---|---|---|\n");
    for Row { name, served, why } in rows {
        assert!(!why.is_empty() && !why.contains('|') && !name.contains('|'), "{name}: {why}");
        let _ = writeln!(page, "| `{name}` | {} | {why} |", if *served { "served" } else { "refused" });
    }
}
