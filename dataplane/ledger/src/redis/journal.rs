//! What this gateway has under way, so that nothing is lost with a failover: its live holds, the settles of the last
//! minute, and those that Redis has not confirmed ([`settles`]).

mod settles;

use crate::charge::{Actual, Ask, Counter, Grant, Level};
use parking_lot::{Mutex, MutexGuard, RwLock};
use settles::Settles;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How many keys and reserves a shard remembers at most.
const MOST: usize = 8_192;

const SHARDS: usize = 16;

/// The journal, in shards by id.
#[derive(Debug)]
pub(super) struct Journal {
    shards: Vec<Mutex<Shard>>,
    /// The trees that this gateway uses, with the run of the server on which each was seen last.
    trees: RwLock<HashMap<Arc<str>, Option<String>>>,
}

#[derive(Debug, Default)]
struct Shard {
    live: HashMap<Uuid, Arc<LiveHold>>,
    settles: Settles,
    /// Reserves of which nobody knows whether they were carried out.
    unsure: HashMap<Uuid, Arc<str>>,
    /// Keys that were charged since somebody asked last.
    touched: HashSet<String>,
}

/// A hold of this gateway.
#[derive(Debug, Clone)]
pub(super) struct LiveHold {
    pub(super) root: Arc<str>,
    pub(super) ask: Ask,
    pub(super) grant: Grant,
    pub(super) levels: Vec<HeldLevel>,
    pub(super) so_far: Actual,
    /// When Redis was told of it last.
    told: Instant,
}

/// What Redis is to be told of a hold that lives on.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) root: Arc<str>,
    pub(super) id: Uuid,
    pub(super) so_far: Actual,
}

/// A level of a hold: its key, and the limits a minute that it was charged to.
#[derive(Debug, Clone)]
pub(super) struct HeldLevel {
    pub(super) key: String,
    pub(super) requests: Option<u64>,
    pub(super) tokens: Option<u64>,
}

/// A charge: all that it takes to post it, whenever and by whichever process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The reservation's id: the same id is never posted twice.
    pub id: Uuid,
    /// The key that gives its tree the name.
    pub root: String,
    /// Nano-USD that were held at each USD budget.
    pub held: u64,
    /// Where it is posted, whatever windows are open by then.
    pub counters: Vec<Counter>,
    /// The keys of the path, with their tokens a minute.
    pub levels: Vec<(String, Option<u64>)>,
    /// What was used.
    pub used: Actual,
    /// The record to which it belongs, and that record, encoded.
    pub request: Uuid,
    /// See [`Billing`](super::Billing).
    pub record: Vec<u8>,
}

// === impl Charge ===

impl Charge {
    /// About how many bytes of memory it takes.
    fn size(&self) -> usize {
        let counters = self.counters.iter().map(|counter| counter.key.len() + counter.budget.len() + 120);
        let levels = self.levels.iter().map(|(key, _)| key.len() + 60);
        400 + self.root.len() + self.record.len() + counters.sum::<usize>() + levels.sum::<usize>()
    }
}

/// A settle.
#[derive(Debug)]
pub(super) struct Settle {
    pub(super) root: Arc<str>,
    pub(super) charge: Charge,
    /// When the request ended, by the gateway's clock.
    pub(super) at: i64,
    /// Redis held for it.
    pub(super) held: bool,
}

// === impl Journal ===

impl Default for Journal {
    fn default() -> Self {
        Journal { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), trees: RwLock::default() }
    }
}

