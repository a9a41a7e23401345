//! Budgets, periods and their windows.

mod calendar;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// A limit of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The time in which an amount counts, in Unix milliseconds: `start <= now < end`.
///
/// A calendar budget has one window at a time; windows tile time. A rolling budget charges the bucket that `now` lies
/// in: its window runs from the bucket's start until the bucket has left the span, so windows of one rolling budget
/// overlap, and what is spent is the sum over all that contain `now`. Thus a window that is over never counts again,
/// whatever its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    current: Remembered,
}

/// Into how many buckets the span of a rolling budget is divided. A charge counts for the span and at most one bucket
/// longer, never shorter.
pub const BUCKETS: i64 = 60;

/// The window last computed, readable by every thread without a lock. The two bounds are separate atomics; the third
/// tells whether they belong together, so that a reader who meets a writer computes for itself instead of mixing two
/// windows.
#[derive(Debug, Default)]
struct Remembered {
    start: AtomicI64,
    end: AtomicI64,
    check: AtomicI64,
}

// === impl Limit ===

impl Limit {
    /// The number without its unit.
    pub fn amount(self) -> u64 {
        match self {
            Limit::NanoUsd(n) | Limit::Tokens(n) => n,
        }
    }

    /// Whether both count the same thing.
    pub fn same_unit(self, other: Limit) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

// === impl Window ===

impl Window {
    /// Whether `now` (Unix milliseconds) lies in it.
    pub fn contains(&self, now: i64) -> bool {
        self.start <= now && now < self.end
    }

    /// Its length in milliseconds.
    pub fn length(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

// === impl Budget ===

impl Budget {
    /// A budget whose windows follow the calendar of `zone`.
    pub fn new(name: impl Into<String>, limit: Limit, period: Period, zone: jiff::tz::TimeZone) -> Self {
        Budget { name: name.into(), limit, period, zone, current: Remembered::default() }
    }

    /// The window that `now` (Unix milliseconds) lies in: where a charge made now is counted. Cheap: the current window
    /// is remembered. Times that no calendar has (before year -9999, after 9999) lie in one window without end.
    pub fn window(&self, now: i64) -> Window {
        if let Period::Rolling(seconds) = self.period {
            return bucket(now, seconds);
        }
        if let Some(window) = self.current.get(now) {
            return window;
        }
        let window = calendar::window(self.period, &self.zone, now);
        self.current.set(window);
        window
    }

    /// The length of a rolling budget's bucket and its span, in milliseconds.
    #[cfg(feature = "redis")]
    pub(crate) fn bucket(&self) -> (i64, i64) {
        lengths(if let Period::Rolling(seconds) = self.period { seconds } else { 0 })
    }

    /// Whether what was charged to `charged` counts at `now`.
    pub fn counts(&self, charged: Window, now: i64) -> bool {
        match self.period {
            Period::Rolling(seconds) => {
                charged.contains(now) && charged.length() == bucket(now, seconds).length()
            }
            _ => charged == self.window(now),
        }
    }
}

/// The bucket of a rolling budget. Buckets are aligned to the Unix epoch, so that all gateways agree.
fn bucket(now: i64, seconds: u64) -> Window {
    let (length, span) = lengths(seconds);
    let start = now.div_euclid(length).saturating_mul(length);
    Window { start, end: start.saturating_add(length).saturating_add(span) }
}

/// Of a bucket and of the span, in milliseconds.
fn lengths(seconds: u64) -> (i64, i64) {
    let span = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX).saturating_mul(1000);
    ((span / BUCKETS).max(1), span)
}

// === impl Remembered ===

impl Remembered {
    fn get(&self, now: i64) -> Option<Window> {
        let window = Window { start: self.start.load(Relaxed), end: self.end.load(Relaxed) };
        let whole = self.check.load(Relaxed) == Self::checksum(window);
        (whole && window.contains(now)).then_some(window)
    }

    fn set(&self, window: Window) {
        self.start.store(window.start, Relaxed);
        self.end.store(window.end, Relaxed);
        self.check.store(Self::checksum(window), Relaxed);
    }

    /// An odd factor keeps start and end apart, so that bounds of two windows do not pass for one.
    fn checksum(window: Window) -> i64 {
        window.start.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) ^ window.end
    }
}
