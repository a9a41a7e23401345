//! The gateways as one: what all their reports say together of one object (pure).

use crate::{
    stdio::health::{Health, Healths},
    xds::reports::{Node, Rejection},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate_proto::{ResourceId, discovery::v1};

/// All gateways, at one moment.
#[derive(Debug)]
pub struct Fleet {
    gateways: Vec<Arc<Node>>,
    settled: bool,
    pods: Healths,
}

/// What the gateways say of one resource in one version.
#[derive(Debug, Default, PartialEq)]
pub struct Standing<'f> {
    /// How many gateways should have it.
    pub expected: usize,
    /// Those that have it not, and since when they could.
    pub lacking: Vec<(&'f str, Instant)>,
    /// Those that rejected it.
    pub rejected: Vec<(&'f str, &'f Rejection)>,
}

/// How long after its start a leader may not know all gateways yet: until then nothing that stands there is taken back.
pub const SETTLE: Duration = Duration::from_secs(5);

// === impl Fleet ===

impl Fleet {
    /// The gateways that `nodes` are. `settled`: whether all of them can be expected to be here.
    pub fn new(nodes: Vec<Arc<Node>>, settled: bool) -> Self {
        // A gateway whose connection broke may be here twice for a while: what it said last counts.
        let mut latest: HashMap<(String, String), Arc<Node>> = HashMap::new();
        let mut gateways = Vec::new();
        for node in nodes {
            if node.identity.pod.is_empty() && node.id.is_empty() {
                gateways.push(node);
                continue;
            }
            let who = (node.identity.to_string(), node.id.clone());
            match latest.get(&who) {
                Some(known) if known.entered >= node.entered => {}
                _ => drop(latest.insert(who, node)),
            }
        }
        gateways.extend(latest.into_values());
        gateways.sort_by(|a, b| (a.name(), a.entered).cmp(&(b.name(), b.entered)));
        Fleet { gateways, settled, pods: Healths::new() }
    }

    /// Besides, what became of the pods of servers that the leader runs.
    pub fn with_pods(self, pods: Healths) -> Self {
        Fleet { pods, ..self }
    }

    /// Whether all gateways can be expected to be here.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// What they say of the resource `id` in `version`. A gateway that is not ready has nothing to serve from, so nothing is
    /// expected of it.
    pub fn standing(&self, id: &ResourceId, version: &str) -> Standing<'_> {
        let mut standing = Standing::default();
        for node in &self.gateways {
            let rejection = node.rejected.get(id).filter(|r| r.version == version);
            let in_force = node.in_force.get(id);
            // One beside a workload serves what is its own, wherever it runs.
            if rejection.is_none() && (!node.health.ready || (in_force.is_none() && !node.whole)) {
                continue;
            }
            standing.expected += 1;
            match rejection {
                Some(rejection) => standing.rejected.push((node.name(), rejection)),
                None if in_force.is_some_and(|v| v == version) => {}
                None => standing.lacking.push((node.name(), node.entered)),
            }
        }
        standing
    }

    /// The last sample of a budget.
    pub fn budget(&self, key: &str, budget: &str) -> Option<&v1::BudgetReport> {
        let id = (key.to_owned(), budget.to_owned());
        self.gateways.iter().filter_map(|node| node.budgets.get(&id)).max_by_key(|b| b.sampled_at)
    }

    /// What each gateway that asked it says of an MCP server.
    pub fn server<'f>(&'f self, server: &str) -> Vec<&'f v1::ServerReport> {
        self.gateways.iter().filter_map(|node| node.servers.get(server)).collect()
    }

    /// What became of the pod of an MCP server (`namespace/name`) that the leader runs; `None`: it runs none, or has not asked yet.
    pub fn pod(&self, server: &str) -> Option<&Health> {
        let (namespace, name) = server.split_once('/')?;
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Which of the installation's gateways the shared ledger does not answer, and why.
    pub fn without_ledger(&self) -> Vec<(&str, &str)> {
        let troubled = self.gateways.iter().filter(|node| node.whole && !node.ledger_trouble.is_empty());
        troubled.map(|node| (node.name(), node.ledger_trouble.as_str())).collect()
    }

    /// How many of the installation's gateways have reported, by the version that each says it is; empty: it says none.
    pub fn versions(&self) -> BTreeMap<&str, usize> {
        let mut versions = BTreeMap::new();
        let heard = |node: &&Arc<Node>| !(node.id.is_empty() && node.version.is_empty());
        for node in self.gateways.iter().filter(|node| node.whole).filter(heard) {
            *versions.entry(node.version.as_str()).or_default() += 1;
        }
        versions
    }

    /// How many gateways serve the route `id` in any version, and which of them leave `backend` alone at `now` (Unix
    /// milliseconds).
    pub fn backend<'f>(&'f self, id: &ResourceId, backend: &str, now: i64) -> (usize, Vec<&'f v1::Ejection>) {
        let serving = || self.gateways.iter().filter(|node| node.in_force.contains_key(id));
        let ejected = serving().filter_map(|node| {
            node.ejected.iter().find(|e| e.route == id.name && e.backend == backend && e.until > now)
        });
        (serving().count(), ejected.collect())
    }
}
