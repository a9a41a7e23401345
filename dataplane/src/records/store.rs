//! Reading: what `/logs`, its API and the ledger's rebuild ask.
//!
//! # Layout
//! - [`filter`]: what to list, and the index that leads; [`list`]: pages and live lists
//! - [`detail`]: one record in full; [`spend`]: sums over a period

pub(crate) mod detail;
pub(crate) mod filter;
pub(crate) mod list;
pub(crate) mod spend;

use super::{
    entry::{Line, Unit},
    trees::Trees,
};
use sqlx::{Row as _, SqlitePool};
use tollgate_ledger::charge::Posting;

/// Reads the store. Cheap to clone. Readers never wait for the writer.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    trees: Trees,
}

// === impl Store ===

impl Store {
    pub(crate) fn new(pool: SqlitePool, trees: Trees) -> Self {
        Store { pool, trees }
    }

    /// All postings of windows that are not over at `now` (Unix milliseconds), summed per counter: what a ledger in memory
    /// is rebuilt from. A counter's limit is the last one recorded.
    pub async fn postings_since(&self, now: i64) -> sqlx::Result<Vec<Posting>> {
        let sql = "SELECT key, budget, window_start, window_end, unit, last_limit, amount \
            FROM counters WHERE window_end > ? ORDER BY key, budget, window_start";
        let rows = sqlx::query(sql).bind(now).fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                let line = Line {
                    key: row.try_get(0)?,
                    budget: row.try_get(1)?,
                    start: row.try_get(2)?,
                    end: row.try_get(3)?,
                    unit: if row.try_get::<i64, _>(4)? == 1 { Unit::Tokens } else { Unit::NanoUsd },
                    limit: row.try_get::<i64, _>(5)?.unsigned_abs(),
                    amount: row.try_get::<i64, _>(6)?.unsigned_abs(),
                };
                Ok(line.into())
            })
            .collect()
    }
}
