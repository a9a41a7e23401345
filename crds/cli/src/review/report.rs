//! All that there is to say of a change.

use super::{
    access::{self, Access},
    fields::{self, Field},
    policy::Policy,
    rules,
    state::{Id, Side},
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeSet;
use tollgate_crds::{
    compile::Status,
    conditions::{ACCEPTED, reasons},
    manifest::Others,
};
use tollgate_proto::Kind;

pub use rules::Effect;

/// A review.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Files, or parts of them, that cannot be read, after the change.
    pub unreadable: Vec<String>,
    /// Objects that would be refused, after the change.
    pub refused: Vec<Refused>,
    /// Names that lead nowhere, after the change; not of Secrets, which stand elsewhere.
    pub dangling: Vec<Refused>,
    /// Things that a reviewer should know of the state after the change.
    pub warnings: Vec<String>,
    /// What stands among the manifests after the change and was not read: kinds of other API groups.
    #[serde(serialize_with = "not_read")]
    pub not_read: Others,
    /// Who gains and who loses.
    pub access: Vec<Access>,
    /// What changed, object by object.
    pub changes: Vec<Object>,
}

/// Something that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Kind, name and, where known, file and line.
    pub object: String,
    /// A constant reason, as the condition will have it.
    pub reason: &'static str,
    /// The field and what is wrong with it.
    pub message: String,
}

/// Objects that are not Tollgate's.
#[derive(Serialize)]
struct NotRead<'a> {
    kind: &'a str,
    /// Their API group; empty for Kubernetes' core.
    group: &'a str,
    count: usize,
}

/// What changed of one object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it came, went or changed.
    pub change: Change,
    /// Its changed fields; of a new object those that it sets.
    pub fields: Vec<FieldChange>,
}

/// Whether an object came, went or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
}

/// A changed field.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its path below `spec`.
    pub path: String,
    /// What it does.
    pub effect: Effect,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

// === impl Report ===

impl Report {
    /// Compares two sides at `now` (Unix milliseconds).
    pub fn new(before: &Side, after: &Side, now: i64) -> Self {
        let old = Policy::new(&before.compiled.resources, now);
        let new = Policy::new(&after.compiled.resources, now);
        let of = |condition: &str| -> Vec<Refused> {
            after.compiled.statuses.iter().flat_map(|status| problems(status, condition)).collect()
        };
        let all = of(tollgate_crds::conditions::RESOLVED_REFS);
        Report {
            unreadable: after.problems.iter().map(ToString::to_string).collect(),
            refused: of(ACCEPTED),
            dangling: all.into_iter().filter(|p| p.reason != reasons::SECRET_NOT_FOUND).collect(),
            warnings: warnings(&new, before),
            not_read: after.others.clone(),
            access: access::compare(&old, &new),
            changes: changes(before, after),
        }
    }

    /// Whether some part of the change does this.
    pub fn does(&self, effect: Effect) -> bool {
        let fields = self.changes.iter().flat_map(|object| &object.fields);
        let of_access = |access: &Access| match effect {
            Effect::Widens => access.difference.widens(),
            Effect::Narrows => access.difference.narrows(),
            Effect::Attention | Effect::Neutral => false,
        };
        let object = |object: &Object| match (object.change, object.kind.as_str(), effect) {
            // A key that goes takes its budgets along, which is no widening, whatever the fields alone would say.
            (Change::Removed, _, _) => effect == Effect::Narrows,
            (Change::Added, "ProviderRoute" | "McpServer", Effect::Attention) => true,
            _ => false,
        };
        self.access.iter().any(of_access)
            || self.changes.iter().any(object)
            || fields.clone().any(|field| field.effect == effect)
    }
}

/// As a list of objects.
fn not_read<S: Serializer>(others: &Others, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(others.iter().map(|(kind, group, count)| NotRead { kind, group, count }))
}

fn problems(status: &Status, condition: &str) -> Vec<Refused> {
    let shown = |problem: &tollgate_crds::compile::Problem| Refused {
        object: status.to_string(),
        reason: problem.reason,
        message: problem.to_string(),
    };
    status.problems.iter().filter(|problem| problem.condition == condition).map(shown).collect()
}

/// What is true of keys after the change that was not true before it.
fn warnings(after: &Policy<'_>, before: &Side) -> Vec<String> {
    let mut out = Vec::new();
    for key in after.callers() {
        let Some(path) = after.path(&key.namespace, &key.name) else { continue };
        let id = Id { kind: Kind::VirtualKey, namespace: key.namespace.clone(), name: key.name.clone() };
        let is_new = !before.specs.contains_key(&id);
        let unbudgeted = path.keys.iter().all(|level| level.budgets.is_empty());
        if is_new && unbudgeted && path.off.is_none() {
            out.push(format!(
                "key {}/{} has no budget, nor has any key above it: what it spends is not limited",
                key.namespace, key.name
            ));
        }
        if is_new && key.anonymous {
            out.push(format!(
                "key {}/{} is anonymous: any credential, or none, is this key",
                key.namespace, key.name
            ));
        }
    }
    out
}

fn changes(before: &Side, after: &Side) -> Vec<Object> {
    let ids: BTreeSet<&Id> = before.specs.keys().chain(after.specs.keys()).collect();
    ids.into_iter().filter_map(|id| changed(id, before.specs.get(id), after.specs.get(id))).collect()
}

fn changed(id: &Id, before: Option<&Value>, after: Option<&Value>) -> Option<Object> {
    let nothing = Value::Object(serde_json::Map::new());
    let (change, fields) = match (before, after) {
        (Some(before), Some(after)) => (Change::Changed, fields::compare(before, after)),
        (None, Some(after)) => (Change::Added, fields::compare(&nothing, after)),
        (Some(_), None) => (Change::Removed, Vec::new()),
        (None, None) => return None,
    };
    if change == Change::Changed && fields.is_empty() {
        return None;
    }
    let of = |field: Field| FieldChange {
        // A new object's fields are no change of what was: what it gives is told by who gains what.
        effect: if change == Change::Changed { rules::effect(id.kind, &field) } else { Effect::Neutral },
        path: field.path,
        before: field.before,
        after: field.after,
    };
    Some(Object {
        kind: id.kind.to_string(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        change,
        fields: fields.into_iter().map(of).collect(),
    })
}
