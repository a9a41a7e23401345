//! What is to be written now, of all objects (pure: time comes in, patches come out).

use super::{
    conditions::Wanted,
    fleet::Fleet,
    key,
    news::{self, News},
    pace::Backoff,
    route, server,
    subject::{Now, Object, Subject, Urgency},
};
use crate::kubernetes::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate_crds::{api::API_VERSION, compile::Status, conditions::same, guard::Guarded};
use tollgate_proto::{Kind, Resource, ResourceId};

/// One status to write, by server-side apply.
#[derive(Debug, Clone)]
pub struct Patch {
    /// Whose.
    pub id: ResourceId,
    /// The object it was made from.
    pub base: Object,
    /// What is applied.
    pub body: Value,
    /// How soon.
    pub urgency: Urgency,
    /// What is to be told, once it is written.
    pub news: Vec<News>,
}

/// What is remembered of every object between two looks.
#[derive(Debug, Default)]
pub struct Planner {
    tracks: HashMap<ResourceId, Track>,
    world: Option<Arc<World>>,
}

/// What is remembered of one object.
#[derive(Debug)]
struct Track {
    version: Option<String>,
    since: Instant,
    /// When amounts or health were last written.
    told: Option<Instant>,
    backoff: Backoff,
    written: Option<Written>,
}

/// The outcome of the last write, which counts until the watch brings something newer than what it was made from.
#[derive(Debug)]
struct Written {
    base: Object,
    outcome: Object,
}

/// What a look finds.
#[derive(Debug, Default)]
pub struct Plan<'w> {
    /// Whose status is to be written, the most urgent first. What it says is made when it is written ([`Planner::patch`]): where
    /// thousands are new, few are written at once.
    pub due: Vec<(Urgency, &'w Status)>,
    /// To tell, besides what the patches' writes are told as.
    pub news: Vec<(Object, News)>,
    /// When to look again, though nothing changes.
    pub again: Option<Duration>,
}

/// How long a status waits for the gateways' answers, so that a change is one write.
const GATHER: Duration = Duration::from_millis(1000);
/// How often amounts of one key are written.
const AMOUNTS: Duration = Duration::from_secs(60);
/// How often health of one object is written.
const HEALTH: Duration = Duration::from_secs(10);

// === impl Planner ===

impl Planner {
    /// What is to be written now.
    pub fn look<'w>(&mut self, world: &'w Arc<World>, fleet: &Fleet, now: Now) -> Plan<'w> {
        let mut plan = Plan { news: self.resets(world), ..Plan::default() };
        self.follow(world, now.instant);
        for compiled in world.compiled.statuses.iter().filter(|s| s.kind != Kind::Secret) {
            let Some(patch) = self.patch(world, compiled, fleet, now) else { continue };
            match self.tracks.get(&patch.id).and_then(|track| track.wait(&patch, now.instant)) {
                None => plan.due.push((patch.urgency, compiled)),
                Some(wait) => plan.again = Some(plan.again.map_or(wait, |again| again.min(wait))),
            }
        }
        plan.due.sort_by_key(|(urgency, _)| std::cmp::Reverse(*urgency));
        plan
    }

    /// The status of an object of `world`, where it says something else than what stands there.
    pub fn patch(&self, world: &World, compiled: &Status, fleet: &Fleet, now: Now) -> Option<Patch> {
        let id = compiled.id();
        let track = self.tracks.get(&id)?;
        let object = track.current(Object::find(world, &id)?);
        let subject = Subject {
            compiled,
            resources: &world.compiled.resources,
            wanted: Wanted { version: track.version.as_deref(), since: track.since },
            fleet,
            now,
        };
        status(&object, &subject)
    }

    /// The resets of budgets that were asked for since the last look. Those that a new leader finds, its predecessor has told.
    fn resets(&self, world: &Arc<World>) -> Vec<(Object, News)> {
        let Some(before) = self.world.as_ref().filter(|before| !Arc::ptr_eq(before, world)) else {
            return Vec::new();
        };
        let mut news = Vec::new();
        for key in world.compiled.resources.keys().filter(|key| !key.resets.is_empty()) {
            let id = ResourceId::new(Kind::VirtualKey, &key.namespace, &key.name);
            let known: &[_] = match before.compiled.resources.get(&id) {
                Some(Resource::VirtualKey(before)) => &before.resets,
                // It is new, and so are its counters or this operator: nothing to tell apart.
                _ => continue,
            };
            let Some(object) = Object::find(world, &id) else { continue };
            let asked = key.resets.iter().filter(|reset| !known.contains(reset));
            news.extend(
                asked.map(|reset| {
                    (object.clone(), news::of_reset(&reset.budget, &reset.id, object.metadata()))
                }),
            );
        }
        news
    }

    /// Notes which versions the gateways should have, and since when; forgets what was written once the watch has brought it.
    fn follow(&mut self, world: &Arc<World>, now: Instant) {
        let before = self.world.replace(world.clone());
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, world)) {
            return;
        }
        let mut tracks = HashMap::with_capacity(self.tracks.len());
        for id in world.compiled.statuses.iter().filter(|s| s.kind != Kind::Secret).map(Status::id) {
            let resource = world.compiled.resources.get(&id);
            let known = self.tracks.remove(&id);
            let same = |before: &Arc<World>| before.compiled.resources.get(&id) == resource;
            let mut track = match known {
                Some(track) if before.as_ref().is_some_and(same) => track,
                Some(mut track) => {
                    let version = resource.map(Resource::version);
                    if version != track.version {
                        (track.version, track.since) = (version, now);
                    }
                    track
                }
                None => Track {
                    version: resource.map(Resource::version),
                    since: now,
                    told: None,
                    backoff: Backoff::default(),
                    written: None,
                },
            };
            track.written =
                track.written.take().filter(|w| Object::find(world, &id).is_some_and(|o| w.base.is(&o)));
            tracks.insert(id, track);
        }
        self.tracks = tracks;
    }

    /// A patch was written; `outcome` is the object as the API server has it now.
    pub fn written(&mut self, patch: &Patch, outcome: Option<Object>, now: Instant) {
        let Some(track) = self.tracks.get_mut(&patch.id) else { return };
        track.backoff = Backoff::default();
        if patch.urgency == Urgency::Later {
            track.told = Some(now);
        }
        track.written = outcome.map(|outcome| Written { base: patch.base.clone(), outcome });
    }

    /// A patch could not be written.
    pub fn failed(&mut self, id: &ResourceId, now: Instant) {
        if let Some(track) = self.tracks.get_mut(id) {
            track.backoff.failed(now);
        }
    }
}

