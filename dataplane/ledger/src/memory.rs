//! The in-memory store: exact within one process. Sharded by the tree's root, so that no lock is shared by all requests.

use crate::charge::{Actual, Ask, BudgetState, Decision, Grant, Level, Posting, Reason, Refusal, Settled};

/// The store.
#[derive(Debug, Default)]
pub struct MemoryStore {}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore {}
    }

    /// Adds postings of the past (at start, from the records). Windows already over at `now` are left out.
    pub fn restore(&self, _postings: impl IntoIterator<Item = Posting>, _now: i64) {}

    /// Holds at all levels, or at none.
    pub fn reserve(&self, _levels: &[Level<'_>], _ask: &Ask) -> Decision {
        Decision::Refused(Refusal { key: String::new(), reason: Reason::Concurrent { limit: 0 } })
    }

    /// Posts the real amounts and releases the hold. Idempotent by id; a hold that expired before is posted all the same.
    pub fn settle(&self, _levels: &[Level<'_>], _grant: &Grant, _actual: &Actual, _now: i64) -> Settled {
        Settled::default()
    }

    /// Releases a hold without a charge (nothing reached the upstream). Gives the request's rate tokens back.
    pub fn cancel(&self, _levels: &[Level<'_>], _grant: &Grant, _now: i64) {}

    /// Notes progress of a long stream: renews the hold to `expires`; what was used so far is charged should the hold die.
    pub fn progress(&self, _grant: &Grant, _so_far: &Actual, _expires: i64) {}

    /// Charges dead holds their progress and drops old windows; returns what it posted. Called about once a second.
    pub fn sweep(&self, _now: i64) -> Vec<Posting> {
        Vec::new()
    }

    /// The state of one level's budgets, for pages and status.
    pub fn state(&self, _level: &Level<'_>, _now: i64) -> Vec<BudgetState> {
        Vec::new()
    }
}
