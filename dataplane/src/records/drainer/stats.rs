//! What the drainer tells of itself.

use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What a gateway's drainer has done since its start, and how far behind it is. Only the gateway whose turn it is knows how
/// far; the others tell 0.
#[derive(Debug, Default)]
pub struct DrainStats {
    drained: AtomicU64,
    set_aside: AtomicU64,
    waiting: AtomicU64,
    oldest: AtomicI64,
    trouble: Mutex<Option<String>>,
}

impl DrainStats {
    /// Charges that this gateway wrote to PostgreSQL.
    pub fn drained_total(&self) -> u64 {
        self.drained.load(Relaxed)
    }

    /// Entries that it set aside (expected 0).
    pub fn set_aside_total(&self) -> u64 {
        self.set_aside.load(Relaxed)
    }

    /// Entries that wait in the streams, as it last saw them.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// How old the oldest of them is; nothing where none waits.
    pub fn lag(&self) -> Duration {
        match self.oldest.load(Relaxed) {
            0 => Duration::ZERO,
            oldest => {
                let now = jiff::Timestamp::now().as_millisecond();
                Duration::from_millis(now.saturating_sub(oldest).max(0).unsigned_abs())
            }
        }
    }

    /// Why it does not get on; `None`: it does.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    pub(super) fn drained(&self, count: u64) {
        self.drained.fetch_add(count, Relaxed);
    }

    pub(super) fn set_aside(&self) {
        self.set_aside.fetch_add(1, Relaxed);
    }

    pub(super) fn saw(&self, waiting: u64, oldest: Option<i64>) {
        self.waiting.store(waiting, Relaxed);
        self.oldest.store(oldest.unwrap_or(0), Relaxed);
    }

    /// It is another gateway's turn.
    pub(super) fn idle(&self) {
        self.saw(0, None);
    }

    pub(super) fn well(&self) {
        *self.trouble.lock() = None;
    }

    pub(super) fn ill(&self, words: String) {
        *self.trouble.lock() = Some(words);
    }
}