// === impl Track ===

impl Track {
    /// The object as it is now: as the watch has it, unless that does not know yet what was written last.
    fn current(&self, object: Object) -> Object {
        match &self.written {
            Some(written) if written.base.is(&object) => written.outcome.clone(),
            _ => object,
        }
    }

    /// How long a patch waits; `None`: not at all.
    fn wait(&self, patch: &Patch, now: Instant) -> Option<Duration> {
        if let Some(wait) = self.backoff.wait(now) {
            return Some(wait);
        }
        let until = |since: Instant, length: Duration| {
            (since + length).checked_duration_since(now).filter(|wait| !wait.is_zero())
        };
        match patch.urgency {
            Urgency::Now | Urgency::None => None,
            Urgency::Soon => until(self.since, GATHER),
            Urgency::Later if patch.id.kind == Kind::VirtualKey => until(self.told?, AMOUNTS),
            Urgency::Later => until(self.told?, HEALTH),
        }
    }
}

/// The status of one object, where it says something else than what stands there.
pub fn status(object: &Object, subject: &Subject<'_>) -> Option<Patch> {
    let conditions = |old: &[Condition], next: &[Condition]| news::of_conditions(old, next);
    match object {
        Object::Key(key) => {
            let old = key.status.clone().unwrap_or_default();
            let (next, urgency) = key::status(key, &old, subject);
            patch(object, subject, urgency, &next, || news::of_key(&old, &next))
        }
        Object::Route(route) => {
            let old = route.status.clone().unwrap_or_default();
            let (next, urgency) = route::status(route, &old, subject);
            patch(object, subject, urgency, &next, || conditions(&old.conditions, &next.conditions))
        }
        Object::Server(server) => {
            let old = server.status.clone().unwrap_or_default();
            let (next, urgency) = server::status(server, &old, subject);
            patch(object, subject, urgency, &next, || conditions(&old.conditions, &next.conditions))
        }
        Object::Unreadable(_, wrong) => {
            let generation = wrong.metadata.generation;
            let (next, _) = subject.conditions(&wrong.conditions, generation, None);
            let urgency = if same(&wrong.conditions, &next) { Urgency::None } else { Urgency::Now };
            let status = with_conditions(&wrong.status, generation, &next);
            patch(object, subject, urgency, &status, || conditions(&wrong.conditions, &next))
        }
    }
}

/// A patch by which `status` comes to stand at `object`, where that is urgent at all.
fn patch(
    object: &Object,
    subject: &Subject<'_>,
    urgency: Urgency,
    status: &impl Serialize,
    news: impl FnOnce() -> Vec<News>,
) -> Option<Patch> {
    if urgency == Urgency::None {
        return None;
    }
    let (id, metadata) = (subject.compiled.id(), object.metadata());
    // Statuses are structs of strings and numbers: nothing in them fails.
    let status = serde_json::to_value(status).unwrap_or_default();
    // Uid and version: the write counts only for the object that it was made from.
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": id.kind.as_str(),
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
        "status": status,
    });
    Some(Patch { id, base: object.clone(), body, urgency, news: news() })
}

/// A status as it stands there, with other conditions: what a write does not name that an earlier one did, the API server takes
/// away, and what is known of spend and health outlives a slip in the spec.
fn with_conditions(status: &Value, generation: Option<i64>, conditions: &[Condition]) -> Value {
    let mut fields = status.as_object().cloned().unwrap_or_default();
    fields.insert("observedGeneration".to_owned(), json!(generation));
    fields.insert("conditions".to_owned(), json!(conditions));
    Value::Object(fields)
}

/// The object that the API server answered a write with.
pub fn outcome(kind: Kind, answer: Value) -> Option<Object> {
    match kind {
        Kind::VirtualKey => decoded(kind, answer, Object::Key),
        Kind::ProviderRoute => decoded(kind, answer, Object::Route),
        Kind::McpServer => decoded(kind, answer, Object::Server),
        _ => None,
    }
}

fn decoded<K: DeserializeOwned>(kind: Kind, answer: Value, read: fn(Arc<K>) -> Object) -> Option<Object> {
    Some(match Guarded::decode(answer).ok()? {
        Guarded::Read(object) => read(Arc::from(object)),
        Guarded::Unreadable(object) => Object::Unreadable(kind, Arc::from(object)),
    })
}
