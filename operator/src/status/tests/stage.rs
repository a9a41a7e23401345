//! A cluster that is made up: objects, gateways, and a leader's planner.

use crate::{
    kubernetes::World,
    status::{
        fleet::{Fleet, SETTLE},
        news::News,
        plan::{Patch, Planner, outcome},
        subject::{self, Now},
    },
    stdio::health::Healths,
    xds::{
        Identity,
        reports::{Entry, Nodes},
    },
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::{Body, Input, Object, Problem, compile},
    guard::Unreadable,
    stdio::StdioRules,
};
use tollgate_proto::{Kind, Resource, ResourceId, discovery::v1};

/// A cluster: objects as the API server has them, gateways, and a leader's planner.
pub(super) struct Stage {
    pub(super) keys: Vec<VirtualKey>,
    pub(super) routes: Vec<ProviderRoute>,
    pub(super) servers: Vec<McpServer>,
    pub(super) world: Arc<World>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) pods: Healths,
    /// Keys that cannot be decoded.
    pub(super) unreadable: Vec<Arc<Unreadable>>,
    pub(super) planner: Planner,
    pub(super) start: Instant,
    pub(super) at: Duration,
}

/// What a look finds, all of it as it would be written.
pub(super) struct Plan {
    pub(super) patches: Vec<Patch>,
    pub(super) news: Vec<(subject::Object, News)>,
    pub(super) again: Option<Duration>,
}

/// The Unix time of the start.
pub(super) const EPOCH: i64 = 1_800_000_000;

impl Stage {
    pub(super) fn new(objects: Vec<Value>) -> Self {
        let mut stage = Stage {
            keys: Vec::new(),
            routes: Vec::new(),
            servers: Vec::new(),
            world: Arc::default(),
            nodes: Arc::default(),
            pods: Healths::new(),
            unreadable: Vec::new(),
            planner: Planner::default(),
            start: Instant::now(),
            at: Duration::ZERO,
        };
        for object in objects {
            stage.put(object);
        }
        stage.compile();
        stage
    }