impl Journal {
    fn shard(&self, id: Uuid) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(id.as_bytes()[15]) % SHARDS].lock()
    }

    /// The root under which an id was held.
    pub(super) fn root(&self, id: Uuid) -> Option<Arc<str>> {
        self.shard(id).live.get(&id).map(|hold| hold.root.clone())
    }

    /// Notes a hold. A settle that ended an earlier hold of the same id must not end this one.
    pub(super) fn held(&self, hold: LiveHold) {
        let mut shard = self.shard(hold.grant.id);
        let id = hold.grant.id;
        shard.settles.forget_confirmed(id);
        shard.unsure.remove(&id);
        for level in &hold.levels {
            if shard.touched.len() < MOST && !shard.touched.contains(&level.key) {
                shard.touched.insert(level.key.clone());
            }
        }
        shard.live.insert(id, Arc::new(hold));
    }

    /// The keys that were charged since the last call, and those that are being charged.
    pub(super) fn touched(&self) -> HashSet<String> {
        let mut all = HashSet::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            all.extend(std::mem::take(&mut shard.touched));
            let running = shard.live.values().flat_map(|hold| &hold.levels).map(|level| &level.key);
            let again: HashSet<String> = running.cloned().collect();
            shard.touched = again;
        }
        all
    }

    /// Notes that it is not known whether an id is held.
    pub(super) fn unsure(&self, id: Uuid, root: &Arc<str>) {
        let mut shard = self.shard(id);
        if shard.unsure.len() < MOST {
            shard.unsure.insert(id, root.clone());
        }
    }

    /// It is known now that an id is not held.
    pub(super) fn sure(&self, id: Uuid) {
        self.shard(id).unsure.remove(&id);
    }

    /// How many holds this gateway has.
    pub(super) fn holds(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().live.len()).sum()
    }

    /// How many reserves and cancels wait to be taken back.
    pub(super) fn unsure_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unsure.len()).sum()
    }

    /// Notes what a hold has used so far, for the next renewal.
    pub(super) fn note(&self, id: Uuid, so_far: &Actual) {
        if let Some(hold) = self.shard(id).live.get_mut(&id) {
            let hold = Arc::make_mut(hold);
            hold.so_far = hold.so_far.max(*so_far);
        }
    }

    /// The holds of which Redis was not told for a while, by tree; among them those of settles that wait.
    pub(super) fn renewals(&self, not_for: Duration) -> Vec<Renewal> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let long_ago = shard.live.iter().filter(|(_, hold)| hold.told.elapsed() >= not_for);
            due.extend(long_ago.map(|(id, hold)| Renewal {
                root: hold.root.clone(),
                id: *id,
                so_far: hold.so_far,
            }));
            due.extend(shard.settles.renewals(not_for).map(|settle| Renewal {
                root: settle.root.clone(),
                id: settle.charge.id,
                so_far: settle.charge.used,
            }));
        }
        due.sort_by(|a, b| a.root.cmp(&b.root));
        due
    }

    /// Redis knows now that these holds live until `expires`.
    pub(super) fn renewed(&self, holds: &[Renewal], expires: i64) {
        for Renewal { id, .. } in holds {
            let mut shard = self.shard(*id);
            shard.settles.renewed(*id);
            if let Some(hold) = shard.live.get_mut(id) {
                let hold = Arc::make_mut(hold);
                hold.ask.expires = hold.ask.expires.max(expires);
                hold.told = Instant::now();
            }
        }
    }

    /// The reserves to take back, which are forgotten here.
    pub(super) fn take_unsure(&self) -> Vec<(Uuid, Arc<str>)> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut shard.lock().unsure)).collect()
    }

    /// Notes progress; returns the root.
    pub(super) fn progress(&self, id: Uuid, so_far: &Actual, expires: i64) -> Option<Arc<str>> {
        let mut shard = self.shard(id);
        let hold = Arc::make_mut(shard.live.get_mut(&id)?);
        hold.so_far = hold.so_far.max(*so_far);
        hold.ask.expires = hold.ask.expires.max(expires);
        Some(hold.root.clone())
    }

    /// Forgets a hold.
    pub(super) fn released(&self, id: Uuid) {
        self.shard(id).live.remove(&id);
    }

    /// Live holds under a root.
    pub(super) fn live(&self, root: &str) -> Vec<Arc<LiveHold>> {
        let of = |shard: &Mutex<Shard>| -> Vec<_> {
            shard.lock().live.values().filter(|hold| *hold.root == *root).cloned().collect()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// Notes that a tree is in use.
    pub(super) fn uses(&self, root: &str) -> Arc<str> {
        if let Some((root, _)) = self.trees.read().get_key_value(root) {
            return root.clone();
        }
        let mut trees = self.trees.write();
        if let Some((root, _)) = trees.get_key_value(root) {
            return root.clone();
        }
        let root: Arc<str> = Arc::from(root);
        trees.insert(root.clone(), None);
        root
    }

    /// Whether a tree is in use.
    pub(super) fn has_tree(&self, root: &str) -> bool {
        self.trees.read().contains_key(root)
    }

    /// The trees in use.
    pub(super) fn roots(&self) -> HashSet<Arc<str>> {
        self.trees.read().keys().cloned().collect()
    }

    /// Whether a tree was on another run of a server when it was seen last.
    pub(super) fn is_elsewhere(&self, root: &str, run: &str) -> bool {
        self.trees.read().get(root).is_some_and(|seen| seen.as_ref().is_some_and(|seen| seen != run))
    }

    /// Notes on which run of which server a tree is.
    pub(super) fn seen(&self, root: &str, run: &str) {
        if let Some(seen) = self.trees.write().get_mut(root)
            && seen.as_deref() != Some(run)
        {
            *seen = Some(run.to_owned());
        }
    }
}

// === impl LiveHold ===

impl LiveHold {
    pub(super) fn new(root: &Arc<str>, levels: &[Level<'_>], ask: &Ask, grant: &Grant) -> Self {
        let mut held: Vec<HeldLevel> = Vec::with_capacity(levels.len());
        for Level { key, requests_per_minute, tokens_per_minute, .. } in levels {
            if !held.iter().any(|level| level.key == *key) {
                let (requests, tokens) = (*requests_per_minute, *tokens_per_minute);
                held.push(HeldLevel { key: (*key).to_owned(), requests, tokens });
            }
        }
        LiveHold {
            root: root.clone(),
            ask: *ask,
            grant: grant.clone(),
            levels: held,
            so_far: Actual::default(),
            told: Instant::now(),
        }
    }
}
