//! What the API server checks by the CRDs' schemas: types, unknown and missing fields, enums, numbers, lengths, lists with a key.
//!
//! All mistakes are found, where the parser ends at its first. Patterns are left to the compiler, which has better words for them.

use crate::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::Problem,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value};
use std::{collections::BTreeSet, sync::LazyLock};

/// The schemas of the specs, by the names of their CRDs.
static SCHEMAS: LazyLock<[(&'static str, Value); 3]> =
    LazyLock::new(|| [schema::<VirtualKey>(), schema::<ProviderRoute>(), schema::<McpServer>()]);

fn schema<T: CustomResourceExt>() -> (&'static str, Value) {
    let crd = serde_json::to_value(T::crd()).unwrap_or_default();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    (T::crd_name(), spec.cloned().unwrap_or_default())
}

/// Checks a document's spec, as it was written, against the schema of its kind.
pub(super) fn check<T: CustomResourceExt>(document: &serde_yaml::Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    match document.get("spec").map(serde_json::to_value) {
        None => {}
        Some(Ok(spec)) => {
            let schema = SCHEMAS.iter().find(|(name, _)| *name == T::crd_name());
            schema.into_iter().for_each(|(_, schema)| walk(schema, &spec, "spec", &mut problems));
        }
        Some(Err(error)) => problems.push(Problem::invalid("spec", error.to_string())),
    }
    problems
}

/// Checks a value and what is in it. The depth is the schema's, which is ours.
fn walk(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    if let Some(message) = wrong_type(schema, value) {
        return problems.push(Problem::invalid(path, message));
    }
    if let Some(message) = no_choice(schema, value) {
        return problems.push(Problem::invalid(path, message));
    }
    match value {
        Value::Number(number) => bounds(schema, number.as_f64(), ["minimum", "maximum"], path, "", problems),
        Value::String(text) => {
            let length = text.chars().count();
            bounds(schema, count(length), ["minLength", "maxLength"], path, " characters", problems);
        }
        Value::Array(items) => {
            bounds(schema, count(items.len()), ["minItems", "maxItems"], path, " entries", problems);
            list_keys(schema, items, path, problems);
            for (i, item) in items.iter().enumerate() {
                walk(schema.get("items").unwrap_or(&Value::Null), item, &format!("{path}[{i}]"), problems);
            }
        }
        Value::Object(fields) => {
            let size = count(fields.len());
            bounds(schema, size, ["minProperties", "maxProperties"], path, " entries", problems);
            missing(schema, fields, path, problems);
            for (name, field) in fields {
                if is_unknown(schema, name) {
                    let message = format!("unknown field `{name}`: is it misspelt?");
                    problems.push(Problem::invalid(format!("{path}.{name}"), message));
                    continue;
                }
                let schema = schema
                    .get("properties")
                    .and_then(|p| p.get(name))
                    .or_else(|| schema.get("additionalProperties"));
                walk(schema.unwrap_or(&Value::Null), field, &format!("{path}.{name}"), problems);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// What is to be said of a value of another type than the schema's. No value is shown: it may be a credential in the wrong place.
fn wrong_type(schema: &Value, value: &Value) -> Option<&'static str> {
    let wanted = schema.get("type").and_then(Value::as_str)?;
    match (wanted, value) {
        // The parser would take it. The API server does not, and `1.10` would already have lost its 0.
        ("string", Value::Number(_)) => Some("must be a string: put it in quotes"),
        ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => None,
        ("integer" | "number", Value::Number(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => None,
        // Absent is as good, unless the field says something by being there.
        ("object", Value::Null) if is_marker(schema) => Some("is nothing: write `{}` after it"),
        (_, Value::Null) => None,
        ("string", _) => Some("must be a string"),
        ("boolean", _) => Some("must be true or false"),
        ("integer" | "number", _) => Some("must be a number, without quotes"),
        ("array", _) => Some("must be a list"),
        ("object", _) => Some("must be an object with fields of its own"),
        _ => None,
    }
}

/// Whether an object has no fields, so that its presence is all that it says: `anthropic: {}`.
fn is_marker(schema: &Value) -> bool {
    !is_open(schema) && schema.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty)
}

/// Whether an object may have fields that the schema does not name.
fn is_open(schema: &Value) -> bool {
    schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false))
        || schema.get("x-kubernetes-preserve-unknown-fields").is_some()
}

/// What is to be said of a word that is none of the schema's.
fn no_choice(schema: &Value, value: &Value) -> Option<String> {
    let (Some(words), Value::String(said)) = (schema.get("enum").and_then(Value::as_array), value) else {
        return None;
    };
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    (!words.contains(&said.as_str())).then(|| format!("must be one of {}", words.join(", ")))
}

/// Notes required fields that are not there.
fn missing(schema: &Value, fields: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if fields.get(name).is_none_or(Value::is_null) {
            problems.push(Problem::invalid(format!("{path}.{name}"), format!("missing field `{name}`")));
        }
    }
}

/// Whether the schema has no such field.
fn is_unknown(schema: &Value, name: &str) -> bool {
    let is_object = schema.get("type").is_some_and(|t| t == "object");
    let known = schema.get("properties").is_some_and(|properties| properties.get(name).is_some());
    is_object && !is_open(schema) && !known
}

/// A length as the schema's numbers are.
fn count(length: usize) -> Option<f64> {
    u32::try_from(length).ok().map(f64::from)
}

fn bounds(
    schema: &Value,
    size: Option<f64>,
    [least, most]: [&str; 2],
    path: &str,
    unit: &str,
    problems: &mut Vec<Problem>,
) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let Some(size) = size else { return };
    if let Some(least) = bound(least).filter(|least| size < *least) {
        problems.push(Problem::invalid(path, format!("must be at least {least}{unit}, not {size}")));
    }
    if let Some(most) = bound(most).filter(|most| size > *most) {
        problems.push(Problem::invalid(path, format!("must be at most {most}{unit}, not {size}")));
    }
}

/// `x-kubernetes-list-type`: the entries of a set differ, and so do the keys of a map's entries.
fn list_keys(schema: &Value, items: &[Value], path: &str, problems: &mut Vec<Problem>) {
    let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Vec::new(),
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            keys.into_iter().flatten().filter_map(Value::as_str).collect()
        }
        _ => return,
    };
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let identity = match keys.as_slice() {
            [] => item.to_string(),
            keys => keys.iter().map(|key| item.get(key).unwrap_or(&Value::Null).to_string()).collect(),
        };
        if !seen.insert(identity.clone()) {
            let field = match keys.as_slice() {
                [key] => format!("{path}[{i}].{key}"),
                _ => format!("{path}[{i}]"),
            };
            problems.push(Problem::invalid(field, format!("{identity} stands there twice")));
        }
    }
}
