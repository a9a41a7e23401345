//! What a ledger that was emptied is restored from: the sums of all charges in windows that are still open, and the ids of
//! the newest, which gateways may tell again.

use crate::records::{
    Store,
    db::{Dialect, Sql},
    store::line,
};
use std::collections::BTreeMap;
use tollgate_ledger::charge::Posting;
use uuid::Uuid;

/// What one tree of the ledger is restored from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restorable {
    /// The tree's root, `namespace/name`.
    pub root: String,
    /// The committed sums of open windows.
    pub postings: Vec<Posting>,
    /// Reservations that are in these sums and were charged in the last minutes: a gateway that repeats their settles must
    /// not charge them again.
    pub settled: Vec<Uuid>,
}

/// How far back gateways repeat what they told a ledger that forgot it; far more than they do.
const RECENT_MS: i64 = 15 * 60_000;
/// The most reservations of a tree.
const RECENT_MAX: i64 = 200_000;

impl Store {
    /// What was committed in windows that are open at `now` (Unix milliseconds), by tree; empty where records are not in
    /// PostgreSQL.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn ledger_sums(&self, now: i64) -> sqlx::Result<Vec<Restorable>> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(Vec::new());
        }
        let mut by_root: BTreeMap<String, Restorable> = BTreeMap::new();
        let mut sql = self.pool.sql();
        sql.bind(
            "SELECT key, budget, window_start, window_end, unit, last_limit, amount, root FROM counters \
             WHERE window_end > ? AND amount > 0 ORDER BY root, key, budget, window_start",
            now,
        );
        for row in self.pool.fetch_all(sql).await? {
            by_root.entry(row.text(7)?).or_default().postings.push(line(&row)?.into());
        }
        let mut sql = self.pool.sql();
        sql.bind("SELECT root, reservation FROM charges WHERE at > ?", now.saturating_sub(RECENT_MS));
        sql.push(" ORDER BY at DESC LIMIT ").int(RECENT_MAX);
        for row in self.pool.fetch_all(sql).await? {
            by_root.entry(row.text(0)?).or_default().settled.push(row.id(1)?);
        }
        Ok(by_root.into_iter().map(|(root, found)| Restorable { root, ..found }).collect())
    }

    /// The ledger's generation as it was last noted here; `None`: there never was one.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn generation(&self) -> sqlx::Result<Option<String>> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let mut sql = self.pool.sql();
        sql.push("SELECT generation FROM generations ORDER BY number DESC LIMIT 1");
        self.pool.fetch_optional(sql).await?.map(|row| row.text(0)).transpose()
    }

    /// Notes the ledger's generation.
    ///
    /// # Errors
    /// When PostgreSQL does not take it.
    pub async fn set_generation(&self, generation: &str) -> sqlx::Result<()> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let mut sql: Sql = self.pool.sql();
        sql.push("INSERT INTO generations (generation, at) VALUES (?, ?) ON CONFLICT DO NOTHING");
        sql.value(generation).value(jiff::Timestamp::now().as_millisecond());
        self.pool.execute(sql).await.map(drop)
    }
}
