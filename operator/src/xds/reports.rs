//! What gateways say of themselves: what is in force there, what was rejected and why, how they are, and what they see.

mod bounds;

pub(super) use bounds::believed;

use super::auth::Identity;
use crate::telemetry::metrics;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};
use tokio::sync::watch;
use tollgate_proto::{
    Kind, ResourceId,
    discovery::{MAX_EJECTIONS, MAX_NODE_ID, MAX_REASON, MAX_REJECTIONS, v1},
};

/// The gateways that are known to this replica: those that report to it, and those whose reports other replicas pass on.
#[derive(Debug, Default)]
pub struct Nodes {
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    nodes: BTreeMap<u64, Arc<Node>>,
}

/// One gateway, as it last reported. Most reports change little: what is large is shared with the state before.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Who it is, by its token.
    pub identity: Identity,
    /// What it calls itself.
    pub id: String,
    /// The version that it says it is.
    pub version: String,
    /// The replica that passes its reports on; `None`: it reports to this one.
    pub via: Option<Identity>,
    /// It sees everything: one of the installation's own, not one beside a workload.
    pub whole: bool,
    /// Since when it reports.
    pub entered: Instant,
    /// The versions in force there.
    pub in_force: Arc<BTreeMap<ResourceId, String>>,
    /// What it rejected.
    pub rejected: BTreeMap<ResourceId, Rejection>,
    /// How it is.
    pub health: v1::NodeHealth,
    /// The budgets it touched, by key (`namespace/name`) and budget.
    pub budgets: Arc<BTreeMap<(String, String), v1::BudgetReport>>,
    /// The backends that it leaves alone.
    pub ejected: Vec<v1::Ejection>,
    /// The MCP servers that it asked, by `namespace/name`.
    pub servers: BTreeMap<String, v1::ServerReport>,
    /// Why the shared ledger does not answer it; empty: it does.
    pub ledger_trouble: String,
}

/// Why and what a gateway rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The version that was rejected.
    pub version: String,
    /// Why.
    pub error: String,
    /// The version that stays in force instead.
    pub kept: Option<String>,
}

/// A gateway's entry; it goes when this is dropped.
#[derive(Debug)]
pub struct Entry {
    nodes: Arc<Nodes>,
    number: u64,
    most: usize,
}

/// The gateways whose reports one other replica passes on; they go when this is dropped.
#[derive(Debug)]
pub struct Passed {
    nodes: Arc<Nodes>,
    via: Identity,
    entries: HashMap<u64, Entry>,
}

/// A gateway says that it holds more than there can be.
#[derive(Debug, thiserror::Error)]
#[error(
    "more resources reported than there can be (at most {MAX_RESOURCES}), or more than {MAX_PASSED} gateways"
)]
pub struct TooMany;

/// What a gateway calls its version in its metadata.
const VERSION: &str = "version";
/// The most characters of a version.
const MAX_VERSION: usize = 32;
/// The most resources of one gateway's report.
const MAX_RESOURCES: usize = 200_000;
/// The most of a gateway that sees a part only.
const MAX_OF_PART: usize = 2000;
/// The most gateways whose reports one replica passes on.
const MAX_PASSED: usize = 10_000;

// === impl Nodes ===

impl Nodes {
    /// All that report now, directly or by way of another replica.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.table.lock().nodes.values().cloned().collect()
    }

    /// Those that report to this replica, each with a number of its own.
    pub fn own(&self) -> BTreeMap<u64, Arc<Node>> {
        let table = self.table.lock();
        table
            .nodes
            .iter()
            .filter(|(_, node)| node.via.is_none())
            .map(|(n, node)| (*n, node.clone()))
            .collect()
    }

    /// Changes with every report and every gateway that comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A gateway that begins to report.
    pub fn enter(self: &Arc<Self>, identity: Identity) -> Entry {
        self.add(Node::new(identity, None, true), MAX_RESOURCES)
    }

    /// The same, one that sees a part only.
    pub fn enter_bounded(self: &Arc<Self>, identity: Identity) -> Entry {
        self.add(Node::new(identity, None, false), MAX_OF_PART)
    }

    /// A replica that begins to pass on reports.
    pub fn pass(self: &Arc<Self>, via: Identity) -> Passed {
        Passed { nodes: self.clone(), via, entries: HashMap::new() }
    }

    fn add(self: &Arc<Self>, node: Node, most: usize) -> Entry {
        let mut table = self.table.lock();
        table.next += 1;
        let number = table.next;
        table.nodes.insert(number, Arc::new(node));
        Entry { nodes: self.clone(), number, most }
    }

    fn changed(&self) {
        let nodes = self.all();
        let mut rejected: BTreeMap<_, _> = Kind::ALL.into_iter().map(|kind| (kind.as_str(), 0)).collect();
        for id in nodes.iter().flat_map(|node| node.rejected.keys()) {
            *rejected.entry(id.kind.as_str()).or_default() += 1;
        }
        metrics().gateways(nodes.len(), &rejected);
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}

