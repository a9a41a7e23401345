//! The states of budgets: for pages, for reports to the operator, and for what a local allowance begins with.

use super::{Kind, Ledger};
use crate::{
    gateway::Gateway,
    logs::{KeySpend, SpendProvider, Viewer, budgets::remembered},
    model::{Key, ObjectId},
    snapshot::{KeyNode, Snapshot},
};
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tollgate_ledger::{
    budget::Budget,
    charge::{BudgetState, Counter, Level, Posting},
    redis::StoreError,
};

/// The states of a key's budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The key.
    pub key: ObjectId,
    /// Its budgets, in their order.
    pub budgets: Vec<BudgetState>,
}

/// What a look at many keys came to. A tree that does not answer leaves out its own keys, and no others.
#[derive(Debug, Default)]
pub struct States {
    /// In no particular order.
    pub known: Vec<KeyState>,
    /// The keys of trees that did not answer.
    pub missed: Vec<ObjectId>,
    /// Why the first of them did not, where that was asked and not known before.
    pub trouble: Option<StoreError>,
}

/// Every so many rounds all keys are looked at: windows end though nobody asks.
const ALL_EVERY: u64 = 12;

/// What is reported of one look: never more keys.
const MOST_KEYS: usize = 10_000;

/// Looks at the budgets of keys that were used.
#[derive(Debug, Default)]
pub struct Sampler {
    rounds: u64,
    /// Keys that were used, and whose trees did not answer since.
    missed: Vec<ObjectId>,
    known: BTreeMap<(String, String), BudgetState>,
}

// === impl Ledger ===

impl Ledger {
    /// The states of the budgets of these keys.
    pub async fn states(&self, nodes: &[Arc<KeyNode>], now: i64) -> States {
        let shared = match &self.0 {
            Kind::Memory(store) => {
                let state = |node: &Arc<KeyNode>| KeyState {
                    key: node.id().clone(),
                    budgets: store.state(&plain(node.key()), now),
                };
                return States { known: nodes.iter().map(state).collect(), ..States::default() };
            }
            Kind::Shared(shared) => shared,
        };
        let mut trees: BTreeMap<&str, Vec<&Arc<KeyNode>>> = BTreeMap::new();
        for node in nodes {
            trees.entry(root(node)).or_default().push(node);
        }
        let look = shared.look(nodes.iter().map(|node| node.id().as_str()));
        let mut out = States::default();
        for (root, nodes) in trees {
            let ids =
                |nodes: &[&Arc<KeyNode>]| -> Vec<_> { nodes.iter().map(|node| node.id().clone()).collect() };
            if shared.is_known_away(root) {
                out.missed.extend(ids(&nodes));
                continue;
            }
            let budgets: Vec<Vec<&Budget>> =
                nodes.iter().map(|node| node.key().budgets.iter().map(|b| &b.budget).collect()).collect();
            let keys: Vec<(&str, &[&Budget])> = nodes
                .iter()
                .zip(&budgets)
                .map(|(node, budgets)| (node.id().as_str(), &budgets[..]))
                .collect();
            let states = match shared.store().states(root, &keys, now).await {
                Ok(states) => states,
                Err(error) => {
                    out.missed.extend(ids(&nodes));
                    out.trouble.get_or_insert(error);
                    continue;
                }
            };
            for (node, states) in nodes.into_iter().zip(states) {
                shared.remember(node.id().as_str(), &counters(node.key(), &states, now), &look);
                out.known.push(KeyState { key: node.id().clone(), budgets: states });
            }
        }
        out
    }

    /// The keys that were charged since the last call; `None`: it is not known, any may have been.
    fn touched(&self) -> Option<Vec<String>> {
        self.shared().map(|shared| shared.store().touched())
    }
}

