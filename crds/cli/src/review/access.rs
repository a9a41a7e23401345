//! Who gains and who loses what, over all keys, those of a changed team too.

use super::policy::{Path, Policy, Universe};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tollgate_proto::glob::Globs;

/// Keys for which the change means the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// `namespace/name` of the keys.
    pub keys: Vec<String>,
    /// What they may do from now on, or no longer.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What a key may do from now on, or no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Models, as `route/model`.
    pub gains_models: Vec<String>,
    /// Models, as `route/model`.
    pub loses_models: Vec<String>,
    /// Tools, as `server/tool`.
    pub gains_tools: Vec<String>,
    /// Tools, as `server/tool`.
    pub loses_tools: Vec<String>,
    /// Why the key may use nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
}

/// Compares two sides, key by key; keys with the same difference are told together.
pub fn compare(before: &Policy<'_>, after: &Policy<'_>) -> Vec<Access> {
    let universe = Universe::of(&[before, after]);
    let names: BTreeSet<(&str, &str)> = before
        .callers()
        .chain(after.callers())
        .map(|key| (key.namespace.as_str(), key.name.as_str()))
        .collect();
    let mut groups: BTreeMap<Difference, Vec<String>> = BTreeMap::new();
    for (namespace, name) in names {
        let old = before.path(namespace, name).filter(|path| is_caller(path));
        let new = after.path(namespace, name).filter(|path| is_caller(path));
        let difference = difference(before, after, old.as_ref(), new.as_ref(), &universe);
        if difference != Difference::default() {
            groups.entry(difference).or_default().push(format!("{namespace}/{name}"));
        }
    }
    groups.into_iter().map(|(difference, keys)| Access { keys, difference }).collect()
}

fn is_caller(path: &Path<'_>) -> bool {
    path.keys.first().is_some_and(|key| !key.team)
}

fn difference(
    before: &Policy<'_>,
    after: &Policy<'_>,
    old: Option<&Path<'_>>,
    new: Option<&Path<'_>>,
    universe: &Universe,
) -> Difference {
    let models = |policy: &Policy<'_>, path: Option<&Path<'_>>| {
        path.map(|path| policy.models(path, universe)).unwrap_or_default()
    };
    let tools = |policy: &Policy<'_>, path: Option<&Path<'_>>| {
        path.map(|path| policy.tools(path, universe)).unwrap_or_default()
    };
    let (old_models, new_models) = (models(before, old), models(after, new));
    let (old_tools, new_tools) = (tools(before, old), tools(after, new));
    let was_off = old.and_then(|path| path.off.as_ref());
    Difference {
        gains_models: shortest(&new_models, &old_models),
        loses_models: shortest(&old_models, &new_models),
        gains_tools: shortest(&new_tools, &old_tools),
        loses_tools: shortest(&old_tools, &new_tools),
        off: new.and_then(|path| path.off.clone()).filter(|off| was_off != Some(off)),
    }
}

/// What is in `these` and not in `those`, without what another of the difference covers.
fn shortest(these: &BTreeSet<String>, those: &BTreeSet<String>) -> Vec<String> {
    let only: Vec<&String> = these.difference(those).collect();
    let covered =
        |name: &str| only.iter().any(|other| other.as_str() != name && Globs::new([other]).matches(name));
    only.iter().filter(|name| !covered(name)).map(|name| (*name).clone()).collect()
}

// === impl Difference ===

impl Difference {
    /// Whether somebody may do more.
    pub fn widens(&self) -> bool {
        !self.gains_models.is_empty() || !self.gains_tools.is_empty()
    }

    /// Whether somebody may do less.
    pub fn narrows(&self) -> bool {
        !self.loses_models.is_empty() || !self.loses_tools.is_empty() || self.off.is_some()
    }
}
