//! Objects by name: who wins a name, what a namespace sees of another, which Secrets are used.

use super::{Body, Input, Mode, Object, Options, Problem, SecretData, Status, check, shown};
use crate::{
    api::{AllowedNamespaces, McpServer, ProviderRoute, SecretKeyRef, VirtualKey},
    conditions::reasons,
    stdio::StdioRules,
};
use std::collections::{BTreeMap, BTreeSet};
use tollgate_proto::{Kind, ResourceId, v1};

/// The objects that are readable and the only ones of their name.
pub(super) struct Index<'a> {
    options: Options,
    stdio: &'a StdioRules,
    by_id: BTreeMap<ResourceId, &'a Object>,
    /// The same by kind and name, in the order of their namespaces.
    by_name: BTreeMap<(Kind, &'a str), Vec<&'a Object>>,
    /// Objects that are there and not accepted, for better words.
    refused: BTreeSet<ResourceId>,
    /// Secrets that could not be read, with the reason in words.
    broken_secrets: BTreeMap<ResourceId, String>,
    namespaces: BTreeMap<&'a str, BTreeMap<String, String>>,
}

/// An object as found by a name in another one.
pub(super) enum Found<'a> {
    /// It is there, and may be used.
    Object(&'a Object),
    /// It is there, but in a namespace that has not agreed.
    NotAllowed,
    /// It is there, but not accepted.
    Refused,
    /// It is not there.
    Nothing,
}

/// The label that every namespace has.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

// === impl Index ===

impl<'a> Index<'a> {
    /// Sorts the objects out; those that lose their name or cannot be read get their status at once.
    pub(super) fn new(input: &'a Input, statuses: &mut Vec<Status>) -> Self {
        let mut ordered: Vec<&Object> = input.objects.iter().collect();
        ordered.sort_by_key(|o| o.precedence());
        let mut index = Index {
            options: input.options,
            stdio: &input.stdio,
            by_id: BTreeMap::new(),
            by_name: BTreeMap::new(),
            refused: BTreeSet::new(),
            broken_secrets: BTreeMap::new(),
            namespaces: namespaces(input),
        };
        let mut first: BTreeMap<ResourceId, &Object> = BTreeMap::new();
        for object in ordered {
            let id = ResourceId::new(object.kind, &object.namespace, &object.name);
            let mut status = Status::of(object);
            if let Some(before) = first.get(&id) {
                status.problems.push(duplicate(before));
                statuses.push(status);
                continue;
            }
            first.insert(id.clone(), object);
            status.problems.extend(check::object_name(object));
            if let Body::Unreadable(problems) = &object.body {
                status.problems.extend(problems.iter().cloned());
            }
            if !status.is_accepted() {
                if object.kind == Kind::Secret {
                    let words: Vec<_> = status.problems.iter().map(ToString::to_string).collect();
                    index.broken_secrets.insert(id.clone(), words.join("; "));
                }
                index.refused.insert(id);
                statuses.push(status);
                continue;
            }
            if object.kind == Kind::Secret {
                statuses.push(status);
            }
            index.by_id.insert(id, object);
        }
        for object in index.by_id.values() {
            index.by_name.entry((object.kind, &object.name)).or_default().push(object);
        }
        index
    }

