//! The drainer: brings the billing records out of the ledger's streams to PostgreSQL, and deletes them there when they are
//! written.
//!
//! It runs in every gateway; a lease in PostgreSQL lets one of them work at a time, so that they do not do the same work.
//! That no charge is written twice does not hang on it: every entry has its own key ([`charge`](super::postgres::charge)).
//! An entry is deleted only after the transaction that wrote it, so that none is lost whichever process dies when. Streams
//! are read from their beginning: what is in them has not been written, or not been deleted yet. So nothing depends on
//! positions, which may go back when another Redis takes over.
//!
//! An entry that cannot be read, or that PostgreSQL refuses [`TRIES`] times by itself, is set aside in a table for people to
//! look at, and counted; the others go on.

mod lease;
mod stats;

pub use stats::DrainStats;

use super::{
    billing,
    db::{Pool, is_away},
    entry::{Entry, Line},
    location::OpenError,
    postgres::{
        self,
        charge::{self, Charged, How},
    },
    trees::Trees,
};
use lease::Lease;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tollgate_ledger::redis::{self as stream, Malformed, RedisStore};

/// Entries read, and written in one transaction, at most.
const BATCH: usize = 500;
/// Pause after all streams were empty. An entry waits this long at most, while all is well.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause after a failure, doubled up to the second one.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the ledger is asked which trees it has; in between the known ones are looked at.
const TREES_EVERY: Duration = Duration::from_secs(2);
/// How often an entry that PostgreSQL refuses is tried before it is set aside.
const TRIES: u32 = 5;

