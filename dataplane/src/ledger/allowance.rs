//! What a gateway grants by itself in a tree for which Redis does not answer: the same rules and limits over what it last knew
//! to be spent, and what it charged since.

use parking_lot::Mutex;
use std::collections::HashMap;
use tollgate_ledger::{
    budget::{Budget, Limit},
    charge::{Actual, Ask, Counter, Decision, Grant, Level, Posting},
    memory::MemoryStore,
};

/// The allowance of one tree. It lives until Redis answers for the tree and has all that it granted.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    store: MemoryStore,
    /// Held while what is known is brought into it.
    filling: Mutex<()>,
}

/// What is known to be spent, by key.
#[derive(Debug, Default)]
pub(super) struct Spent(HashMap<String, Vec<Known>>);

/// What is known of one counter: what Redis said last, and what this gateway charged since.
#[derive(Debug)]
struct Known {
    counter: Counter,
    told: u64,
    /// All that this gateway ever charged to it.
    charged: u64,
    /// What of that was charged before Redis was asked.
    before: u64,
}

/// What Redis is asked about: what it cannot know, noted before it is asked.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Charges that wait for it, and for which it holds nothing. Read after what had been charged: a charge that begins in between
    /// counts twice until the next look, and not never.
    pub(super) unheld: HashMap<Counter, u64>,
    /// What had been charged.
    pub(super) charged: HashMap<Counter, u64>,
}

/// How many keys' spend is remembered.
const MOST_KEYS: usize = 50_000;

// === impl Allowance ===

impl Allowance {
    /// Holds, after what is known to be spent is counted in it.
    pub(super) fn reserve(&self, levels: &[Level<'_>], ask: &Ask, spent: &Mutex<Spent>) -> Decision {
        let filling = self.filling.lock();
        for level in levels {
            let states = self.store.state(level, ask.now);
            let spent = spent.lock();
            let known = level.budgets.iter().map(|budget| (*budget, spent.of(level.key, budget, ask.now)));
            let missing: Vec<Posting> = known
                .zip(&states)
                .filter(|((_, known), state)| *known > state.committed)
                .map(|((budget, known), state)| posting(level.key, budget, ask.now, known - state.committed))
                .collect();
            drop(spent);
            self.store.restore(missing, ask.now);
        }
        drop(filling);
        self.store.reserve(levels, ask)
    }

    /// Posts what a hold used. Called before it is added to what is known to be spent.
    pub(super) fn settle(&self, levels: &[Level<'_>], grant: &Grant, actual: &Actual, now: i64) {
        let _filling = self.filling.lock();
        self.store.settle(levels, grant, actual, now);
    }

    pub(super) fn cancel(&self, levels: &[Level<'_>], grant: &Grant, now: i64) {
        self.store.cancel(levels, grant, now);
    }

    pub(super) fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) {
        self.store.progress(grant, so_far, expires);
    }

    /// Gives up dead holds.
    pub(super) fn sweep(&self, now: i64) {
        self.store.sweep(now);
    }

    /// Whether it granted what runs still.
    pub(super) fn holds(&self) -> bool {
        self.store.holds() > 0
    }
}

fn posting(key: &str, budget: &Budget, now: i64, amount: u64) -> Posting {
    let (window, limit) = (budget.window(now), budget.limit);
    let counter = Counter { key: key.to_owned(), budget: budget.name.clone(), window, limit };
    Posting { counter, amount }
}

// === impl Spent ===

impl Spent {
    /// What is known to be spent of a budget.
    fn of(&self, key: &str, budget: &Budget, now: i64) -> u64 {
        let same = |counter: &Counter| {
            let unit = matches!(
                (counter.limit, budget.limit),
                (Limit::NanoUsd(_), Limit::NanoUsd(_)) | (Limit::Tokens(_), Limit::Tokens(_))
            );
            let window = counter.window;
            unit && counter.budget == budget.name && window.start <= now && now < window.end
        };
        let known = self.0.get(key).into_iter().flatten();
        known.filter(|known| same(&known.counter)).fold(0, |sum, known| sum.saturating_add(known.amount()))
    }

    /// Adds what this gateway charges.
    pub(super) fn add(&mut self, postings: &[Posting]) {
        for Posting { counter, amount } in postings {
            if let Some(known) = self.known(counter) {
                known.charged = known.charged.saturating_add(*amount);
            }
        }
    }

    /// What was charged to these keys' counters, for a [`Look`].
    pub(super) fn charged<'a>(&self, keys: impl Iterator<Item = &'a str>) -> HashMap<Counter, u64> {
        let known = keys.filter_map(|key| self.0.get(key)).flatten();
        known.map(|known| (known.counter.clone(), known.charged)).collect()
    }

    /// What Redis said of a key.
    pub(super) fn told(&mut self, key: &str, postings: &[Posting], look: &Look) {
        for Posting { counter, .. } in postings {
            self.known(counter);
        }
        let Some(all) = self.0.get_mut(key) else { return };
        for known in all {
            let told = postings.iter().find(|posting| posting.counter == known.counter);
            let waiting = look.unheld.get(&known.counter).copied().unwrap_or(0);
            known.told = told.map_or(0, |told| told.amount).saturating_add(waiting);
            known.before = look.charged.get(&known.counter).copied().unwrap_or(0);
        }
    }

    fn known(&mut self, counter: &Counter) -> Option<&mut Known> {
        if self.0.len() >= MOST_KEYS && !self.0.contains_key(&counter.key) {
            return None;
        }
        let all = self.0.entry(counter.key.clone()).or_default();
        let at = match all.iter().position(|known| known.counter == *counter) {
            Some(at) => at,
            None => {
                // A window that is over is of no interest any more.
                all.retain(|known| {
                    let Counter { budget, window, .. } = &known.counter;
                    *budget != counter.budget || window.end > counter.window.start
                });
                all.push(Known { counter: counter.clone(), told: 0, charged: 0, before: 0 });
                all.len() - 1
            }
        };
        all.get_mut(at)
    }
}

// === impl Known ===

impl Known {
    fn amount(&self) -> u64 {
        self.told.saturating_add(self.charged.saturating_sub(self.before))
    }
}

#[cfg(test)]
mod tests;
