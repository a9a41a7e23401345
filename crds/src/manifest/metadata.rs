//! Names, and what else stands in `metadata`.

use crate::compile::Problem;
use serde_yaml::Value;

/// Who a document is.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// The fields of Kubernetes' ObjectMeta. One that is not among them is a misspelt one, such as `namespce`.
const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Reads who a document is; an error is about a document that cannot be named.
pub(super) fn header(document: &Value) -> Result<Header, String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    if !document.is_mapping() {
        return Err("the document is not an object: it needs apiVersion, kind and metadata".to_owned());
    }
    let api_version = text(document.get("apiVersion"))
        .ok_or("the object has no apiVersion, such as `tollgate.dev/v1alpha1`")?;
    let kind = text(document.get("kind")).ok_or("the object has no kind, such as `VirtualKey`")?;
    let metadata = document.get("metadata");
    let name = metadata.and_then(|m| text(m.get("name")));
    let namespace = metadata.and_then(|m| text(m.get("namespace")));
    Ok(Header {
        api_version,
        kind,
        namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: name.unwrap_or_default(),
    })
}

/// Fields that stand in a document and mean nothing: at its top, and in its metadata.
pub(super) fn unknown_fields(document: &Value, top: &[&str]) -> Vec<Problem> {
    let keys = |value: Option<&Value>| -> Vec<String> {
        let mapping = value.and_then(Value::as_mapping);
        mapping.into_iter().flat_map(|m| m.keys()).map(shown).collect()
    };
    let unknown = |field: String| Problem::invalid(field, "is not a field: is it misspelt?");
    let of_top = keys(Some(document)).into_iter().filter(|key| !top.contains(&key.as_str()));
    let metadata = keys(document.get("metadata")).into_iter().filter(|key| !FIELDS.contains(&key.as_str()));
    let mut problems: Vec<_> = of_top.map(unknown).collect();
    problems.extend(metadata.map(|key| unknown(format!("metadata.{key}"))));
    let namespace = document.get("metadata").and_then(|m| m.get("namespace"));
    if namespace.is_some_and(|n| !n.is_string()) {
        problems.push(Problem::invalid("metadata.namespace", "is not a string"));
    }
    problems
}

fn shown(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        other => format!("{other:?}"),
    }
}
