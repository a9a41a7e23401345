//! What gateways say of themselves: what is in force there, what was rejected and why, and how they are.

use super::auth::Identity;
use crate::telemetry::metrics;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;
use tollgate_proto::{
    Kind, ResourceId,
    discovery::{MAX_REASON, MAX_REJECTIONS, v1},
};

/// The gateways that report to this replica.
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

/// One gateway, as it last reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Who it is, by its token.
    pub identity: Identity,
    /// What it calls itself.
    pub id: String,
    /// The versions in force there.
    pub in_force: BTreeMap<ResourceId, String>,
    /// What it rejected.
    pub rejected: BTreeMap<ResourceId, Rejection>,
    /// How it is.
    pub health: v1::NodeHealth,
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
}

/// A gateway says that it holds more than there can be.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_RESOURCES} resources reported")]
pub struct TooMany;

/// The most resources of one gateway's report.
const MAX_RESOURCES: usize = 200_000;

// === impl Nodes ===

impl Nodes {
    /// All that report now.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.table.lock().nodes.values().cloned().collect()
    }

    /// Changes with every report and every gateway that comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A gateway that begins to report.
    pub fn enter(self: &Arc<Self>, identity: Identity) -> Entry {
        let mut table = self.table.lock();
        table.next += 1;
        let number = table.next;
        table.nodes.insert(number, Arc::new(Node::new(identity)));
        Entry { nodes: self.clone(), number }
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
            Arc::make_mut(node).take(report)?;
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

// === impl Node ===

impl Node {
    fn new(identity: Identity) -> Self {
        Node {
            identity,
            id: String::new(),
            in_force: BTreeMap::new(),
            rejected: BTreeMap::new(),
            health: v1::NodeHealth::default(),
        }
    }

    /// Folds a report in. Types that this version does not know are passed over.
    fn take(&mut self, report: v1::NodeReport) -> Result<(), TooMany> {
        if let Some(node) = report.node {
            self.id = node.id;
        }
        for item in report.gone {
            if let Some(id) = id(&item.type_url, item.name) {
                self.in_force.remove(&id);
            }
        }
        for item in report.in_force {
            if let Some(id) = id(&item.type_url, item.name) {
                self.in_force.insert(id, item.version);
            }
        }
        if self.in_force.len() > MAX_RESOURCES {
            return Err(TooMany);
        }
        let rejected = report.rejected.into_iter().take(MAX_REJECTIONS);
        self.rejected = rejected.filter_map(|r| Some((id(&r.type_url, r.name.clone())?, r.into()))).collect();
        if let Some(health) = report.health {
            self.health = health;
        }
        Ok(())
    }
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
mod tests {
    use super::*;

    fn in_force(name: &str, version: &str) -> v1::InForce {
        v1::InForce { type_url: Kind::VirtualKey.type_url(), name: name.into(), version: version.into() }
    }

    #[test]
    fn reports_are_folded_and_end_with_their_stream() {
        let identity =
            Identity { namespace: "n".into(), service_account: "sa".into(), pod: "gateway-1".into() };
        let nodes = Arc::new(Nodes::default());
        let mut changes = nodes.changes();
        let entry = nodes.enter(identity);
        let rejection = v1::Rejection {
            type_url: Kind::VirtualKey.type_url(),
            name: "n/b".into(),
            version: "2".into(),
            error: "ä".repeat(MAX_REASON),
            kept: "1".into(),
        };
        let first = v1::NodeReport {
            node: Some(v1::Node { id: "me".into(), ..Default::default() }),
            in_force: vec![in_force("n/a", "1"), in_force("n/b", "1"), v1::InForce::default()],
            rejected: vec![rejection],
            health: Some(v1::NodeHealth { ready: true, ..Default::default() }),
            ..Default::default()
        };
        entry.take(first).unwrap();
        let second = v1::NodeReport {
            in_force: vec![in_force("n/c", "1")],
            gone: vec![in_force("n/a", "")],
            rejected: Vec::new(),
            ..Default::default()
        };
        let node = nodes.all().remove(0);
        let id = ResourceId::new(Kind::VirtualKey, "n", "b");
        assert_eq!(node.rejected[&id].kept.as_deref(), Some("1"));
        assert!(node.rejected[&id].error.len() <= MAX_REASON);
        entry.take(second).unwrap();
        let node = nodes.all().remove(0);
        let names: Vec<_> = node.in_force.keys().map(|id| id.name.as_str()).collect();
        assert_eq!(names, ["n/b", "n/c"]);
        assert!(node.id == "me" && node.rejected.is_empty() && node.health.ready);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        drop(entry);
        assert!(nodes.all().is_empty() && changes.has_changed().unwrap());
    }
}
