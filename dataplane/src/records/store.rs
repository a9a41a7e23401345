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
    audit::{Audit, AuditError},
    db::{Dialect, Pool, Row},
    entry::{Line, Unit},
    postgres::{self, OptionsError},
    recorder::{Bounds, Recorder, Shared, Trouble},
    trees::Trees,
    viewer::Viewer,
};
use filter::Scope;
use std::sync::Arc;
use tollgate_ledger::{charge::Posting, redis::RedisStore};

/// Reads the store. Cheap to clone. Readers never wait for the writer.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) pool: Pool,
    pub(super) trees: Trees,
    shared: Arc<Shared>,
    ledger: Option<Arc<RedisStore>>,
}

// === impl Store ===

impl Store {
    pub(crate) fn new(pool: Pool, trees: Trees, shared: Arc<Shared>) -> Self {
        Store { pool, trees, shared, ledger: None }
    }

    /// Only reads, for a command: without a writer, and as if there were no records of its own.
    ///
    /// # Errors
    /// When PostgreSQL's address, password or authority cannot be used.
    pub fn reader(options: &postgres::Options) -> Result<Self, OptionsError> {
        let (recorder, _) = Recorder::new(Bounds { records: 1, bytes: 0 }, None);
        Ok(Store::new(options.pools()?.readers, Trees::default(), recorder.shared().clone()))
    }

    /// The same store, which knows the ledger that gateways share.
    pub fn with_ledger(self, ledger: Arc<RedisStore>) -> Self {
        Store { ledger: Some(ledger), ..self }
    }

    /// Whether the ledger, its streams and the records add up now; see [`Store::audit`].
    ///
    /// # Errors
    /// When there is no ledger that gateways share, or one of the two cannot be asked.
    pub async fn audit_now(&self) -> Result<Audit, AuditError> {
        let ledger = self.ledger.as_ref().ok_or(AuditError::NotShared)?;
        self.audit(ledger, jiff::Timestamp::now().as_millisecond()).await
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
