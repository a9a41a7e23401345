//! One object, and what everything else says of it.

use super::{
    conditions::{self, Verdict, Wanted},
    fleet::Fleet,
};
use crate::kubernetes::World;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
    jiff::Timestamp,
};
use std::{sync::Arc, time::Instant};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::Status,
    conditions::{State, merge},
    guard::Unreadable,
};
use tollgate_proto::{Kind, Resource, ResourceId, Resources};

/// A user's object. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Object {
    /// A virtual key.
    Key(Arc<VirtualKey>),
    /// A provider route.
    Route(Arc<ProviderRoute>),
    /// An MCP server.
    Server(Arc<McpServer>),
    /// One that cannot be decoded.
    Unreadable(Kind, Arc<Unreadable>),
}

/// What a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What the compiler says.
    pub compiled: &'a Status,
    /// What it makes, and all that others make.
    pub resources: &'a Resources,
    /// The version that gateways should have.
    pub wanted: Wanted<'a>,
    /// What gateways say.
    pub fleet: &'a Fleet,
    /// Now.
    pub now: Now,
}

/// Now, by the clock that counts and by the one that is shown.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For what has to pass.
    pub instant: Instant,
    /// For what is written.
    pub time: Timestamp,
}

/// How soon a status is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It says what stands there.
    None,
    /// Amounts and health: now and then.
    Later,
    /// Soon, but what is missing may come within a moment.
    Soon,
    /// At once.
    Now,
}

// === impl Object ===

impl Object {
    /// The object `id` of `world`.
    pub fn find(world: &World, id: &ResourceId) -> Option<Object> {
        let (namespace, name) = id.name.split_once('/')?;
        let key = (namespace.to_owned(), name.to_owned());
        let readable = match id.kind {
            Kind::VirtualKey => world.keys.get(&key).cloned().map(Object::Key),
            Kind::ProviderRoute => world.routes.get(&key).cloned().map(Object::Route),
            Kind::McpServer => world.servers.get(&key).cloned().map(Object::Server),
            _ => return None,
        };
        readable
            .or_else(|| world.unreadable.get(id).map(|object| Object::Unreadable(id.kind, object.clone())))
    }

    /// Whether both are the same state of the same object, as it came from the API server.
    pub fn is(&self, other: &Object) -> bool {
        match (self, other) {
            (Object::Key(a), Object::Key(b)) => Arc::ptr_eq(a, b),
            (Object::Route(a), Object::Route(b)) => Arc::ptr_eq(a, b),
            (Object::Server(a), Object::Server(b)) => Arc::ptr_eq(a, b),
            (Object::Unreadable(_, a), Object::Unreadable(_, b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Object::Key(_) => Kind::VirtualKey.as_str(),
            Object::Route(_) => Kind::ProviderRoute.as_str(),
            Object::Server(_) => Kind::McpServer.as_str(),
            Object::Unreadable(kind, _) => kind.as_str(),
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Object::Key(key) => &key.metadata,
            Object::Route(route) => &route.metadata,
            Object::Server(server) => &server.metadata,
            Object::Unreadable(_, object) => &object.metadata,
        }
    }
}

// === impl Now ===

impl Now {
    /// By the clocks of this machine.
    pub fn read() -> Self {
        Now { instant: Instant::now(), time: Timestamp::now() }
    }

    /// As Kubernetes writes it, to the second.
    pub fn written(self) -> Time {
        Time(Timestamp::from_second(self.time.as_second()).unwrap_or(self.time))
    }

    /// Unix milliseconds.
    pub fn millis(self) -> i64 {
        self.time.as_millisecond()
    }
}

/// Unix milliseconds as Kubernetes writes a time, to the second.
pub fn time(millis: i64) -> Option<Time> {
    Timestamp::from_second(millis.div_euclid(1000)).ok().map(Time)
}

// === impl Subject ===

impl<'a> Subject<'a> {
    /// What it makes.
    pub fn resource(&self) -> Option<&'a Resource> {
        self.resources.get(&self.compiled.id())
    }

    /// The four conditions after `old`, and whether something is still to come within a moment. `off`: why it is switched off.
    pub fn conditions(
        &self,
        old: &[Condition],
        generation: Option<i64>,
        off: Option<(&'static str, String)>,
    ) -> (Vec<Condition>, bool) {
        let find = |kind: &str| old.iter().find(|c| c.type_ == kind);
        let programmed = conditions::programmed(
            find(tollgate_crds::conditions::PROGRAMMED),
            generation,
            self.compiled,
            self.wanted,
            self.fleet,
            self.now.instant,
        );
        let ready = conditions::ready(old, self.compiled, &programmed, off);
        let waits = match &programmed {
            Verdict::Keep => true,
            Verdict::Say(state) => state.reason == tollgate_crds::conditions::reasons::PENDING,
        };
        let mut states: Vec<State> = self.compiled.conditions().into();
        states.extend([programmed, ready].into_iter().filter_map(Verdict::state));
        (merge(old, &states, generation, &self.now.written()), waits)
    }
}

impl Verdict {
    fn state(self) -> Option<State> {
        match self {
            Verdict::Say(state) => Some(state),
            Verdict::Keep => None,
        }
    }
}
