//! Settles: those that Redis has not confirmed, and those that it has confirmed lately.

use super::{Charge, Journal, Settle};
use crate::redis::Unposted;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a confirmed settle is kept while all is well: longer than a failover loses.
const KEEP: Duration = Duration::from_secs(60);

/// How many settles a shard keeps at most, and how many of those that Redis has confirmed.
const MOST: usize = 8_192;
const MOST_CONFIRMED: usize = 2_048;

/// And how many bytes of memory those that wait take.
const MOST_BYTES: usize = 12 << 20;

/// How long a settle that somebody is sending is left to them.
const IN_HAND: Duration = Duration::from_secs(5);

/// How long Redis may take to confirm a settle before it is noted elsewhere.
const PROMPT: Duration = Duration::from_millis(100);

/// The settles of a shard.
#[derive(Debug, Default)]
pub(super) struct Settles {
    waiting: HashMap<Uuid, Waiting>,
    /// About how many bytes those take.
    bytes: usize,
    /// With when they were carried out at the latest.
    confirmed: HashMap<Uuid, (Arc<Settle>, i64)>,
    /// The confirmed ones in their order, with the time at which they were.
    order: VecDeque<(Instant, Uuid)>,
    /// Those that were noted elsewhere and are confirmed.
    done: Vec<Uuid>,
}

/// A settle that is not confirmed.
#[derive(Debug)]
struct Waiting {
    settle: Arc<Settle>,
    since: Instant,
    /// When Redis was told last that its hold lives on.
    told: Instant,
    /// Somebody is sending it.
    in_hand: bool,
    /// When it may have been carried out, without an answer that says so.
    tried: Option<i64>,
    /// It is noted elsewhere, with this `tried`.
    noted: Option<Option<i64>>,
}

// === impl Settles ===

impl Settles {
    fn take(&mut self, settle: &Arc<Settle>, tried: Option<i64>, noted: Option<Option<i64>>) -> bool {
        let size = settle.charge.size();
        if self.waiting.len() >= MOST || self.bytes + size > MOST_BYTES {
            return false;
        }
        self.bytes += size;
        let (settle, since) = (settle.clone(), Instant::now());
        let in_hand = noted.is_none();
        self.waiting.insert(settle.charge.id, Waiting { settle, since, told: since, in_hand, tried, noted });
        true
    }

    fn confirm(&mut self, id: Uuid, at: i64) {
        let Some(Waiting { settle, noted, .. }) = self.waiting.remove(&id) else { return };
        self.bytes = self.bytes.saturating_sub(settle.charge.size());
        if noted.is_some() {
            self.done.push(id);
        }
        while self.confirmed.len() >= MOST_CONFIRMED
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.confirmed.remove(&oldest);
        }
        self.confirmed.insert(id, (settle, at));
        self.order.push_back((Instant::now(), id));
    }

    /// Those whose holds Redis was not told of for a while.
    pub(super) fn renewals(&self, not_for: Duration) -> impl Iterator<Item = &Settle> {
        let due = move |waiting: &&Waiting| waiting.settle.held && waiting.told.elapsed() >= not_for;
        self.waiting.values().filter(due).map(|waiting| &*waiting.settle)
    }

    /// Redis knows now that the hold of one that waits lives on.
    pub(super) fn renewed(&mut self, id: Uuid) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.told = Instant::now();
        }
    }

    /// A hold of the same id was made anew: what ended the last one must not end this one.
    pub(super) fn forget_confirmed(&mut self, id: Uuid) {
        self.confirmed.remove(&id);
    }

    fn tidy(&mut self) {
        while let Some((at, id)) = self.order.front()
            && at.elapsed() >= KEEP
        {
            self.confirmed.remove(id);
            self.order.pop_front();
        }
    }
}

// === impl Journal ===

impl Journal {
    /// Keeps a settle until it is confirmed, and returns it (the first of an id counts); not kept, with how many are, if
    /// that is too many.
    pub(in crate::redis) fn settling(&self, settle: Settle) -> (Arc<Settle>, Result<(), usize>) {
        let mut shard = self.shard(settle.charge.id);
        let id = settle.charge.id;
        let waiting = shard.settles.waiting.get(&id).map(|waiting| &waiting.settle);
        if let Some(known) = waiting.or_else(|| shard.settles.confirmed.get(&id).map(|(settle, _)| settle)) {
            return (known.clone(), Ok(()));
        }
        shard.live.remove(&id);
        let settle = Arc::new(settle);
        match shard.settles.take(&settle, None, None) {
            true => (settle, Ok(())),
            false => (settle, Err(MOST * super::SHARDS)),
        }
    }

