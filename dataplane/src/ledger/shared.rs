//! The account in Redis, as one gateway uses it.
//!
//! Every end of a request is noted at once (the store's journal, bounded) and told to Redis by a task of its own; what fails
//! there, the tick repeats. While Redis does not answer for a tree, its keys that allow it are served on a local allowance
//! (`allowance`): the same rules and limits over what this gateway last knew to be spent. What they use is posted when Redis
//! is back.

use super::{
    Health, Held, Place, Refused,
    allowance::{Allowance, Look, Spent},
    kept::{Kept, Tried},
};
use crate::{gateway::unix_ms, telemetry};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::task::TaskTracker;
use tollgate_ledger::{
    charge::{Actual, Ask, Decision, Expired, Level, Posting, Settled},
    redis::{Billing, RedisStore, Round, Settling, StoreError, Upkeep},
};

/// How the account is kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a hold lives after its gateway died.
    pub hold: Duration,
    /// Something takes the billing records out of the stream: dead holds need no record of this gateway.
    pub drained: bool,
}

/// The account in Redis.
pub struct Shared {
    store: Arc<RedisStore>,
    settings: Settings,
    tasks: TaskTracker,
    /// How many settles may be on their way at once; more are left to the tick.
    slots: Arc<Semaphore>,
    runtime: Handle,
    away: RwLock<Away>,
    /// There is something in `away`.
    any_away: AtomicBool,
    /// What was last known to be spent, by key: what a local allowance counts.
    spent: Mutex<Spent>,
    ticks: AtomicU64,
    kept: Arc<Mutex<Option<Kept>>>,
    /// Charges of an earlier process for which there was no room among those that wait.
    beyond: Mutex<Vec<Tried>>,
}

/// The trees for which Redis did not answer lately.
#[derive(Debug, Default)]
struct Away {
    trees: HashMap<String, Tree>,
    /// What the last that failed said.
    trouble: Option<String>,
    /// When the log was told, and whether it was told that it is over.
    told: Option<Instant>,
    over: bool,
    /// All was well once.
    known: bool,
}

#[derive(Debug, Default)]
struct Tree {
    /// The last answer was none.
    away: bool,
    /// What was granted meanwhile; as long as Redis does not have all of it.
    allowance: Option<Arc<Allowance>>,
}

/// The name in place of a tree's for what concerns all of them.
const ALL: &str = "";
/// How many settles and cancels may be on their way at once.
const SLOTS: usize = 1024;
/// How often the server itself is looked at, in ticks.
const CHECK_EVERY: u64 = 15;
/// How often the log is told that the ledger is away, and how long one call of it goes on repeating at the end.
const TELL_EVERY: Duration = Duration::from_secs(10);
const REPEAT: Duration = Duration::from_secs(1);
/// The pause between two rounds of repeating at the end.
const PAUSE: Duration = Duration::from_millis(50);

/// A call of the store, measured.
async fn measured<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let outcome = call.await;
    let failure = outcome.as_ref().err().filter(|error| error.is_store_failure());
    telemetry::ledger_call(operation, began.elapsed(), failure.map(class));
    outcome
}

/// What a failure is counted as.
fn class(error: &StoreError) -> &'static str {
    match error {
        StoreError::Away(_) | StoreError::Unreachable(_) => "connection",
        StoreError::Slow(_) => "timeout",
        StoreError::Emptied => "emptied",
        StoreError::WrongPolicy(_) => "eviction_policy",
        _ => "other",
    }
}

