//! What Redis lost is put back, out of the records: all of it, or what a shard of a cluster had.
//!
//! A tree that was lost has no generation, and it is known that it has been, so nothing is granted in it. It gets one when all
//! of the lost ones are filled, and not before: a key that is asked for meanwhile may be one that comes last, or live in the
//! tree that does. What is put into such a tree replaces what an earlier try left there, so a restore that failed is simply
//! said again. Trees that are there are left alone, whatever else was lost.

use super::trees::{ATTEMPTS, Move};
use super::wire::{self, Args};
use super::{MAX_AMOUNT, RedisStore, StoreError};
use crate::charge::{Actual, Posting};
use ::redis::Value;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What records know of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backup {
    /// By root, the trees in which anything ended lately.
    pub trees: BTreeMap<String, TreeBackup>,
    /// By key, what is committed in open windows.
    pub keys: BTreeMap<String, KeyBackup>,
    /// Not all ids are known of what was settled before this time, so many were they (Unix milliseconds).
    pub forgotten: Option<i64>,
}

/// What ended lately in a tree and is among the sums: gateways tell some of it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeBackup {
    /// Reservations that were settled.
    pub settled: Vec<Uuid>,
    /// Holds that died. What comes late for one of them is posted as far as it is above what it was charged.
    pub died: Vec<DeadHold>,
}

/// A hold that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadHold {
    /// The reservation.
    pub id: Uuid,
    /// What it was charged, with what came late.
    pub charged: Actual,
    /// Something did come late.
    pub late: bool,
}

/// What is committed of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyBackup {
    /// The trees in which it was charged: more than one where it has moved. It lives in one.
    pub roots: BTreeSet<String>,
    /// The sums.
    pub postings: Vec<Posting>,
}

/// What came of a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Trees that were lost, and are there again.
    pub trees: usize,
    /// Trees that were there, and are as they were.
    pub there: usize,
    /// Counters that were put back.
    pub counters: usize,
}

/// How many calls are on their way at once, and how many trees or reservations are told in one.
const AT_ONCE: usize = 64;
const BATCH: usize = 1_000;

// === impl RedisStore ===

