//! Keys that the ledger itself refuses: a gateway that is cut off from the operator goes on with what it last knew, but it
//! asks the same Redis. Whoever learns that a key was deleted or disabled writes it there, and takes it back when the key is
//! there again. All of it is idempotent, so that all gateways may do it.
//!
//! Only what a gateway learns while it runs counts as a revocation, and an absence only where it sees all keys: to a gateway
//! that sees a part (beside an agent, by its ServiceAccount) a key that it may not see any more looks deleted. A gateway that
//! starts compares what the ledger refuses with what its configuration allows, when that is the operator's and not what it
//! remembers of an earlier start. A ledger that was restored is told again what it refused.

use super::{Shared, spend::root};
use crate::{
    gateway::Gateway,
    snapshot::{KeyNode, Snapshot},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// What a key's standing changed to, with the root of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    root: String,
    /// Why it is refused; `None`: it no longer is.
    reason: Option<&'static str>,
}

/// The changes that the ledger has not taken yet, by key.
type Changes = BTreeMap<String, Change>;

/// Keys that the ledger refuses, as far as it is known here, and that the configuration does not have: with their roots.
type Gone = BTreeMap<String, String>;

const DELETED: &str = "it was deleted";

/// How long a change that the ledger did not take waits for another try.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the ledger's refusals in step with the configuration, for as long as there is one.
pub(super) async fn follow(
    gateway: Arc<Gateway>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut restores: watch::Receiver<u64>,
) {
    let Some(shared) = gateway.ledger.shared() else { return };
    let mut known = snapshots.borrow_and_update().clone();
    let mut first = true;
    let (mut changes, mut gone) = (Changes::new(), Gone::new());
    loop {
        if first
            && !known.remembered
            && let Ok(denied) = shared.store().denied().await
        {
            first = false;
            changes.extend(allowed_again(&denied, &known));
            gone.extend(denied);
        }
        apply(shared, &mut changes).await;
        let waits = (first && !known.remembered) || !changes.is_empty();
        tokio::select! {
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                let next = snapshots.borrow_and_update().clone();
                let learnt = difference(&known, &next);
                let deleted = learnt.iter().filter(|(_, change)| change.reason == Some(DELETED));
                gone.extend(deleted.map(|(key, change)| (key.clone(), change.root.clone())));
                let back = learnt.iter().filter(|(_, change)| change.reason != Some(DELETED));
                back.for_each(|(key, _)| drop(gone.remove(key)));
                changes.extend(learnt);
                known = next;
            }
            Ok(()) = restores.changed() => {
                for (key, change) in refused_before(&gone, &known) {
                    changes.entry(key).or_insert(change);
                }
            }
            () = tokio::time::sleep(AGAIN), if waits => {}
        }
    }
}

/// Tells the ledger; what it does not take stays in `changes`.
async fn apply(shared: &Shared, changes: &mut Changes) {
    let mut left = Changes::new();
    for (key, change) in std::mem::take(changes) {
        match shared.store().deny(&change.root, &key, change.reason).await {
            Ok(()) => {
                tracing::info!(key, reason = change.reason, "the ledger's refusal of a key was changed")
            }
            Err(error) => {
                tracing::debug!(key, %error, "the ledger's refusal of a key could not be changed yet");
                left.insert(key, change);
            }
        }
    }
    *changes = left;
}

/// Why the key itself is refused, whatever its parents are: theirs has its own flag.
fn refused(node: &KeyNode) -> Option<&'static str> {
    node.key().disabled.then_some("it is disabled")
}

/// What a new configuration changes.
fn difference(old: &Snapshot, new: &Snapshot) -> Changes {
    let mut changes = Changes::new();
    for node in old.keys() {
        let reason = match new.key(node.id()) {
            None if !new.whole => continue,
            None => Some(DELETED),
            Some(now) if refused(now) == refused(node) => continue,
            Some(now) => refused(now),
        };
        changes.insert(node.id().as_str().to_owned(), Change { root: root(node).to_owned(), reason });
    }
    for node in new.keys().filter(|node| old.key(node.id()).is_none()) {
        let change = Change { root: root(node).to_owned(), reason: refused(node) };
        changes.insert(node.id().as_str().to_owned(), change);
    }
    changes
}

