//! What the generated definitions look like, that their rules say what they should, and that the API takes the samples.

mod docs;
mod rules;
mod samples;
mod structure;

use super::*;

/// The schema of a kind, as it is generated.
fn schema(kind: &str) -> Value {
    definitions()
        .unwrap()
        .into_iter()
        .find(|d| d.pointer("/spec/names/kind").and_then(Value::as_str) == Some(kind))
        .and_then(|d| d.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned())
        .unwrap()
}

/// Calls `visit` with every schema node below `node` and its path.
fn walk(path: &str, node: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, node);
    for (name, property) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if let Some(items) = node.get("items") {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(values) = node.get("additionalProperties") {
        walk(&format!("{path}{{}}"), values, visit);
    }
}
