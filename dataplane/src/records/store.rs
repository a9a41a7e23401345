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
    db::{Dialect, Pool, Row},
    entry::{Line, Unit},
    recorder::{Shared, Trouble},
    trees::Trees,
    viewer::Viewer,
};
use filter::Scope;
use std::sync::Arc;
use tollgate_ledger::charge::Posting;

/// Reads the store. Cheap to clone. Readers never wait for the writer.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) pool: Pool,
    pub(super) trees: Trees,
    shared: Arc<Shared>,
}

// === impl Store ===

impl Store {
    pub(crate) fn new(pool: Pool, trees: Trees, shared: Arc<Shared>) -> Self {
        Store { pool, trees, shared }
    }

    /// Why the store does not take this gateway's records now; `None`: it does.
    pub fn trouble(&self) -> Option<Trouble> {
        self.shared.trouble()
    }

    /// The paths of others' records, where others write as well.
    async fn refresh(&self) -> sqlx::Result<()> {
        match self.pool.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => self.trees.refresh(&self.pool).await,
        }
    }

    /// The trees that a viewer sees, narrowed to those with `key` on their path.
    async fn scope(&self, viewer: &Viewer, key: Option<&str>) -> sqlx::Result<Scope> {
        self.refresh().await?;
        Ok(filter::scope(&self.trees, viewer, key))
    }

    /// All postings of windows that are not over at `now` (Unix milliseconds), summed per counter: what a ledger in memory
    /// is rebuilt from. A counter's limit is the last one recorded.
    pub async fn postings_since(&self, now: i64) -> sqlx::Result<Vec<Posting>> {
        let mut sql = self.pool.sql();
        sql.bind(
            "SELECT key, budget, window_start, window_end, unit, last_limit, amount \
             FROM counters WHERE window_end > ? ORDER BY key, budget, window_start",
            now,
        );
        self.pool.fetch_all(sql).await?.iter().map(|row| Ok(line(row)?.into())).collect()
    }
}

/// A counter's sum, from its first seven columns.
pub(super) fn line(row: &Row) -> sqlx::Result<Line> {
    Ok(Line {
        key: row.text(0)?,
        budget: row.text(1)?,
        start: row.int(2)?,
        end: row.int(3)?,
        unit: if row.int(4)? == 1 { Unit::Tokens } else { Unit::NanoUsd },
        limit: row.uint(5)?,
        amount: row.int(6)?.max(0).unsigned_abs(),
    })
}
