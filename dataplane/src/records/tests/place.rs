//! A store of a test's own, on either database.

use super::*;
use crate::records::db::{Dialect, Tx};
use std::{
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};
use tempfile::TempDir;

#[path = "../../../../e2e/src/postgres.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the scenario tests use more of it")]
pub(crate) mod server;

/// Where a test keeps its records.
pub(crate) struct Place {
    location: Location,
    pool: tokio::sync::OnceCell<Pool>,
    dir: TempDir,
}

/// Ended with the test program, by its guard.
static SERVER: LazyLock<server::Postgres> = LazyLock::new(|| server::Postgres::start().unwrap());
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::File(dir.path().join("records.sqlite"));
        Place { location, pool: Default::default(), dir }
    }

    pub(crate) fn postgres() -> Self {
        Place::on(SERVER.schema(&format!("t{}", SCHEMAS.fetch_add(1, Relaxed))).unwrap())
    }

    /// On a server of the test's own.
    pub(crate) fn on(url: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spill = Some(dir.path().to_owned());
        let options = postgres::Options { spill, connections: 4, ..postgres::Options::new(url) };
        Place { location: Location::Postgres(options), pool: Default::default(), dir }
    }

    /// The same store for another gateway: one that spills elsewhere.
    pub(crate) fn beside(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location = match &self.location {
            Location::Postgres(options) => Location::Postgres(postgres::Options {
                spill: Some(dir.path().to_owned()),
                ..options.clone()
            }),
            other => other.clone(),
        };
        Place { location, pool: Default::default(), dir }
    }

    pub(crate) fn location(&self) -> Location {
        self.location.clone()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn open(&self) -> (Recorder, Store) {
        open(self.location()).await.unwrap()
    }

    pub(crate) async fn open_with(&self, options: Options) -> (Recorder, Store) {
        open_with(self.location(), options).await.unwrap()
    }

    /// Connections beside the store's own.
    pub(crate) async fn pool(&self) -> &Pool {
        let open = async || match &self.location {
            Location::Postgres(options) => options.pools().unwrap().writer,
            Location::File(path) => sqlite::Pools::open(Some(path)).await.unwrap().writer,
            Location::Memory => panic!("nothing is beside a store in memory"),
        };
        self.pool.get_or_init(open).await
    }

    /// The number that a query answers with.
    pub(crate) async fn count(&self, text: &str) -> i64 {
        let mut sql = self.pool().await.sql();
        sql.push(text);
        self.pool().await.fetch_optional(sql).await.unwrap().unwrap().int(0).unwrap()
    }

    pub(crate) async fn execute(&self, text: &str) {
        let mut sql = self.pool().await.sql();
        sql.push(text);
        self.pool().await.execute(sql).await.unwrap();
    }

    /// The bytes that a query answers with.
    pub(crate) async fn bytes(&self, text: &str) -> Vec<Option<Vec<u8>>> {
        let mut sql = self.pool().await.sql();
        sql.push(text);
        self.pool().await.fetch_all(sql).await.unwrap().iter().map(|row| row.bytes(0).unwrap()).collect()
    }

    /// In how many records the search index has a word.
    pub(crate) async fn with_word(&self, word: &str) -> i64 {
        match self.pool().await.dialect() {
            Dialect::Sqlite => {
                self.count(&format!("SELECT COUNT(*) FROM words WHERE words MATCH '{word}'")).await
            }
            Dialect::Postgres => {
                self.count(&format!("SELECT COUNT(*) FROM words WHERE words @@ '{word}'::tsquery")).await
            }
        }
    }

    /// Holds what a writer needs until it is dropped or rolled back.
    pub(crate) async fn lock_out(&self) -> Tx {
        let mut tx = self.pool().await.begin().await.unwrap();
        match &tx {
            Tx::Sqlite(_) => {
                let mut sql = tx.sql();
                sql.push("DELETE FROM records WHERE 1 = 0");
                tx.execute(sql).await.unwrap();
            }
            Tx::Postgres(_) => postgres::lock::wait(&mut tx, postgres::lock::WRITERS).await.unwrap(),
        }
        tx
    }
}
