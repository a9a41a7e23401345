//! Records in a SQLite file: one process, one writer.

pub(crate) mod retention;
pub(crate) mod write;

use super::{db::Pool, location::OpenError};
use sqlx::{
    Executor as _, Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// Connections to one database; the same one when it is in memory.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) writer: Pool,
    pub(crate) readers: Pool,
}

/// The scripts that lead from version to version.
const MIGRATIONS: &[&str] = &[include_str!("sqlite/001.sql")];

/// Readers at once.
const READERS: u32 = 4;

// === impl Pools ===

impl Pools {
    /// Opens the database (`None`: in memory) and brings its schema up to date.
    pub(crate) async fn open(path: Option<&Path>) -> Result<Self, OpenError> {
        let name = path.map_or_else(|| "(in memory)".to_owned(), |path| path.display().to_string());
        let failed = |source| OpenError::Database { path: name.clone(), source };
        let writer = match path {
            None => pool(1, SqliteConnectOptions::new().in_memory(true)).await,
            Some(path) => pool(1, file(path)).await,
        }
        .map_err(failed)?;
        let mut conn = writer.acquire().await.map_err(failed)?;
        let version = migrate(&mut conn).await.map_err(failed)?;
        drop(conn);
        let known = MIGRATIONS.len() as i64;
        if version > known {
            return Err(OpenError::Newer { path: name, found: version, known });
        }
        let readers = match path {
            None => writer.clone(),
            Some(path) => {
                pool(READERS, file(path).read_only(true).create_if_missing(false)).await.map_err(failed)?
            }
        };
        Ok(Pools { writer: Pool::Sqlite(writer), readers: Pool::Sqlite(readers) })
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
