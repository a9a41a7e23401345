//! Budgets that somebody asked to begin anew (the annotation `tollgate.dev/reset-budget`): each request is carried out once,
//! whichever gateway comes first, and leaves a record.

use super::{Shared, spend::root};
use crate::{
    gateway::Gateway,
    model::key,
    records::{
        Record, billing,
        record::{Latency, RecordKind},
    },
    snapshot::{KeyNode, Snapshot},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tollgate_ledger::redis::{Billing, Reset};
use uuid::Uuid;

/// A reset that the ledger has not taken yet.
struct Wanted {
    node: Arc<KeyNode>,
    since: Since,
}

/// When a reset came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// It was there when this gateway started: it may be an old one, whose traces a restored ledger has lost.
    Start,
    /// While this gateway ran.
    Now,
    /// It was told before the ledger was restored, which does not know of it.
    Restore,
}

/// By key, budget and id.
type All = BTreeMap<(String, String, String), Wanted>;

/// How long a reset that failed waits for another try.
const AGAIN: Duration = Duration::from_secs(1);

/// Carries out the resets that the configuration asks for, for as long as there is one.
pub(super) async fn follow(
    gateway: Arc<Gateway>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut restores: watch::Receiver<u64>,
) {
    let mut known = snapshots.borrow_and_update().clone();
    let Some(shared) = gateway.ledger.shared() else {
        if known.keys().any(|node| !node.key().resets.is_empty()) {
            tracing::warn!("budgets are reset in a shared ledger only (--redis): this process has its own");
        }
        return;
    };
    let mut wanted = All::new();
    collect(&mut wanted, &known, None, Since::Start);
    loop {
        for (place, reset) in std::mem::take(&mut wanted) {
            if let Err(error) = carry_out(&gateway, shared, &place, &reset).await {
                tracing::debug!(key = place.0, budget = place.1, %error, "a budget could not be reset yet");
                wanted.insert(place, reset);
            }
        }
        tokio::select! {
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                let next = snapshots.borrow_and_update().clone();
                collect(&mut wanted, &next, Some(&known), Since::Now);
                known = next;
            }
            Ok(()) = restores.changed() => collect(&mut wanted, &known, None, Since::Restore),
            () = tokio::time::sleep(AGAIN), if !wanted.is_empty() => {}
        }
    }
}

/// The resets of `new` that `old` does not have. One that waits already stays what it is.
fn collect(wanted: &mut All, new: &Snapshot, old: Option<&Snapshot>, since: Since) {
    for node in new.keys() {
        let before =
            old.and_then(|old| old.key(node.id())).map(|node| &node.key().resets[..]).unwrap_or_default();
        for key::Reset { budget, id } in node.key().resets.iter().filter(|reset| !before.contains(reset)) {
            let place = (node.id().as_str().to_owned(), budget.clone(), id.clone());
            wanted.entry(place).or_insert_with(|| Wanted { node: node.clone(), since });
        }
    }
}

async fn carry_out(
    gateway: &Gateway,
    shared: &Shared,
    (key, budget, id): &(String, String, String),
    wanted: &Wanted,
) -> Result<(), tollgate_ledger::redis::StoreError> {
    let record = record(gateway, &wanted.node, budget, id);
    let bytes = billing::encode(&record);
    let billing = Billing { request: record.id, record: &bytes };
    let name = (budget != "*").then_some(budget.as_str());
    let now = gateway.now();
    let fresh = wanted.since == Since::Now;
    match shared.store().reset(root(&wanted.node), key, name, id, fresh, now, billing).await? {
        Reset::Done => {
            tracing::info!(key, budget, id, "a budget was reset");
            gateway.record(record);
        }
        Reset::Noted if wanted.since == Since::Start => tracing::warn!(
            key,
            budget,
            id,
            "a budget is not reset: the ledger was restored within the last day, and this may have been asked before. If it \
             was not, ask it with another value"
        ),
        Reset::Noted | Reset::Before => {}
    }
    Ok(())
}

fn record(gateway: &Gateway, node: &KeyNode, budget: &str, id: &str) -> Record {
    let policy = node.logging();
    let what = if budget == "*" { "all budgets were".to_owned() } else { format!("budget {budget:?} was") };
    Record {
        id: Uuid::now_v7(),
        kind: RecordKind::Model(Box::default()),
        at: gateway.now(),
        key: node.id().shared(),
        tree: node.path.iter().map(|key| key.id.shared()).collect(),
        session: None,
        user_agent: None,
        status: 200,
        error: Some(format!("{what} reset ({id})")),
        latency: Latency::default(),
        metadata: Vec::new(),
        trace_id: None,
        postings: Vec::new(),
        content: policy.content,
        retention_s: policy.retention.as_secs(),
    }
}