// === impl Shared ===

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    /// An account in `store`. Needs a runtime: what a request ends with is told from tasks on it.
    pub fn new(store: RedisStore, settings: Settings) -> Self {
        Shared {
            store: Arc::new(store),
            settings,
            tasks: TaskTracker::new(),
            slots: Arc::new(Semaphore::new(SLOTS)),
            runtime: Handle::current(),
            away: RwLock::default(),
            any_away: AtomicBool::new(false),
            spent: Mutex::default(),
            ticks: AtomicU64::new(0),
            kept: Arc::default(),
            beyond: Mutex::default(),
        }
    }

    /// Keeps charges that Redis does not confirm in this folder, and takes over those that an earlier process left there.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn keep_unposted(&self, folder: &Path) -> io::Result<()> {
        let (kept, left) = Kept::open(folder)?;
        if !left.is_empty() {
            tracing::info!(count = left.len(), file = %kept.path().display(), "charges of an earlier start are posted now");
        }
        *self.kept.lock() = Some(kept);
        self.take_over(left);
        Ok(())
    }

    /// Takes over charges of an earlier process, as far as there is room among those that wait; the others stay in the file,
    /// and their turn comes.
    fn take_over(&self, charges: Vec<Tried>) {
        let (mut beyond, now) = (Vec::new(), unix_ms());
        for (charge, tried) in charges {
            match self.store.take_over(charge.clone(), tried, now) {
                Some(expected) => self.spent.lock().add(&expected.postings),
                None => beyond.push((charge, tried)),
            }
        }
        self.beyond.lock().append(&mut beyond);
    }

    /// Brings the file of charges that Redis does not confirm up to date; how many are in it, or nothing if that failed.
    pub(super) async fn update_kept(&self) -> Option<usize> {
        let (kept, store) = (self.kept.clone(), self.store.clone());
        let updated = move || kept.lock().as_mut().map_or(Ok(0), |kept| kept.update(&store));
        match tokio::task::spawn_blocking(updated).await {
            Ok(Ok(count)) => Some(count),
            Ok(Err(error)) => {
                tracing::error!(%error, "charges that wait for Redis cannot be kept in their file");
                None
            }
            Err(_) => None,
        }
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<RedisStore> {
        &self.store
    }

    fn expires(&self, now: i64) -> i64 {
        now.saturating_add(i64::try_from(self.settings.hold.as_millis()).unwrap_or(i64::MAX))
    }

    pub(super) async fn reserve(&self, levels: &[Level<'_>], ask: &Ask, deny: bool) -> Result<Held, Refused> {
        let ask = Ask { expires: self.expires(ask.now), ..*ask };
        let root = levels.last().map_or(ALL, |level| level.key);
        let answer = measured("reserve", self.store.reserve(levels, &ask)).await;
        if let Ok(_) | Err(StoreError::Denied { .. }) = &answer {
            self.answers(root);
        }
        match answer {
            Ok(Decision::Granted(grant)) => Ok(Held { grant, place: Place::Redis }),
            Ok(Decision::Refused(refusal)) => Err(Refused::Limit(refusal)),
            Err(StoreError::Denied { key, reason }) => Err(Refused::Revoked { key, reason }),
            Err(error) if !error.is_store_failure() => Err(Refused::Unusable(error.to_string())),
            Err(error) => {
                self.is_away(root, &error);
                if deny { Err(Refused::Away) } else { self.reserve_locally(root, levels, &ask) }
            }
        }
    }

    fn reserve_locally(&self, root: &str, levels: &[Level<'_>], ask: &Ask) -> Result<Held, Refused> {
        let allowance = {
            let mut away = self.away.write();
            self.any_away.store(true, Relaxed);
            let tree = away.trees.entry(root.to_owned()).or_default();
            tree.allowance.get_or_insert_default().clone()
        };
        match allowance.reserve(levels, ask, &self.spent) {
            Decision::Granted(grant) => Ok(Held { grant, place: Place::Local(allowance) }),
            Decision::Refused(refusal) => Err(Refused::Limit(refusal)),
        }
    }

    /// Redis is about to be asked what these keys' counters stand at.
    pub(super) fn look<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Look {
        let charged = self.spent.lock().charged(keys);
        Look { charged, unheld: self.store.unheld() }
    }

    /// Whether Redis did not answer for a tree lately: asking again would take the whole timeout.
    pub(super) fn is_known_away(&self, root: &str) -> bool {
        self.any_away.load(Relaxed) && self.away.read().trees.get(root).is_some_and(|tree| tree.away)
    }

    /// Notes what a key's counters stand at.
    pub(super) fn remember(&self, key: &str, counters: &[Posting], look: &Look) {
        self.spent.lock().told(key, counters, look);
    }

    fn is_away(&self, root: &str, error: &StoreError) {
        let mut away = self.away.write();
        self.any_away.store(true, Relaxed);
        away.trees.entry(root.to_owned()).or_default().away = true;
        away.trouble = Some(error.to_string());
        if away.told.is_some_and(|told| !away.over || told.elapsed() < TELL_EVERY) {
            return;
        }
        (away.told, away.over) = (Some(Instant::now()), false);
        match away.known {
            false => tracing::info!(%error, "there is no ledger yet"),
            true => {
                tracing::error!(%error, tree = root, "the ledger is away: onStoreFailure decides what happens to requests");
            }
        }
    }

    /// Redis answers for a tree. Its allowance stays until Redis has what it granted: see [`Shared::tidy`].
    fn answers(&self, root: &str) {
        if !self.any_away.load(Relaxed) || !self.away.read().trees.get(root).is_some_and(|tree| tree.away) {
            return;
        }
        let mut away = self.away.write();
        if let Some(tree) = away.trees.get_mut(root) {
            tree.away = false;
        }
        if away.trees.values().any(|tree| tree.away) {
            return;
        }
        away.trouble = None;
        if !std::mem::replace(&mut away.over, true) {
            tracing::info!("the ledger is back");
        }
    }

    /// Drops what is known of trees that answer again, once none of their local charges waits and nothing runs that was
    /// granted locally: until then Redis does not know all that was spent.
    fn tidy(&self, now: i64) {
        if !self.any_away.load(Relaxed) {
            return;
        }
        let unheld = self.store.unheld_trees();
        let mut away = self.away.write();
        away.trees.values().filter_map(|tree| tree.allowance.as_ref()).for_each(|own| own.sweep(now));
        away.trees.retain(|root, tree| {
            let runs = tree.allowance.as_ref().is_some_and(|own| own.holds() || Arc::strong_count(own) > 1);
            tree.away || runs || (tree.allowance.is_some() && unheld.contains(root))
        });
        self.any_away.store(!away.trees.is_empty(), Relaxed);
    }

    /// Notes the end of a hold; from now on it will be posted.
    pub(super) fn begin(
        &self,
        levels: &[Level<'_>],
        held: Held,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
    ) -> Settling {
        let settling = match &held.place {
            Place::Local(own) => {
                own.settle(levels, &held.grant, actual, now);
                self.store.begin_unheld(levels, &held.grant, actual, now, billing)
            }
            _ => self.store.begin_settle(levels, &held.grant, actual, now, billing),
        };
        // Whoever posts it, and whenever: it is spent.
        self.spent.lock().add(&settling.expected.postings);
        settling
    }

    /// Tells Redis of a settle that was begun, and calls `done` with what was posted, or will be.
    pub(super) fn confirm_later(&self, settling: Settling, done: impl FnOnce(Settled) + Send + 'static) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            done(self.store.leave(settling));
            return;
        };
        let store = self.store.clone();
        self.tasks.spawn_on(
            async move {
                let posted = measured("settle", store.confirm(&settling)).await;
                drop(slot);
                match posted {
                    Ok(Some(settled)) => done(settled),
                    Ok(None) => done(settling.expected),
                    Err(error) => {
                        if let StoreError::Full(_) = error {
                            tracing::error!(%error, "a charge is lost to the ledger");
                        }
                        done(settling.expected);
                    }
                }
            },
            &self.runtime,
        );
    }

    pub(super) fn cancel(&self, levels: &[Level<'_>], held: &Held, now: i64) {
        if let Place::Local(own) = &held.place {
            own.cancel(levels, &held.grant, now);
            return;
        }
        let cancelling = self.store.begin_cancel(levels, &held.grant);
        let Ok(slot) = self.slots.clone().try_acquire_owned() else { return };
        let store = self.store.clone();
        self.tasks.spawn_on(
            async move {
                // What fails is repeated by the tick.
                measured("cancel", store.confirm_cancel(&cancelling, now)).await.ok();
                drop(slot);
            },
            &self.runtime,
        );
    }

    pub(super) fn note(&self, held: &Held, so_far: &Actual) {
        self.store.note(&held.grant, so_far);
    }

    /// Renews this gateway's holds, ends dead ones, repeats what failed, looks at the server.
    pub(super) async fn tick(&self, now: i64) -> Vec<Expired> {
        if self.ticks.fetch_add(1, Relaxed).is_multiple_of(CHECK_EVERY) || !self.health().ok {
            match self.store.check().await {
                Ok(()) => self.answers(ALL),
                Err(error) => self.is_away(ALL, &error),
            }
        }
        let upkeep = Upkeep { now, expires: self.expires(now), hold: self.settings.hold };
        let Round { dead, fine, failed } = self.store.look_after(&upkeep).await;
        for root in &fine {
            self.answers(root);
        }
        for (root, error) in &failed {
            if root.is_empty() || self.store.has_tree(root) {
                self.is_away(root, error);
            }
        }
        if failed.is_empty() {
            self.away.write().known = true;
        }
        self.tidy(now);
        if !self.beyond.lock().is_empty() {
            let beyond = std::mem::take(&mut *self.beyond.lock());
            self.take_over(beyond);
        }
        if !self.settings.drained {
            return dead;
        }
        for Expired { id, .. } in &dead {
            tracing::warn!(%id, "a hold died without a settle: charged what it had used");
        }
        Vec::new()
    }

    pub(super) fn health(&self) -> Health {
        let trouble = self.away.read().trouble.clone();
        let trouble = trouble.or_else(|| self.store.trouble().map(|e| e.to_string()));
        match trouble {
            Some(words) => Health { ok: false, words },
            None => Health { ok: true, words: "Redis answers".into() },
        }
    }

    pub(super) async fn close(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("some settles are still on their way");
        }
        loop {
            let within = until.saturating_duration_since(Instant::now()).min(REPEAT);
            let left = self.store.repeat_now(unix_ms(), within).await;
            if left == 0 {
                self.update_kept().await;
                return;
            }
            if Instant::now() >= until {
                let kept = self.update_kept().await.unwrap_or(0);
                tracing::error!(
                    left,
                    kept,
                    "charges could not be told to the ledger: those that are kept in the data folder are posted by the next start"
                );
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests;
