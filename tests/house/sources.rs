//! A crate's sources as modules: what each imports, and which types it defines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path from its crate's root: `["http", "state"]`.
pub(super) type Module = Vec<String>;

/// One file, without comments, literals and what is compiled for tests only.
pub(super) struct Source {
    /// From the checkout.
    pub(super) path: PathBuf,
    code: String,
    /// What its `use` statements bring, by the name that it has here.
    imports: BTreeMap<String, Vec<String>>,
    /// The same of `pub use`.
    exports: BTreeMap<String, Vec<String>>,
    /// The paths in the rest of its code.
    mentioned: Vec<Vec<String>>,
}

/// The files of one crate.
pub(super) struct Sources(pub(super) BTreeMap<Module, Source>);

impl Sources {
    /// Reads `src` or `crates/…/src`.
    pub(super) fn read(root: &Path, folder: &str) -> Self {
        let mut files = Vec::new();
        list(&root.join(folder), &mut files);
        let mut found = BTreeMap::new();
        let mut for_tests = Vec::new();
        for file in files {
            let module = module_of(file.strip_prefix(root.join(folder)).unwrap());
            let code = without_literals(&fs::read_to_string(&file).unwrap());
            let (code, tests) = without_tests(&code);
            for_tests.extend(tests.into_iter().map(|name| below(&module, &name)));
            let path = file.strip_prefix(root).unwrap().to_owned();
            found.insert(module, Source::new(path, code));
        }
        found.retain(|module, _| !for_tests.iter().any(|tests| module.starts_with(tests)));
        assert!(!found.is_empty(), "{folder} has sources");
        Self(found)
    }

    /// The files that one file imports.
    ///
    /// - What is re-exported is an import of the file that defines it, so that a
    ///   `mod.rs` that re-exports neither makes a circle nor hides one.
    /// - A `mod` or a `pub use` is no import. A name that a file re-exports and uses
    ///   itself is one.
    /// - A module that is imported as such (`use crate::metrics`) is an import of its
    ///   `mod.rs`; what is named by it (`metrics::loaded`) is one of its own.
    pub(super) fn imported_by(&self, module: &Module) -> BTreeSet<&Module> {
        let source = &self.0[module];
        let own = source.exports.iter().filter(|(name, _)| words(&source.code).any(|word| word == *name));
        let paths = source.imports.values().chain(own.map(|(_, path)| path)).chain(&source.mentioned);
        let found = paths.filter_map(|path| self.defining(module, path, 0));
        found.filter(|other| *other != module).collect()
    }

    /// The file that defines what `path` names in `module`; `None` if it is another
    /// crate's, or no path at all.
    fn defining(&self, module: &Module, path: &[String], depth: usize) -> Option<&Module> {
        // A name may be imported from a module that is named after itself.
        const DEEPEST: usize = 8;
        let (first, mut rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            name if self.0.contains_key(&below(module, name)) => below(module, name),
            name => {
                let import = self.0[module].imports.get(name).filter(|_| depth < DEEPEST)?;
                return self.defining(module, &[import, rest].concat(), depth + 1);
            }
        };
        while let Some((next, behind)) = rest.split_first() {
            if next == "super" {
                base.pop()?;
            } else if self.0.contains_key(&below(&base, next)) {
                base.push(next.clone());
            } else {
                break;
            }
            rest = behind;
        }
        let (found, source) = self.0.get_key_value(&base)?;
        let exported = rest.first().and_then(|name| source.exports.get(name)).filter(|_| depth < DEEPEST);
        let deeper =
            exported.and_then(|export| self.defining(found, &[export, &rest[1..]].concat(), depth + 1));
        Some(deeper.unwrap_or(found))
    }
}

impl Source {
    fn new(path: PathBuf, code: String) -> Self {
        let (mut imports, mut exports) = (BTreeMap::new(), BTreeMap::new());
        let mut rest = String::new();
        let mut statements = code.as_str();
        while let Some((before, tree, behind, public)) = next_use(statements) {
            rest.push_str(before);
            expand(&[], tree, if public { &mut exports } else { &mut imports });
            statements = behind;
        }
        rest.push_str(statements);
        let mentioned = paths(&rest);
        Self { path, code: rest, imports, exports, mentioned }
    }

