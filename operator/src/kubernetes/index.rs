//! The objects of a cluster by name, and what they make together. Pure: watches only tell it what they saw.

use super::{
    object::{object, said, unreadable},
    secrets::{Read, Secrets},
    world::{ObjectName, Objects, World},
};
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::{Body, Compiled, Input, Object, compile},
};
use tollgate_proto::{Kind, Resource, ResourceId};

/// What a watch watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// Virtual keys.
    Keys,
    /// Provider routes.
    Routes,
    /// MCP servers.
    Servers,
    /// Namespaces, for their labels.
    Namespaces,
    /// The metadata of Secrets.
    Secrets,
}

/// One watch: of a namespace, or of all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What it watches.
    pub watched: Watched,
    /// Where; `None`: everywhere.
    pub namespace: Option<Arc<str>>,
}

/// An object as a watch saw it.
#[derive(Debug)]
pub enum Observed {
    /// A virtual key, or one that cannot be read.
    Key(Box<DeserializeGuard<VirtualKey>>),
    /// A provider route, or one that cannot be read.
    Route(Box<DeserializeGuard<ProviderRoute>>),
    /// An MCP server, or one that cannot be read.
    Server(Box<DeserializeGuard<McpServer>>),
    /// A namespace's metadata.
    Namespace(Box<PartialObjectMeta<Namespace>>),
    /// A Secret's metadata.
    Secret(Box<PartialObjectMeta<Secret>>),
}

/// Everything that was seen, and what it makes.
#[derive(Debug)]
pub struct Index {
    input: Input,
    objects: BTreeMap<(Kind, ObjectName), Object>,
    keys: Objects<VirtualKey>,
    routes: Objects<ProviderRoute>,
    servers: Objects<McpServer>,
    unreadable: Arc<BTreeMap<ResourceId, Arc<ObjectMeta>>>,
    namespaces: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    secrets: Secrets,
    /// What belongs to no object: token issuers, sealing keys.
    pushed: Vec<Resource>,
    compiled: Arc<Compiled>,
    /// Watches whose first list is not complete.
    incomplete: BTreeSet<Source>,
    /// What was seen in lists that are under way.
    listing: BTreeMap<Source, BTreeSet<ObjectName>>,
    /// There is something new to publish.
    changed: bool,
    /// And it has to be compiled.
    outdated: bool,
    /// What objects name may have changed.
    unsettled: bool,
}

// === impl Index ===

impl Index {
    /// Nothing seen yet of these watches. `input` holds what does not come from them: the options.
    pub fn new(input: Input, sources: impl IntoIterator<Item = Source>) -> Self {
        Index {
            input,
            objects: BTreeMap::new(),
            keys: Objects::default(),
            routes: Objects::default(),
            servers: Objects::default(),
            unreadable: Arc::default(),
            namespaces: Arc::default(),
            secrets: Secrets::default(),
            pushed: Vec::new(),
            compiled: Arc::default(),
            incomplete: sources.into_iter().collect(),
            listing: BTreeMap::new(),
            changed: true,
            outdated: true,
            unsettled: true,
        }
    }

    /// A watch begins a list: what is not in it will be gone when it is complete.
    pub fn restart(&mut self, source: &Source) {
        self.listing.insert(source.clone(), BTreeSet::new());
    }

    /// A watch saw an object.
    pub fn apply(&mut self, source: &Source, observed: Observed) {
        let name = observed.name();
        if let Some(seen) = self.listing.get_mut(source) {
            seen.insert(name.clone());
        }
        match observed {
            Observed::Key(key) => self.put(Kind::VirtualKey, name, *key, Body::VirtualKey),
            Observed::Route(route) => self.put(Kind::ProviderRoute, name, *route, Body::ProviderRoute),
            Observed::Server(server) => self.put(Kind::McpServer, name, *server, Body::McpServer),
            Observed::Namespace(namespace) => {
                let labels = namespace.metadata.labels.unwrap_or_default();
                if self.namespaces.get(&name.1) != Some(&labels) {
                    Arc::make_mut(&mut self.namespaces).insert(name.1, labels);
                    self.outdated();
                }
            }
            Observed::Secret(_) => self.secrets.touch(&name),
        }
    }

