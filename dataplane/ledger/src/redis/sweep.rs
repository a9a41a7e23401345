//! What is done about once a second: holds are renewed, dead ones charged, failures repeated, and all of it replayed after a
//! failover. Trees are looked after beside one another, and one that fails keeps no other waiting.

use super::journal::{LiveHold, Renewal, Settle};
use super::wire::{self, Args};
use super::{RedisStore, StoreError};
use crate::charge::{Expired, Posting};
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What a round of looking after trees is to do.
#[derive(Debug, Clone, Copy)]
pub struct Upkeep {
    /// Now, Unix milliseconds.
    pub now: i64,
    /// Until when the holds of this gateway live on, Unix milliseconds.
    pub expires: i64,
    /// How long holds live of which Redis is not told. After an outage that was longer than half of that none is given up as
    /// dead for a third of it: no gateway could renew its own meanwhile.
    pub hold: Duration,
}

/// What it came to.
#[derive(Debug, Default)]
pub struct Round {
    /// The holds that this call ended.
    pub dead: Vec<Expired>,
    /// The trees of this gateway of which all was done.
    pub fine: Vec<Arc<str>>,
    /// Those that failed, and why; with the name "" what concerns none.
    pub failed: Vec<(Arc<str>, StoreError)>,
}

/// One round over the trees.
struct Walk<'w, B> {
    store: &'w RedisStore,
    now: i64,
    /// See [`Upkeep::hold`].
    hold: Duration,
    /// By tree what is to be renewed first, and until when.
    due: &'w HashMap<Arc<str>, (Vec<Renewal>, i64)>,
    /// How many dead holds of a tree are ended in one call.
    batch: B,
    failed: Failures,
    dead: Mutex<Vec<Expired>>,
    looked: Mutex<Vec<Arc<str>>>,
}

/// The trees that a round looks after.
struct Due {
    well: Vec<Arc<str>>,
    ill: Vec<Arc<str>>,
    /// Those that the ledger's list has, where it was asked, and whether it calls them live.
    listed: Option<HashMap<Arc<str>, bool>>,
}

/// Failures by tree.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<Arc<str>, (usize, StoreError)>>);

/// After so many answers in a round that say that something is wrong, a tree is left alone; after the first that says that
/// it cannot be reached: each of them may have taken the whole timeout.
const MOST_FAILURES: usize = 16;

/// How long a round goes on with trees that failed last time, once one of them has failed again. After an outage all of them answer,
/// and all are looked after in one round: until then their holds are not renewed.
const ILL: Duration = Duration::from_millis(400);

/// How many trees are looked after at once, and how many charges told.
const TREES_AT_ONCE: usize = 8;
const CHARGES_AT_ONCE: usize = 64;

/// How long a tree keeps another waiting: those that get no answer are no reason to leave alone those that would.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a round repeats charges at most.
const REPEAT: Duration = Duration::from_millis(800);

/// The sweep looks after trees that no living gateway uses every so many times.
const ALL_TREES_EVERY: u64 = 30;

/// How many holds of a tree are taken in one call.
const BATCH: usize = 100;

// === impl RedisStore ===

impl RedisStore {
    /// [`RedisStore::expire`] as a list of postings.
    pub async fn sweep(&self, now: i64) -> Result<Vec<Posting>, StoreError> {
        Ok(self.expire(now).await?.into_iter().flat_map(|dead| dead.settled.postings).collect())
    }

