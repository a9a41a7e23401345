//! The account in Redis, as one gateway uses it.
//!
//! Every end of a request is noted at once (the store's journal, bounded) and told to Redis by a task of its own; what fails
//! there, the tick repeats. While Redis is away, keys that allow it are served on a local allowance: the same rules and limits
//! over what this gateway last knew to be spent. What they use is posted when Redis is back.

use super::{Health, Held, Place, Refused, kept::Kept};
use crate::{gateway::unix_ms, telemetry};
use parking_lot::Mutex;
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
    memory::MemoryStore,
    redis::{Billing, RedisStore, Settling, StoreError},
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
    /// What holds while Redis is away; `None` while it answers.
    local: Mutex<Option<Arc<MemoryStore>>>,
    away: AtomicBool,
    /// What was last known to be spent, by key: what a local allowance begins with.
    spent: Arc<Mutex<Spent>>,
    trouble: Mutex<Option<String>>,
    ticks: AtomicU64,
    contact: Mutex<Contact>,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// When all was well with the store last, and until when no hold is given up as dead: after an outage, no gateway could renew
/// its own, and each must have the time to.
#[derive(Debug, Default)]
struct Contact {
    last: Option<Instant>,
    spare_until: Option<Instant>,
}

/// The counters of keys.
type Spent = HashMap<String, Vec<Posting>>;

/// How many settles and cancels may be on their way at once.
const SLOTS: usize = 1024;
/// How often the server itself is looked at, in ticks.
const CHECK_EVERY: u64 = 15;
/// How many keys' spend is remembered for a local allowance.
const MOST_SPENT: usize = 50_000;
/// The pause between two rounds of repeating at the end.
const PAUSE: Duration = Duration::from_millis(50);

