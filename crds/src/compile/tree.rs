//! What keys are to each other: parents, and what is wrong with them.

use super::{
    Object, Problem,
    index::{Found, Index},
    shown,
};
use crate::{api::ObjectRef, conditions::reasons};
use std::collections::BTreeMap;
use tollgate_proto::{Kind, ResourceId, v1};

/// The most keys on a path to the root, the key itself included. The data plane's snapshot has the same limit.
pub const MAX_DEPTH: usize = 8;

/// Where a key's `parentRef` leads.
pub(super) enum Parent {
    /// There is none: the key is a root.
    Root,
    /// To this key.
    Key(v1::ObjectRef),
    /// Nowhere.
    Missing(v1::ObjectRef, Problem),
}

/// Keys with their parents.
pub(super) type Tree = BTreeMap<ResourceId, Parent>;

/// Looks a parent up: in the key's own namespace first, then among the keys exported to it; with a namespace only there.
pub(super) fn parent(index: &Index<'_>, object: &Object, parent: Option<&ObjectRef>) -> Parent {
    let Some(ObjectRef { name, namespace }) = parent else { return Parent::Root };
    let from = &object.namespace;
    let found = match namespace {
        None => index.find(Kind::VirtualKey, from, name),
        Some(namespace) => index.find_in(Kind::VirtualKey, from, namespace, name),
    };
    let there = v1::ObjectRef { namespace: namespace.as_ref().unwrap_or(from).clone(), name: name.clone() };
    let who = shown(Kind::VirtualKey, &there.namespace, name);
    let (reason, message) = match found {
        Found::Object(parent) => {
            return Parent::Key(v1::ObjectRef { namespace: parent.namespace.clone(), name: name.clone() });
        }
        Found::NotAllowed => (
            reasons::NOT_ALLOWED,
            match namespace {
                Some(_) => {
                    format!("{who} does not allow keys of namespace {from} (its spec.allowedNamespaces)")
                }
                None => {
                    format!("{who} does not exist, and no other `{name}` allows keys of namespace {from}")
                }
            },
        ),
        Found::Refused => (reasons::PARENT_NOT_FOUND, format!("{who} is not accepted")),
        Found::Nothing => (reasons::PARENT_NOT_FOUND, format!("{who} does not exist")),
    };
    Parent::Missing(there, Problem::reference(reason, "spec.parentRef", message))
}

/// What is wrong with a key's path to the root.
pub(super) fn problem(tree: &Tree, id: &ResourceId) -> Option<Problem> {
    let mut path = vec![id.clone()];
    loop {
        let here = path.last()?;
        let next = match tree.get(here) {
            None | Some(Parent::Root) => return None,
            Some(Parent::Missing(_, problem)) if path.len() == 1 => return Some(problem.clone()),
            Some(Parent::Missing(_, problem)) => {
                return Some(denied(format!("{here} is denied: {}", problem.message)));
            }
            Some(Parent::Key(parent)) => ResourceId::new(Kind::VirtualKey, &parent.namespace, &parent.name),
        };
        if next == *id {
            return Some(cycle(&path, id));
        }
        if path.contains(&next) {
            return Some(denied(format!("{next} is denied: its parents form a circle")));
        }
        if path.len() >= MAX_DEPTH {
            let message = format!("the key has more than {MAX_DEPTH} levels up to its root");
            return Some(Problem::accepted(reasons::PARENT_TOO_DEEP, "spec.parentRef", message));
        }
        path.push(next);
    }
}

fn denied(message: String) -> Problem {
    Problem::reference(reasons::PARENT_DENIED, "spec.parentRef", message)
}

fn cycle(path: &[ResourceId], start: &ResourceId) -> Problem {
    let names: Vec<_> = path.iter().chain([start]).map(|id| id.name.as_str()).collect();
    let message = format!("the parents form a circle: {}", names.join(" → "));
    Problem::accepted(reasons::PARENT_CYCLE, "spec.parentRef", message)
}