    /// A watch saw an object go.
    pub fn delete(&mut self, watched: Watched, name: &ObjectName) {
        let gone = match watched {
            Watched::Keys => self.remove(Kind::VirtualKey, name),
            Watched::Routes => self.remove(Kind::ProviderRoute, name),
            Watched::Servers => self.remove(Kind::McpServer, name),
            Watched::Namespaces => {
                let there = self.namespaces.contains_key(&name.1);
                there && Arc::make_mut(&mut self.namespaces).remove(&name.1).is_some()
            }
            Watched::Secrets => self.secrets.delete(name),
        };
        if gone {
            self.outdated();
        }
    }

    /// A watch's list is complete: what was not in it is gone.
    pub fn complete(&mut self, source: &Source) {
        let seen = self.listing.remove(source).unwrap_or_default();
        for name in self.names_in(source) {
            match source.watched {
                // It may have been made after the list: whoever reads it finds out.
                Watched::Secrets if !seen.contains(&name) => self.secrets.touch(&name),
                watched if !seen.contains(&name) => self.delete(watched, &name),
                _ => {}
            }
        }
        if self.incomplete.remove(source) {
            self.changed = true;
        }
    }

    /// Resources that come from no object.
    pub fn push(&mut self, resources: Vec<Resource>) {
        if self.pushed != resources {
            self.pushed = resources;
            self.outdated();
        }
    }