// === impl Entry ===

impl Entry {
    /// Takes the next report.
    ///
    /// # Errors
    /// When the gateway says that it holds more than there can be.
    pub fn take(&self, report: v1::NodeReport) -> Result<(), TooMany> {
        let mut table = self.nodes.table.lock();
        if let Some(node) = table.nodes.get_mut(&self.number) {
            Arc::make_mut(node).take(report, self.most, jiff::Timestamp::now().as_millisecond())?;
        }
        drop(table);
        self.nodes.changed();
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.nodes.table.lock().nodes.remove(&self.number);
        self.nodes.changed();
    }
}

// === impl Passed ===

impl Passed {
    /// Takes the next report, of the gateway that it names; one that names none says nothing.
    ///
    /// # Errors
    /// When there are more gateways or resources than there can be.
    pub fn take(&mut self, report: v1::NodeReport) -> Result<(), TooMany> {
        let Some(origin) = &report.origin else { return Ok(()) };
        if report.left {
            self.entries.remove(&origin.stream);
            return Ok(());
        }
        if !self.entries.contains_key(&origin.stream) && self.entries.len() >= MAX_PASSED {
            return Err(TooMany);
        }
        let entry = self.entries.entry(origin.stream).or_insert_with(|| {
            let identity = Identity {
                namespace: origin.namespace.clone(),
                service_account: origin.service_account.clone(),
                pod: origin.pod.clone(),
            };
            // How much it may say was the other replica's to check.
            self.nodes.add(Node::new(identity, Some(self.via.clone()), origin.whole), MAX_RESOURCES)
        });
        entry.take(report)
    }
}

// === impl Node ===

impl Node {
    fn new(identity: Identity, via: Option<Identity>, whole: bool) -> Self {
        Node {
            identity,
            id: String::new(),
            version: String::new(),
            via,
            whole,
            entered: Instant::now(),
            in_force: Arc::default(),
            rejected: BTreeMap::new(),
            health: v1::NodeHealth::default(),
            budgets: Arc::default(),
            ejected: Vec::new(),
            servers: BTreeMap::new(),
            ledger_trouble: String::new(),
        }
    }

    /// What people know it by: its pod, or what it calls itself.
    pub fn name(&self) -> &str {
        [self.identity.pod.as_str(), self.id.as_str(), self.identity.service_account.as_str()]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or("a gateway")
    }

    /// Folds a report in that came at `now` (Unix milliseconds). Types that this version does not know are passed over.
    fn take(&mut self, report: v1::NodeReport, most: usize, now: i64) -> Result<(), TooMany> {
        if let Some(node) = report.node {
            let version = node.metadata.get(VERSION).map_or("", String::as_str);
            let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || ".-+".contains(*letter);
            self.version = version.chars().filter(is_plain).take(MAX_VERSION).collect();
            self.id = node.id.chars().take(MAX_NODE_ID).collect();
        }
        for item in report.gone {
            if let Some(id) = id(&item.type_url, item.name) {
                self.forget(&id);
            }
        }
        for item in report.in_force {
            if let Some(id) = id(&item.type_url, item.name) {
                Arc::make_mut(&mut self.in_force).insert(id, item.version);
            }
        }
        for mut budget in report.budgets {
            // The last sample counts: one of the future would count for ever.
            budget.sampled_at = budget.sampled_at.min(now);
            let which = (budget.key.clone(), budget.budget.clone());
            Arc::make_mut(&mut self.budgets).insert(which, budget);
        }
        for server in report.servers {
            self.servers.insert(server.server.clone(), shortened(server));
        }
        if self.in_force.len().max(self.budgets.len()).max(self.servers.len()) > most {
            return Err(TooMany);
        }
        let rejected = report.rejected.into_iter().take(MAX_REJECTIONS);
        self.rejected = rejected.filter_map(|r| Some((id(&r.type_url, r.name.clone())?, r.into()))).collect();
        self.ejected = report.ejected.into_iter().take(MAX_EJECTIONS).collect();
        self.ledger_trouble = report.ledger_trouble;
        self.ledger_trouble.truncate(self.ledger_trouble.floor_char_boundary(MAX_REASON));
        if let Some(health) = report.health {
            self.health = health;
        }
        Ok(())
    }

