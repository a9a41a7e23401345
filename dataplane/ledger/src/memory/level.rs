//! The counters and rates of one key, and the table of all keys.

use super::holds::HeldAmount;
use crate::budget::{Budget, Limit, Period, Window};
use crate::charge::{Ask, BudgetState, Counter, Level, Reason};
use crate::rules::{Count, Drained, Rate};
use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// All keys by name, in shards.
#[derive(Debug)]
pub(super) struct Levels {
    shards: Vec<RwLock<HashMap<Arc<str>, Arc<Slot>>>>,
}

/// One key's place in the table.
#[derive(Debug)]
pub(super) struct Slot {
    /// `namespace/name`.
    pub(super) key: Arc<str>,
    state: Mutex<State>,
}

/// What is known of one key.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Live holds.
    pub(super) running: u64,
    /// Tokens charged to the rate.
    pub(super) tokens: Drained,
    requests: Drained,
    budgets: SmallVec<[Counts; 1]>,
}

/// The counters of one budget.
#[derive(Debug)]
struct Counts {
    name: Arc<str>,
    /// Only its unit matters: the amount may change while the budget stays the same.
    unit: Limit,
    windows: SmallVec<[Total; 2]>,
}

/// The counter of one window.
#[derive(Debug, Clone, Copy)]
struct Total {
    window: Window,
    committed: u64,
    held: u64,
}

const SHARDS: usize = 64;

// === impl Levels ===

