//! The CustomResourceDefinitions as `crds/manifests/` and the chart `tollgate-crds` hold them: derived from the types, then tidied to what the API server
//! wants, and written in an order that depends on nothing but the types.

use crate::api::{McpServer, ProviderRoute, VirtualKey};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

/// What stands above each generated file.
const HEADER: &str = "# Generated from crds/src/api by `make crds`. Do not edit.\n";

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// File name: `<plural>.<group>.yaml`.
    pub file: String,
    /// The text.
    pub text: String,
}

/// The three definitions, tidied, as JSON.
pub fn definitions() -> Result<Vec<Value>, serde_json::Error> {
    [McpServer::crd(), ProviderRoute::crd(), VirtualKey::crd()].iter().map(definition).collect()
}

/// The files of `crds/manifests/`, by name.
pub fn manifests() -> anyhow::Result<Vec<Manifest>> {
    definitions()?.iter().map(|definition| manifest(definition, |text| text)).collect()
}

/// The templates of `charts/tollgate-crds`: the same definitions, which `helm uninstall` leaves where they are, because all
/// objects of a kind go with its definition.
pub fn templates() -> anyhow::Result<Vec<Manifest>> {
    let mut definitions = definitions()?;
    for definition in &mut definitions {
        if let Some(metadata) = definition.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("annotations".to_owned(), json!({"helm.sh/resource-policy": "keep"}));
        }
    }
    definitions.iter().map(|definition| manifest(definition, escaped)).collect()
}

fn manifest(definition: &Value, finish: impl Fn(String) -> String) -> anyhow::Result<Manifest> {
    let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let text = finish(serde_yaml::to_string(&sorted(definition))?);
    Ok(Manifest { file: format!("{name}.yaml"), text: format!("{HEADER}{text}") })
}

/// Words that Helm would take for its own, such as an example in a description, as Helm prints them.
fn escaped(text: String) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

fn definition(crd: &CustomResourceDefinition) -> Result<Value, serde_json::Error> {
    let mut definition = serde_json::to_value(crd)?;
    tidy(&mut definition);
    Ok(definition)
}

/// Rewrites what the derivation gets nearly right:
/// - `nullable`: an `Option` is a field that may be left out. Without `nullable` the API server drops a null before defaulting;
///   with it, `has(self.x)` is true for a null, and a rule could be fooled.
/// - formats of unsigned numbers, which the API server does not know.
/// - `additionalProperties: false` of empty objects, which it refuses.
/// - bounds written as floats.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if map.get("additionalProperties") == Some(&Value::Bool(false)) {
                map.remove("additionalProperties");
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            match map.get("format").and_then(Value::as_str) {
                Some("uint32") => drop(map.insert("format".to_owned(), "int64".into())),
                Some("uint64") => drop(map.insert("format".to_owned(), "int64".into())),
                _ => (),
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(whole) =
                number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < 2e15)
            {
                *value = Value::from(whole as i64);
            }
        }
        _ => (),
    }
}

/// The same with the keys of every object in alphabetical order, whatever order this build's `serde_json` keeps.
fn sorted(value: &Value) -> serde_yaml::Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            serde_yaml::Value::Mapping(
                entries.into_iter().map(|(key, value)| (key.as_str().into(), sorted(value))).collect(),
            )
        }
        Value::Array(values) => serde_yaml::Value::Sequence(values.iter().map(sorted).collect()),
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(float)) => float.into(),
            (None, None) => serde_yaml::Value::Null,
        },
        Value::Null => serde_yaml::Value::Null,
    }
}

#[cfg(test)]
mod tests;
