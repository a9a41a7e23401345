//! Whether the account adds up: what the ledger has committed, what waits in its streams, and what is in PostgreSQL, counter
//! by counter. At a quiet point the first is the sum of the others; while requests run it may be off for a moment, so a
//! difference is looked at again before it is told.

pub mod command;

use super::{Store, Unit, Viewer, db::Dialect, entry::Line, postgres::uuids, store::line};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};
use tollgate_ledger::{
    charge::Posting,
    redis::{self as stream, RedisStore, StoreError},
};

/// What was compared.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Audit {
    /// Nothing is missing anywhere, and nothing is there twice.
    pub consistent: bool,
    /// Charges that wait in the ledger's streams.
    pub waiting: u64,
    /// Entries that were set aside: charged, but not in the records.
    pub set_aside: u64,
    /// How many counters were compared.
    pub counters: u64,
    /// Those that are off.
    pub differences: Vec<Difference>,
}

/// A counter that is off.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// `namespace/name` of the key.
    pub key: String,
    /// The budget.
    pub budget: String,
    /// What it counts.
    pub unit: Unit,
    /// The window's first millisecond.
    pub window_start: i64,
    /// The first after it.
    pub window_end: i64,
    /// What the ledger has committed.
    pub ledger: u64,
    /// What waits in its streams.
    pub stream: i64,
    /// What PostgreSQL has.
    pub postgres: u64,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Records are elsewhere.
    #[error("there is nothing to compare: records are not in PostgreSQL, or the ledger is not in Redis")]
    NotShared,
    /// The ledger.
    #[error("the ledger cannot be asked: {0}")]
    Ledger(StoreError),
    /// PostgreSQL.
    #[error("PostgreSQL cannot be asked: {0}")]
    Postgres(sqlx::Error),
}

// Their words say all; a source would say it twice.
impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        AuditError::Ledger(error)
    }
}

impl From<sqlx::Error> for AuditError {
    fn from(error: sqlx::Error) -> Self {
        AuditError::Postgres(error)
    }
}

/// How often a difference is looked at again, and after how long.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(300);
/// Entries of a stream read at once, and in all.
const BATCH: usize = 500;
const ENTRIES_MAX: usize = 100_000;
/// The most differences that are told.
const DIFFERENCES_MAX: usize = 1_000;

/// Key, budget, unit, window.
type Place = (String, String, Unit, i64, i64);

#[derive(Debug, Default)]
struct Amounts {
    ledger: u64,
    stream: i64,
    postgres: u64,
}

impl Store {
    /// Compares all counters whose windows are open at `now` (Unix milliseconds) of the keys that records and streams know.
    ///
    /// # Errors
    /// When one of the two cannot be asked.
    pub async fn audit(&self, ledger: &RedisStore, now: i64) -> Result<Audit, AuditError> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Err(AuditError::NotShared);
        }
        for _ in 1..LOOKS {
            let audit = self.look(ledger, now).await?;
            if audit.differences.is_empty() {
                return Ok(audit);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.look(ledger, now).await
    }

    async fn look(&self, ledger: &RedisStore, now: i64) -> Result<Audit, AuditError> {
        let mut places: BTreeMap<Place, Amounts> = BTreeMap::new();
        // The streams first: what is drained meanwhile is then found in PostgreSQL.
        let waiting = waiting(ledger).await?;
        let stored = self.stored(&waiting).await?;
        let waiting: Vec<_> = waiting.into_iter().filter(|e| !stored.contains(&e.reservation)).collect();
        for entry in &waiting {
            for (postings, sign) in [(&entry.postings, 1), (&entry.taken_back, -1)] {
                for posting in postings {
                    let (place, amount) = placed(posting.clone());
                    places.entry(place).or_default().stream +=
                        sign * i64::try_from(amount).unwrap_or(i64::MAX);
                }
            }
        }
        let mut sql = self.pool.sql();
        sql.bind(
            "SELECT key, budget, window_start, window_end, unit, last_limit, amount FROM counters WHERE window_end > ?",
            now,
        );
        for row in self.pool.fetch_all(sql).await? {
            let (place, amount) = placed(line(&row)?.into());
            places.entry(place).or_default().postgres = amount;
        }
        let known: BTreeSet<String> =
            places.keys().map(|place| place.0.clone()).chain(self.all_keys().await?).collect();
        for key in &known {
            for posting in ledger.committed(key).await? {
                let (place, amount) = placed(posting);
                places.entry(place).or_default().ledger = amount;
            }
        }
        places.retain(|place, _| place.4 > now);
        self.told(places, waiting.len() as u64).await
    }

    /// All keys that any record is of, or that lie above such a key.
    async fn all_keys(&self) -> sqlx::Result<Vec<String>> {
        self.trees.refresh(&self.pool).await?;
        Ok(self.trees.keys(&Viewer::All).iter().map(|key| key.to_string()).collect())
    }

    async fn told(&self, places: BTreeMap<Place, Amounts>, waiting: u64) -> Result<Audit, AuditError> {
        let mut sql = self.pool.sql();
        sql.push("SELECT COUNT(*) FROM set_aside");
        let set_aside = self.pool.fetch_optional(sql).await?.map_or(Ok(0), |row| row.uint(0))?;
        let counters = places.len() as u64;
        let off = places.into_iter().filter(|(_, amounts)| {
            i128::from(amounts.ledger) != i128::from(amounts.postgres) + i128::from(amounts.stream)
        });
        let differences: Vec<Difference> = off
            .take(DIFFERENCES_MAX)
            .map(|((key, budget, unit, window_start, window_end), Amounts { ledger, stream, postgres })| {
                Difference { key, budget, unit, window_start, window_end, ledger, stream, postgres }
            })
            .collect();
        let consistent = differences.is_empty() && set_aside == 0;
        Ok(Audit { consistent, waiting, set_aside, counters, differences })
    }

    /// Which reservations of these entries are stored already: written, but not deleted in the stream yet.
    async fn stored(&self, entries: &[stream::Entry]) -> sqlx::Result<HashSet<uuid::Uuid>> {
        let mut stored = HashSet::new();
        for batch in entries.chunks(BATCH) {
            let mut sql = self.pool.sql();
            sql.push("SELECT reservation FROM charges WHERE position = ANY(?) AND reservation = ANY(CAST(? AS uuid[]))");
            sql.value(batch.iter().map(|entry| entry.position.clone()).collect::<Vec<_>>());
            sql.value(uuids(batch.iter().map(|entry| entry.reservation)));
            for row in self.pool.fetch_all(sql).await? {
                stored.insert(row.id(0)?);
            }
        }
        Ok(stored)
    }
}

/// All that waits in the streams.
async fn waiting(ledger: &RedisStore) -> Result<Vec<stream::Entry>, StoreError> {
    let mut all = Vec::new();
    for root in ledger.trees().await? {
        let mut after = String::new();
        loop {
            let read = ledger.read_stream(&root, &after, BATCH).await?;
            let more = read.len() >= BATCH && all.len() < ENTRIES_MAX;
            for entry in read {
                match entry {
                    Ok(entry) => {
                        after.clone_from(&entry.position);
                        all.push(entry);
                    }
                    Err(malformed) => after = malformed.position,
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(all)
}

fn placed(posting: Posting) -> (Place, u64) {
    let Line { key, budget, start, end, unit, amount, .. } = posting.into();
    ((key, budget, unit, start, end), amount)
}
