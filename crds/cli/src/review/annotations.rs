//! What keys' annotations ask for: budgets that begin anew, another token.

use super::{
    fields::Field,
    report::FieldChange,
    rules::{Effect, Meaning},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tollgate_crds::annotations::{RESET_BUDGET, ROTATE_TOKEN, ROTATION_OVERLAP, overlap, resets};

/// Annotations of one key, those that ask for something.
pub type Asked = BTreeMap<&'static str, String>;

const KNOWN: [&str; 3] = [RESET_BUDGET, ROTATE_TOKEN, ROTATION_OVERLAP];

/// Those of a key's metadata that ask for something.
pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Asked {
    let found = KNOWN.into_iter().filter_map(|name| Some((name, annotations?.get(name)?.clone())));
    found.collect()
}

/// What differs, and what it does to a key with this spec.
pub fn changes(before: &Asked, after: &Asked, spec: &Value, is_new: bool) -> Vec<FieldChange> {
    let differing = KNOWN.into_iter().filter(|name| before.get(name) != after.get(name));
    let change = |name: &'static str| {
        let (old, new) = (before.get(name).map(String::as_str), after.get(name).map(String::as_str));
        let Meaning { effect, renews } = match name {
            RESET_BUDGET => of_reset(old, new, spec),
            // A new key has no token yet that could be another.
            _ if is_new => Meaning { effect: Effect::Neutral, renews: false },
            ROTATION_OVERLAP => Meaning { effect: of_overlap(old, new), renews: false },
            _ => Meaning { effect: of_rotation(new), renews: false },
        };
        let value = |text: Option<&str>| text.map(Value::from);
        let path = format!("metadata.annotations[{name}]");
        let field = Field { path, before: value(old), after: value(new), whole: false };
        FieldChange::new(field, effect, renews)
    };
    differing.map(change).collect()
}

/// The budgets of the spec that are asked, not yet before, to begin anew. Each request is carried out once.
pub fn renewed<'s>(before: &Asked, after: &Asked, spec: &'s Value) -> Vec<&'s Value> {
    let text = |asked: &Asked| asked.get(RESET_BUDGET).cloned();
    let (old, new) = (text(before), text(after));
    named(&asked(old.as_deref(), new.as_deref()), spec)
}

/// The budgets, or `*`, of the requests that are new.
fn asked<'t>(old: Option<&str>, new: Option<&'t str>) -> BTreeSet<&'t str> {
    let known: BTreeSet<_> = resets(old.unwrap_or_default()).map(|(_, id)| id).collect();
    let fresh = resets(new.unwrap_or_default()).filter(|(_, id)| !known.contains(id));
    fresh.map(|(budget, _)| budget).collect()
}

fn of_reset(old: Option<&str>, new: Option<&str>, spec: &Value) -> Meaning {
    let asked = asked(old, new);
    let renews = !named(&asked, spec).is_empty();
    let effect = match (renews, asked.is_empty()) {
        (true, _) => Effect::Widens,
        // It names no budget of the key: a slip, or what is not there any more.
        (false, false) => Effect::Attention,
        (false, true) => Effect::Neutral,
    };
    Meaning { effect, renews }
}

/// The budgets of a spec with these names; `*` names all.
fn named<'s>(names: &BTreeSet<&str>, spec: &'s Value) -> Vec<&'s Value> {
    let is_named = |budget: &&Value| {
        let name = budget.get("name").and_then(Value::as_str).unwrap_or_default();
        names.contains("*") || names.contains(name)
    };
    spec.get("budgets").and_then(Value::as_array).into_iter().flatten().filter(is_named).collect()
}

/// For how long a token that is replaced, because it leaked perhaps, goes on being good.
fn of_overlap(old: Option<&str>, new: Option<&str>) -> Effect {
    match (overlap(old), overlap(new)) {
        (Ok(old), Ok(new)) if new > old => Effect::Widens,
        (Ok(old), Ok(new)) if new < old => Effect::Narrows,
        (Ok(_), Ok(_)) => Effect::Neutral,
        // What is no duration hinders every rotation.
        _ => Effect::Attention,
    }
}

fn of_rotation(new: Option<&str>) -> Effect {
    if new.is_some_and(|asked| !asked.is_empty()) { Effect::Attention } else { Effect::Neutral }
}
