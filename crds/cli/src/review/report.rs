//! All that there is to say of a change.

use super::{
    access::{self, Access},
    annotations, defaults,
    fields::{self, Field},
    merge::{self, Group},
    money::{self, Sum},
    policy::Policy,
    rules::{self, Meaning},
    state::{Id, Side},
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeSet;
use tollgate_crds::{
    compile::{Problem, Status},
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
    /// What the change means in dollars.
    pub money: Vec<Sum>,
    /// What changed; equal changes of many objects together.
    pub changes: Vec<Group>,
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
#[derive(Debug, Clone)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it came, went or changed.
    pub change: Change,
    /// Its changed fields; of a new object those that it sets to something else than the default.
    pub fields: Vec<FieldChange>,
}

/// Whether an object came, went or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It says something else.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

/// A changed field.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its path below `spec`, or `metadata.annotations[NAME]`.
    pub path: String,
    /// What it does.
    pub effect: Effect,
    /// A budget begins anew at once: what was spent of it counts no more.
    #[serde(skip_serializing_if = "is_false")]
    pub renews: bool,
    /// Of a budget's limit: over what time it holds, such as `a month`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
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
            refused: of(ACCEPTED).into_iter().chain(forbidden(before, after)).collect(),
            dangling: all.into_iter().filter(|p| p.reason != reasons::SECRET_NOT_FOUND).collect(),
            warnings: warnings(&new, before),
            not_read: after.others.clone(),
            access: access::compare(&old, &new),
            money: money::sums(before, after, &new),
            changes: merge::merge(&changes(before, after)),
        }
    }

    /// Whether some part of the change does this.
    pub fn does(&self, effect: Effect) -> bool {
        let fields = self.changes.iter().flat_map(|group| &group.fields);
        let of_access = |access: &Access| match effect {
            Effect::Widens => access.difference.widens(),
            Effect::Narrows => access.difference.narrows(),
            Effect::Attention | Effect::Neutral => false,
        };
        let group = |group: &Group| match (group.change, group.kind.as_str(), effect) {
            // A key that goes takes its budgets along, which is no widening, whatever the fields alone would say.
            (Change::Removed, _, _) => effect == Effect::Narrows,
            (Change::Added, "ProviderRoute" | "McpServer", Effect::Attention) => true,
            _ => false,
        };
        self.access.iter().any(of_access)
            || self.changes.iter().any(group)
            || fields
                .clone()
                .any(|field| field.effect == effect || (field.renews && effect == Effect::Widens))
    }
}

/// What the API server would refuse, of objects that are new or whose spec changes: it lets the others be.
fn forbidden(before: &Side, after: &Side) -> Vec<Refused> {
    let changed = after.forbidden.iter().filter(|(id, _)| before.specs.get(id) != after.specs.get(id));
    let told = |(id, problems): (&Id, &Vec<Problem>)| -> Vec<Refused> {
        let is_it = |s: &&Status| s.kind == id.kind && s.namespace == id.namespace && s.name == id.name;
        let status = after.compiled.statuses.iter().find(is_it);
        let object =
            status.map_or_else(|| format!("{} {}/{}", id.kind, id.namespace, id.name), ToString::to_string);
        let one = |p: &Problem| Refused { object: object.clone(), reason: p.reason, message: p.to_string() };
        problems.iter().map(one).collect()
    };
    changed.flat_map(told).collect()
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
    ids.into_iter().filter_map(|id| changed(id, before, after)).collect()
}

fn changed(id: &Id, before: &Side, after: &Side) -> Option<Object> {
    let nothing = Value::Object(serde_json::Map::new());
    let (old, new) = (before.specs.get(id), after.specs.get(id));
    let (change, fields) = match (old, new) {
        (Some(old), Some(new)) => (Change::Changed, fields::compare(old, new)),
        (None, Some(new)) => (Change::Added, fields::compare(&nothing, &defaults::without(id.kind, new))),
        (Some(_), None) => (Change::Removed, Vec::new()),
        (None, None) => return None,
    };
    let of = |field: Field| {
        // A new object's fields are no change of what was: what it gives is told by who gains what.
        let Meaning { effect, renews } = match (old, new) {
            (Some(old), Some(new)) => rules::meaning(id.kind, &field, old, new),
            _ => Meaning { effect: Effect::Neutral, renews: false },
        };
        let per = window(old, new, &field.path);
        let plain = |value: Option<Value>| value.map(|v| defaults::without_at(id.kind, &field.path, &v));
        let (before, after) = (plain(field.before), plain(field.after));
        FieldChange { per, ..FieldChange::new(Field { before, after, ..field }, effect, renews) }
    };
    let mut fields: Vec<FieldChange> = fields.into_iter().map(of).collect();
    if let Some(spec) = new {
        let none = annotations::Asked::new();
        let (was, is) = (before.asked.get(id).unwrap_or(&none), after.asked.get(id).unwrap_or(&none));
        fields.extend(annotations::changes(was, is, spec, old.is_none()));
    }
    if change == Change::Changed && fields.is_empty() {
        return None;
    }
    Some(Object {
        kind: id.kind.to_string(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        change,
        fields,
    })
}

/// The window of the budget whose limit stands at this path; `None` where it is another than before, so that there is no one
/// time over which the limits could be compared.
fn window(before: Option<&Value>, after: Option<&Value>, path: &str) -> Option<String> {
    path.ends_with("].usd").then_some(())?;
    let per = |spec: &Value| money::per(rules::budget(spec, path)?);
    match (before.and_then(per), after.and_then(per)) {
        (Some(was), Some(is)) => (was == is).then_some(is),
        (was, is) => is.or(was),
    }
}

fn is_false(it: &bool) -> bool {
    !it
}

// === impl FieldChange ===

impl FieldChange {
    /// A changed field that does this.
    pub fn new(field: Field, effect: Effect, renews: bool) -> Self {
        let Field { path, before, after, .. } = field;
        FieldChange { path, effect, renews, per: None, before, after }
    }
}
