//! Objects by name: who wins a name, what a namespace sees of another, which Secrets are used.

use super::{Body, Input, Mode, Object, Options, Problem, SecretData, Status, check, shown};
use crate::{
    api::{AllowedNamespaces, McpServer, ProviderRoute, SecretKeyRef, VirtualKey},
    conditions::reasons,
    stdio::StdioRules,
};
use std::collections::{BTreeMap, BTreeSet};
use tollgate_proto::{Kind, ResourceId, names, v1};

/// The objects that are readable and the only ones of their name.
pub(super) struct Index<'a> {
    options: Options,
    stdio: &'a StdioRules,
    by_id: BTreeMap<ResourceId, &'a Object>,
    /// Those that are not accepted: they keep their names.
    refused: BTreeMap<ResourceId, &'a Object>,
    /// Both by kind and name, in the order of their namespaces.
    by_name: BTreeMap<(Kind, &'a str), Vec<&'a Object>>,
    /// Secrets that could not be read, with the reason in words.
    broken_secrets: BTreeMap<ResourceId, String>,
    namespaces: BTreeMap<&'a str, BTreeMap<String, String>>,
    platforms: Option<&'a BTreeSet<String>>,
}

/// An object as found by a name in another one.
pub(super) enum Found<'a> {
    /// It is there, and may be used.
    Object(&'a Object),
    /// It is there, but in namespaces that have not agreed; or one has whose exports do not count: this object of it.
    NotAllowed(Option<&'a Object>),
    /// This is it, but it is not accepted.
    Refused(&'a Object),
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
            refused: BTreeMap::new(),
            by_name: BTreeMap::new(),
            broken_secrets: BTreeMap::new(),
            namespaces: namespaces(input),
            platforms: input.platforms.as_ref(),
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
            if let Body::Unreadable(problems, _) = &object.body {
                status.problems.extend(problems.iter().cloned());
            }
            if !status.is_accepted() {
                if object.kind == Kind::Secret {
                    let words: Vec<_> = status.problems.iter().map(ToString::to_string).collect();
                    index.broken_secrets.insert(id.clone(), words.join("; "));
                }
                index.refused.insert(id, object);
                statuses.push(status);
                continue;
            }
            if object.kind == Kind::Secret {
                statuses.push(status);
            }
            index.by_id.insert(id, object);
        }
        for object in first.into_values() {
            index.by_name.entry((object.kind, &object.name)).or_default().push(object);
        }
        index
    }

    /// Takes the objects out that turned out not to be acceptable. They keep their names, so that no other is found in their place.
    pub(super) fn refuse<'s>(&mut self, statuses: impl IntoIterator<Item = &'s Status>) {
        for status in statuses.into_iter().filter(|s| !s.is_accepted()) {
            let id = status.id();
            if let Some(object) = self.by_id.remove(&id) {
                self.refused.insert(id, object);
            }
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

    /// The object that `name` means in `namespace`, by the rule of [`names::meant`]; one that is not accepted still hides those after it.
    pub(super) fn find(&self, kind: Kind, namespace: &str, name: &str) -> Found<'a> {
        let namesakes = self.by_name.get(&(kind, name)).map_or(&[][..], Vec::as_slice);
        let exported = |o: &Object| self.is_platform(&o.namespace) && self.exports_to(o, namespace);
        let meant = names::meant(namesakes.iter().copied(), namespace, |o| (&o.namespace, exported(o)));
        match meant {
            Some(object) => self.standing(object),
            None if namesakes.iter().all(|o| self.is_refused(o)) => Found::Nothing,
            None => Found::NotAllowed(namesakes.iter().copied().find(|o| self.exports_to(o, namespace))),
        }
    }

    /// The object `namespace/name` as named from another namespace. That its namespace is named as well leaves no doubt which is
    /// meant, so any namespace's consent counts.
    pub(super) fn find_in(&self, kind: Kind, from: &str, namespace: &str, name: &str) -> Found<'a> {
        let namesakes = self.by_name.get(&(kind, name)).map_or(&[][..], Vec::as_slice);
        match namesakes.iter().find(|o| o.namespace == namespace) {
            Some(object) if namespace == from || self.exports_to(object, from) => self.standing(object),
            Some(object) if !self.is_refused(object) => Found::NotAllowed(None),
            Some(_) | None => Found::Nothing,
        }
    }

    fn standing(&self, object: &'a Object) -> Found<'a> {
        if self.is_refused(object) { Found::Refused(object) } else { Found::Object(object) }
    }

    fn is_refused(&self, object: &Object) -> bool {
        self.refused.contains_key(&ResourceId::new(object.kind, &object.namespace, &object.name))
    }

    /// Whether the objects of a namespace may act on others: have exports found by name, and take callers without a credential.
    pub(super) fn is_platform(&self, namespace: &str) -> bool {
        self.platforms.is_none_or(|platforms| platforms.contains(namespace))
    }

    /// Whether an object has agreed to be used from `namespace`.
    fn exports_to(&self, object: &Object, namespace: &str) -> bool {
        match object.body.export() {
            AllowedNamespaces::Same => false,
            AllowedNamespaces::All => true,
            AllowedNamespaces::Selector(selector) => {
                self.namespaces.get(namespace).is_some_and(|labels| selector.matches(labels))
            }
        }
    }

    /// What there is to say of an export that does not count.
    pub(super) fn vain_export(&self, object: &Object) -> Option<Problem> {
        let namespace = &object.namespace;
        if self.is_platform(namespace) || *object.body.export() == AllowedNamespaces::Same {
            return None;
        }
        let message = format!(
            "does not count: {namespace} is no platform namespace, and names that any namespace could export would be anybody's \
             to take. The {} is in force in {namespace} alone; whoever runs the operator names platform namespaces with the chart's \
             platformNamespaces (--platform-namespace)",
            object.kind
        );
        Some(Problem::reference(reasons::PLATFORM_ONLY, "spec.allowedNamespaces", message))
    }

    /// The export of an object that is not accepted, for the wire.
    pub(super) fn export_of_refused(&self, id: &ResourceId) -> Option<v1::Export> {
        let object = self.refused.get(id)?;
        self.export(&object.namespace, object.body.export())
    }

    /// `allowedNamespaces` for the wire: nothing where it does not count, its selector resolved to the namespaces that have keys.
    pub(super) fn export(&self, own: &str, allowed: &AllowedNamespaces) -> Option<v1::Export> {
        if !self.is_platform(own) {
            return None;
        }
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