    /// Takes over a settle that was noted elsewhere before this start; false if that is too many.
    pub(in crate::redis) fn take_over(&self, settle: Settle, tried: Option<i64>) -> bool {
        let settle = Arc::new(settle);
        self.shard(settle.charge.id).settles.take(&settle, tried, Some(tried))
    }

    /// Nobody is sending a settle any more: it is for the sweep.
    pub(in crate::redis) fn let_go(&self, id: Uuid) {
        if let Some(waiting) = self.shard(id).settles.waiting.get_mut(&id) {
            waiting.in_hand = false;
        }
    }

    /// Notes that a settle was carried out.
    pub(in crate::redis) fn settled(&self, id: Uuid, at: i64) {
        self.shard(id).settles.confirm(id, at);
    }

    /// When a settle may have been carried out, if it may: for the first time, or surely.
    pub(in crate::redis) fn tried(&self, id: Uuid) -> Option<i64> {
        let shard = self.shard(id);
        let waiting = shard.settles.waiting.get(&id).and_then(|waiting| waiting.tried);
        waiting.or_else(|| shard.settles.confirmed.get(&id).map(|(_, at)| *at))
    }

    /// Notes that a settle may have been carried out: there was no answer.
    pub(in crate::redis) fn may_be_done(&self, id: Uuid, at: i64) {
        if let Some(waiting) = self.shard(id).settles.waiting.get_mut(&id) {
            waiting.tried.get_or_insert(at);
        }
    }

    /// Settles that are not confirmed and that nobody is sending.
    pub(in crate::redis) fn unconfirmed(&self) -> Vec<Arc<Settle>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let left = |waiting: &&Waiting| !waiting.in_hand || waiting.since.elapsed() >= IN_HAND;
            all.extend(shard.settles.waiting.values().filter(left).map(|waiting| waiting.settle.clone()));
        }
        all
    }

    /// How many settles are not confirmed.
    pub(in crate::redis) fn waiting(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().settles.waiting.len()).sum()
    }

    /// Settles under a root that were confirmed lately: the server that confirmed them may be gone.
    pub(in crate::redis) fn recent(&self, root: &str) -> Vec<Arc<Settle>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let settles = shard.settles.confirmed.values().map(|(settle, _)| settle);
            all.extend(settles.filter(|settle| *settle.root == *root).cloned());
        }
        all
    }

    /// Drops what was confirmed long ago. Only while all is well: what an outage began with is replayed at its end.
    pub(in crate::redis) fn tidy(&self) {
        for shard in &self.shards {
            shard.lock().settles.tidy();
        }
    }

    /// Settles that are to be noted elsewhere, since Redis does not confirm them. `all`: also those that are noted, first.
    pub(in crate::redis) fn to_note(&self, all: bool) -> Vec<Unposted> {
        let (mut known, mut new) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            for waiting in shard.lock().settles.waiting.values() {
                let unposted = || Unposted { settle: waiting.settle.clone(), tried: waiting.tried };
                let prompt = waiting.in_hand && waiting.since.elapsed() < PROMPT;
                match waiting.noted {
                    Some(_) if all => known.push(unposted()),
                    Some(noted) if noted == waiting.tried => {}
                    None if prompt => {}
                    _ => new.push(unposted()),
                }
            }
        }
        known.append(&mut new);
        known
    }

    /// Notes that a settle is noted elsewhere, with this `tried`; if it is confirmed by now, it need not be.
    pub(in crate::redis) fn noted(&self, id: Uuid, tried: Option<i64>) {
        let settles = &mut self.shard(id).settles;
        match settles.waiting.get_mut(&id) {
            Some(waiting) => waiting.noted = Some(tried),
            None => settles.done.push(id),
        }
    }

    /// Calls `each` with the charges that wait and for which Redis holds nothing.
    pub(in crate::redis) fn each_unheld(&self, mut each: impl FnMut(&Charge)) {
        for shard in &self.shards {
            let shard = shard.lock();
            let unheld = shard.settles.waiting.values().filter(|waiting| !waiting.settle.held);
            unheld.for_each(|waiting| each(&waiting.settle.charge));
        }
    }

    /// Settles that were noted elsewhere and that Redis has confirmed since.
    pub(in crate::redis) fn take_done(&self) -> Vec<Uuid> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut shard.lock().settles.done)).collect()
    }
}
