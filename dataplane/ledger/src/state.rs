//! What is known of one key, and the decision over the keys of a path: what both stores share. The in-memory store keeps a
//! [`State`] per key; the Redis store makes one from what it reads, and decides the reason of a refusal with it.

use crate::budget::{Budget, Limit, Period, Window};
use crate::charge::{Ask, BudgetState, Counter, Level, Reason, Refusal};
use crate::rules::{Count, Drained, Fit, Rate};
use smallvec::SmallVec;
use std::sync::Arc;

/// What is known of one key.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Live holds.
    pub(crate) running: u64,
    /// Tokens charged to the rate.
    pub(crate) tokens: Drained,
    /// Requests charged to the rate.
    pub(crate) requests: Drained,
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

// === impl State ===

impl State {
    /// The reason for which the key's rates or its concurrency refuse `ask`; the weightiest if there are several.
    pub(crate) fn rates(&self, level: &Level<'_>, ask: &Ask) -> Option<Reason> {
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
    pub(crate) fn enter(&mut self, level: &Level<'_>, ask: &Ask) {
        self.running = self.running.saturating_add(1);
        if let Some(limit) = level.requests_per_minute {
            self.requests = Rate::requests(limit).charge(self.requests, 1, ask.now);
        }
        if let Some(limit) = level.tokens_per_minute {
            self.tokens = Rate::tokens(limit).charge(self.tokens, ask.rate_tokens, ask.now);
        }
    }

    /// The budget's counter as it stands at `now`.
    pub(crate) fn count(&self, budget: &Budget, now: i64) -> Count {
        let mut count = Count { limit: budget.limit, committed: 0, held: 0 };
        for total in self.totals(budget, now) {
            count.committed = count.committed.saturating_add(total.committed);
            count.held = count.held.saturating_add(total.held);
        }
        count
    }

    /// The budget's counter for people, with what a request needs.
    pub(crate) fn budget_state(&self, budget: &Budget, needed: u64, now: i64) -> BudgetState {
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
    pub(crate) fn hold(&mut self, budget: &Budget, window: Window, amount: u64, now: i64) -> Arc<str> {
        let counts = self.counts(&budget.name, budget.limit);
        let total = counts.total(window, now);
        total.held = total.held.saturating_add(amount);
        counts.name.clone()
    }

    /// Releases a held amount and posts `charged`. A window that is over is of no interest any more.
    pub(crate) fn release(&mut self, budget: (&str, Limit, Window), held: u64, charged: u64, now: i64) {
        let (name, unit, window) = budget;
        if window.end > now {
            let total = self.counts(name, unit).total(window, now);
            total.held = total.held.saturating_sub(held);
            total.committed = total.committed.saturating_add(charged);
        }
    }

    /// Sets the counter of a window, as another store knows it.
    #[cfg(feature = "redis")]
    pub(crate) fn load(&mut self, unit: Limit, name: &str, window: Window, committed: u64, held: u64) {
        let counts = self.counts(name, unit);
        counts.windows.push(Total { window, committed, held });
    }

    /// Posts without a hold.
    pub(crate) fn post(&mut self, counter: &Counter, amount: u64, now: i64) {
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
    pub(crate) fn windows(&self) -> usize {
        self.budgets.iter().map(|budget| budget.windows.len()).sum()
    }

    /// Drops what no longer counts; true if nothing is left.
    pub(crate) fn tidy(&mut self, now: i64) -> bool {
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

/// The output cap with which the ask fits everywhere, or the weightiest reason why it does not.
pub(crate) fn decide<'a, 'l: 'a>(
    path: impl Iterator<Item = (&'a Level<'l>, &'a State)>,
    ask: &Ask,
) -> Result<u64, Refusal> {
    let mut cap = ask.output_cap;
    let mut refused = Weightiest::default();
    for (level, state) in path {
        if let Some(reason) = state.rates(level, ask) {
            refused.add(level.key, reason);
        }
        for budget in &level.budgets {
            match state.count(budget, ask.now).fit(ask) {
                Fit::Fits { output_cap } => cap = cap.min(output_cap),
                Fit::Busy { needed } => {
                    refused.add(level.key, Reason::BudgetBusy(state.budget_state(budget, needed, ask.now)));
                }
                Fit::Exhausted { needed } => {
                    let shown = state.budget_state(budget, needed, ask.now);
                    refused.add(level.key, Reason::BudgetExhausted(shown));
                }
            }
        }
    }
    match refused.0 {
        None => Ok(cap),
        Some(refusal) => Err(refusal),
    }
}

/// Of several reasons the client is told the one that lasts longest: waiting for another would be in vain.
#[derive(Default)]
struct Weightiest(Option<Refusal>);

impl Weightiest {
    fn add(&mut self, key: &str, reason: Reason) {
        if self.0.as_ref().is_none_or(|known| reason.weight() > known.reason.weight()) {
            self.0 = Some(Refusal { key: key.to_owned(), reason });
        }
    }
}