    /// Tells Redis that the holds of this gateway live on until `expires` (Unix milliseconds), and what they have used so
    /// far; those of which it was told less than `not_for` ago are left out. A tree that fails does not keep the others'
    /// from being told.
    pub async fn renew(&self, not_for: Duration, expires: i64) -> Result<(), StoreError> {
        let mut failed = None;
        for (root, due) in by_tree(self.journal.renewals(not_for)) {
            if let Err(error) = self.renew_tree(&root, &due, expires).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn renew_tree(&self, root: &str, due: &[Renewal], expires: i64) -> Result<(), StoreError> {
        for batch in due.chunks(BATCH) {
            let holds: Vec<_> = batch.iter().map(|renewal| (renewal.id, renewal.so_far)).collect();
            self.note_progress(root, &holds, expires).await?;
            self.journal.renewed(batch, expires);
        }
        Ok(())
    }

    /// Charges dead holds their progress, whichever gateway made them, and returns those that this call ended. Repeats what
    /// failed, and replays after a failover.
    pub async fn expire(&self, now: i64) -> Result<Vec<Expired>, StoreError> {
        self.round(now, Duration::ZERO, HashMap::new(), |_| BATCH).await.ended()
    }

    /// [`RedisStore::expire`] that ends no hold.
    pub async fn spare(&self, now: i64) -> Result<(), StoreError> {
        self.round(now, Duration::ZERO, HashMap::new(), |_| 0).await.ended().map(drop)
    }

    /// All that is to be done about once a second: renews the holds of this gateway, and [`RedisStore::expire`], but for what
    /// is to be spared after an outage.
    pub async fn look_after(&self, upkeep: &Upkeep) -> Round {
        let due = by_tree(self.journal.renewals(upkeep.hold / 6));
        self.contacts.lock().begin(upkeep.hold);
        let batch = |root: &str| match self.contacts.lock().spares(root, upkeep.hold) {
            true => 0,
            false => BATCH,
        };
        let due = due.into_iter().map(|(root, due)| (root, (due, upkeep.expires))).collect();
        let round = self.round(upkeep.now, upkeep.hold, due, batch).await;
        if round.failed.is_empty() && self.link.trouble().is_none() {
            self.contacts.lock().all_is_well();
        }
        round
    }

    /// `due`: by tree what is to be renewed first, and until when; `batch`: how many dead holds of a tree are ended in one call.
    async fn round(
        &self,
        now: i64,
        hold: Duration,
        due: HashMap<Arc<str>, (Vec<Renewal>, i64)>,
        batch: impl Fn(&str) -> usize,
    ) -> Round {
        let walk = Walk {
            store: self,
            now,
            hold,
            due: &due,
            batch,
            failed: Failures::default(),
            dead: Mutex::default(),
            looked: Mutex::default(),
        };
        let Due { well, ill, listed } = self.due_trees(&walk.failed).await;
        walk.trees(well, Duration::MAX).await;
        walk.trees(ill, ILL).await;
        if let Some(listed) = listed {
            walk.list(&listed).await;
        }
        self.repeat(now, Instant::now() + REPEAT, &walk.failed).await;
        let Walk { failed, dead, looked, .. } = walk;
        let (failed, mut fine) = (failed.all(), looked.into_inner());
        if failed.is_empty() {
            self.journal.tidy();
        }
        fine.retain(|root| !failed.contains_key(root));
        Round { dead: dead.into_inner(), fine, failed: failed.into_iter().collect() }
    }

    /// The trees to look after now: those of this gateway, and now and then all. And those that failed when they were looked at
    /// last, first those that were looked at longest ago.
    async fn due_trees(&self, failed: &Failures) -> Due {
        let (mut roots, mut listed) = (self.journal.roots(), None);
        if self.sweeps.fetch_add(1, Relaxed).is_multiple_of(ALL_TREES_EVERY) {
            match self.listed().await {
                Ok(trees) => {
                    roots.extend(trees.keys().cloned());
                    listed = Some(trees);
                }
                Err(error) => failed.note(&Arc::from(""), error),
            }
        }
        let contacts = self.contacts.lock();
        let (mut ill, well): (Vec<_>, Vec<_>) = roots.into_iter().partition(|root| contacts.is_ill(root));
        ill.sort_by_cached_key(|root| contacts.looked_at(root));
        Due { well, ill, listed }
    }

    /// Repeats what is not confirmed, at once and not with the next sweep, but no longer than about `within`; how much is left.
    pub async fn repeat_now(&self, now: i64, within: Duration) -> usize {
        self.repeat(now, Instant::now() + within, &Failures::default()).await;
        self.waiting() + self.unsure()
    }

    /// Takes back reserves that may have been carried out, and repeats settles that are not confirmed. In this order: what is
    /// to be taken back is renewed by nobody, and would be charged what it may have used.
    async fn repeat(&self, now: i64, until: Instant, failed: &Failures) {
        self.take_back(now, until, failed).await;
        let mut settles = self.journal.unconfirmed();
        if !settles.is_empty() {
            // One that always fails must not be the first for ever.
            let from = usize::try_from(self.sweeps.load(Relaxed)).unwrap_or(0).wrapping_mul(1_021);
            let from = from % settles.len();
            settles.rotate_left(from);
        }
        self.tell(settles, until, failed).await;
    }

    async fn take_back(&self, now: i64, until: Instant, failed: &Failures) {
        stream::iter(self.journal.take_unsure())
            .for_each_concurrent(CHARGES_AT_ONCE, |(id, root)| async move {
                let mut told = false;
                if !failed.enough(&root) && Instant::now() < until {
                    told = failed.of(&root, self.release(id, &root, now).await);
                }
                if !told {
                    self.journal.unsure(id, &root);
                }
            })
            .await;
    }

    async fn tell(&self, settles: Vec<Arc<Settle>>, until: Instant, failed: &Failures) {
        stream::iter(settles)
            .for_each_concurrent(CHARGES_AT_ONCE, |settle| async move {
                if !failed.enough(&settle.root) && Instant::now() < until {
                    failed.of(&settle.root, self.carry_out(&settle).await);
                }
            })
            .await;
    }

    /// Puts in force again what the new server may not know: holds first, which others would spend, then charges. All of it
    /// is idempotent by id, and one that fails does not keep the others from it.
    async fn replay(&self, root: &str, now: i64) -> Result<(), StoreError> {
        let (failed, root) = (&Failures::default(), &Arc::<str>::from(root));
        stream::iter(self.journal.live(root))
            .for_each_concurrent(CHARGES_AT_ONCE, |hold| async move {
                if !failed.enough(root) {
                    failed.of(root, self.hold_again(root, &hold, now).await);
                }
            })
            .await;
        // Without a bound in time: the next sweep would begin anew.
        let long = Instant::now() + Duration::from_secs(3600);
        self.tell(self.journal.recent(root), long, failed).await;
        failed.0.lock().remove(root).map_or(Ok(()), |(_, error)| Err(error))
    }

    async fn hold_again(&self, root: &str, hold: &LiveHold, now: i64) -> Result<(), StoreError> {
        let args = wire::replay(hold, &self.time(now));
        self.in_tree(root, &wire::RESERVE, &args).await?;
        self.note_progress(root, &[(hold.grant.id, hold.so_far)], hold.ask.expires).await
    }
}

fn by_tree(due: Vec<Renewal>) -> HashMap<Arc<str>, Vec<Renewal>> {
    let mut trees = HashMap::<Arc<str>, Vec<Renewal>>::new();
    for renewal in due {
        trees.entry(renewal.root.clone()).or_default().push(renewal);
    }
    trees
}

// === impl Walk ===

impl<B: Fn(&str) -> usize> Walk<'_, B> {
    /// Looks after these trees, beside one another; once one of them has failed, for no longer than `limit`.
    async fn trees(&self, roots: Vec<Arc<str>>, limit: Duration) {
        let (began, failed, seats) =
            (Instant::now(), &AtomicBool::new(false), &Semaphore::new(TREES_AT_ONCE));
        stream::iter(roots)
            .for_each_concurrent(None, |root| async move {
                let seat = seats.acquire().await;
                if failed.load(Relaxed) && began.elapsed() > limit {
                    return;
                }
                let mut looking = pin!(self.tree(root));
                let fine = match tokio::time::timeout(PATIENCE, &mut looking).await {
                    Ok(fine) => fine,
                    Err(_) => {
                        // It goes on, and another has its seat.
                        drop(seat);
                        looking.await
                    }
                };
                if !fine {
                    failed.store(true, Relaxed);
                }
            })
            .await;
    }

    /// Puts those of this gateway's trees into the ledger's list that are not in it, or not as live: it lies in another slot than they
    /// do, and may have lost what was written last. Of those only that are there: to one that is listed and is not, nothing is
    /// granted.
    async fn list(&self, listed: &HashMap<Arc<str>, bool>) {
        let mut lacking = self.looked.lock().clone();
        lacking.retain(|root| {
            let known = listed.get(root).is_some_and(|live| *live);
            !known && self.store.journal.has_tree(root) && !self.failed.has(root)
        });
        if let Err(error) = self.store.list(lacking.iter().map(|root| &**root)).await {
            self.failed.note(&Arc::from(""), error);
        }
    }

    /// Renews the holds of a tree and looks after it; whether all of it went well.
    async fn tree(&self, root: Arc<str>) -> bool {
        let renewed = match self.due.get(&root) {
            Some((due, expires)) => self.store.renew_tree(&root, due, *expires).await,
            None => Ok(()),
        };
        // In a tree where ours could not be renewed, nothing is said to be dead.
        let looked = match renewed {
            Ok(()) => self.look_after(&root).await,
            Err(error) => Err(error),
        };
        let fine = self.failed.of(&root, looked);
        self.store.contacts.lock().note(&root, fine);
        self.looked.lock().push(root);
        fine
    }

    /// Ends what is dead in a tree, and puts what another server may not know in force again.
    async fn look_after(&self, root: &Arc<str>) -> Result<(), StoreError> {
        let (store, batch) = (self.store, (self.batch)(root));
        loop {
            let seen = store.contacts.lock().run(root);
            let mut args = Args::default();
            args.push(store.time(self.now)).push(batch).push(store.options.stream).push(&*seen);
            let reply = store.opened(root, &wire::EXPIRE, &args).await?;
            let dead = wire::list(reply.item(3));
            for (id, charged, parts) in dead.iter().filter_map(wire::dead) {
                store.journal.released(id);
                let settled = store.post(parts.into_iter(), &charged);
                self.dead.lock().push(Expired { id, charged, settled });
            }
            let run = reply.text(1);
            store.contacts.lock().is_on(root, run, self.hold);
            if store.journal.is_elsewhere(root, run) {
                // Until all of it succeeds, the next sweep does it again.
                store.replay(root, self.now).await?;
            }
            store.journal.seen(root, run);
            if reply.number(2) > 0 {
                store.forward(root, &store.time(self.now)).await?;
            }
            if dead.is_empty() || dead.len() < batch {
                return Ok(());
            }
        }
    }
}

// === impl Round ===

impl Round {
    /// What was ended must be told; the rest is for the next time.
    fn ended(mut self) -> Result<Vec<Expired>, StoreError> {
        match self.failed.pop() {
            Some((_, error)) if self.dead.is_empty() => Err(error),
            _ => Ok(self.dead),
        }
    }
}

// === impl Failures ===

impl Failures {
    /// Notes how something of a tree went; whether it went well.
    fn of<T>(&self, root: &Arc<str>, result: Result<T, StoreError>) -> bool {
        result.map_err(|error| self.note(root, error)).is_ok()
    }

    fn note(&self, root: &Arc<str>, error: StoreError) {
        let weight = if error.is_of_the_server() { MOST_FAILURES } else { 1 };
        let mut all = self.0.lock();
        match all.get_mut(root) {
            Some((count, _)) => *count += weight,
            None => drop(all.insert(root.clone(), (weight, error))),
        }
    }

    /// Why each tree failed that did.
    fn all(self) -> HashMap<Arc<str>, StoreError> {
        self.0.into_inner().into_iter().map(|(root, (_, why))| (root, why)).collect()
    }

    fn has(&self, root: &str) -> bool {
        self.0.lock().contains_key(root)
    }

    fn enough(&self, root: &str) -> bool {
        self.0.lock().get(root).is_some_and(|(count, _)| *count >= MOST_FAILURES)
    }
}
