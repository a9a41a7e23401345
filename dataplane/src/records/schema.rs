//! Opening the database: pools, pragmas, migrations.

use sqlx::{
    Executor as _, Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error(
        "the record store {path} cannot be opened: {source}; check that the folder exists and can be written"
    )]
    Database {
        /// Which file.
        path: String,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A database of a later program.
    #[error(
        "the record store {path} is of version {found}, this program knows {known}: it was written by a later version; upgrade, or use another file"
    )]
    Newer {
        /// Which file.
        path: String,
        /// Its version.
        found: i64,
        /// The latest known here.
        known: i64,
    },
    /// The spill file, a thread, memory.
    #[error("the record store {path} cannot be started: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In memory: gone with the process.
    Memory,
    /// In this SQLite file (made when absent); `-wal`, `-shm` and `spill.jsonl` lie beside it.
    File(PathBuf),
}

/// Two pools on one database; the same one when it is in memory.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
}

/// The scripts that lead from version to version.
const MIGRATIONS: &[&str] = &[include_str!("schema/001.sql")];

/// Readers at once.
const READERS: u32 = 4;

// === impl Location ===

impl Location {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Location::Memory => "(in memory)".to_owned(),
            Location::File(path) => path.display().to_string(),
        }
    }
}

// === impl Pools ===

impl Pools {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(location: &Location) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database { path: location.name(), source };
        let writer = match location {
            Location::Memory => pool(1, SqliteConnectOptions::new().in_memory(true)).await,
            Location::File(path) => pool(1, file(path)).await,
        }
        .map_err(failed)?;
        let mut conn = writer.acquire().await.map_err(failed)?;
        let version = migrate(&mut conn).await.map_err(failed)?;
        drop(conn);
        let known = MIGRATIONS.len() as i64;
        if version > known {
            return Err(OpenError::Newer { path: location.name(), found: version, known });
        }
        let readers = match location {
            Location::Memory => writer.clone(),
            Location::File(path) => {
                pool(READERS, file(path).read_only(true).create_if_missing(false)).await.map_err(failed)?
            }
        };
        Ok(Pools { writer, readers })
    }
}

async fn pool(connections: u32, options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        // A database in memory lives as long as its one connection.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options.busy_timeout(Duration::from_secs(5)).pragma("temp_store", "memory"))
        .await
}

fn file(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Safe against a killed process; only a power cut may lose the last transactions, never the file.
        .synchronous(SqliteSynchronous::Normal)
        .pragma("cache_size", "-16000")
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
}

/// Runs the missing scripts, each in a transaction with its version; returns the version found or reached.
async fn migrate(conn: &mut SqliteConnection) -> sqlx::Result<i64> {
    let row = conn.fetch_one("PRAGMA user_version").await?;
    let mut version: i64 = row.try_get(0)?;
    for (index, script) in MIGRATIONS.iter().enumerate() {
        let next = index as i64 + 1;
        if next <= version {
            continue;
        }
        let sql = format!("BEGIN; {script}; PRAGMA user_version = {next}; COMMIT;");
        if let Err(error) = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *conn).await {
            // The first error is the one to tell.
            return conn.execute("ROLLBACK").await.and(Err(error));
        }
        version = next;
    }
    Ok(version)
}
