//! What is done about once a second: dead holds are charged, failures repeated, holds renewed, and all of it replayed after a
//! failover.

use super::journal::LiveHold;
use super::wire::{self, Args};
use super::{RedisStore, StoreError};
use crate::charge::{Expired, Posting};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What failed in a sweep.
#[derive(Debug, Default)]
struct Failures {
    first: Option<StoreError>,
    count: usize,
}

/// A sweep gives up after so many failures: each may have taken the whole timeout.
const MOST_FAILURES: usize = 16;

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
        let due = self.journal.renewals(not_for);
        let mut failed = Failures::default();
        for tree in due.chunk_by(|a, b| a.root == b.root) {
            for batch in tree.chunks(BATCH) {
                let Some(first) = batch.first() else { continue };
                let holds: Vec<_> = batch.iter().map(|renewal| (renewal.id, renewal.so_far)).collect();
                if failed.note(self.note_progress(&first.root, &holds, expires).await).is_none() {
                    break;
                }
                self.journal.renewed(batch, expires);
            }
            if failed.enough() {
                break;
            }
        }
        failed.first.map_or(Ok(()), Err)
    }

    /// Charges dead holds their progress, whichever gateway made them, and returns those that this call ended. Repeats what
    /// failed, and replays after a failover. Called about once a second.
    pub async fn expire(&self, now: i64) -> Result<Vec<Expired>, StoreError> {
        self.look_after(now, BATCH).await
    }

    /// [`RedisStore::expire`] that ends no hold: for a while after an outage, in which no gateway could renew its own.
    pub async fn spare(&self, now: i64) -> Result<(), StoreError> {
        self.look_after(now, 0).await.map(drop)
    }

    async fn look_after(&self, now: i64, dead: usize) -> Result<Vec<Expired>, StoreError> {
        let mut roots = self.journal.roots();
        if self.sweeps.fetch_add(1, Relaxed).is_multiple_of(ALL_TREES_EVERY) {
            roots.extend(self.trees().await?.into_iter().map(Arc::from));
        }
        let mut failed = Failures::default();
        self.repeat(now, &mut failed).await;
        let mut out = Vec::new();
        for root in roots {
            if failed.enough() {
                break;
            }
            let looked = self.look_after_tree(&root, now, dead, &mut out).await;
            failed.note(looked);
        }
        match failed.first {
            // What was ended must be told; the rest is for the next sweep.
            Some(error) if out.is_empty() => Err(error),
            Some(_) => Ok(out),
            None => {
                self.journal.tidy();
                Ok(out)
            }
        }
    }

    async fn look_after_tree(
        &self,
        root: &str,
        now: i64,
        batch: usize,
        out: &mut Vec<Expired>,
    ) -> Result<(), StoreError> {
        loop {
            let mut args = Args::default();
            args.push(self.time(now)).push(batch).push(self.options.stream);
            let reply = self.opened(root, &wire::EXPIRE, &args).await?;
            let dead = wire::list(reply.item(3));
            for (id, charged, parts) in dead.iter().filter_map(wire::dead) {
                self.journal.released(id);
                let settled = self.post(parts.into_iter(), &charged);
                out.push(Expired { id, charged, settled });
            }
            let run = reply.text(1);
            if self.journal.is_elsewhere(root, run) {
                // Until all of it succeeds, the next sweep does it again.
                self.replay(root, now).await?;
            }
            self.journal.seen(root, run);
            if reply.number(2) > 0 {
                self.forward(root, &self.time(now)).await?;
            }
            if dead.is_empty() || dead.len() < batch {
                return Ok(());
            }
        }
    }

    /// Repeats what is not confirmed, at once and not with the next sweep; how much is left.
    pub async fn repeat_now(&self, now: i64) -> usize {
        self.repeat(now, &mut Failures::default()).await;
        self.waiting() + self.unsure()
    }

    /// Repeats settles that are not confirmed, and takes back reserves that may have been carried out.
    async fn repeat(&self, now: i64, failed: &mut Failures) {
        for settle in self.journal.unconfirmed() {
            if failed.enough() {
                return;
            }
            failed.note(self.carry_out(&settle).await);
        }
        for (id, root) in self.journal.take_unsure() {
            if failed.enough() || failed.note(self.release(id, &root, now).await).is_none() {
                self.journal.unsure(id, &root);
            }
        }
    }

    /// Puts in force again what the new server may not know: charges first, then holds. All of it is idempotent by id, and
    /// one that fails does not keep the others from it.
    async fn replay(&self, root: &str, now: i64) -> Result<(), StoreError> {
        let mut failed = Failures::default();
        for settle in self.journal.recent(root) {
            if !failed.enough() {
                failed.note(self.carry_out(&settle).await);
            }
        }
        for hold in self.journal.live(root) {
            if !failed.enough() {
                failed.note(self.hold_again(root, &hold, now).await);
            }
        }
        failed.first.map_or(Ok(()), Err)
    }

    async fn hold_again(&self, root: &str, hold: &LiveHold, now: i64) -> Result<(), StoreError> {
        let args = wire::replay(hold, &self.time(now));
        self.in_tree(root, &wire::RESERVE, &args).await?;
        self.note_progress(root, &[(hold.grant.id, hold.so_far)], hold.ask.expires).await
    }
}

// === impl Failures ===

impl Failures {
    fn note<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result
            .map_err(|error| {
                self.count += 1;
                self.first.get_or_insert(error);
            })
            .ok()
    }

    fn enough(&self) -> bool {
        self.count >= MOST_FAILURES
    }
}
