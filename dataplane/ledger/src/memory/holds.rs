//! Live holds by id, and for a while those that ended.

use super::level::Slot;
use crate::budget::{Limit, Window};
use crate::charge::{Actual, Ask, Counter, Grant};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use uuid::Uuid;

/// All holds, in shards by id.
#[derive(Debug)]
pub(super) struct Holds {
    shards: Vec<Mutex<Shard>>,
}

/// A part of the holds.
#[derive(Debug)]
pub(super) struct Shard {
    /// Boxed: a hold is large, and tables move what they hold.
    live: HashMap<Uuid, Box<Hold>>,
    /// Ids that were settled: a second settle posts nothing.
    settled: Memory<()>,
    /// Ids whose hold died, with what was charged: a late settle posts the difference.
    swept: Memory<Actual>,
}

/// A live hold.
#[derive(Debug)]
pub(super) struct Hold {
    /// When it was made, Unix milliseconds.
    pub(super) reserved: i64,
    /// When it is given up as dead, Unix milliseconds.
    pub(super) expires: i64,
    /// What was charged to the rates.
    pub(super) rate_tokens: u64,
    /// The progress reported last.
    pub(super) so_far: Actual,
    /// The keys whose slots it takes.
    pub(super) levels: SmallVec<[HeldLevel; 3]>,
    /// What it holds.
    pub(super) amounts: SmallVec<[HeldAmount; 3]>,
    output_cap: u64,
    nano_usd: u64,
}

/// A level of a hold.
#[derive(Debug)]
pub(super) struct HeldLevel {
    pub(super) slot: Arc<Slot>,
    pub(super) tokens_per_minute: Option<u64>,
}

/// What is held at one counter.
#[derive(Debug)]
pub(super) struct HeldAmount {
    pub(super) slot: Arc<Slot>,
    pub(super) budget: Arc<str>,
    pub(super) window: Window,
    pub(super) limit: Limit,
    pub(super) amount: u64,
}

/// What a settle finds under its id.
#[derive(Debug)]
pub(super) enum Found {
    /// A live hold, now removed.
    Live(Box<Hold>),
    /// It was settled before.
    Settled,
    /// It died, and this was charged.
    Swept(Actual),
    /// Nothing is known of it.
    Unknown,
}

/// Ids remembered for a while, the oldest forgotten first.
#[derive(Debug)]
struct Memory<T> {
    keep_ms: i64,
    most: usize,
    values: HashMap<Uuid, (i64, T)>,
    order: VecDeque<(i64, Uuid)>,
}

const SHARDS: usize = 64;

/// Settled ids are remembered for two minutes: longer than any retry of a settle (a gateway replays its last minute).
const KEEP_SETTLED: i64 = 120_000;
const MOST_SETTLED: usize = 16_384;

/// Dead holds are few, and their stream may still end much later.
const KEEP_SWEPT: i64 = 24 * 3_600_000;
const MOST_SWEPT: usize = 4_096;

// === impl Holds ===

impl Default for Holds {
    fn default() -> Self {
        Holds { shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect() }
    }
}

impl Holds {
    /// The shard of an id, locked. The last byte is random in every version of UUID that is used here.
    pub(super) fn shard(&self, id: Uuid) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(id.as_bytes()[15]) % SHARDS].lock()
    }

    /// How many are live.
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().live.len()).sum()
    }

    /// How many ended holds are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        let each = |shard: &Shard| shard.settled.order.len() + shard.swept.order.len();
        self.shards.iter().map(|shard| each(&shard.lock())).sum()
    }

    /// Removes the holds that are dead at `now`, and remembers what they are charged.
    pub(super) fn take_expired(&self, now: i64) -> Vec<(Uuid, Box<Hold>)> {
        let mut dead = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let from = dead.len();
            dead.extend(shard.live.extract_if(|_, hold| hold.expires <= now));
            for (id, hold) in dead.iter().skip(from) {
                shard.swept.insert(*id, hold.so_far, now);
            }
        }
        dead
    }
}

// === impl Shard ===

impl Shard {
    fn new() -> Self {
        Shard {
            live: HashMap::new(),
            settled: Memory::new(KEEP_SETTLED, MOST_SETTLED),
            swept: Memory::new(KEEP_SWEPT, MOST_SWEPT),
        }
    }

    pub(super) fn live(&self, id: Uuid) -> Option<&Hold> {
        self.live.get(&id).map(Box::as_ref)
    }

    pub(super) fn live_mut(&mut self, id: Uuid) -> Option<&mut Hold> {
        self.live.get_mut(&id).map(Box::as_mut)
    }

    /// Adds a hold. An id that was used before starts anew.
    pub(super) fn insert(&mut self, id: Uuid, hold: Box<Hold>) {
        self.settled.take(id);
        self.swept.take(id);
        self.live.insert(id, hold);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Box<Hold>> {
        self.live.remove(&id)
    }

    /// What is known of an id, which from now on is settled.
    pub(super) fn settle(&mut self, id: Uuid, now: i64) -> Found {
        let found = match self.live.remove(&id) {
            Some(hold) => Found::Live(hold),
            None if self.settled.contains(id) => return Found::Settled,
            None => self.swept.take(id).map_or(Found::Unknown, Found::Swept),
        };
        self.settled.insert(id, (), now);
        found
    }
}

// === impl Hold ===

impl Hold {
    pub(super) fn new(ask: &Ask, output_cap: u64) -> Self {
        Hold {
            reserved: ask.now,
            expires: ask.expires,
            rate_tokens: ask.rate_tokens,
            so_far: Actual::default(),
            levels: SmallVec::new(),
            amounts: SmallVec::new(),
            output_cap,
            nano_usd: ask.need(Limit::NanoUsd(0), output_cap),
        }
    }

    /// The hold as its owner sees it.
    pub(super) fn grant(&self, id: Uuid) -> Grant {
        let counters = self.amounts.iter().map(HeldAmount::counter).collect();
        Grant { id, output_cap: self.output_cap, held: self.nano_usd, counters }
    }
}

// === impl HeldAmount ===

impl HeldAmount {
    pub(super) fn counter(&self) -> Counter {
        Counter {
            key: String::from(&*self.slot.key),
            budget: String::from(&*self.budget),
            window: self.window,
            limit: self.limit,
        }
    }
}

// === impl Memory ===

impl<T> Memory<T> {
    fn new(keep_ms: i64, most: usize) -> Self {
        Memory { keep_ms, most, values: HashMap::new(), order: VecDeque::new() }
    }

    fn contains(&self, id: Uuid) -> bool {
        self.values.contains_key(&id)
    }

    fn take(&mut self, id: Uuid) -> Option<T> {
        self.values.remove(&id).map(|(_, value)| value)
    }

    fn insert(&mut self, id: Uuid, value: T, now: i64) {
        let until = now.saturating_add(self.keep_ms);
        self.values.insert(id, (until, value));
        self.order.push_back((until, id));
        while let Some((until, oldest)) = self.order.front().copied() {
            if until > now && self.order.len() <= self.most {
                break;
            }
            self.order.pop_front();
            // The id may have been used again since: then a later entry of the queue is its own.
            if self.values.get(&oldest).is_some_and(|(known, _)| *known == until) {
                self.values.remove(&oldest);
            }
        }
    }
}