    /// The names of the types that it defines. Those of a trait or of its
    /// implementation (`type Item = …;`) are the trait's, and stand further in.
    pub(super) fn types(&self) -> impl Iterator<Item = &str> {
        self.code.lines().filter_map(|line| {
            let item = without_visibility(line.trim_start());
            let (kind, rest) = item.split_once(' ')?;
            let defines = match kind {
                "struct" | "enum" | "trait" | "union" => true,
                "type" => !line.starts_with(' '),
                _ => false,
            };
            words(rest).next().filter(|_| defines)
        })
    }
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module_of(file: &Path) -> Module {
    let path = file.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

fn below(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// The code without comments, and with nothing in its literals.
fn without_literals(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = code.chars().next_back().is_some_and(is_word);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").unwrap() + 2
        } else if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
            raw_string(rest).unwrap_or(0)
        } else if first == '"' {
            literal(rest, '"').unwrap()
        } else if first == '\'' {
            // Else a lifetime.
            let quoted = rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'');
            if quoted { literal(rest, '\'').unwrap() } else { 0 }
        } else {
            0
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            rest = &rest[length..];
        }
    }
    code
}

/// The length of a literal from its opening to its closing quote.
fn literal(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// The length of `r#"…"#`; `None` for `r#name`.
fn raw_string(text: &str) -> Option<usize> {
    let hashes: String = text[1..].chars().take_while(|c| *c == '#').collect();
    let start = 1 + hashes.len();
    let body = text[start..].strip_prefix('"')?;
    let end = format!("\"{hashes}");
    Some(start + 1 + body.find(&end)? + end.len())
}

/// The code without the items that are compiled for tests only, and the names of
/// the modules among these that are files.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules) = (String::new(), Vec::new());
    let mut rest = code;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| rest.find(mark)).min() {
        kept.push_str(&rest[..at]);
        let (item, behind) = rest.split_at(at + item_length(&rest[at..]));
        let declared = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod "));
        modules.extend(declared.map(|(_, name)| name.trim().to_owned()));
        rest = behind;
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Up to the brace that ends an item, or to its semicolon.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return at + 1;
        }
    }
    code.len()
}

fn without_visibility(item: &str) -> &str {
    let Some(rest) = item.strip_prefix("pub") else { return item };
    let rest = rest.strip_prefix('(').and_then(|scope| scope.split_once(')')).map_or(rest, |(_, rest)| rest);
    rest.trim_start()
}

/// The code before the next `use`, its tree, the code behind it, and whether it
/// is a `pub use`.
fn next_use(code: &str) -> Option<(&str, &str, &str, bool)> {
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let item = line.trim_start();
        if let Some(tree) = without_visibility(item).strip_prefix("use ") {
            let from = start + line.len() - tree.len();
            let to = from + code[from..].find(';')?;
            return Some((&code[..start], &code[from..to], &code[to + 1..], item.starts_with("pub")));
        }
        start += line.len();
    }
    None
}

/// The paths of a tree of imports, by the names that they get.
fn expand(before: &[String], tree: &str, found: &mut BTreeMap<String, Vec<String>>) {
    let tree = tree.trim();
    if let Some((path, group)) = tree.split_once('{') {
        let before = [before, &segments(path)].concat();
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        let mut depth = 0;
        let commas = |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        for part in group.split(commas).filter(|part| !part.trim().is_empty()) {
            expand(&before, part, found);
        }
        return;
    }
    let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path = [before, &segments(path)].concat();
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    // Names that are brought for their methods only are told apart by their paths.
    let name = match name.trim() {
        "" if last == "*" => path.join("::"),
        "" => last,
        "_" => path.join("::"),
        name => name.to_owned(),
    };
    found.insert(name, path);
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Every `a::b::…` in the code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let chains = code.split(|c| !is_word(c) && c != ':').filter(|chain| chain.contains("::"));
    chains.filter(|chain| !chain.starts_with(':')).map(segments).collect()
}
