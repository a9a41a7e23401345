//! What changed in a spec, field by field. Lists of named things are compared by name, lists of words as sets.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A changed field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its path below `spec`, such as `budgets[month].usd` or `models.allow[]`.
    pub path: String,
    /// What it was; `None`: it was not there.
    pub before: Option<Value>,
    /// What it is; `None`: it is not there.
    pub after: Option<Value>,
    /// It is an item of a list that came or went as a whole. For permissions that is another thing than one item more: where
    /// there is no list, all may be allowed.
    pub whole: bool,
}

/// The fields by which the items of lists have their names.
const NAMES: [&str; 5] = ["name", "server", "model", "tool", "aboveInputTokens"];

/// Compares two specs.
pub fn compare(before: &Value, after: &Value) -> Vec<Field> {
    let mut out = Vec::new();
    walk("", Some(before), Some(after), &mut out);
    out
}

fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<Field>) {
    let (before, after) = (present(before), present(after));
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => objects(path, old, new, out),
        (Some(Value::Object(old)), None) if !old.is_empty() => objects(path, old, &Map::new(), out),
        (None, Some(Value::Object(new))) if !new.is_empty() => objects(path, &Map::new(), new, out),
        (Some(Value::Array(old)), Some(Value::Array(new))) => lists(path, old, new, out),
        (Some(Value::Array(old)), None) if !old.is_empty() => whole(path, old, &[], out),
        (None, Some(Value::Array(new))) if !new.is_empty() => whole(path, &[], new, out),
        // A permission that is there and empty is not one that is absent: the one allows nothing, the other may allow all.
        (before, after) => out.push(field(path, before, after)),
    }
}

/// `null` is as good as absent.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn field(path: &str, before: Option<&Value>, after: Option<&Value>) -> Field {
    Field { path: path.to_owned(), before: before.cloned(), after: after.cloned(), whole: false }
}

fn whole(path: &str, old: &[Value], new: &[Value], out: &mut Vec<Field>) {
    let from = out.len();
    lists(path, old, new, out);
    out.iter_mut().skip(from).for_each(|field| field.whole = true);
}

fn objects(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, out: &mut Vec<Field>) {
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        walk(&path, old.get(name), new.get(name), out);
    }
}

fn lists(path: &str, old: &[Value], new: &[Value], out: &mut Vec<Field>) {
    match (named(old), named(new)) {
        (Some(old), Some(new)) => {
            let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
            for (name, _) in old.iter().chain(added) {
                let (before, after) = (old.get(name).copied(), new.get(name).copied());
                let path = format!("{path}[{name}]");
                match (before, after) {
                    (Some(before), Some(after)) => walk(&path, Some(before), Some(after), out),
                    _ => out.push(field(&path, before, after)),
                }
            }
        }
        _ => words(path, old, new, out),
    }
}

/// The items by name, when all have one.
fn named(list: &[Value]) -> Option<BTreeMap<String, &Value>> {
    let name = |item: &Value| {
        let object = item.as_object()?;
        let name = NAMES.iter().find_map(|field| object.get(*field))?;
        Some(name.as_str().map_or_else(|| name.to_string(), str::to_owned))
    };
    list.iter().map(|item| Some((name(item)?, item))).collect()
}

fn words(path: &str, old: &[Value], new: &[Value], out: &mut Vec<Field>) {
    let path = format!("{path}[]");
    let gone = old.iter().filter(|item| !new.contains(item));
    out.extend(gone.map(|item| field(&path, Some(item), None)));
    let come = new.iter().filter(|item| !old.contains(item));
    out.extend(come.map(|item| field(&path, None, Some(item))));
}
