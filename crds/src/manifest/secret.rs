//! Secrets, and environment variables in them. No message ever quotes a value.

use super::{Environment, metadata::unknown_fields};
use crate::compile::{Body, Problem, SecretData};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_yaml::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The most bytes of a Secret, as in Kubernetes.
const MAX_SECRET: usize = 1 << 20;

/// Reads `data` and `stringData`; of two entries of the same key the latter's counts.
pub(super) fn read(document: &Value, environment: Environment<'_>) -> Result<Body, Vec<Problem>> {
    let top = ["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"];
    let mut problems = unknown_fields(document, &top);
    let mut entries = BTreeMap::new();
    for (field, decode) in
        [("data", &decode as &dyn Fn(&str) -> _), ("stringData", &|text: &str| expand(text, environment))]
    {
        let Some(values) = document.get(field).filter(|v| !v.is_null()) else { continue };
        let Some(values) = values.as_mapping() else {
            problems.push(Problem::invalid(field, "is not an object of keys and values"));
            continue;
        };
        for (key, value) in values {
            let Some(key) = key.as_str() else {
                problems.push(Problem::invalid(field, "has a key that is not a string"));
                continue;
            };
            let text = value.as_str().ok_or_else(|| "is not a string: put it in quotes".to_owned());
            match text.and_then(decode) {
                Ok(bytes) => drop(entries.insert(key.to_owned(), bytes)),
                Err(reason) => problems.push(Problem::invalid(format!("{field}.{key}"), reason)),
            }
        }
    }
    if entries.values().map(Vec::len).sum::<usize>() > MAX_SECRET {
        problems.push(Problem::invalid("data", format!("is larger than {} MiB", MAX_SECRET >> 20)));
    }
    if problems.is_empty() { Ok(Body::Secret(Arc::new(SecretData(entries)))) } else { Err(problems) }
}

/// Whether SOPS has encrypted it: what stands there is no value yet, and what it will hold is known to whoever decrypts it.
pub(super) fn is_encrypted(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some("Secret")
        && document.get("sops").is_some_and(Value::is_mapping)
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    // Long values are often folded over several lines.
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).map_err(|_| "is not base64: plain text belongs in stringData".to_owned())
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$$` before `{` is a dollar sign.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<Vec<u8>, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = reference.get(2..).unwrap_or_default();
            continue;
        }
        out.push_str(before);
        let Some((inside, after)) = reference.get(2..).and_then(|r| r.split_once('}')) else {
            return Err("has a `${` without `}`; write `$${` for a dollar sign and a brace".to_owned());
        };
        out.push_str(&variable(inside, environment)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out.into_bytes())
}

/// The value of `NAME` or `NAME:-default`. An empty variable is taken for a missing one: an empty key helps nobody.
fn variable(inside: &str, environment: Environment<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(legal) {
        return Err("has a `${…}` that is not the name of an environment variable".to_owned());
    }
    match (environment(name).filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the environment variable {name} is not set")),
    }
}
