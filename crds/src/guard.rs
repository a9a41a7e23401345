//! An object as the API server has it, or what is known of one that this version cannot decode.
//!
//! The API server validates by the schema of its day: an object may be older than that schema, or newer than this program.
//! One that cannot be decoded must not end the watch that all others come by, and its owner must be told which field it is.

use crate::annotations::RESET_BUDGET;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::Value;
use std::borrow::Cow;

/// An object of a kind, or one that cannot be decoded.
#[derive(Debug, Clone)]
pub enum Guarded<K> {
    /// It could be decoded. A status that could not is left out: it is the operator's own, and written anew.
    Read(Box<K>),
    /// It could not.
    Unreadable(Box<Unreadable>),
}

/// What is known of an object that cannot be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// The field that is wrong, such as `spec.budgets[0].usd`.
    pub field: String,
    /// What is wrong with it.
    pub error: String,
    /// The conditions that its status has.
    pub conditions: Vec<Condition>,
}

/// The field of the operator's own.
const STATUS: &str = "status";
/// Where kubectl keeps the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

// === impl Guarded ===

impl<K: DeserializeOwned> Guarded<K> {
    /// Decodes an object, without what nobody here reads.
    ///
    /// # Errors
    /// When not even its metadata can be decoded.
    pub fn decode(mut object: Value) -> serde_json::Result<Self> {
        slim(&mut object);
        let mut outcome = decode(&object);
        if matches!(&outcome, Err((field, _)) if is_in_status(field)) {
            let status = object.as_object_mut().and_then(|fields| fields.remove(STATUS));
            outcome = decode(&object);
            if let (Some(fields), Some(status)) = (object.as_object_mut(), status) {
                fields.insert(STATUS.to_owned(), status);
            }
        }
        let (field, error) = match outcome {
            Ok(read) => return Ok(Guarded::Read(Box::new(read))),
            Err(wrong) => wrong,
        };
        let part = |path: &str| object.pointer(path).cloned().unwrap_or_default();
        let metadata = ObjectMeta::deserialize(part("/metadata"))?;
        let conditions = Vec::deserialize(part("/status/conditions")).unwrap_or_default();
        Ok(Guarded::Unreadable(Box::new(Unreadable { metadata, field, error, conditions })))
    }
}

/// Takes out what is often larger than the object itself: who wrote which of its fields, and what kubectl keeps of it. Of a key
/// whose budgets are to start anew, people are told who asked for it.
fn slim(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let mut resets = false;
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
        resets = annotations.contains_key(RESET_BUDGET);
    }
    if !resets {
        metadata.remove("managedFields");
    }
}

/// The field that is wrong, and what is wrong with it, where something is.
fn decode<K: DeserializeOwned>(object: &Value) -> Result<K, (String, String)> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let field = error.path().to_string();
        // `.` is the whole object.
        let field = if field == "." { String::new() } else { field };
        (field, error.into_inner().to_string())
    })
}

fn is_in_status(field: &str) -> bool {
    field.strip_prefix(STATUS).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::decode(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn api_version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::api_version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Guarded::Read(object) => object.meta(),
            Guarded::Unreadable(object) => &object.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Guarded::Read(object) => object.meta_mut(),
            Guarded::Unreadable(object) => &mut object.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{McpServer, VirtualKey};
    use serde_json::json;

    fn key(spec: Value, status: Value) -> Guarded<VirtualKey> {
        Guarded::decode(json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "VirtualKey",
            "metadata": {"name": "k", "namespace": "n", "generation": 3}, "spec": spec, "status": status}))
        .unwrap()
    }

    fn unreadable<K>(guarded: Guarded<K>) -> Unreadable {
        match guarded {
            Guarded::Unreadable(object) => *object,
            Guarded::Read(_) => panic!("it can be read"),
        }
    }

    #[test]
    fn the_wrong_field_is_told_and_what_stands_there_is_kept() {
        let condition = json!({"type": "Ready", "status": "False", "reason": "Invalid", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let spec = json!({"budgets": [{"name": "month", "usd": "1", "period": "Fortnight"}]});
        let wrong = unreadable(key(spec, json!({"conditions": [condition]})));
        assert_eq!(wrong.field, "spec.budgets[0].period");
        assert!(wrong.error.contains("Fortnight") && wrong.error.contains("Month"), "{}", wrong.error);
        assert_eq!((wrong.metadata.generation, wrong.conditions.len()), (Some(3), 1));
        let server = json!({"metadata": {"name": "s"}, "spec": {"streamableHttp": 5}});
        assert_eq!(unreadable(Guarded::<McpServer>::decode(server).unwrap()).field, "spec.streamableHttp");
        assert_eq!(unreadable(Guarded::<VirtualKey>::decode(json!({"metadata": {}})).unwrap()).field, "");
    }

    #[test]
    fn what_nobody_reads_is_left_out() {
        let metadata = |annotation: &str| {
            let object = json!({"spec": {}, "metadata": {"name": "k", "annotations": {LAST_APPLIED: "{}", annotation: "a"},
                "managedFields": [{"manager": "kubectl", "operation": "Update"}]}});
            let Guarded::Read(key) = Guarded::<VirtualKey>::decode(object).unwrap() else {
                panic!("it is good")
            };
            let annotations = key.metadata.annotations.unwrap_or_default();
            (annotations.into_keys().collect::<Vec<_>>(), key.metadata.managed_fields.map(|all| all.len()))
        };
        assert_eq!(metadata("mine"), (vec!["mine".to_owned()], None));
        assert_eq!(
            metadata(RESET_BUDGET),
            (vec![RESET_BUDGET.to_owned()], Some(1)),
            "who asked for it is told"
        );
    }

    #[test]
    fn a_status_of_another_version_takes_no_object_away() {
        let status = json!({"budgets": [{"name": "month", "unit": "Euro"}], "conditions": []});
        let Guarded::Read(key) = key(json!({"disabled": true}), status.clone()) else {
            panic!("its spec is good")
        };
        assert!(key.spec.disabled && key.status.is_none());
        // Both wrong: it is the spec that its owner is told of.
        assert_eq!(unreadable(self::key(json!({"disabled": 1}), status)).field, "spec.disabled");
    }
}
