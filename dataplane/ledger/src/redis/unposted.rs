//! Charges that Redis has not confirmed: what a gateway keeps of them, and takes over from an earlier process.

use super::{Charge, RedisStore, journal::Settle, outcome, wire::Part};
use crate::charge::{Counter, Settled};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use uuid::Uuid;

/// A charge that Redis has not confirmed.
#[derive(Debug, Clone)]
pub struct Unposted {
    pub(super) settle: Arc<Settle>,
    pub(super) tried: Option<i64>,
}

// === impl Unposted ===

impl Unposted {
    /// The charge.
    pub fn charge(&self) -> &Charge {
        &self.settle.charge
    }

    /// When it may have been carried out, if it may, Unix milliseconds by Redis's clock.
    pub fn tried(&self) -> Option<i64> {
        self.tried
    }
}

// === impl RedisStore ===

impl RedisStore {
    /// Charges that Redis has not confirmed in time: to be kept where they survive this process. `all`: also those that are
    /// (first). They count as kept once [`RedisStore::kept`] says so.
    pub fn to_keep(&self, all: bool) -> Vec<Unposted> {
        self.journal.to_note(all)
    }

    /// These are kept now.
    pub fn kept<'a>(&self, charges: impl IntoIterator<Item = &'a Unposted>) {
        for charge in charges {
            self.journal.noted(charge.settle.charge.id, charge.tried);
        }
    }

    /// What waits at each counter that is held nowhere: Redis does not know of it.
    pub fn unheld(&self) -> HashMap<Counter, u64> {
        let mut all = HashMap::new();
        self.journal.each_unheld(|charge| {
            for counter in &charge.counters {
                let sum: &mut u64 = all.entry(counter.clone()).or_default();
                *sum = sum.saturating_add(charge.used.amount(counter.limit));
            }
        });
        all
    }

    /// The trees in which such charges wait.
    pub fn unheld_trees(&self) -> HashSet<String> {
        let mut all = HashSet::new();
        self.journal.each_unheld(|charge| {
            if !all.contains(&charge.root) {
                all.insert(charge.root.clone());
            }
        });
        all
    }

    /// Whether this gateway uses the tree.
    pub fn has_tree(&self, root: &str) -> bool {
        self.journal.has_tree(root)
    }

    /// Charges that were kept and are confirmed now: they need not be any longer.
    pub fn take_posted(&self) -> Vec<Uuid> {
        self.journal.take_done()
    }

    /// Takes over a charge that an earlier process kept; from now on it is repeated until it is posted. Returns what it comes
    /// to; `None` if too many wait.
    pub fn take_over(&self, charge: Charge, tried: Option<i64>, now: i64) -> Option<Settled> {
        let part = |counter: &Counter| Part { held: charge.held, counter: counter.clone() };
        let (expected, _) = outcome(charge.counters.iter().map(part), &charge.used);
        let settle = Settle { root: self.journal.uses(&charge.root), charge, at: now, held: false };
        self.journal.take_over(settle, tried).then_some(expected)
    }
}
