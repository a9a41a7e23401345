//! The in-memory store: exact within one process.
//!
//! Every key has its own small lock, and a request takes those of its tree together (in the order of their names, so that
//! two requests never wait for each other): no lock is shared by all requests, only by those of one tree, whose root's
//! counters they share anyway. Holds lie in shards by their id. A key that moves to another parent takes its counters
//! along, because they are its own.

mod holds;
mod level;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use crate::budget::Limit;
use crate::charge::{Actual, Ask, BudgetState, Counter, Decision, Expired, Grant, Level, Posting, Settled};
use crate::rules::Rate;
use crate::state::{State, decide};
use holds::{Found, HeldAmount, HeldLevel, Hold, Holds};
use level::{Levels, Slot};
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    levels: Levels,
    holds: Holds,
    overrun: AtomicU64,
    overrun_tokens: AtomicU64,
    tidied: AtomicI64,
}

/// How often idle keys and old windows are looked for, in milliseconds.
const TIDY_EVERY: i64 = 60_000;

/// The slots of a request's keys in the order in which they are locked: sorted by name, each once.
struct Path {
    slots: SmallVec<[Arc<Slot>; 4]>,
}

type Locked<'a> = SmallVec<[MutexGuard<'a, State>; 4]>;

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Adds postings of the past (at start, from the records). Windows already over at `now` are left out.
    pub fn restore(&self, postings: impl IntoIterator<Item = Posting>, now: i64) {
        for posting in postings {
            self.post(&posting.counter, posting.amount, now);
        }
    }

    /// Holds at all levels, or at none. An id that is held already gets its grant again; a new attempt that is billed on
    /// its own takes a new id, or the old one after its settle.
    pub fn reserve(&self, levels: &[Level<'_>], ask: &Ask) -> Decision {
        let mut shard = self.holds.shard(ask.id);
        if let Some(hold) = shard.live(ask.id) {
            return Decision::Granted(hold.grant(ask.id));
        }
        let path = Path::new(levels, &self.levels);
        let mut locked: Locked<'_> = path.slots.iter().map(|slot| slot.lock()).collect();
        let states = path.places(levels).filter_map(|(place, level)| Some((level, &**locked.get(place)?)));
        let cap = match decide(states, ask) {
            Ok(cap) => cap,
            Err(refusal) => return Decision::Refused(refusal),
        };
        let hold = write(levels, ask, cap, &path, &mut locked);
        drop(locked);
        let grant = hold.grant(ask.id);
        shard.insert(ask.id, hold);
        Decision::Granted(grant)
    }

    /// Posts the real amounts and releases the hold. Idempotent by id; a hold that expired before is posted all the same:
    /// in full, or, where the sweep charged its progress, by the difference. What is posted without a hold is overrun.
    pub fn settle(&self, levels: &[Level<'_>], grant: &Grant, actual: &Actual, now: i64) -> Settled {
        let found = self.holds.shard(grant.id).settle(grant.id, now);
        match found {
            Found::Live(hold) => self.release(&hold, Some(actual), Some(actual.tokens()), now),
            Found::Settled => Settled::default(),
            Found::Swept(charged) => self.settle_late(levels, grant, &actual.above(charged), now),
            Found::Unknown => self.settle_late(levels, grant, actual, now),
        }
    }

    /// Releases a hold without a charge (nothing reached the upstream). Gives the request's rate tokens back.
    pub fn cancel(&self, _levels: &[Level<'_>], grant: &Grant, now: i64) {
        let cancelled = self.holds.shard(grant.id).remove(grant.id);
        if let Some(hold) = cancelled {
            self.release(&hold, None, Some(0), now);
        }
    }

    /// Notes progress of a long stream: renews the hold to `expires`; what was used so far is charged should the hold die.
    /// Neither ever goes back.
    pub fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) {
        if let Some(hold) = self.holds.shard(grant.id).live_mut(grant.id) {
            hold.so_far = hold.so_far.max(*so_far);
            hold.expires = hold.expires.max(expires);
        }
    }

    /// Charges dead holds their progress and drops old windows; returns what it posted. Called about once a second.
    pub fn sweep(&self, now: i64) -> Vec<Posting> {
        self.expire(now).into_iter().flat_map(|dead| dead.settled.postings).collect()
    }

    /// [`MemoryStore::sweep`] with the postings by hold, for records that are marked as such.
    pub fn expire(&self, now: i64) -> Vec<Expired> {
        let mut out = Vec::new();
        for (id, hold) in self.holds.take_expired(now) {
            let settled = self.release(&hold, Some(&hold.so_far), None, now);
            out.push(Expired { id, charged: hold.so_far, settled });
        }
        if now.saturating_sub(self.tidied.load(Relaxed)) >= TIDY_EVERY {
            self.tidied.store(now, Relaxed);
            self.levels.tidy(now);
        }
        out
    }

    /// The state of one level's budgets, for pages and status.
    pub fn state(&self, level: &Level<'_>, now: i64) -> Vec<BudgetState> {
        let slot = self.levels.find(level.key);
        let state = slot.as_ref().map(|slot| slot.lock());
        let of = |budget| match &state {
            Some(state) => state.budget_state(budget, 0, now),
            None => State::default().budget_state(budget, 0, now),
        };
        level.budgets.iter().map(|budget| of(budget)).collect()
    }

    /// How many holds are live.
    pub fn holds(&self) -> usize {
        self.holds.count()
    }

    /// How many keys have counters, rates or holds in memory.
    pub fn keys(&self) -> usize {
        self.levels.count()
    }

    /// Nano-USD posted above holds since the start; 0 expected where every request holds its worst cost.
    pub fn overrun_total(&self) -> u64 {
        self.overrun.load(Relaxed)
    }

    /// Tokens posted above holds at token budgets since the start.
    pub fn overrun_tokens_total(&self) -> u64 {
        self.overrun_tokens.load(Relaxed)
    }

    /// Ends a hold: slots and amounts are released, `charge` is posted, the rates are corrected to `rate_tokens`.
    fn release(&self, hold: &Hold, charge: Option<&Actual>, rate_tokens: Option<u64>, now: i64) -> Settled {
        for level in &hold.levels {
            let mut state = level.slot.lock();
            state.running = state.running.saturating_sub(1);
            if let (Some(limit), Some(used)) = (level.tokens_per_minute, rate_tokens) {
                let rate = Rate::tokens(limit);
                state.tokens = rate.correct(state.tokens, hold.rate_tokens, used, hold.reserved, now);
            }
            for held in hold.amounts.iter().filter(|held| Arc::ptr_eq(&held.slot, &level.slot)) {
                let charged = charge.map_or(0, |actual| actual.amount(held.limit));
                state.release((&held.budget, held.limit, held.window), held.amount, charged, now);
            }
        }
        let Some(actual) = charge else { return Settled::default() };
        let charged = hold.amounts.iter().map(|held| (held.counter(), held.amount));
        self.settled(charged, actual)
    }

    /// Posts without a hold. The rates know only of the input's estimate.
    fn settle_late(&self, levels: &[Level<'_>], grant: &Grant, actual: &Actual, now: i64) -> Settled {
        for counter in &grant.counters {
            self.post(counter, actual.amount(counter.limit), now);
        }
        for level in levels {
            if let Some(limit) = level.tokens_per_minute {
                let slot = self.levels.get(level.key);
                let mut state = slot.lock();
                state.tokens = Rate::tokens(limit).charge(state.tokens, actual.output_tokens, now);
            }
        }
        self.settled(grant.counters.iter().map(|counter| (counter.clone(), 0)), actual)
    }

    /// The outcome of a settle at counters with what each held; counts what was above it as overrun, once a request.
    fn settled(&self, charged: impl Iterator<Item = (Counter, u64)>, actual: &Actual) -> Settled {
        let mut settled = Settled::default();
        let mut tokens = 0;
        for (counter, held) in charged {
            let amount = actual.amount(counter.limit);
            let over = amount.saturating_sub(held);
            match counter.limit {
                Limit::NanoUsd(_) => settled.overrun = settled.overrun.max(over),
                Limit::Tokens(_) => tokens = over.max(tokens),
            }
            if amount > 0 {
                settled.postings.push(Posting { counter, amount });
            }
        }
        self.overrun.fetch_add(settled.overrun, Relaxed);
        self.overrun_tokens.fetch_add(tokens, Relaxed);
        settled
    }

    fn post(&self, counter: &Counter, amount: u64, now: i64) {
        if amount > 0 && counter.window.end > now {
            self.levels.get(&counter.key).lock().post(counter, amount, now);
        }
    }
}

// === impl Path ===

impl Path {
    fn new(levels: &[Level<'_>], store: &Levels) -> Self {
        let mut slots: SmallVec<[Arc<Slot>; 4]> = levels.iter().map(|level| store.get(level.key)).collect();
        slots.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        slots.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Path { slots }
    }

    /// The levels with the places of their slots.
    fn places<'p, 'l>(&'p self, levels: &'p [Level<'l>]) -> impl Iterator<Item = (usize, &'p Level<'l>)> {
        levels.iter().filter_map(|level| Some((self.slots.iter().position(|s| *s.key == *level.key)?, level)))
    }
}

/// Holds what [`decide`] found to fit.
fn write(levels: &[Level<'_>], ask: &Ask, cap: u64, path: &Path, locked: &mut Locked<'_>) -> Box<Hold> {
    let mut hold = Box::new(Hold::new(ask, cap));
    for (place, level) in path.places(levels) {
        let (Some(slot), Some(state)) = (path.slots.get(place), locked.get_mut(place)) else { continue };
        if hold.levels.iter().any(|known| Arc::ptr_eq(&known.slot, slot)) {
            continue; // A key that stands twice in a path counts once.
        }
        state.enter(level, ask);
        hold.levels.push(HeldLevel { slot: slot.clone(), tokens_per_minute: level.tokens_per_minute });
        for budget in &level.budgets {
            let amount = ask.need(budget.limit, cap);
            let window = budget.window(ask.now);
            let name = state.hold(budget, window, amount, ask.now);
            hold.amounts.push(HeldAmount {
                slot: slot.clone(),
                budget: name,
                window,
                limit: budget.limit,
                amount,
            });
        }
    }
    hold
}