impl RedisStore {
    /// Puts back what Redis lost: the trees that have no generation. Whatever fails is said again, as often as it takes: nothing
    /// is counted twice, and nothing granted in these trees before all are there. `generation`: the ledger's, if it has none.
    pub async fn restore(&self, backup: &Backup, generation: &str) -> Result<Restored, StoreError> {
        let roots = self.roots_of(backup).await?;
        let lost = self.lost(&roots).await?;
        // None of them is taken for a new one.
        self.list(roots.iter().map(String::as_str)).await?;
        let known = TreeBackup::default();
        stream::iter(&lost)
            .map(|root| self.tell_ended(root, backup.trees.get(root).unwrap_or(&known), backup.forgotten))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let counters = stream::iter(&backup.keys)
            .map(|(key, of)| self.put_back(key, of, &lost))
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, counters| Ok(sum + counters))
            .await?;
        let founded = self.found_as(generation).await?;
        let id = Uuid::new_v4().simple();
        if founded || !lost.is_empty() {
            let mut told = ::redis::cmd("SET");
            self.link.send(told.arg(self.restored_key()).arg(id.to_string())).await?;
        }
        // Another generation than before: gateways tell again what they have under way.
        for root in &lost {
            let mut open = ::redis::cmd("SET");
            open.arg(format!("{}:g", self.base(root))).arg(format!("{generation}.{id}")).arg("NX");
            self.link.send(&open).await?;
        }
        Ok(Restored { trees: lost.len(), there: roots.len() - lost.len(), counters })
    }

    /// A name of the last restore, if there was one: when it changes, something was restored.
    pub async fn restored(&self) -> Result<Option<String>, StoreError> {
        let mut command = ::redis::cmd("GET");
        let answer = self.link.send_within(command.arg(self.restored_key()), self.options.late).await?;
        Ok(wire::text(&answer).map(str::to_owned))
    }

    fn restored_key(&self) -> String {
        format!("{}:restored", self.ledger())
    }

    /// All trees of which anybody knows.
    async fn roots_of(&self, backup: &Backup) -> Result<BTreeSet<String>, StoreError> {
        let mut roots: BTreeSet<String> = self.trees().await?.into_iter().collect();
        roots.extend(backup.trees.keys().cloned());
        roots.extend(backup.keys.values().flat_map(|key| key.roots.iter().cloned()));
        let homes: Vec<_> = stream::iter(backup.keys.keys())
            .map(|key| self.where_is(key))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for home in homes.iter().flatten() {
            roots.extend(trees_of(home).map(str::to_owned));
        }
        Ok(roots)
    }

    /// Those without a generation.
    async fn lost(&self, roots: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        let looked =
            stream::iter(roots).map(async |root| Ok(self.is_lost(root).await?.then(|| root.clone())));
        looked.buffer_unordered(AT_ONCE).try_filter_map(async |lost| Ok(lost)).try_collect().await
    }

    /// Whether a tree that has been is not there: nothing is granted in it until it is restored.
    pub async fn is_lost(&self, root: &str) -> Result<bool, StoreError> {
        let mut command = ::redis::cmd("EXISTS");
        let there = self.link.send(command.arg(format!("{}:g", self.base(root)))).await?;
        Ok(wire::number(&there) != Some(1))
    }

    /// Tells the ledger which trees it has.
    pub(super) async fn list(&self, roots: impl Iterator<Item = &str>) -> Result<(), StoreError> {
        let roots: Vec<_> = roots.collect();
        for batch in roots.chunks(BATCH) {
            let mut command = ::redis::cmd("HSET");
            command.arg(self.trees_key());
            batch.iter().for_each(|root| {
                command.arg(*root).arg("live");
            });
            self.link.send_within(&command, self.options.late).await?;
        }
        Ok(())
    }

    /// Tells a lost tree what ended in it.
    async fn tell_ended(
        &self,
        root: &str,
        TreeBackup { settled, died }: &TreeBackup,
        forgotten: Option<i64>,
    ) -> Result<(), StoreError> {
        let forgotten = forgotten.map(|at| at.to_string()).unwrap_or_default();
        let base = self.base(root);
        let (mut ids, mut holds) = (settled.chunks(BATCH), died.chunks(BATCH));
        loop {
            let (ids, holds) = (ids.next(), holds.next());
            let mut args = Args::default();
            args.push(&forgotten).push(ids.map_or(0, <[Uuid]>::len));
            for id in ids.unwrap_or_default() {
                args.push(id.simple());
            }
            for DeadHold { id, charged, late } in holds.unwrap_or_default() {
                args.push(id.simple()).push(if *late { 'l' } else { 'w' });
                args.push(charged.cost).push(charged.input_tokens).push(charged.output_tokens);
            }
            self.run(&wire::ENDED, &base, &args).await?;
            if ids.is_none() && holds.is_none() {
                return Ok(());
            }
        }
    }

    /// Puts a key back into a lost tree; how many counters. Not if it lives in one that is there.
    async fn put_back(
        &self,
        key: &str,
        of: &KeyBackup,
        lost: &BTreeSet<String>,
    ) -> Result<usize, StoreError> {
        for _ in 0..ATTEMPTS {
            let home = self.where_is(key).await?;
            let Some(root) = self.place(key, of, home.as_deref(), lost).await? else { return Ok(0) };
            if home.as_deref() != Some(root)
                && !self.set_home(key, home.as_deref().unwrap_or_default(), root).await?
            {
                continue; // Somebody was faster.
            }
            if !lost.contains(root) {
                return Ok(0); // Its home alone was lost.
            }
            let mut args = Args::default();
            args.push(key);
            for Posting { counter, amount } in &of.postings {
                args.push(format_args!("c:{}", wire::field(counter))).push(amount.min(&MAX_AMOUNT));
            }
            let reply = self.run(&wire::FILL, &self.base(root), &args).await?;
            return Ok(if reply.word() == "ok" { of.postings.len() } else { 0 });
        }
        Err(StoreError::Moving(key.to_owned()))
    }

    /// The tree that a key is to have as its home; `None` where nothing is to be done.
    async fn place<'a>(
        &self,
        key: &str,
        of: &'a KeyBackup,
        home: Option<&'a str>,
        lost: &BTreeSet<String>,
    ) -> Result<Option<&'a str>, StoreError> {
        let homes: Vec<&str> = home.into_iter().flat_map(trees_of).collect();
        let roots: Vec<&str> = homes.iter().copied().chain(of.roots.iter().map(String::as_str)).collect();
        for root in roots.iter().filter(|root| !lost.contains(**root)) {
            let mut command = ::redis::cmd("HEXISTS");
            let member = self.link.send(command.arg(format!("{}:k:{key}", self.base(root))).arg("m")).await?;
            if wire::number(&member) == Some(1) {
                return Ok(home.is_none().then_some(root));
            }
        }
        // On its way from one tree that is there to another: whoever needs it completes that.
        if homes.len() > 1 && !homes.iter().any(|root| lost.contains(*root)) {
            return Ok(None);
        }
        Ok(roots.into_iter().find(|root| lost.contains(*root)))
    }

    /// [`RedisStore::found`] with a generation that is known elsewhere.
    pub(super) async fn found_as(&self, generation: &str) -> Result<bool, StoreError> {
        let mut command = ::redis::cmd("SET");
        command.arg(format!("{}:generation", self.ledger())).arg(generation).arg("NX");
        Ok(!matches!(self.link.send(&command).await?, Value::Nil))
    }
}

/// The tree of a home, or both of a move.
fn trees_of(home: &str) -> impl Iterator<Item = &str> {
    let moving = Move::parse(home);
    let settled = moving.is_none().then_some(home);
    moving.into_iter().flat_map(|moving| [moving.to, moving.from]).chain(settled)
}
