//! An object as the API server has it, or what is known of one that this version cannot decode.
//!
//! The API server validates by the schema of its day: an object may be older than that schema, or newer than this program.
//! One that cannot be decoded must not end the watch that all others come by, and its owner must be told which field it is.

use crate::annotations::RESET_BUDGET;
use crate::api::AllowedNamespaces;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};
use serde_path_to_error::Segment;
use std::borrow::Cow;

/// An object of a kind, or one that cannot be decoded.
#[derive(Debug, Clone)]
pub enum Guarded<K> {
    /// It could be decoded. Parts of its status that could not are left out: they are somebody else's, or written anew.
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
    /// To whom it is exported: it keeps its name there, so that nobody's requests go elsewhere.
    pub export: AllowedNamespaces,
    /// Its status as it stands there; null: it has none.
    pub status: Value,
    /// The conditions in it that can be decoded.
    pub conditions: Vec<Condition>,
}

/// What is wrong with an object.
struct Wrong {
    field: String,
    error: String,
    /// The part of the status that it is in: an entry of it, and an item of that where it is a list.
    part: Option<(Option<String>, Option<usize>)>,
}

/// The field of the operator's own.
const STATUS: &str = "status";
/// Where kubectl keeps the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most parts of a status that are left out before the whole of it is.
const MAX_PARTS: usize = 64;

/// To whom an object that cannot be read is exported, by what it states in `spec.allowedNamespaces`. What cannot be understood is
/// taken as all: such an object serves nobody, and only keeps its name from meaning another one.
pub(crate) fn stated_export<'de, D: Deserializer<'de>>(stated: Option<D>) -> AllowedNamespaces {
    let read = stated.map(Option::<AllowedNamespaces>::deserialize).transpose();
    read.map_or(AllowedNamespaces::All, |stated| stated.flatten().unwrap_or_default())
}

// === impl Guarded ===

impl<K: DeserializeOwned> Guarded<K> {
    /// Decodes an object, without what nobody here reads.
    ///
    /// # Errors
    /// When not even its metadata can be decoded.
    pub fn decode(mut object: Value) -> serde_json::Result<Self> {
        slim(&mut object);
        let wrong = match decode_but_status(&object) {
            Ok(read) => return Ok(Guarded::Read(Box::new(read))),
            Err(wrong) => wrong,
        };
        let part = |path: &str| object.pointer(path).cloned().unwrap_or_default();
        let conditions = part("/status/conditions");
        let conditions = conditions.as_array().into_iter().flatten();
        Ok(Guarded::Unreadable(Box::new(Unreadable {
            metadata: ObjectMeta::deserialize(part("/metadata"))?,
            field: wrong.field,
            error: wrong.error,
            export: stated_export(object.pointer("/spec/allowedNamespaces")),
            status: part("/status"),
            conditions: conditions.filter_map(|c| Condition::deserialize(c).ok()).collect(),
        })))
    }
}

/// Takes out what is often larger than the object itself: what kubectl keeps of it, and who wrote which of its fields, but for who
/// asked for budgets to start anew: people are told of that.
fn slim(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let asked = format!("f:{RESET_BUDGET}");
    if let Some(writers) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        writers.retain_mut(|writer| {
            let fields = writer.get_mut("fieldsV1").filter(|fields| {
                fields.pointer("/f:metadata/f:annotations").is_some_and(|all| all.get(&asked).is_some())
            });
            fields.map(|fields| *fields = json!({"f:metadata": {"f:annotations": {&asked: {}}}})).is_some()
        });
    }
}

/// Decodes an object, without the parts of its status that cannot be.
fn decode_but_status<K: DeserializeOwned>(object: &Value) -> Result<K, Wrong> {
    let mut wrong = match decode(object) {
        Ok(read) => return Ok(read),
        Err(wrong) => wrong,
    };
    let mut object = Cow::Borrowed(object);
    for count in 0.. {
        let Some(part) = wrong.part.take() else { break };
        let Some(fields) = object.to_mut().as_object_mut() else { break };
        let left_out =
            count < MAX_PARTS && fields.get_mut(STATUS).is_some_and(|status| leave_out(status, part));
        if !left_out && fields.remove(STATUS).is_none() {
            break;
        }
        match decode(&object) {
            Ok(read) => return Ok(read),
            Err(next) => wrong = next,
        }
    }
    Err(wrong)
}

/// Takes a part out of a status; false when there is no such part.
fn leave_out(status: &mut Value, part: (Option<String>, Option<usize>)) -> bool {
    let (Some(entries), (Some(entry), item)) = (status.as_object_mut(), part) else { return false };
    match (entries.get_mut(&entry), item) {
        (Some(Value::Array(items)), Some(item)) if item < items.len() => {
            items.remove(item);
            true
        }
        _ => entries.remove(&entry).is_some(),
    }
}