/// Adds to what is known to be spent, until the ledger is looked at again.
fn add(spent: &Mutex<Spent>, postings: &[Posting]) {
    let mut spent = spent.lock();
    for posting in postings {
        let counter = &posting.counter;
        if spent.len() >= MOST_SPENT && !spent.contains_key(&counter.key) {
            continue;
        }
        let counters = spent.entry(counter.key.clone()).or_default();
        match counters.iter_mut().find(|known| known.counter == *counter) {
            Some(known) => known.amount = known.amount.saturating_add(posting.amount),
            None => {
                // A window that is over is of no interest any more.
                counters.retain(|known| {
                    known.counter.budget != counter.budget || known.counter.window.end > counter.window.start
                });
                counters.push(posting.clone());
            }
        }
    }
}

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
            local: Mutex::default(),
            away: AtomicBool::new(false),
            spent: Arc::default(),
            trouble: Mutex::default(),
            ticks: AtomicU64::new(0),
            contact: Mutex::default(),
            kept: Arc::default(),
        }
    }

    /// Keeps charges that Redis does not confirm in this folder, and takes over those that an earlier process left there.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn keep_unposted(&self, folder: &Path) -> io::Result<()> {
        let (kept, left) = Kept::open(folder)?;
        let (count, now) = (left.len(), unix_ms());
        for (charge, tried) in left {
            match self.store.take_over(charge, tried, now) {
                Some(expected) => add(&self.spent, &expected.postings),
                None => tracing::error!("a kept charge is lost to the ledger: too many wait"),
            }
        }
        if count > 0 {
            tracing::info!(count, file = %kept.path().display(), "charges of an earlier start are posted now");
        }
        *self.kept.lock() = Some(kept);
        Ok(())
    }

    /// Brings the file of charges that Redis does not confirm up to date; how many are in it.
    pub(super) async fn update_kept(&self) -> usize {
        let (kept, store) = (self.kept.clone(), self.store.clone());
        let updated =
            tokio::task::spawn_blocking(move || kept.lock().as_mut().map(|kept| kept.update(&store)));
        match updated.await {
            Ok(Some(Ok(count))) => count,
            Ok(Some(Err(error))) => {
                tracing::error!(%error, "charges that wait for Redis cannot be kept in their file");
                0
            }
            _ => 0,
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
        match measured("reserve", self.store.reserve(levels, &ask)).await {
            Ok(decision) => {
                if self.away.load(Relaxed) {
                    self.is_back();
                }
                match decision {
                    Decision::Granted(grant) => Ok(Held { grant, place: Place::Redis }),
                    Decision::Refused(refusal) => Err(Refused::Limit(refusal)),
                }
            }
            Err(StoreError::Denied { key, reason }) => Err(Refused::Revoked { key, reason }),
            Err(error) if !error.is_store_failure() => Err(Refused::Unusable(error.to_string())),
            Err(error) => {
                self.is_away(&error);
                if deny { Err(Refused::Away) } else { self.reserve_locally(levels, &ask) }
            }
        }
    }

    fn reserve_locally(&self, levels: &[Level<'_>], ask: &Ask) -> Result<Held, Refused> {
        let store = self.allowance(ask.now);
        match store.reserve(levels, ask) {
            Decision::Granted(grant) => Ok(Held { grant, place: Place::Local(store) }),
            Decision::Refused(refusal) => Err(Refused::Limit(refusal)),
        }
    }

    /// The local allowance, which begins with what was last known to be spent.
    fn allowance(&self, now: i64) -> Arc<MemoryStore> {
        let mut local = self.local.lock();
        local
            .get_or_insert_with(|| {
                let store = MemoryStore::new();
                store.restore(self.spent.lock().values().flatten().cloned(), now);
                Arc::new(store)
            })
            .clone()
    }

    /// Notes what a key's counters stand at.
    pub(super) fn remember(&self, key: &str, counters: Vec<Posting>) {
        let mut spent = self.spent.lock();
        if spent.len() < MOST_SPENT || spent.contains_key(key) {
            spent.insert(key.to_owned(), counters);
        }
    }

    fn is_away(&self, error: &StoreError) {
        *self.trouble.lock() = Some(error.to_string());
        if self.away.swap(true, Relaxed) {
            return;
        }
        if self.contact.lock().last.is_none() {
            tracing::info!(%error, "there is no ledger yet");
        } else {
            tracing::error!(%error, "the ledger is away: onStoreFailure decides what happens to requests");
        }
    }

    fn is_back(&self) {
        *self.trouble.lock() = None;
        if self.away.swap(false, Relaxed) {
            // Its charges are on their way to Redis; the next time one is needed it begins anew.
            *self.local.lock() = None;
            tracing::info!("the ledger is back");
        }
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
        if let Place::Local(store) = &held.place {
            store.settle(levels, &held.grant, actual, now);
        }
        self.store.begin_settle(levels, &held.grant, actual, now, billing)
    }

    /// Tells Redis of a settle that was begun, and calls `done` with what was posted, or will be.
    pub(super) fn confirm_later(&self, settling: Settling, done: impl FnOnce(Settled) + Send + 'static) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            done(self.store.leave(settling));
            return;
        };
        let (store, spent) = (self.store.clone(), self.spent.clone());
        self.tasks.spawn_on(
            async move {
                let posted = measured("settle", store.confirm(&settling)).await;
                drop(slot);
                match posted {
                    Ok(Some(settled)) => {
                        add(&spent, &settled.postings);
                        done(settled);
                    }
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
        if let Place::Local(store) = &held.place {
            store.cancel(levels, &held.grant, now);
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
        let local = self.local.lock().clone();
        if let Some(local) = local {
            local.sweep(now);
        }
        match self.look_after(now).await {
            Ok(dead) => {
                if self.away.load(Relaxed) || self.trouble.lock().is_some() {
                    self.is_back();
                }
                if !self.settings.drained {
                    return dead;
                }
                for Expired { id, .. } in &dead {
                    tracing::warn!(%id, "a hold died without a settle: charged what it had used");
                }
                Vec::new()
            }
            Err(error) if error.is_store_failure() => {
                self.is_away(&error);
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger could not be looked after");
                Vec::new()
            }
        }
    }

    async fn look_after(&self, now: i64) -> Result<Vec<Expired>, StoreError> {
        let renewed = self.store.renew(self.settings.hold / 6, self.expires(now)).await;
        if self.ticks.fetch_add(1, Relaxed).is_multiple_of(CHECK_EVERY) || self.away.load(Relaxed) {
            self.store.check().await?;
        }
        let dead = match self.spares() {
            true => self.store.spare(now).await.map(|()| Vec::new())?,
            false => self.store.expire(now).await?,
        };
        // What was ended must be told, whatever else failed.
        if dead.is_empty() {
            renewed?;
        }
        self.contact.lock().last = Some(Instant::now());
        Ok(dead)
    }

    /// Whether dead holds are left alone for now. A gateway that starts knows nothing of an outage that may have been.
    fn spares(&self) -> bool {
        let (mut contact, hold) = (self.contact.lock(), self.settings.hold);
        if contact.last.is_none_or(|last| last.elapsed() > hold / 2) {
            contact.spare_until = Some(Instant::now() + hold / 3);
            // Once for each outage: this look is a contact, if only for others' holds.
            contact.last = Some(Instant::now());
        }
        contact.spare_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn health(&self) -> Health {
        let trouble = self.trouble.lock().clone().or_else(|| self.store.trouble().map(|e| e.to_string()));
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
            let left = self.store.repeat_now(unix_ms()).await;
            if left == 0 {
                self.update_kept().await;
                return;
            }
            if Instant::now() >= until {
                let kept = self.update_kept().await;
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
