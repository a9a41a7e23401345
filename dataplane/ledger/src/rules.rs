//! The pure decision over counters, shared by every store.
//!
//! Integers only, and no number above 2^53 as long as limits stay below 9 million USD: a Redis script computes the same
//! in Lua's doubles (`redis/prelude.lua`). Rates use microseconds for the same reason.

#[cfg(test)]
mod tests;

use crate::budget::Limit;
use crate::charge::{Actual, Ask};

/// A budget's counter at the moment of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The budget's limit.
    pub limit: Limit,
    /// Posted, in the limit's unit.
    pub committed: u64,
    /// Held by requests under way, in the limit's unit.
    pub held: u64,
}

/// How an ask fits a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It fits with at most this output cap, which lies between the ask's floor and its cap.
    Fits {
        /// Output tokens.
        output_cap: u64,
    },
    /// It would fit if the holds of others were not there.
    Busy {
        /// What it needs at least.
        needed: u64,
    },
    /// It does not fit before the budget resets.
    Exhausted {
        /// What it needs at least.
        needed: u64,
    },
}

/// A rate per minute as a leaky bucket (GCRA). A full minute's worth may come at once; what is charged drains evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_minute: u64,
    burst: u64,
}

/// The state of a [`Rate`]: the time, in Unix microseconds, at which everything charged so far has drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained(pub i64);

/// A minute in microseconds.
const MINUTE: u64 = 60_000_000;

// === impl Ask ===

impl Ask {
    /// What this request may use at worst with the output cap `cap`, in the unit of `limit`; saturates.
    pub fn need(&self, limit: Limit, cap: u64) -> u64 {
        let (input, each) = self.terms(limit);
        let total = u128::from(input).saturating_add(u128::from(cap).saturating_mul(each));
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    /// The part that does not depend on the output cap, and the price of one token of the cap.
    pub(crate) fn terms(&self, limit: Limit) -> (u64, u128) {
        let choices = u128::from(self.choices.max(1));
        match limit {
            Limit::NanoUsd(_) => (self.input_cost, choices * u128::from(self.output_price)),
            Limit::Tokens(_) => (self.input_tokens, choices),
        }
    }

    /// The floor, which is never above the cap.
    pub(crate) fn floor(&self) -> u64 {
        self.output_floor.min(self.output_cap)
    }
}

// === impl Actual ===

impl Actual {
    /// The amount that counts against `limit`.
    pub fn amount(&self, limit: Limit) -> u64 {
        match limit {
            Limit::NanoUsd(_) => self.cost,
            Limit::Tokens(_) => self.tokens(),
        }
    }

    /// Input without cache reads, plus output.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// The larger of both, kind by kind: reports of progress never go back.
    pub fn max(self, other: Actual) -> Actual {
        Actual {
            cost: self.cost.max(other.cost),
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
        }
    }

    /// What this has above `other`, kind by kind.
    pub fn above(self, other: Actual) -> Actual {
        let tokens = self.tokens().saturating_sub(other.tokens());
        let output_tokens = self.output_tokens.saturating_sub(other.output_tokens).min(tokens);
        Actual {
            cost: self.cost.saturating_sub(other.cost),
            input_tokens: tokens - output_tokens,
            output_tokens,
        }
    }
}

// === impl Count ===

impl Count {
    /// Whether, and with which output cap, `ask` fits. A budget with nothing left refuses even what costs nothing: by this a
    /// key that only charges afterwards (an ask of zero) stops at its limit too.
    pub fn fit(&self, ask: &Ask) -> Fit {
        let limit = self.limit.amount();
        let needed = ask.need(self.limit, ask.floor());
        let left = limit.saturating_sub(self.committed);
        if left == 0 || needed > left {
            return Fit::Exhausted { needed };
        }
        let room = left.saturating_sub(self.held);
        if needed > room {
            return Fit::Busy { needed };
        }
        let (input, each) = ask.terms(self.limit);
        let most = u128::from(room.saturating_sub(input)).checked_div(each).unwrap_or(u128::MAX);
        Fit::Fits { output_cap: u64::try_from(most).unwrap_or(u64::MAX).min(ask.output_cap) }
    }
}

// === impl Rate ===

impl Rate {
    /// Requests: each drains for a whole number of microseconds, and exactly `per_minute` of them fit at once.
    pub fn requests(per_minute: u64) -> Self {
        let each = MINUTE.div_ceil(per_minute.max(1));
        Rate { per_minute, burst: each.saturating_mul(per_minute) }
    }

    /// Tokens: exactly `per_minute` of them fit at once.
    pub fn tokens(per_minute: u64) -> Self {
        Rate { per_minute, burst: MINUTE }
    }

    /// How many microseconds `amount` takes to drain, rounded up.
    pub fn drain_time(&self, amount: u64) -> u64 {
        let each = self.per_minute.max(1);
        if let Some(product) = amount.checked_mul(MINUTE) {
            return product.div_ceil(each); // Half the time of dividing 128 bits, and always taken in practice.
        }
        let product = u128::from(amount) * u128::from(MINUTE);
        u64::try_from(product.div_ceil(u128::from(each))).unwrap_or(u64::MAX)
    }

    /// The milliseconds until `amount` fits: `Ok(())` now, `Err(Some(ms))` later, `Err(None)` never.
    ///
    /// An amount above a minute's worth never fits: a limit says how much may pass in a minute, and this would be more.
    pub fn check(&self, state: Drained, amount: u64, now_ms: i64) -> Result<(), Option<u64>> {
        if amount > self.per_minute {
            return Err(None);
        }
        let now = micros(now_ms);
        let end = state.0.max(now).saturating_add_unsigned(self.drain_time(amount));
        let over = end.saturating_sub(now).saturating_sub_unsigned(self.burst);
        match u64::try_from(over) {
            Ok(wait) if wait > 0 => Err(Some(wait.div_ceil(1000))),
            _ => Ok(()),
        }
    }

    /// Charges `amount` whether it fits or not: what was used beyond the estimate keeps later requests waiting.
    pub fn charge(&self, state: Drained, amount: u64, now_ms: i64) -> Drained {
        Drained(state.0.max(micros(now_ms)).saturating_add_unsigned(self.drain_time(amount)))
    }

    /// Corrects a charge of `charged` made at `charged_ms` to what was really `used`. More is charged now; less is given
    /// back, except for what has drained since then: that has made room already.
    pub fn correct(&self, state: Drained, charged: u64, used: u64, charged_ms: i64, now_ms: i64) -> Drained {
        if used > charged {
            return self.charge(state, used - charged, now_ms);
        }
        let elapsed = micros(now_ms).saturating_sub(micros(charged_ms)).max(0).unsigned_abs();
        let still_there = self.drain_time(charged).saturating_sub(elapsed);
        Drained(state.0.saturating_sub_unsigned(self.drain_time(charged - used).min(still_there)))
    }
}

fn micros(ms: i64) -> i64 {
    ms.saturating_mul(1000)
}