impl Default for Levels {
    fn default() -> Self {
        Levels { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl Levels {
    fn shard(&self, key: &str) -> Option<&RwLock<HashMap<Arc<str>, Arc<Slot>>>> {
        let sum = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.shards.get(sum % SHARDS)
    }

    /// The key's slot, if it has one.
    pub(super) fn find(&self, key: &str) -> Option<Arc<Slot>> {
        self.shard(key)?.read().get(key).cloned()
    }

    /// The key's slot, made if need be.
    pub(super) fn get(&self, key: &str) -> Arc<Slot> {
        if let Some(slot) = self.find(key) {
            return slot;
        }
        let key: Arc<str> = Arc::from(key);
        let slot = || Arc::new(Slot { key: key.clone(), state: Mutex::default() });
        match self.shard(&key) {
            Some(shard) => shard.write().entry(key.clone()).or_insert_with(slot).clone(),
            None => slot(),
        }
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Drops windows that are over, and keys of which nothing is left to remember. A slot that someone else has a hand on
    /// stays; nobody can get one while its shard is locked.
    pub(super) fn tidy(&self, now: i64) {
        for shard in &self.shards {
            shard.write().retain(|_, slot| {
                let idle = slot.lock().tidy(now);
                !idle || Arc::strong_count(slot) > 1
            });
        }
    }
}

// === impl Slot ===

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

// === impl State ===

impl State {
    /// The reason for which the key's rates or its concurrency refuse `ask`; the weightiest if there are several.
    pub(super) fn rates(&self, level: &Level<'_>, ask: &Ask) -> Option<Reason> {
        let requests = level.requests_per_minute.and_then(|limit| {
            let wait = Rate::requests(limit).check(self.requests, 1, ask.now).err()?;
            Some(Reason::Requests { limit, retry_after_ms: wait.unwrap_or(60_000) })
        });
        let tokens = level.tokens_per_minute.and_then(|limit| {
            let wait = Rate::tokens(limit).check(self.tokens, ask.rate_tokens, ask.now).err()?;
            Some(Reason::Tokens { limit, retry_after_ms: wait })
        });
        let slots = level.concurrent.filter(|limit| self.running >= *limit);
        let concurrent = slots.map(|limit| Reason::Concurrent { limit });
        [tokens, requests, concurrent].into_iter().flatten().max_by_key(Reason::weight)
    }

    /// Counts a request in: its slot, and its charge to the rates.
    pub(super) fn enter(&mut self, level: &Level<'_>, ask: &Ask) {
        self.running = self.running.saturating_add(1);
        if let Some(limit) = level.requests_per_minute {
            self.requests = Rate::requests(limit).charge(self.requests, 1, ask.now);
        }
        if let Some(limit) = level.tokens_per_minute {
            self.tokens = Rate::tokens(limit).charge(self.tokens, ask.rate_tokens, ask.now);
        }
    }

    /// The budget's counter as it stands at `now`.
    pub(super) fn count(&self, budget: &Budget, now: i64) -> Count {
        let mut count = Count { limit: budget.limit, committed: 0, held: 0 };
        for total in self.totals(budget, now) {
            count.committed = count.committed.saturating_add(total.committed);
            count.held = count.held.saturating_add(total.held);
        }
        count
    }

    /// The budget's counter for people, with what a request needs.
    pub(super) fn budget_state(&self, budget: &Budget, needed: u64, now: i64) -> BudgetState {
        let Count { limit, committed, held } = self.count(budget, now);
        let resets_at = match budget.period {
            Period::Rolling(_) => self.frees_at(budget, committed, needed, now),
            _ => budget.window(now).end,
        };
        BudgetState { budget: budget.name.clone(), limit, committed, held, needed, resets_at }
    }

    /// When so many old buckets of a rolling budget have left its span that `needed` fits; without a need, when the first
    /// of them leaves.
    fn frees_at(&self, budget: &Budget, committed: u64, needed: u64, now: i64) -> i64 {
        let mut spent: SmallVec<[Total; 64]> = self.totals(budget, now).filter(|t| t.committed > 0).collect();
        spent.sort_unstable_by_key(|total| total.window.end);
        let mut left = committed;
        for total in &spent {
            left = left.saturating_sub(total.committed);
            if needed == 0 || (left < budget.limit.amount() && needed <= budget.limit.amount() - left) {
                return total.window.end;
            }
        }
        spent.last().map_or_else(|| budget.window(now).end, |total| total.window.end)
    }

    /// The windows of `budget` that count at `now`.
    fn totals(&self, budget: &Budget, now: i64) -> impl Iterator<Item = Total> {
        let current = budget.window(now);
        let rolling = matches!(budget.period, Period::Rolling(_));
        let counts = move |charged: Window| match rolling {
            true => charged.contains(now) && charged.length() == current.length(),
            false => charged == current,
        };
        let found = self.budgets.iter().find(|b| b.unit.same_unit(budget.limit) && *b.name == *budget.name);
        found.into_iter().flat_map(|b| b.windows.iter().copied()).filter(move |total| counts(total.window))
    }

    /// Holds `amount`; returns the budget's name, shared.
    pub(super) fn hold(&mut self, budget: &Budget, window: Window, amount: u64, now: i64) -> Arc<str> {
        let counts = self.counts(&budget.name, budget.limit);
        let total = counts.total(window, now);
        total.held = total.held.saturating_add(amount);
        counts.name.clone()
    }

    /// Releases a held amount and posts `charged`. A window that is over is of no interest any more.
    pub(super) fn release(&mut self, held: &HeldAmount, charged: u64, now: i64) {
        if held.window.end > now {
            let total = self.counts(&held.budget, held.limit).total(held.window, now);
            total.held = total.held.saturating_sub(held.amount);
            total.committed = total.committed.saturating_add(charged);
        }
    }

    /// Posts without a hold.
    pub(super) fn post(&mut self, counter: &Counter, amount: u64, now: i64) {
        let total = self.counts(&counter.budget, counter.limit).total(counter.window, now);
        total.committed = total.committed.saturating_add(amount);
    }

    fn counts(&mut self, name: &str, unit: Limit) -> &mut Counts {
        let known = self.budgets.iter().position(|b| b.unit.same_unit(unit) && *b.name == *name);
        let place = known.unwrap_or_else(|| {
            self.budgets.push(Counts { name: Arc::from(name), unit, windows: SmallVec::new() });
            self.budgets.len() - 1
        });
        &mut self.budgets[place]
    }

    /// How many windows are kept.
    #[cfg(test)]
    pub(super) fn windows(&self) -> usize {
        self.budgets.iter().map(|budget| budget.windows.len()).sum()
    }

    /// Drops what no longer counts; true if nothing is left.
    fn tidy(&mut self, now: i64) -> bool {
        for budget in &mut self.budgets {
            budget.windows.retain(|total| total.window.end > now);
        }
        self.budgets.retain(|budget| !budget.windows.is_empty());
        let drained = now.saturating_mul(1000);
        self.budgets.is_empty() && self.running == 0 && self.requests.0 <= drained && self.tokens.0 <= drained
    }
}

// === impl Counts ===

impl Counts {
    /// The counter of `window`. Making one drops those that are over, so that their number stays bounded.
    fn total(&mut self, window: Window, now: i64) -> &mut Total {
        let known = self.windows.iter().position(|total| total.window == window);
        let place = known.unwrap_or_else(|| {
            self.windows.retain(|total| total.window.end > now);
            self.windows.push(Total { window, committed: 0, held: 0 });
            self.windows.len() - 1
        });
        &mut self.windows[place]
    }
}
