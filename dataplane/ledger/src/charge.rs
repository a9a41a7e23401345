//! What a request asks to hold, what is decided, and what is posted.

use crate::budget::{Budget, Limit, Window};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One level of the key's tree, the key itself first, its root last.
#[derive(Debug, Clone)]
pub struct Level<'a> {
    /// `namespace/name` of the key.
    pub key: &'a str,
    /// The budgets that this request's model counts against.
    pub budgets: smallvec::SmallVec<[&'a Budget; 2]>,
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute; cache reads do not count.
    pub tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u64>,
}

/// What a request may cost at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The reservation's id: the same id never holds twice.
    pub id: Uuid,
    /// Now, Unix milliseconds.
    pub now: i64,
    /// Nano-USD for the input at its worst price.
    pub input_cost: u64,
    /// Nano-USD for one output token at its worst price.
    pub output_price: u64,
    /// Input tokens, estimated safely (for token budgets and holds).
    pub input_tokens: u64,
    /// Input tokens to charge the tokens-a-minute limit with at once (a closer estimate).
    pub rate_tokens: u64,
    /// Output tokens wanted.
    pub output_cap: u64,
    /// The least output cap that is still useful; equal to `output_cap` when it must not be lowered.
    pub output_floor: u64,
    /// How many answers are asked (Chat's `n`): multiplies the output.
    pub choices: u64,
    /// When the hold may be given up as dead, Unix milliseconds; renewed by progress.
    pub expires: i64,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Held at all levels.
    Granted(Grant),
    /// Held at none.
    Refused(Refusal),
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The ask's id.
    pub id: Uuid,
    /// The output cap that fits: `output_floor <= output_cap <= asked`.
    pub output_cap: u64,
    /// Nano-USD held at each USD budget.
    pub held: u64,
    /// Which counters are held, so that a settle after the hold expired still posts to the right windows.
    pub counters: Vec<Counter>,
}

/// The identity of a counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counter {
    /// `namespace/name` of the key.
    pub key: String,
    /// The budget's name.
    pub budget: String,
    /// The window (for a rolling budget: the bucket that is charged).
    pub window: Window,
    /// The limit at the time, whose unit says what is counted.
    pub limit: Limit,
}

/// Why nothing was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key at whose level it stopped.
    pub key: String,
    /// The reason.
    pub reason: Reason,
}

/// The reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Committed + this request's least is over the limit: final until the reset.
    BudgetExhausted(BudgetState),
    /// Only others' holds stand in the way: try again in a moment.
    BudgetBusy(BudgetState),
    /// Too many requests a minute.
    Requests {
        /// The limit.
        limit: u64,
        /// Milliseconds until one fits.
        retry_after_ms: u64,
    },
    /// Too many tokens a minute.
    Tokens {
        /// The limit.
        limit: u64,
        /// Milliseconds until this request fits; `None`: it never fits.
        retry_after_ms: Option<u64>,
    },
    /// Too many requests at once.
    Concurrent {
        /// The limit.
        limit: u64,
    },
}

/// A budget as a refusal or a spend page shows it. Amounts in the unit of `limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetState {
    /// The budget's name.
    pub budget: String,
    /// The limit.
    pub limit: Limit,
    /// Posted in this window.
    pub committed: u64,
    /// Held by requests under way.
    pub held: u64,
    /// What this request would need at least (0 on a page).
    pub needed: u64,
    /// When it resets, Unix milliseconds.
    pub resets_at: i64,
}

/// What a request really used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actual {
    /// Nano-USD.
    pub cost: u64,
    /// Input tokens without cache reads.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
}

/// One amount posted to one counter; records carry them, and the memory store is rebuilt from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Where.
    pub counter: Counter,
    /// How much, in the counter's unit.
    pub amount: u64,
}

/// The outcome of a settle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// What was posted.
    pub postings: Vec<Posting>,
    /// Nano-USD above the hold (0 expected): charged, and counted as overrun.
    pub overrun: u64,
}

/// A hold that was given up as dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The reservation's id.
    pub id: Uuid,
    /// The progress it had reported, which was charged.
    pub charged: Actual,
    /// What was posted.
    pub settled: Settled,
}

// === impl Level ===

impl<'a> Level<'a> {
    /// A level with budgets alone.
    pub fn unlimited(key: &'a str, budgets: impl IntoIterator<Item = &'a Budget>) -> Self {
        Level {
            key,
            budgets: budgets.into_iter().collect(),
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent: None,
        }
    }
}

// === impl Ask ===

impl Ask {
    /// An ask that costs nothing: it counts as a request, and as one of those at the same time.
    pub fn free(id: Uuid, now: i64, expires: i64) -> Self {
        Ask {
            id,
            now,
            input_cost: 0,
            output_price: 0,
            input_tokens: 0,
            rate_tokens: 0,
            output_cap: 0,
            output_floor: 0,
            choices: 1,
            expires,
        }
    }
}

// === impl Reason ===

impl Reason {
    /// Which of several reasons to tell: what never passes before what passes at the reset, before what passes within a
    /// minute (the longer first), before what passes when another request ends.
    pub(crate) fn weight(&self) -> (u8, u64) {
        match self {
            Reason::Tokens { retry_after_ms: None, .. } => (5, 0),
            Reason::BudgetExhausted(_) => (4, 0),
            Reason::Requests { retry_after_ms, .. }
            | Reason::Tokens { retry_after_ms: Some(retry_after_ms), .. } => (3, *retry_after_ms),
            Reason::Concurrent { .. } => (2, 0),
            Reason::BudgetBusy(_) => (1, 0),
        }
    }
}
