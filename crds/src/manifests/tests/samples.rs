//! The API takes what the design shows and what `deploy/samples/` holds.

use super::{rules::against, *};
use crate::support::Support;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Every field of the API, as the design shows them.
const DESIGN: &str = include_str!("design.yaml");

pub(super) fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|d| Value::deserialize(d).unwrap()).collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Reads an object by its type and writes it again.
pub(super) fn round_trip(object: &Value) -> Value {
    let object = object.clone();
    let again = match text(&object, "/kind") {
        "VirtualKey" => serde_json::to_value(serde_json::from_value::<VirtualKey>(object).unwrap()),
        "ProviderRoute" => serde_json::to_value(serde_json::from_value::<ProviderRoute>(object).unwrap()),
        "McpServer" => serde_json::to_value(serde_json::from_value::<McpServer>(object).unwrap()),
        other => panic!("{other} is no kind of ours"),
    };
    again.unwrap()
}

/// Asserts that `all` has everything that `some` has.
fn contains(path: &str, all: &Value, some: &Value) {
    match (all, some) {
        (Value::Object(all), Value::Object(some)) => {
            for (key, value) in some {
                let path = format!("{path}.{key}");
                contains(&path, all.get(key).unwrap_or_else(|| panic!("{path} is lost")), value);
            }
        }
        (Value::Array(all), Value::Array(some)) => {
            assert_eq!(all.len(), some.len(), "{path}");
            all.iter().zip(some).for_each(|(a, b)| contains(path, a, b));
        }
        _ => assert_eq!(all, some, "{path}"),
    }
}

/// What is written out although it is what leaving it out means.
const OMITTED: [&str; 8] = [
    "anonymous",
    "disabled",
    "allowedNamespaces",
    "strict",
    "shared",
    "requireSuggestion",
    "aliases",
    "prices",
];

/// The object without fields that are written out although they say what leaving them out says.
fn without_defaults(value: &Value) -> Value {
    let default = |value: &Value| {
        *value == Value::Bool(false)
            || value == "Same"
            || value.as_object().is_some_and(|m| m.is_empty())
            || value.as_array().is_some_and(Vec::is_empty)
    };
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| !(OMITTED.contains(&key.as_str()) && default(value)))
            .map(|(key, value)| (key.clone(), without_defaults(value)))
            .collect(),
        Value::Array(values) => values.iter().map(without_defaults).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_design_is_read_whole_and_no_rule_is_against_it() {
    let objects = documents(DESIGN);
    assert_eq!(objects.len(), 6);
    for object in objects {
        contains(text(&object, "/metadata/name"), &round_trip(&object), &without_defaults(&object));
        assert_eq!(against(text(&object, "/kind"), &object), [""; 0], "{object}");
    }
}

#[test]
fn the_design_shows_every_field_of_the_specs() {
    let mut shown = BTreeSet::new();
    for object in documents(DESIGN) {
        paths(text(&object, "/kind"), object.pointer("/spec").unwrap(), &mut shown);
    }
    for kind in ["McpServer", "ProviderRoute", "VirtualKey"] {
        walk(kind, schema(kind).pointer("/properties/spec").unwrap(), &mut |path, _| {
            let plain = path.replace("[]", "").replace("{}", "");
            assert!(shown.contains(&plain), "{path} is in no example: add it to design.yaml");
        });
    }
}

fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| paths(&format!("{path}.{key}"), value, found))
        }
        Value::Array(values) => values.iter().for_each(|value| paths(path, value, found)),
        _ => (),
    }
}

/// The objects of `deploy/samples/`, by file.
fn samples() -> BTreeMap<String, Vec<Value>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples");
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.display().to_string(), documents(&std::fs::read_to_string(&path).unwrap())))
        .collect()
}

#[test]
fn the_samples_are_valid_and_ask_for_nothing_unsupported() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (file, objects) in samples() {
        for object in objects {
            let kind = text(&object, "/kind");
            *kinds.entry(kind.to_owned()).or_default() += 1;
            if kind == "Secret" {
                continue;
            }
            round_trip(&object);
            assert_eq!(against(kind, &object), [""; 0], "{file}: {object}");
            let spec = object.pointer("/spec").unwrap().clone();
            let unsupported = match kind {
                "VirtualKey" => {
                    serde_json::from_value::<crate::api::VirtualKeySpec>(spec).unwrap().not_supported_yet()
                }
                "ProviderRoute" => {
                    serde_json::from_value::<crate::api::ProviderRouteSpec>(spec).unwrap().not_supported_yet()
                }
                _ => serde_json::from_value::<crate::api::McpServerSpec>(spec).unwrap().not_supported_yet(),
            };
            assert_eq!(unsupported, [], "{file}");
        }
    }
    let want = [("McpServer", 2), ("ProviderRoute", 3), ("Secret", 6), ("VirtualKey", 5)];
    assert_eq!(kinds, want.map(|(kind, n)| (kind.to_owned(), n)).into());
}

#[test]
fn whatever_a_sample_names_is_there() {
    let objects: Vec<Value> = samples().into_values().flatten().collect();
    let names = |kind: &str| -> BTreeSet<&str> {
        objects.iter().filter(|o| text(o, "/kind") == kind).map(|o| text(o, "/metadata/name")).collect()
    };
    let (routes, servers, keys) = (names("ProviderRoute"), names("McpServer"), names("VirtualKey"));
    let entry = |secret: &Value| {
        let (name, key) = (text(secret, "/name"), text(secret, "/key"));
        let found =
            objects.iter().find(|o| text(o, "/kind") == "Secret" && text(o, "/metadata/name") == name);
        assert!(
            found.is_some_and(|s| s.pointer(&format!("/stringData/{key}")).is_some()),
            "Secret {name}, key {key}"
        );
    };
    for object in objects.iter().filter(|o| text(o, "/kind") != "Secret") {
        secrets(object, &entry);
        if let Some(parent) = object.pointer("/spec/parentRef/name").and_then(Value::as_str) {
            assert!(keys.contains(parent), "{parent}");
        }
        for rule in object.pointer("/spec/tools").and_then(Value::as_array).into_iter().flatten() {
            assert!(servers.contains(text(rule, "/server")), "{rule}");
        }
        for pattern in object.pointer("/spec/models/allow").and_then(Value::as_array).into_iter().flatten() {
            let route = pattern.as_str().and_then(|p| p.split('/').next()).unwrap();
            assert!(routes.contains(route), "{pattern}");
        }
    }
}

/// Calls `entry` with every `secretRef` in an object.
fn secrets(value: &Value, entry: &impl Fn(&Value)) {
    match value {
        Value::Object(map) => {
            map.get("secretRef").into_iter().for_each(entry);
            map.values().for_each(|value| secrets(value, entry));
        }
        Value::Array(values) => values.iter().for_each(|value| secrets(value, entry)),
        _ => (),
    }
}
