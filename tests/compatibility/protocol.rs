//! The protocols' tables against the service's descriptor: a line for each
//! call, and for each field of a request to a call that is answered.

use std::collections::{BTreeMap, BTreeSet};

use cresset::grpc::proto::DESCRIPTORS;
use prost_reflect::{DescriptorPool, MessageDescriptor, ServiceDescriptor};

use crate::fields::Row;
use crate::table::{Asked, CALLS, ENDPOINTS, FIELDS, Fate};

fn row(name: String, fate: Fate) -> Row {
    match fate {
        Fate::Served(why) => Row { name, served: true, why: why.to_owned() },
        Fate::Refused(why) => Row { name, served: false, why: why.to_owned() },
    }
}

fn once<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(seen.insert(name), "'{name}' has two lines");
    }
    seen
}

/// Every path that the server's router has, and no other, has a probe that it
/// leads there.
pub(crate) fn endpoints() -> Vec<Row> {
    let names: Vec<String> =
        ENDPOINTS.iter().map(|(method, shown, ..)| format!("{method} {shown}")).collect();
    once(names.iter().map(String::as_str));
    let paths = cresset::http::paths();
    let mut tried = BTreeSet::new();
    for (method, shown, path, ..) in ENDPOINTS {
        assert!(leads(shown, path), "the probe {path} isn't of {shown}");
        let takes = |known: &Option<String>| known.as_ref().is_none_or(|known| known == method);
        let there = paths.iter().position(|(_, known)| leads(known, path));
        let found = paths.iter().position(|(known, pattern)| leads(pattern, path) && takes(known)).or(there);
        let Some(found) = found else { panic!("{method} {shown}: the server has no such path") };
        if let Some(taken) = &paths[found].0 {
            assert_eq!(taken, method, "{shown}");
        }
        tried.insert((paths[found].0.as_deref(), paths[found].1.as_str()));
    }
    for (method, path) in &paths {
        assert!(
            tried.contains(&(method.as_deref(), path.as_str())),
            "the path {path} has no probe in tests/compatibility/table.rs"
        );
    }
    ENDPOINTS.iter().zip(&names).map(|((.., fate), name)| row(name.clone(), *fate)).collect()
}

/// Whether a path is one of a pattern's: `{model}` is all of a segment, or all
/// of it in front of `:predict`.
fn leads(pattern: &str, path: &str) -> bool {
    let (wanted, given) = (pattern.split('/'), path.split('/'));
    let matches =
        |(wanted, given): (&str, &str)| match wanted.strip_prefix('{').and_then(|of| of.split_once('}')) {
            Some((_, behind)) => given.strip_suffix(behind).is_some_and(|name| !name.is_empty()),
            None => wanted == given,
        };
    wanted.clone().count() == given.clone().count() && wanted.zip(given).all(matches)
}

fn service() -> ServiceDescriptor {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    pool.get_service_by_name("inference.GRPCInferenceService").unwrap()
}

/// In the descriptor's order.
pub(crate) fn calls() -> Vec<Row> {
    let table: BTreeMap<&str, &Asked> = CALLS.iter().map(|line| (line.0, line)).collect();
    let names: BTreeSet<String> = service().methods().map(|method| method.name().to_owned()).collect();
    assert_eq!(once(CALLS.iter().map(|line| line.0)), names.iter().map(String::as_str).collect());
    service().methods().map(|method| row(method.name().to_owned(), table[method.name()].5)).collect()
}

/// In the descriptor's order. The fields of a call that isn't offered go with
/// it, and its probe is theirs.
pub(crate) fn fields() -> Vec<Row> {
    let table: BTreeMap<&str, Fate> = FIELDS.iter().map(|line| (line.0, line.5)).collect();
    once(FIELDS.iter().map(|line| line.0));
    let mut rows: Vec<Row> = Vec::new();
    let mut seen = BTreeSet::new();
    // Those that are answered first: a message of both is theirs.
    let (answered, others): (Vec<_>, Vec<_>) = service().methods().partition(|method| {
        CALLS.iter().any(|line| line.0 == method.name() && matches!(line.5, Fate::Served(_)))
    });
    for method in answered {
        visit(&method.input(), &mut seen, &mut |name| {
            let fate =
                table.get(name.as_str()).unwrap_or_else(|| panic!("'{name}' has no line in the table"));
            rows.push(row(name, *fate));
        });
    }
    for (name, ..) in FIELDS {
        assert!(rows.iter().any(|row| row.name == *name), "'{name}' is in the table, and no request has it");
    }
    for method in others {
        visit(&method.input(), &mut seen, &mut |name| {
            let why = format!("as {}", method.name());
            rows.push(Row { name, served: false, why });
        });
    }
    rows
}

fn visit(message: &MessageDescriptor, seen: &mut BTreeSet<String>, found: &mut dyn FnMut(String)) {
    if !seen.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields() {
        if !message.is_map_entry() {
            let name = format!("{}.{}", message.full_name(), field.name());
            found(name.trim_start_matches("inference.").to_owned());
        }
        if let Some(inner) = field.kind().as_message() {
            visit(inner, seen, found);
        }
    }
}