/// What the spend page asks: the keys that a viewer may see, with the states of their budgets. What the store does not tell is left
/// out.
pub fn for_pages(gateway: &Arc<Gateway>) -> SpendProvider {
    let gateway = gateway.clone();
    remembered(Arc::new(move |viewer: Viewer| {
        let gateway = gateway.clone();
        Box::pin(async move {
            let (snapshot, now) = (gateway.snapshot(), gateway.now());
            let seen = |node: &&Arc<KeyNode>| {
                let path: SmallVec<[&str; 8]> = node.path.iter().map(|key| key.id.as_str()).collect();
                !node.key().budgets.is_empty() && viewer.sees(&path)
            };
            let nodes: Vec<Arc<KeyNode>> = snapshot.keys().filter(seen).cloned().collect();
            let states = gateway.ledger.states(&nodes, now).await;
            if let Some(error) = &states.trouble {
                tracing::warn!(%error, missed = states.missed.len(), "the spend page was not told the state of all budgets");
            }
            let mut all: Vec<KeySpend> = states
                .known
                .into_iter()
                .filter_map(|KeyState { key, budgets }| {
                    let node = snapshot.key(&key)?;
                    Some(KeySpend { tree: node.path.iter().map(|key| key.id.shared()).collect(), budgets })
                })
                .collect();
            all.sort_by(|a, b| a.tree.first().cmp(&b.tree.first()));
            all
        })
    }))
}

/// The name of the root of a key's tree.
pub(super) fn root(node: &KeyNode) -> &str {
    node.path.last().map_or("-", |key| key.id.as_str())
}

fn plain(key: &Key) -> Level<'_> {
    Level::unlimited(key.id.as_str(), key.budgets.iter().map(|budget| &budget.budget))
}

/// What is committed, as postings to the present windows.
fn counters(key: &Key, states: &[BudgetState], now: i64) -> Vec<Posting> {
    let posting = |(budget, state): (&Budget, &BudgetState)| Posting {
        counter: Counter {
            key: key.id.as_str().to_owned(),
            budget: budget.name.clone(),
            window: budget.window(now),
            limit: budget.limit,
        },
        // What requests under way hold is taken for spent: while the store is away nobody tells how they end.
        amount: state.committed.saturating_add(state.held),
    };
    key.budgets.iter().map(|b| &b.budget).zip(states).map(posting).filter(|p| p.amount > 0).collect()
}

// === impl Sampler ===

impl Sampler {
    /// Looks at the keys that were used (now and then at all), and returns all that is known by (key, budget) if anything
    /// has changed.
    pub async fn look(
        &mut self,
        ledger: &Ledger,
        snapshot: &Snapshot,
        now: i64,
    ) -> Option<&BTreeMap<(String, String), BudgetState>> {
        let touched = ledger.touched().filter(|_| !self.rounds.is_multiple_of(ALL_EVERY));
        self.rounds += 1;
        let index: HashMap<&str, &Arc<KeyNode>> =
            snapshot.keys().map(|node| (node.id().as_str(), node)).collect();
        let nodes: Vec<Arc<KeyNode>> = match touched {
            Some(touched) => {
                let missed = self.missed.iter().map(ObjectId::as_str);
                let keys: HashSet<&str> = touched.iter().map(String::as_str).chain(missed).collect();
                keys.into_iter().filter_map(|key| index.get(key)).map(|node| (*node).clone()).collect()
            }
            None => {
                self.known.retain(|(key, _), _| index.contains_key(key.as_str()));
                index.values().map(|node| (*node).clone()).collect()
            }
        };
        let nodes: Vec<_> =
            nodes.into_iter().filter(|node| !node.key().budgets.is_empty()).take(MOST_KEYS).collect();
        let mut changed = false;
        let States { known, missed, trouble } = ledger.states(&nodes, now).await;
        if let Some(error) = trouble {
            tracing::debug!(%error, missed = missed.len(), "not all budgets could be looked at");
        }
        self.missed = missed;
        for KeyState { key, budgets } in known {
            for state in budgets {
                let place = (key.as_str().to_owned(), state.budget.clone());
                let old = self.known.insert(place, state.clone());
                changed |= old != Some(state);
            }
        }
        changed.then_some(&self.known)
    }
}