/// Drains until it is dropped.
pub struct Drainer {
    redis: Arc<RedisStore>,
    pool: Pool,
    trees: Trees,
    lease: Lease,
    stats: Arc<DrainStats>,
    roots: Vec<String>,
    asked: Option<Instant>,
    refused: HashMap<(String, String), u32>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum DrainError {
    #[error("the ledger's stream: {0}")]
    Redis(#[from] tollgate_ledger::redis::StoreError),
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
}

// === impl Drainer ===

impl Drainer {
    /// A drainer between a ledger and a database; `node`: what this gateway calls itself. Connects when it runs.
    ///
    /// # Errors
    /// When PostgreSQL's address, password or authority cannot be used.
    pub fn new(redis: Arc<RedisStore>, options: &postgres::Options, node: &str) -> Result<Self, OpenError> {
        Ok(Drainer {
            redis,
            pool: options.pools()?.writer,
            trees: Trees::default(),
            lease: Lease::new("drainer", node),
            stats: Arc::default(),
            roots: Vec::new(),
            asked: None,
            refused: HashMap::new(),
        })
    }

    /// What it has done, for metrics.
    pub fn stats(&self) -> Arc<DrainStats> {
        self.stats.clone()
    }

    /// Drains for ever.
    pub async fn run(mut self) {
        let mut pause = PAUSE_AFTER_FAILURE;
        loop {
            match self.round().await {
                Ok(more) => {
                    pause = PAUSE_AFTER_FAILURE;
                    self.stats.well();
                    sleep(if more { Duration::ZERO } else { PAUSE }).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "billing records wait in the ledger's stream");
                    self.stats.ill(error.to_string());
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// One look at all streams, if it is this gateway's turn. Whether there may be more.
    async fn round(&mut self) -> Result<bool, DrainError> {
        if !self.lease.hold(&self.pool).await? {
            self.stats.idle();
            return Ok(false);
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= TREES_EVERY) {
            self.roots = self.redis.trees().await?;
            self.asked = Some(Instant::now());
        }
        let mut oldest = None::<i64>;
        let (mut more, mut waiting) = (false, 0);
        for root in self.roots.clone() {
            let read = self.redis.read_stream(&root, "", BATCH).await?;
            let first = read.first().map(|entry| at(position(entry)));
            more |= read.len() >= BATCH;
            waiting += match read.len() {
                BATCH.. => self.redis.stream_length(&root).await?,
                few => few as u64,
            };
            oldest = oldest.into_iter().chain(first).min();
            if !read.is_empty() {
                self.stats.saw(waiting, oldest);
                self.drain(&root, read).await?;
                waiting = waiting.saturating_sub(BATCH as u64);
            }
            if !self.lease.hold(&self.pool).await? {
                return Ok(false);
            }
        }
        if !more {
            self.stats.saw(0, None);
        }
        Ok(more)
    }

    /// Writes entries of one stream, then deletes them there.
    async fn drain(
        &mut self,
        root: &str,
        read: Vec<Result<stream::Entry, Malformed>>,
    ) -> Result<(), DrainError> {
        let (name, mut entries) = (Arc::<str>::from(root), Vec::with_capacity(read.len()));
        for item in read {
            match item {
                Ok(entry) => entries.push(charged(&name, entry)),
                Err(Malformed { position, fields }) => {
                    self.set_aside(root, &position, "not understood", &fields).await?;
                    self.redis.delete_entries(root, &[position]).await?;
                }
            }
        }
        let written = match charge::write(&self.pool, &self.trees, &entries).await {
            Ok(new) => {
                self.stats.drained(new as u64);
                entries.into_iter().map(|entry| entry.position).collect()
            }
            Err(error) if is_away(&error) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, root, "PostgreSQL refuses some of these billing records; trying them one by one");
                self.one_by_one(root, entries).await?
            }
        };
        self.redis.delete_entries(root, &written).await?;
        Ok(())
    }

    /// Finds the entries that PostgreSQL refuses. Which are done with.
    async fn one_by_one(&mut self, root: &str, entries: Vec<Charged>) -> Result<Vec<String>, DrainError> {
        let mut done = Vec::with_capacity(entries.len());
        for entry in entries {
            match charge::write(&self.pool, &self.trees, std::slice::from_ref(&entry)).await {
                Ok(new) => self.stats.drained(new as u64),
                Err(error) if is_away(&error) => return Err(error.into()),
                Err(error) => {
                    let key = (root.to_owned(), entry.position.clone());
                    let tries = self.refused.entry(key.clone()).or_default();
                    *tries += 1;
                    if *tries < TRIES {
                        continue;
                    }
                    self.set_aside(root, &entry.position, &error.to_string(), &format!("{entry:?}")).await?;
                    self.refused.remove(&key);
                }
            }
            done.push(entry.position);
        }
        Ok(done)
    }

    async fn set_aside(
        &self,
        root: &str,
        position: &str,
        reason: &str,
        entry: &str,
    ) -> Result<(), sqlx::Error> {
        tracing::error!(
            root,
            position,
            reason,
            "a billing record is set aside: its charge is in the ledger, not in the records; see the table set_aside"
        );
        let mut sql = self.pool.sql();
        sql.push(
            "INSERT INTO set_aside (at, root, position, reason, entry) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        );
        sql.value(at(position)).value(root).value(position).value(reason).value(entry);
        if self.pool.execute(sql).await? > 0 {
            self.stats.set_aside();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Drainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drainer").field("stats", &self.stats).finish_non_exhaustive()
    }
}

fn position(item: &Result<stream::Entry, Malformed>) -> &str {
    match item {
        Ok(entry) => &entry.position,
        Err(malformed) => &malformed.position,
    }
}

/// A position's time, Unix milliseconds.
fn at(position: &str) -> i64 {
    position.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0)
}

/// The entry as it is written. A record that cannot be read does not keep its charge from being counted.
fn charged(root: &Arc<str>, entry: stream::Entry) -> Charged {
    let record = (!entry.record.is_empty()).then(|| billing::decode(&entry.record));
    let record: Option<Entry> = match record.transpose() {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(%error, request = %entry.request, "a billing record cannot be read; its charge is counted");
            None
        }
    };
    Charged {
        root: root.clone(),
        position: entry.position,
        reservation: entry.reservation,
        request: if entry.request.is_nil() { entry.reservation } else { entry.request },
        how: match entry.how {
            stream::How::Live | stream::How::Unknown => How::Settled,
            stream::How::Late => How::Late,
            stream::How::Dead => How::Died,
            stream::How::Reset => How::Reset,
        },
        used: entry.actual,
        postings: entry.postings.into_iter().map(Line::from).collect(),
        taken_back: entry.taken_back.into_iter().map(Line::from).collect(),
        levels: entry.levels.iter().map(|key| Arc::from(key.as_str())).collect(),
        record,
    }
}
