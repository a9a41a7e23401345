//! What pages and status ask.

use super::wire::{self, Args};
use super::{RedisStore, StoreError};
use crate::budget::Budget;
use crate::charge::{BudgetState, Counter, Level, Posting};

/// How many keys of a tree are read in one call.
const BATCH: usize = 50;

// === impl RedisStore ===

impl RedisStore {
    /// The state of one level's budgets, for pages and status.
    pub async fn state(&self, level: &Level<'_>, now: i64) -> Result<Vec<BudgetState>, StoreError> {
        let state = self.read(level.key).await?.map(|flat| wire::state(&flat)).unwrap_or_default();
        Ok(level.budgets.iter().map(|budget| state.budget_state(budget, 0, now)).collect())
    }

    /// What is committed at all counters of a key, open windows and old ones; limits are not known here (0).
    pub async fn committed(&self, key: &str) -> Result<Vec<Posting>, StoreError> {
        let Some(flat) = self.read(key).await? else { return Ok(Vec::new()) };
        let posting = |(name, value): (&str, &[u8])| {
            let (unit, window, budget) = wire::parse_field(name.strip_prefix("c:")?)?;
            let amount = std::str::from_utf8(value).ok()?.parse().ok()?;
            let (key, budget) = (key.to_owned(), budget.to_owned());
            Some(Posting { counter: Counter { key, budget, window, limit: unit(0) }, amount })
        };
        Ok(wire::pairs(&flat).into_iter().filter_map(posting).collect())
    }

    /// The keys that this gateway has charged since the last call, among them those of its live holds.
    pub fn touched(&self) -> Vec<String> {
        self.journal.touched().into_iter().collect()
    }

    /// The states of the budgets of many keys of one tree, in their order: few calls, where [`RedisStore::state`] makes three
    /// for each. Keys that live in another tree now are asked for there.
    pub async fn states(
        &self,
        root: &str,
        keys: &[(&str, &[&Budget])],
        now: i64,
    ) -> Result<Vec<Vec<BudgetState>>, StoreError> {
        let mut out = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut args = Args::default();
            for (key, _) in batch {
                args.push(key);
            }
            let reply = self.opened(root, &wire::READ, &args).await?;
            for ((key, budgets), flat) in batch.iter().zip(wire::list(reply.item(1))) {
                if wire::list(flat).is_empty() {
                    out.push(self.state(&Level::unlimited(key, budgets.iter().copied()), now).await?);
                } else {
                    let state = wire::state(flat);
                    out.push(budgets.iter().map(|budget| state.budget_state(budget, 0, now)).collect());
                }
            }
        }
        if out.len() == keys.len() { Ok(out) } else { Err(StoreError::Reply("read")) }
    }
}