    /// Takes the objects out that turned out not to be acceptable: nobody finds them any more.
    pub(super) fn refuse<'s>(&mut self, statuses: impl IntoIterator<Item = &'s Status>) {
        for status in statuses.into_iter().filter(|s| !s.is_accepted()) {
            let id = status.id();
            let Some(object) = self.by_id.remove(&id) else { continue };
            if let Some(namesakes) = self.by_name.get_mut(&(object.kind, object.name.as_str())) {
                namesakes.retain(|o| o.namespace != object.namespace);
            }
            self.refused.insert(id);
        }
    }

    /// The routes.
    pub(super) fn routes(&self) -> impl Iterator<Item = (&'a Object, &'a ProviderRoute)> {
        self.by_id.values().filter_map(|o| match &o.body {
            Body::ProviderRoute(route) => Some((*o, &**route)),
            _ => None,
        })
    }

    /// The servers.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&'a Object, &'a McpServer)> {
        self.by_id.values().filter_map(|o| match &o.body {
            Body::McpServer(server) => Some((*o, &**server)),
            _ => None,
        })
    }

    /// The keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'a Object, &'a VirtualKey)> {
        self.by_id.values().filter_map(|o| match &o.body {
            Body::VirtualKey(key) => Some((*o, &**key)),
            _ => None,
        })
    }

    /// An entry of a Secret of `namespace`, or why there is none.
    pub(super) fn secret(&self, namespace: &str, secret: &SecretKeyRef) -> Result<&'a [u8], String> {
        let id = ResourceId::new(Kind::Secret, namespace, &secret.name);
        let who = shown(Kind::Secret, namespace, &secret.name);
        if let Some(reason) = self.broken_secrets.get(&id) {
            return Err(format!("{who} cannot be used: {reason}"));
        }
        let Some(Body::Secret(data)) = self.by_id.get(&id).map(|o| &o.body) else {
            return Err(format!("{who} does not exist"));
        };
        let SecretData(entries) = &**data;
        entries
            .get(&secret.key)
            .map(Vec::as_slice)
            .ok_or_else(|| format!("{who} has no key `{}`", secret.key))
    }

    /// The object that `name` means in `namespace`: its own, even when that is not accepted, else the first by namespace among
    /// those exported to it. The data plane's snapshot has the same rule.
    pub(super) fn find(&self, kind: Kind, namespace: &str, name: &str) -> Found<'a> {
        let namesakes = self.by_name.get(&(kind, name)).map_or(&[][..], Vec::as_slice);
        let own = namesakes.iter().find(|o| o.namespace == namespace);
        let exported = || namesakes.iter().find(|o| self.exports_to(o, namespace));
        match own {
            Some(object) => return Found::Object(object),
            None if self.refused.contains(&ResourceId::new(kind, namespace, name)) => return Found::Refused,
            None => {}
        }
        match exported() {
            Some(object) => Found::Object(object),
            None if namesakes.is_empty() => Found::Nothing,
            None => Found::NotAllowed,
        }
    }

    /// The object `namespace/name` as named from another namespace.
    pub(super) fn find_in(&self, kind: Kind, from: &str, namespace: &str, name: &str) -> Found<'a> {
        let id = ResourceId::new(kind, namespace, name);
        match self.by_id.get(&id) {
            Some(object) if namespace == from || self.exports_to(object, from) => Found::Object(object),
            Some(_) => Found::NotAllowed,
            None if namespace == from && self.refused.contains(&id) => Found::Refused,
            None => Found::Nothing,
        }
    }

    /// Whether an object has agreed to be used from `namespace`.
    fn exports_to(&self, object: &Object, namespace: &str) -> bool {
        let allowed = match &object.body {
            Body::VirtualKey(key) => &key.spec.allowed_namespaces,
            Body::ProviderRoute(route) => &route.spec.allowed_namespaces,
            Body::McpServer(server) => &server.spec.allowed_namespaces,
            Body::Secret(_) | Body::Unreadable(_) => return false,
        };
        match allowed {
            AllowedNamespaces::Same => false,
            AllowedNamespaces::All => true,
            AllowedNamespaces::Selector(selector) => {
                self.namespaces.get(namespace).is_some_and(|labels| selector.matches(labels))
            }
        }
    }

    /// `allowedNamespaces` for the wire, its selector resolved to the namespaces that have keys.
    pub(super) fn export(&self, own: &str, allowed: &AllowedNamespaces) -> Option<v1::Export> {
        let to = match allowed {
            AllowedNamespaces::Same => return None,
            AllowedNamespaces::All => v1::export::To::All(true),
            AllowedNamespaces::Selector(selector) => {
                let users: BTreeSet<&str> =
                    self.keys().map(|(o, _)| o.namespace.as_str()).filter(|n| *n != own).collect();
                let selected = users
                    .into_iter()
                    .filter(|n| self.namespaces.get(n).is_some_and(|labels| selector.matches(labels)));
                v1::export::To::Namespaces(v1::Namespaces { names: selected.map(str::to_owned).collect() })
            }
        };
        Some(v1::Export { to: Some(to) })
    }

    /// Whether the configuration is for one's own machine.
    pub(super) fn standalone(&self) -> bool {
        self.options.mode == Mode::Standalone
    }

    /// What may be run for `spec.stdio`.
    pub(super) fn stdio(&self) -> &'a StdioRules {
        self.stdio
    }

    /// Whether endpoints may lead to private addresses.
    pub(super) fn allow_private_endpoints(&self) -> bool {
        self.options.allow_private_endpoints
    }
}

fn duplicate(before: &Object) -> Problem {
    let message = match &before.source {
        Some(source) => format!("this object is already defined at {source}; that one counts"),
        None => "this object is already defined".to_owned(),
    };
    Problem::accepted(reasons::CONFLICT, "metadata.name", message)
}

/// Labels of all namespaces: those given, and those that objects live in.
fn namespaces(input: &Input) -> BTreeMap<&str, BTreeMap<String, String>> {
    let named = input.objects.iter().map(|o| o.namespace.as_str());
    named
        .chain(input.namespaces.keys().map(String::as_str))
        .map(|name| {
            let mut labels = input.namespaces.get(name).cloned().unwrap_or_default();
            labels.insert(NAME_LABEL.to_owned(), name.to_owned());
            (name, labels)
        })
        .collect()
}