/// What a ledger that was restored refused before. That a key is missing counts where all of them are seen.
fn refused_before(gone: &Gone, snapshot: &Snapshot) -> Changes {
    let mut changes = Changes::new();
    for node in snapshot.keys() {
        if let Some(reason) = refused(node) {
            let change = Change { root: root(node).to_owned(), reason: Some(reason) };
            changes.insert(node.id().as_str().to_owned(), change);
        }
    }
    if !snapshot.whole || snapshot.remembered {
        return changes;
    }
    let there: HashSet<&str> = snapshot.keys().map(|node| node.id().as_str()).collect();
    for (key, root) in gone.iter().filter(|(key, _)| !there.contains(key.as_str())) {
        changes.insert(key.clone(), Change { root: root.clone(), reason: Some(DELETED) });
    }
    changes
}

/// What the ledger refuses although the configuration has it.
fn allowed_again(denied: &[(String, String)], snapshot: &Snapshot) -> Changes {
    let index: HashMap<&str, &Arc<KeyNode>> =
        snapshot.keys().map(|node| (node.id().as_str(), node)).collect();
    let allowed = |(key, _): &(String, String)| {
        let node = index.get(key.as_str()).filter(|node| refused(node).is_none())?;
        Some((key.clone(), Change { root: root(node).to_owned(), reason: None }))
    };
    denied.iter().filter_map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, fixtures::key};

    fn snapshot(keys: Vec<Key>) -> Snapshot {
        Snapshot::build(1, keys.into_iter().map(Arc::new).collect(), Vec::new(), Vec::new())
    }

    fn told(changes: &Changes) -> Vec<(&str, Option<&str>)> {
        changes.iter().map(|(key, change)| (key.as_str(), change.reason)).collect()
    }

    #[test]
    fn what_a_gateway_learns_is_what_changes() {
        let disabled = |name| Key { disabled: true, ..key(name) };
        let old = snapshot(vec![key("gone"), key("stays"), key("off"), disabled("on"), disabled("still")]);
        let new = snapshot(vec![key("stays"), disabled("off"), key("on"), disabled("still"), key("new")]);
        let changes = difference(&old, &new);
        let want = [
            ("default/gone", Some("it was deleted")),
            ("default/new", None),
            ("default/off", Some("it is disabled")),
            ("default/on", None),
        ];
        assert_eq!(told(&changes), want);
        assert!(difference(&new, &new).is_empty());
    }

    /// A gateway beside an agent sees the keys of its ServiceAccount: one that no longer names it lives on.
    #[test]
    fn a_gateway_that_sees_a_part_takes_no_absence_for_a_deletion() {
        let mut part = snapshot(vec![Key { disabled: true, ..key("off") }]);
        part.whole = false;
        let old = snapshot(vec![key("another's now"), key("off")]);
        assert_eq!(told(&difference(&old, &part)), [("default/off", Some("it is disabled"))]);
    }

    #[test]
    fn a_restored_ledger_is_told_what_it_refused() {
        let mut now = snapshot(vec![key("back"), Key { disabled: true, ..key("off") }]);
        let gone = ["back", "gone"].map(|name| (format!("default/{name}"), "default/root".to_owned()));
        let gone = Gone::from(gone);
        let want = [("default/gone", Some("it was deleted")), ("default/off", Some("it is disabled"))];
        assert_eq!(told(&refused_before(&gone, &now)), want);
        now.whole = false;
        assert_eq!(told(&refused_before(&gone, &now)), [("default/off", Some("it is disabled"))]);
    }

    #[test]
    fn a_start_takes_back_what_the_configuration_allows() {
        let now = snapshot(vec![key("back"), Key { disabled: true, ..key("off") }]);
        let denied =
            ["default/back", "default/off", "default/unknown"].map(|key| (key.to_owned(), String::new()));
        assert_eq!(told(&allowed_again(&denied, &now)), [("default/back", None)]);
    }
}
