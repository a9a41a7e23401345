//! What keys are to each other: parents, and what is wrong with them.

use super::{
    Object, Problem,
    index::{Found, Index},
    shown,
};
use crate::{api::ObjectRef, conditions::reasons};
use std::collections::BTreeMap;
pub use tollgate_proto::names::MAX_DEPTH;
use tollgate_proto::{Kind, ResourceId, v1};

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
    let who = |namespace: &str| shown(Kind::VirtualKey, namespace, name);
    let at = namespace.as_ref().unwrap_or(from);
    let (reason, message) = match found {
        Found::Object(parent) => return Parent::Key(reference(&parent.namespace, name)),
        Found::Refused(refused) => {
            let message = format!("{} is not accepted", who(&refused.namespace));
            return missing(&refused.namespace, name, reasons::PARENT_NOT_FOUND, message);
        }
        Found::NotAllowed(_) if namespace.is_some() => {
            let message = "does not allow keys of namespace";
            (reasons::NOT_ALLOWED, format!("{} {message} {from} (its spec.allowedNamespaces)", who(at)))
        }
        Found::NotAllowed(None) => {
            let message = format!("and no other `{name}` allows keys of namespace {from}");
            (reasons::NOT_ALLOWED, format!("{} does not exist, {message}", who(at)))
        }
        Found::NotAllowed(Some(other)) => {
            let message = format!(
                "{} does not exist; {} allows it, but is in no platform namespace, so it has to be named with its \
                 namespace: parentRef.namespace",
                who(at),
                who(&other.namespace)
            );
            (reasons::NOT_ALLOWED, message)
        }
        Found::Nothing => (reasons::PARENT_NOT_FOUND, format!("{} does not exist", who(at))),
    };
    missing(at, name, reason, message)
}

fn reference(namespace: &str, name: &str) -> v1::ObjectRef {
    v1::ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn missing(namespace: &str, name: &str, reason: &'static str, message: String) -> Parent {
    Parent::Missing(reference(namespace, name), Problem::reference(reason, "spec.parentRef", message))
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