/// What is wrong with an object, where something is.
fn decode<K: DeserializeOwned>(object: &Value) -> Result<K, Wrong> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path();
        let mut segments = path.iter();
        let in_status = matches!(segments.next(), Some(Segment::Map { key }) if key == STATUS);
        let part = in_status.then(|| {
            let entry = match segments.next() {
                Some(Segment::Map { key }) => Some(key.clone()),
                _ => None,
            };
            let item = match segments.next() {
                Some(Segment::Seq { index }) => Some(*index),
                _ => None,
            };
            (entry, item)
        });
        let field = path.to_string();
        // `.` is the whole object.
        let field = if field == "." { String::new() } else { field };
        Wrong { field, error: error.into_inner().to_string(), part }
    })
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
        let writer = |manager: &str, annotation: &str| {
            let fields =
                json!({"f:metadata": {"f:annotations": {annotation: {}}}, "f:spec": {"f:budgets": {}}});
            json!({"manager": manager, "operation": "Update", "fieldsV1": fields})
        };
        let asked = format!("f:{RESET_BUDGET}");
        let object = json!({"spec": {}, "metadata": {"name": "k", "annotations": {LAST_APPLIED: "{}", RESET_BUDGET: "*:1"},
            "managedFields": [writer("one", "f:other"), writer("another", &asked), {"manager": "a third"}]}});
        let Guarded::Read(key) = Guarded::<VirtualKey>::decode(object).unwrap() else { panic!("it is good") };
        assert_eq!(key.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), [RESET_BUDGET]);
        let writers = serde_json::to_value(key.metadata.managed_fields.unwrap()).unwrap();
        let fields = json!({"f:metadata": {"f:annotations": {asked: {}}}});
        assert_eq!(writers, json!([{"manager": "another", "operation": "Update", "fieldsV1": fields}]));
    }

    #[test]
    fn an_object_that_cannot_be_decoded_keeps_its_export_and_its_status() {
        let export = |stated: Value| {
            let spec = json!({"budgets": 5, "allowedNamespaces": stated});
            unreadable(key(spec, Value::Null)).export
        };
        let selector = json!({"selector": {"matchLabels": {"team": "a"}}});
        assert_eq!(serde_json::to_value(export(selector.clone())).unwrap(), selector);
        assert_eq!(export(json!("All")), AllowedNamespaces::All);
        assert_eq!((export(json!("Same")), export(Value::Null)), Default::default());
        assert_eq!(unreadable(key(json!({"budgets": 5}), Value::Null)).export, AllowedNamespaces::Same);
        // Nobody knows to whom: it hides everywhere.
        assert_eq!(export(json!({"except": ["a"]})), AllowedNamespaces::All);
        let status =
            json!({"budgets": [{"name": "month", "unit": "Euro"}], "conditions": [{"type": "Theirs"}]});
        let wrong = unreadable(key(json!({"budgets": 5}), status.clone()));
        assert_eq!((wrong.field.as_str(), wrong.status), ("spec.budgets", status));
    }

    #[test]
    fn what_cannot_be_decoded_of_a_status_takes_nothing_else_away() {
        let condition = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let budget = |name: &str, unit: &str| json!({"name": name, "unit": unit, "spent": "1", "limit": "2", "percent": 50});
        let status = json!({
            "budgets": [budget("theirs", "Euro"), budget("month", "USD"), budget("other", "Yen")],
            "conditions": [{"type": "Theirs"}, condition],
            "token": {"state": "Lost"},
            "observedGeneration": 3,
        });
        let Guarded::Read(read) = key(json!({"disabled": true}), status) else { panic!("its spec is good") };
        let left = read.status.unwrap();
        assert_eq!(left.budgets.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["month"]);
        assert_eq!((left.conditions.len(), left.observed_generation), (1, Some(3)));
        assert!(read.spec.disabled && left.token.is_none());
        // None of it can be, and more is wrong than anybody would put there.
        for status in [json!("good"), json!({"budgets": vec![budget("b", "Euro"); 2 * MAX_PARTS]})] {
            let Guarded::Read(key) = key(json!({"disabled": true}), status) else {
                panic!("its spec is good")
            };
            assert!(key.spec.disabled && key.status.is_none());
        }
        // Both wrong: it is the spec that its owner is told of.
        assert_eq!(unreadable(key(json!({"disabled": 1}), json!({"token": 5}))).field, "spec.disabled");
    }
}