    /// Finds out which Secrets the objects name now.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.unsettled) && self.secrets.want(self.objects.values()) {
            self.outdated();
        }
    }

    /// The Secrets to be read now; each is told once, until [`Self::read`].
    pub fn take_due(&mut self) -> Vec<ObjectName> {
        self.secrets.take_due()
    }

    /// Secrets that the operator was not allowed to read are to be read again.
    pub fn retry_refused(&mut self) {
        self.secrets.touch_refused();
    }

    /// What came of reading a Secret.
    pub fn read(&mut self, name: &ObjectName, read: Read) {
        if self.secrets.read(name, read) {
            self.outdated();
        }
    }

    /// Watches whose first list is not complete.
    pub fn incomplete(&self) -> impl Iterator<Item = &Source> {
        self.incomplete.iter()
    }

    /// Whether some Secret that an object names was not looked for yet.
    pub fn is_unknown(&self) -> bool {
        self.secrets.is_unknown()
    }

    /// Why some Secret cannot be read, for people.
    pub fn failure(&self) -> Option<&str> {
        self.secrets.failure()
    }

    /// Whether [`Self::world`] has something new to say.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The world as it is now.
    pub fn world(&mut self) -> World {
        self.changed = false;
        if std::mem::take(&mut self.outdated) {
            self.compiled = Arc::new(self.compile());
        }
        World {
            compiled: self.compiled.clone(),
            keys: self.keys.clone(),
            routes: self.routes.clone(),
            servers: self.servers.clone(),
            unreadable: self.unreadable.clone(),
            namespaces: self.namespaces.clone(),
            synced: self.incomplete.is_empty(),
        }
    }

    fn compile(&self) -> Compiled {
        let input = Input {
            objects: self.objects.values().cloned().chain(self.secrets.objects()).collect(),
            namespaces: self.namespaces.as_ref().clone(),
            ..self.input.clone()
        };
        let mut compiled = crate::telemetry::compiling(|| compile(&input));
        for resource in &self.pushed {
            compiled.resources.insert(resource.clone());
        }
        compiled
    }

    fn outdated(&mut self) {
        self.changed = true;
        self.outdated = true;
    }

    /// Puts an object into its place; whether it has to be compiled depends on what it says, not on its status.
    fn put<K: Kept>(
        &mut self,
        kind: Kind,
        name: ObjectName,
        observed: DeserializeGuard<K>,
        body: fn(Arc<K>) -> Body,
    ) {
        self.changed = true;
        let id = ResourceId::new(kind, &name.0, &name.1);
        let DeserializeGuard(observed) = observed;
        let (body, same) = match observed {
            Ok(new) => {
                let new = Arc::new(new);
                self.forget_unreadable(&id);
                let before = Arc::make_mut(K::objects(self)).insert(name.clone(), new.clone());
                let same = before.is_some_and(|old| said(old.meta()) == said(new.meta()));
                (object(kind, new.meta(), body(new.clone())), same)
            }
            Err(invalid) => {
                Arc::make_mut(K::objects(self)).remove(&name);
                let object = object(kind, &invalid.metadata, unreadable(&invalid.error));
                Arc::make_mut(&mut self.unreadable).insert(id, Arc::new(invalid.metadata));
                (object, false)
            }
        };
        if !same {
            self.objects.insert((kind, name), body);
            self.outdated = true;
            self.unsettled = true;
        }
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName) -> bool {
        let there = self.objects.remove(&(kind, name.clone())).is_some();
        if there {
            self.forget_unreadable(&ResourceId::new(kind, &name.0, &name.1));
            match kind {
                Kind::VirtualKey => drop(Arc::make_mut(&mut self.keys).remove(name)),
                Kind::ProviderRoute => drop(Arc::make_mut(&mut self.routes).remove(name)),
                Kind::McpServer => drop(Arc::make_mut(&mut self.servers).remove(name)),
                Kind::Secret | Kind::TokenIssuer | Kind::SealingKeys => {}
            }
            self.unsettled = true;
        }
        there
    }

    fn forget_unreadable(&mut self, id: &ResourceId) {
        if self.unreadable.contains_key(id) {
            Arc::make_mut(&mut self.unreadable).remove(id);
        }
    }

    /// The names that a watch has told of so far.
    fn names_in(&self, source: &Source) -> Vec<ObjectName> {
        let scope = source.namespace.as_deref();
        let of = |kind: Kind| {
            let all = self.objects.keys().filter(move |(k, _)| *k == kind).map(|(_, name)| name);
            all.filter(|(namespace, _)| scope.is_none_or(|s| s == namespace)).cloned().collect()
        };
        match source.watched {
            Watched::Keys => of(Kind::VirtualKey),
            Watched::Routes => of(Kind::ProviderRoute),
            Watched::Servers => of(Kind::McpServer),
            Watched::Namespaces => self.namespaces.keys().map(|n| (String::new(), n.clone())).collect(),
            Watched::Secrets => self.secrets.names_in(scope),
        }
    }
}

/// The kinds whose objects are kept whole.
trait Kept: kube::Resource + Clone {
    fn objects(index: &mut Index) -> &mut Objects<Self>;
}

impl Kept for VirtualKey {
    fn objects(index: &mut Index) -> &mut Objects<Self> {
        &mut index.keys
    }
}

impl Kept for ProviderRoute {
    fn objects(index: &mut Index) -> &mut Objects<Self> {
        &mut index.routes
    }
}

impl Kept for McpServer {
    fn objects(index: &mut Index) -> &mut Objects<Self> {
        &mut index.servers
    }
}

// === impl Observed ===

impl Observed {
    /// Its namespace and name; the namespace of a namespace is empty.
    pub fn name(&self) -> ObjectName {
        let metadata = match self {
            Observed::Key(object) => kube::Resource::meta(&**object),
            Observed::Route(object) => kube::Resource::meta(&**object),
            Observed::Server(object) => kube::Resource::meta(&**object),
            Observed::Namespace(object) => &object.metadata,
            Observed::Secret(object) => &object.metadata,
        };
        (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    }
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.watched {
            Watched::Keys => "virtualkeys",
            Watched::Routes => "providerroutes",
            Watched::Servers => "mcpservers",
            Watched::Namespaces => "namespaces",
            Watched::Secrets => "secrets",
        };
        match &self.namespace {
            Some(namespace) => write!(f, "{what} of namespace {namespace}"),
            None => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests;