    /// A resource is not in force there any more, and what was seen of it says nothing.
    fn forget(&mut self, id: &ResourceId) {
        Arc::make_mut(&mut self.in_force).remove(id);
        match id.kind {
            Kind::VirtualKey => Arc::make_mut(&mut self.budgets).retain(|(key, _), _| *key != id.name),
            Kind::McpServer => drop(self.servers.remove(&id.name)),
            _ => {}
        }
    }

    /// The reports that lead another replica from `told` to this state; none when there is nothing to tell.
    pub fn reports_since(&self, told: Option<&Node>, stream: u64) -> Vec<v1::NodeReport> {
        let none = Node::new(self.identity.clone(), None, self.whole);
        let old = told.unwrap_or(&none);
        let item = |id: &ResourceId, version: &str| v1::InForce {
            type_url: id.kind.type_url(),
            name: id.name.clone(),
            version: version.to_owned(),
        };
        let gone: Vec<_> = old
            .in_force
            .keys()
            .filter(|id| !self.in_force.contains_key(*id))
            .map(|id| item(id, ""))
            .collect();
        let new: Vec<_> = news(&old.in_force, &self.in_force).map(|(id, v)| item(id, v)).collect();
        let budgets: Vec<_> = news(&old.budgets, &self.budgets).map(|(_, b)| b.clone()).collect();
        let servers: Vec<_> = news(&old.servers, &self.servers).map(|(_, s)| s.clone()).collect();
        let full = self.rest(stream);
        let mut all = Vec::new();
        all.extend(gone.chunks(PIECE).map(|gone| v1::NodeReport { gone: gone.to_vec(), ..full.clone() }));
        all.extend(new.chunks(PIECE).map(|new| v1::NodeReport { in_force: new.to_vec(), ..full.clone() }));
        all.extend(budgets.chunks(PIECE).map(|b| v1::NodeReport { budgets: b.to_vec(), ..full.clone() }));
        all.extend(servers.chunks(PIECE).map(|s| v1::NodeReport { servers: s.to_vec(), ..full.clone() }));
        if all.is_empty() && told.is_none_or(|told| told.rest(stream) != full) {
            all.push(full);
        }
        all
    }

    /// The gateway, as a replica names it to the leader.
    pub fn origin(&self, stream: u64) -> v1::Origin {
        v1::Origin {
            namespace: self.identity.namespace.clone(),
            service_account: self.identity.service_account.clone(),
            pod: self.identity.pod.clone(),
            stream,
            whole: self.whole,
        }
    }

    /// What each report has in full.
    fn rest(&self, stream: u64) -> v1::NodeReport {
        let rejected = self.rejected.iter().map(|(id, r)| v1::Rejection {
            type_url: id.kind.type_url(),
            name: id.name.clone(),
            version: r.version.clone(),
            error: r.error.clone(),
            kept: r.kept.clone().unwrap_or_default(),
        });
        v1::NodeReport {
            node: Some(v1::Node {
                id: self.id.clone(),
                metadata: [(VERSION.to_owned(), self.version.clone())].into(),
            }),
            rejected: rejected.collect(),
            health: Some(self.health),
            ejected: self.ejected.clone(),
            ledger_trouble: self.ledger_trouble.clone(),
            origin: Some(self.origin(stream)),
            ..Default::default()
        }
    }
}

/// The most entries of one report that is passed on.
const PIECE: usize = 5000;

/// The entries of `new` that are not the same in `old`.
fn news<'m, K: Ord, V: PartialEq>(
    old: &'m BTreeMap<K, V>,
    new: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = (&'m K, &'m V)> {
    new.iter().filter(|(key, value)| old.get(*key) != Some(*value))
}

fn shortened(mut server: v1::ServerReport) -> v1::ServerReport {
    for text in [&mut server.error, &mut server.protocol_version] {
        text.truncate(text.floor_char_boundary(MAX_REASON));
    }
    server
}

impl From<v1::Rejection> for Rejection {
    fn from(wire: v1::Rejection) -> Self {
        let mut error = wire.error;
        error.truncate(error.floor_char_boundary(MAX_REASON));
        Rejection { version: wire.version, error, kept: (!wire.kept.is_empty()).then_some(wire.kept) }
    }
}

fn id(type_url: &str, name: String) -> Option<ResourceId> {
    Some(ResourceId { kind: Kind::of_type_url(type_url)?, name })
}

#[cfg(test)]
mod tests;
