//! What this gateway has under way, so that nothing is lost with a failover: its live holds, the settles of the last
//! minute, and those that Redis has not confirmed.

use super::wire::Args;
use crate::charge::{Actual, Ask, Grant, Level};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a confirmed settle is kept: longer than a failover loses.
const KEEP: Duration = Duration::from_secs(60);

/// How many settles a shard keeps at most, and how many of them when Redis has confirmed the others.
const MOST: usize = 8_192;
const MOST_CONFIRMED: usize = 2_048;

/// How long a settle that somebody is sending is left to them.
const IN_HAND: Duration = Duration::from_secs(5);

const SHARDS: usize = 16;

/// The journal, in shards by id.
#[derive(Debug)]
pub(super) struct Journal {
    shards: Vec<Mutex<Shard>>,
    trees: Mutex<HashMap<Arc<str>, Tree>>,
}

#[derive(Debug, Default)]
struct Shard {
    live: HashMap<Uuid, Arc<LiveHold>>,
    settles: HashMap<Uuid, Settle>,
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

/// A settle.
#[derive(Debug, Clone)]
pub(super) struct Settle {
    pub(super) root: Arc<str>,
    pub(super) args: Arc<Args>,
    pub(super) grant: Arc<Grant>,
    at: Instant,
    confirmed: bool,
    /// Somebody is sending it.
    in_hand: bool,
}

/// A tree that this gateway has charged.
#[derive(Debug, Default)]
struct Tree {
    /// The run of the server it was last seen on.
    run: String,
}

// === impl Journal ===

impl Default for Journal {
    fn default() -> Self {
        Journal { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), trees: Mutex::default() }
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
        if shard.settles.get(&id).is_some_and(|settle| settle.confirmed) {
            shard.settles.remove(&id);
        }
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

    /// The holds of which Redis was not told for a while, by tree; from now on they live until `expires`.
    pub(super) fn renewals(&self, not_for: Duration, expires: i64) -> Vec<Renewal> {
        let mut due = Vec::new();
        for shard in &self.shards {
            for (id, hold) in &mut shard.lock().live {
                if hold.told.elapsed() >= not_for {
                    let hold = Arc::make_mut(hold);
                    hold.ask.expires = hold.ask.expires.max(expires);
                    hold.told = Instant::now();
                    due.push(Renewal { root: hold.root.clone(), id: *id, so_far: hold.so_far });
                }
            }
        }
        due.sort_by(|a, b| a.root.cmp(&b.root));
        due
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

    /// Keeps a settle until it is confirmed, and returns it; not kept, with how many are, if that is too many.
    pub(super) fn settling(&self, root: &Arc<str>, args: Args, grant: &Grant) -> (Settle, Result<(), usize>) {
        let mut shard = self.shard(grant.id);
        if let Some(known) = shard.settles.get(&grant.id) {
            return (known.clone(), Ok(())); // The first one counts.
        }
        let settle = Settle {
            root: root.clone(),
            args: Arc::new(args),
            grant: Arc::new(grant.clone()),
            at: Instant::now(),
            confirmed: false,
            in_hand: true,
        };
        if shard.settles.len() >= MOST_CONFIRMED {
            shard.settles.retain(|_, settle| !settle.confirmed);
        }
        shard.live.remove(&grant.id);
        if shard.settles.len() >= MOST {
            return (settle, Err(MOST * SHARDS));
        }
        shard.settles.insert(grant.id, settle.clone());
        (settle, Ok(()))
    }

    /// Nobody is sending a settle any more: it is for the sweep.
    pub(super) fn let_go(&self, id: Uuid) {
        if let Some(settle) = self.shard(id).settles.get_mut(&id) {
            settle.in_hand = false;
        }
    }

    /// Notes that a settle was carried out.
    pub(super) fn settled(&self, id: Uuid) {
        if let Some(settle) = self.shard(id).settles.get_mut(&id) {
            settle.confirmed = true;
        }
    }

    /// Settles that are not confirmed and that nobody is sending.
    pub(super) fn unconfirmed(&self) -> Vec<(Uuid, Settle)> {
        self.settles(|settle| !settle.confirmed && (!settle.in_hand || settle.at.elapsed() >= IN_HAND))
    }

    /// How many settles are not confirmed.
    pub(super) fn waiting(&self) -> usize {
        let of = |shard: &Mutex<Shard>| shard.lock().settles.values().filter(|s| !s.confirmed).count();
        self.shards.iter().map(of).sum()
    }

    /// Settles of the last minute under a root.
    pub(super) fn recent(&self, root: &str) -> Vec<(Uuid, Settle)> {
        self.settles(|settle| *settle.root == *root)
    }

    fn settles(&self, which: impl Fn(&Settle) -> bool) -> Vec<(Uuid, Settle)> {
        let of = |shard: &Mutex<Shard>| -> Vec<_> {
            let shard = shard.lock();
            let chosen = shard.settles.iter().filter(|(_, settle)| which(settle));
            chosen.map(|(id, settle)| (*id, settle.clone())).collect()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// Live holds under a root.
    pub(super) fn live(&self, root: &str) -> Vec<Arc<LiveHold>> {
        let of = |shard: &Mutex<Shard>| -> Vec<_> {
            shard.lock().live.values().filter(|hold| *hold.root == *root).cloned().collect()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// Drops confirmed settles that are old.
    pub(super) fn tidy(&self) {
        for shard in &self.shards {
            shard.lock().settles.retain(|_, settle| !settle.confirmed || settle.at.elapsed() < KEEP);
        }
    }

    /// Notes that a tree is in use.
    pub(super) fn uses(&self, root: &str) -> Arc<str> {
        let mut trees = self.trees.lock();
        if let Some((root, _)) = trees.get_key_value(root) {
            return root.clone();
        }
        let root: Arc<str> = Arc::from(root);
        trees.insert(root.clone(), Tree::default());
        root
    }

    /// The trees in use.
    pub(super) fn roots(&self) -> HashSet<Arc<str>> {
        self.trees.lock().keys().cloned().collect()
    }

    /// Notes on which run of which server a tree was seen; true if it was on another before.
    pub(super) fn seen(&self, root: &str, run: &str) -> bool {
        let mut trees = self.trees.lock();
        let Some(tree) = trees.get_mut(root) else { return false };
        let changed = !tree.run.is_empty() && tree.run != run;
        run.clone_into(&mut tree.run);
        changed
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
