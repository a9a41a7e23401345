//! The objects of a cluster by name, and what they make together. Pure: watches only tell it what they saw, and the time comes in.
//!
//! An object that names a Secret which was not looked for yet waits for it, [`HOLD`] at most: until then what it said before counts,
//! and nobody else waits with it.

use super::{
    object::{object, said, unreadable},
    observed::{Observed, Source, Watched},
    secrets::{Read, Secrets},
    world::{ObjectName, Objects, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::{Body, Compiled, Input, Object, compile, references::secrets},
    guard::{Guarded, Unreadable},
};
use tollgate_proto::{Kind, Resource, ResourceId};

/// Everything that was seen, and what it makes.
#[derive(Debug)]
pub struct Index {
    input: Input,
    /// What counts.
    objects: BTreeMap<(Kind, ObjectName), Object>,
    /// What will count as soon as its Secrets were looked for.
    waiting: BTreeMap<(Kind, ObjectName), Waiting>,
    keys: Objects<VirtualKey>,
    routes: Objects<ProviderRoute>,
    servers: Objects<McpServer>,
    unreadable: Arc<BTreeMap<ResourceId, Arc<Unreadable>>>,
    namespaces: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    secrets: Secrets,
    /// What belongs to no object: token issuers, sealing keys.
    pushed: Vec<Resource>,
    compiled: Arc<Compiled>,
    /// Watches whose first list is not complete.
    incomplete: BTreeSet<Source>,
    /// What was seen in lists that are under way.
    listing: BTreeMap<Source, BTreeSet<ObjectName>>,
    /// Watches that the API server refuses, and since when.
    refused: BTreeMap<Source, Option<Instant>>,
    /// There is something new to publish.
    changed: bool,
    /// And it has to be compiled.
    outdated: bool,
    /// What objects name may have changed.
    unsettled: bool,
    /// A Secret was looked for, and somebody may have waited for it.
    looked: bool,
}

/// An object that waits for its Secrets.
#[derive(Debug)]
struct Waiting {
    object: Object,
    /// Nobody has looked yet whether it has to wait at all.
    fresh: bool,
    /// Until when; counted from the first version that had to wait.
    until: Option<Instant>,
}

/// How long an object waits for a Secret that it names and that cannot be read.
pub const HOLD: Duration = Duration::from_secs(5);
/// How long an operator that starts waits for the objects of a namespace that it may not watch.
pub const REFUSED: Duration = Duration::from_secs(60);

// === impl Index ===

impl Index {
    /// Nothing seen yet of these watches. `input` holds what does not come from them: the options.
    pub fn new(input: Input, sources: impl IntoIterator<Item = Source>) -> Self {
        Index {
            input,
            objects: BTreeMap::new(),
            waiting: BTreeMap::new(),
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
            refused: BTreeMap::new(),
            changed: true,
            outdated: true,
            unsettled: true,
            looked: false,
        }
    }

    /// A watch begins a list: what is not in it will be gone when it is complete.
    pub fn restart(&mut self, source: &Source) {
        self.listing.insert(source.clone(), BTreeSet::new());
    }

    /// A watch saw an object.
    pub fn apply(&mut self, source: &Source, observed: Observed) {
        let name = observed.name();
        self.refused.remove(source);
        if let Some(seen) = self.listing.get_mut(source) {
            seen.insert(name.clone());
        }
        match observed {
            Observed::Key(key) => self.put(Kind::VirtualKey, name, key, Body::VirtualKey),
            Observed::Route(route) => self.put(Kind::ProviderRoute, name, route, Body::ProviderRoute),
            Observed::Server(server) => self.put(Kind::McpServer, name, server, Body::McpServer),
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
            Watched::Secrets => {
                self.looked = true;
                self.secrets.delete(name)
            }
        };
        if gone {
            self.outdated();
        }
    }

    /// A watch's list is complete: what was not in it is gone.
    pub fn complete(&mut self, source: &Source) {
        self.refused.remove(source);
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

    /// The API server refuses a watch.
    pub fn refuse(&mut self, source: &Source) {
        self.refused.entry(source.clone()).or_default();
    }

    /// The watches that the API server refuses now.
    pub fn refused(&self) -> impl Iterator<Item = &Source> {
        self.refused.keys()
    }

    /// Refused watches that count as empty from now on, because their namespace is not there: a Role goes with its namespace,
    /// and everything else in it. Where the namespace is there, an operator that starts waits for [`REFUSED`]; one that runs
    /// keeps what it has seen.
    pub fn vanish(&mut self, now: Instant) -> Vec<Source> {
        for since in self.refused.values_mut() {
            since.get_or_insert(now);
        }
        let namespaces = Source { watched: Watched::Namespaces, namespace: None };
        if self.incomplete.contains(&namespaces) || self.listing.contains_key(&namespaces) {
            return Vec::new();
        }
        let empty = |(source, since): (&Source, &Option<Instant>)| {
            let namespace = source.namespace.as_deref()?;
            let there = self.namespaces.contains_key(namespace);
            let first = self.incomplete.contains(source);
            let long = since.is_some_and(|since| now.saturating_duration_since(since) >= REFUSED);
            let counts = if there { first && long } else { first || !self.objects_of(source).is_empty() };
            counts.then(|| source.clone())
        };
        let empty: Vec<_> = self.refused.iter().filter_map(empty).collect();
        for source in &empty {
            for name in self.objects_of(source) {
                self.delete(source.watched, &name);
            }
            self.listing.remove(source);
            self.incomplete.remove(source);
            self.changed = true;
        }
        empty
    }

    /// The objects that a watch has told of. Of Secrets it tells nothing that counts: they are read by name.
    fn objects_of(&self, source: &Source) -> Vec<ObjectName> {
        match source.watched {
            Watched::Secrets => Vec::new(),
            _ => self.names_in(source),
        }
    }

    /// Resources that come from no object.
    pub fn push(&mut self, resources: Vec<Resource>) {
        if self.pushed != resources {
            self.pushed = resources;
            self.outdated();
        }
    }

    /// Finds out which Secrets the objects name now, and which objects need not wait any longer.
    pub fn settle(&mut self, now: Instant) {
        let mut dropped = self.want();
        self.release(now);
        // What counted until now names Secrets no more.
        dropped |= self.want();
        if dropped {
            self.outdated();
        }
    }

    fn want(&mut self) -> bool {
        if !std::mem::take(&mut self.unsettled) {
            return false;
        }
        let waiting = self.waiting.values().map(|waiting| &waiting.object);
        self.secrets.want(self.objects.values().chain(waiting))
    }

    /// Lets those count whose Secrets were looked for, and those that have waited for long.
    fn release(&mut self, now: Instant) {
        let looked = std::mem::take(&mut self.looked);
        let mut ready = Vec::new();
        for (id, waiting) in &mut self.waiting {
            let fresh = std::mem::take(&mut waiting.fresh);
            let until = *waiting.until.get_or_insert(now + HOLD);
            if until <= now || ((fresh || looked) && self.secrets.know_all_of(&waiting.object)) {
                ready.push(id.clone());
            }
        }
        for id in ready {
            let Some(Waiting { object, .. }) = self.waiting.remove(&id) else { continue };
            let before = self.objects.get(&id);
            self.unsettled |= before.is_some_and(|b| secrets(&b.body) != secrets(&object.body));
            self.enter(id, object);
            self.outdated();
        }
    }

    /// The Secrets to be read now; each is told once, until [`Self::read`].
    pub fn take_due(&mut self, now: Instant) -> Vec<ObjectName> {
        self.secrets.take_due(now)
    }

    /// What came of reading a Secret.
    pub fn read(&mut self, name: &ObjectName, read: Read, now: Instant) {
        self.looked = true;
        if self.secrets.read(name, read, now) {
            self.outdated();
        }
    }

    /// Why a Secret could not be read, last.
    pub fn trouble(&self, name: &ObjectName) -> Option<&str> {
        self.secrets.trouble(name)
    }

    /// When there is more to settle or to read than at `now`, though nothing is seen.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let released = self.waiting.values().filter_map(|waiting| waiting.until).min();
        let first = self.refused.iter().filter(|(source, _)| self.incomplete.contains(source));
        let counts = first.filter_map(|(_, since)| Some((*since)? + REFUSED)).filter(|at| *at > now).min();
        let all = [released, counts, self.secrets.next_due()];
        // What was due before and is still there waits for something else.
        all.into_iter().flatten().filter(|at| *at > now).min()
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
        compiled.resources.share(&self.compiled.resources);
        compiled
    }

    fn outdated(&mut self) {
        self.changed = true;
        self.outdated = true;
    }

    /// Takes an object as it is now. Whether it has to be compiled depends on what it says, not on its status; whether it counts
    /// at once, on its Secrets.
    fn put<K: Kept>(&mut self, kind: Kind, name: ObjectName, observed: Guarded<K>, body: fn(Arc<K>) -> Body) {
        let id = (kind, name);
        match observed {
            Guarded::Read(new) => {
                let new: Arc<K> = Arc::from(new);
                let before = K::objects(self).get(&id.1);
                let same = before.is_some_and(|old| said(old.meta()) == said(new.meta()));
                let object = object(kind, new.meta(), body(new.clone()));
                if same {
                    self.unsettled |= self.waiting.remove(&id).is_some();
                    self.enter(id, object);
                } else {
                    let until = self.waiting.get(&id).and_then(|waiting| waiting.until);
                    self.waiting.insert(id, Waiting { object, fresh: true, until });
                    self.unsettled = true;
                }
            }
            Guarded::Unreadable(new) => {
                self.waiting.remove(&id);
                Arc::make_mut(K::objects(self)).remove(&id.1);
                let object = object(kind, &new.metadata, unreadable(&new));
                let resource = ResourceId::new(kind, &id.1.0, &id.1.1);
                // Its status alone is another one: the operator itself writes that.
                let same = self.unreadable.get(&resource).is_some_and(|old| {
                    said(&old.metadata) == said(&new.metadata)
                        && (&old.field, &old.error) == (&new.field, &new.error)
                });
                if !same {
                    tracing::warn!(object = %resource, field = new.field, error = new.error, "an object cannot be read");
                    self.outdated();
                    self.unsettled = true;
                }
                Arc::make_mut(&mut self.unreadable).insert(resource, Arc::from(new));
                self.objects.insert(id, object);
                self.changed = true;
            }
        }
    }

    /// Lets an object count.
    fn enter(&mut self, id: (Kind, ObjectName), object: Object) {
        let name = id.1.clone();
        match &object.body {
            Body::VirtualKey(key) => drop(Arc::make_mut(&mut self.keys).insert(name, key.clone())),
            Body::ProviderRoute(route) => drop(Arc::make_mut(&mut self.routes).insert(name, route.clone())),
            Body::McpServer(server) => drop(Arc::make_mut(&mut self.servers).insert(name, server.clone())),
            Body::Secret(_) | Body::Unreadable(..) => {}
        }
        self.forget_unreadable(&ResourceId::new(id.0, &id.1.0, &id.1.1));
        self.objects.insert(id, object);
        self.changed = true;
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName) -> bool {
        let id = (kind, name.clone());
        let waited = self.waiting.remove(&id).is_some();
        let there = self.objects.remove(&id).is_some();
        if there {
            self.forget_unreadable(&ResourceId::new(kind, &name.0, &name.1));
            match kind {
                Kind::VirtualKey => drop(Arc::make_mut(&mut self.keys).remove(name)),
                Kind::ProviderRoute => drop(Arc::make_mut(&mut self.routes).remove(name)),
                Kind::McpServer => drop(Arc::make_mut(&mut self.servers).remove(name)),
                Kind::Secret | Kind::TokenIssuer | Kind::SealingKeys => {}
            }
        }
        self.unsettled |= there || waited;
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
            let all = self.objects.keys().chain(self.waiting.keys());
            let all = all.filter(move |(k, _)| *k == kind).map(|(_, name)| name);
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

#[cfg(test)]
mod tests;