    pub(super) fn put(&mut self, mut object: Value) {
        object["apiVersion"] = "tollgate.dev/v1alpha1".into();
        object["metadata"]["namespace"] = "n".into();
        object["metadata"]["uid"] = "u".into();
        if object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = 1.into();
        }
        match object["kind"].as_str().unwrap() {
            "VirtualKey" => self.keys.push(serde_json::from_value(object).unwrap()),
            "ProviderRoute" => self.routes.push(serde_json::from_value(object).unwrap()),
            _ => self.servers.push(serde_json::from_value(object).unwrap()),
        }
    }

    pub(super) fn compile(&mut self) {
        let object = |kind, name: String, body| Object {
            source: None,
            kind,
            namespace: "n".into(),
            name,
            created: None,
            body,
        };
        let mut input = Input::default();
        input.options.allow_private_endpoints = true;
        input.stdio = StdioRules { images: vec!["*".to_owned()], ..StdioRules::default() };
        let keys = self
            .keys
            .iter()
            .map(|k| object(Kind::VirtualKey, k.name_any(), Body::VirtualKey(Arc::new(k.clone()))));
        input.objects.extend(keys);
        let routes = self
            .routes
            .iter()
            .map(|r| object(Kind::ProviderRoute, r.name_any(), Body::ProviderRoute(Arc::new(r.clone()))));
        input.objects.extend(routes);
        let servers = self
            .servers
            .iter()
            .map(|s| object(Kind::McpServer, s.name_any(), Body::McpServer(Arc::new(s.clone()))));
        input.objects.extend(servers);
        let broken = self.unreadable.iter().map(|wrong| {
            let name = wrong.metadata.name.clone().unwrap_or_default();
            let problem = Problem::invalid(wrong.field.clone(), wrong.error.clone());
            object(Kind::VirtualKey, name, Body::Unreadable(vec![problem], wrong.export.clone()))
        });
        input.objects.extend(broken);
        let named = |name: String| ("n".to_owned(), name);
        self.world = Arc::new(World {
            compiled: Arc::new(compile(&input)),
            keys: Arc::new(self.keys.iter().map(|k| (named(k.name_any()), Arc::new(k.clone()))).collect()),
            routes: Arc::new(
                self.routes.iter().map(|r| (named(r.name_any()), Arc::new(r.clone()))).collect(),
            ),
            servers: Arc::new(
                self.servers.iter().map(|s| (named(s.name_any()), Arc::new(s.clone()))).collect(),
            ),
            unreadable: Arc::new(
                self.unreadable
                    .iter()
                    .map(|wrong| {
                        let name = wrong.metadata.name.clone().unwrap_or_default();
                        (ResourceId::new(Kind::VirtualKey, "n", &name), wrong.clone())
                    })
                    .collect(),
            ),
            synced: true,
            ..World::default()
        });
    }

    pub(super) fn gateway(&self, pod: &str) -> Entry {
        let identity =
            Identity { namespace: "system".into(), service_account: "gateway".into(), pod: pod.into() };
        let entry = self.nodes.enter(identity);
        entry.take(ready()).unwrap();
        entry
    }

    /// All resources as a gateway reports them in force.
    pub(super) fn all(&self) -> v1::NodeReport {
        let item = |r: &Resource| v1::InForce {
            type_url: r.kind().type_url(),
            name: r.id().name,
            version: r.version(),
        };
        v1::NodeReport { in_force: self.world.compiled.resources.iter().map(item).collect(), ..ready() }
    }

    /// That a gateway rejects the resource of `kind` `name`.
    pub(super) fn nack(&self, kind: Kind, name: &str, error: &str) -> v1::NodeReport {
        let id = ResourceId::new(kind, "n", name);
        let rejection = v1::Rejection {
            type_url: kind.type_url(),
            name: id.name.clone(),
            version: self.world.compiled.resources.get(&id).unwrap().version(),
            error: error.into(),
            kept: String::new(),
        };
        v1::NodeReport { rejected: vec![rejection], ..ready() }
    }

    pub(super) fn now(&self) -> Now {
        let millis = EPOCH * 1000 + i64::try_from(self.at.as_millis()).unwrap();
        Now { instant: self.start + self.at, time: Timestamp::from_millisecond(millis).unwrap() }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
    }

    pub(super) fn look(&mut self) -> Plan {
        let fleet = Fleet::new(self.nodes.all(), self.at >= SETTLE).with_pods(self.pods.clone());
        let now = self.now();
        let plan = self.planner.look(&self.world, &fleet, now);
        let write = |(urgency, compiled): (_, _)| {
            let patch = self.planner.patch(&self.world, compiled, &fleet, now).unwrap();
            assert_eq!(patch.urgency, urgency);
            patch
        };
        Plan { patches: plan.due.into_iter().map(write).collect(), news: plan.news, again: plan.again }
    }

    /// Looks, and writes what is to be written; what the API server then has is the next world.
    pub(super) fn write(&mut self) -> Plan {
        let plan = self.look();
        for patch in &plan.patches {
            let name = patch.id.name.split_once('/').unwrap().1;
            let status = patch.body["status"].clone();
            let object = match patch.id.kind {
                Kind::VirtualKey => {
                    let key = self.keys.iter_mut().find(|k| k.name_any() == name).unwrap();
                    key.status = serde_json::from_value(status).unwrap();
                    serde_json::to_value(key).unwrap()
                }
                Kind::ProviderRoute => {
                    let route = self.routes.iter_mut().find(|k| k.name_any() == name).unwrap();
                    route.status = serde_json::from_value(status).unwrap();
                    serde_json::to_value(route).unwrap()
                }
                _ => {
                    let server = self.servers.iter_mut().find(|k| k.name_any() == name).unwrap();
                    server.status = serde_json::from_value(status).unwrap();
                    serde_json::to_value(server).unwrap()
                }
            };
            let now = self.now().instant;
            self.planner.written(patch, outcome(patch.id.kind, object), now);
        }
        plan
    }

    /// `type=status/reason` of the key's conditions, with the generation they are about.
    pub(super) fn conditions(&self) -> Vec<String> {
        let conditions = self.keys[0].status.iter().flat_map(|s| &s.conditions);
        conditions
            .map(|c| format!("{}={}/{} {}", c.type_, c.status, c.reason, c.observed_generation.unwrap()))
            .collect()
    }

    pub(super) fn message(&self, kind: &str) -> String {
        let status = self.keys[0].status.as_ref().unwrap();
        status.conditions.iter().find(|c| c.type_ == kind).unwrap().message.clone()
    }
}

pub(super) fn ready() -> v1::NodeReport {
    v1::NodeReport {
        health: Some(v1::NodeHealth { ready: true, ..Default::default() }),
        ..Default::default()
    }
}
