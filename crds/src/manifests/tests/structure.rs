//! The shape of the generated definitions.

use super::*;
use crate::api::{McpServerSpec, ProviderRouteSpec, VirtualKeySpec};
use serde::{Serialize, de::DeserializeOwned};

const KINDS: [&str; 3] = ["McpServer", "ProviderRoute", "VirtualKey"];

/// Calls `visit` with every node of every kind, root and `metadata` excepted.
fn each(mut visit: impl FnMut(&str, &Value)) {
    for kind in KINDS {
        for part in ["spec", "status"] {
            let schema = schema(kind);
            let node = schema.pointer(&format!("/properties/{part}")).unwrap();
            walk(&format!("{kind}.{part}"), node, &mut visit);
        }
    }
}

#[test]
fn the_committed_files_are_what_the_types_say() {
    for manifest in manifests().unwrap() {
        let path = format!("{}/manifests/{}", env!("CARGO_MANIFEST_DIR"), manifest.file);
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == manifest.text, "{path} differs: run `make crds` and commit it");
    }
}

#[test]
fn generation_is_deterministic_and_names_the_plurals() {
    let first = manifests().unwrap();
    assert_eq!(first, manifests().unwrap());
    let files: Vec<_> = first.iter().map(|m| m.file.as_str()).collect();
    assert_eq!(
        files,
        ["mcpservers.tollgate.dev.yaml", "providerroutes.tollgate.dev.yaml", "virtualkeys.tollgate.dev.yaml"]
    );
}

#[test]
fn nothing_is_referred_to_nullable_or_closed() {
    for definition in definitions().unwrap() {
        let text = definition.to_string();
        for never in ["$ref", "$defs", "nullable", "\"additionalProperties\":false", "uint", "null,", ",null"]
        {
            assert!(!text.contains(never), "{never} in {}", definition.pointer("/metadata/name").unwrap());
        }
    }
}

/// kubectl reads YAML 1.1, where these words are booleans: a field `on` would arrive as `true`.
#[test]
fn no_name_or_value_is_another_languages_boolean() {
    let never = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    each(|path, node| {
        let properties = node.get("properties").and_then(Value::as_object);
        let names = properties.into_iter().flatten().map(|(name, _)| name.as_str());
        let values =
            node.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for word in names.chain(values) {
            assert!(!never.contains(&word.to_lowercase().as_str()), "{path}: {word}");
        }
    });
}

#[test]
fn every_property_says_what_it_is() {
    each(|path, node| {
        let last = path.rsplit('.').next().unwrap_or_default();
        if !last.ends_with("[]") && !last.ends_with("{}") {
            let description = node.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(description.len() > 10, "{path} has no description: {description:?}");
        }
    });
}

#[test]
fn every_node_has_a_type_but_allowed_namespaces() {
    each(|path, node| {
        let typed = node.get("type").is_some();
        assert_eq!(typed, !path.ends_with(".allowedNamespaces"), "{path}");
    });
}

#[test]
fn whatever_people_write_is_bounded() {
    each(|path, node| {
        let has = |key: &str| node.get(key).is_some();
        let bounded = match node.get("type").and_then(Value::as_str) {
            Some("string") => has("maxLength") || has("enum") || has("format"),
            Some("integer") => has("minimum") && has("maximum"),
            Some("array") => has("maxItems"),
            Some("object") => !has("additionalProperties") || has("maxProperties"),
            Some("number") => panic!("{path} is a float"),
            _ => true,
        };
        assert!(bounded || path.contains(".status"), "{path} has no bounds");
    });
}

#[test]
fn lists_of_objects_say_how_they_are_merged() {
    each(|path, node| {
        if node.pointer("/items/type").and_then(Value::as_str) == Some("object") {
            let merge = node.get("x-kubernetes-list-type").and_then(Value::as_str);
            assert!(merge.is_some(), "{path} has no x-kubernetes-list-type");
            let keys = node.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            for key in keys.into_iter().flatten() {
                let required = node.pointer("/items/required").and_then(Value::as_array).unwrap();
                assert!(required.contains(key), "{path}: the list's key {key} is not required");
            }
            assert_eq!(merge == Some("map"), keys.is_some(), "{path}");
        }
    });
}

#[test]
fn the_schema_defaults_are_those_of_the_types() {
    fn same<T: DeserializeOwned + Serialize>(kind: &str, minimal: Value) {
        let schema = schema(kind);
        let mut defaulted = minimal.clone();
        apply_defaults(schema.pointer("/properties/spec").unwrap(), &mut defaulted);
        let by_api_server: T = serde_json::from_value(defaulted).unwrap();
        let by_file: T = serde_json::from_value(minimal).unwrap();
        assert_eq!(
            serde_json::to_value(by_api_server).unwrap(),
            serde_json::to_value(by_file).unwrap(),
            "{kind}"
        );
    }
    same::<VirtualKeySpec>("VirtualKey", serde_json::json!({}));
    same::<VirtualKeySpec>("VirtualKey", serde_json::json!({"spending": {}, "budgets": [{"name": "a"}]}));
    same::<ProviderRouteSpec>(
        "ProviderRoute",
        serde_json::json!({"backends": [{"name": "a", "azureOpenAI": {}}], "timeouts": {}, "retry": {}, "health": {}}),
    );
    same::<ProviderRouteSpec>("ProviderRoute", serde_json::json!({"backends": []}));
    same::<McpServerSpec>("McpServer", serde_json::json!({"tools": {}, "naming": {}, "timeouts": {}}));
    same::<McpServerSpec>("McpServer", serde_json::json!({}));
}

/// What the API server does with `default`.
fn apply_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                if let (None, Some(default)) = (map.get(name), property.get("default")) {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(name) {
                    apply_defaults(property, value);
                }
            }
        }
        Value::Array(items) => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            items.iter_mut().for_each(|item| apply_defaults(schema, item));
        }
        _ => (),
    }
}
