//! The two databases behind one small face: statements with `?` for values, rows by position, pools and transactions.
//!
//! What both understand is written once. What they do not (the index to lead, text search, conflict rules) is in
//! [`sqlite`](super::sqlite) and [`postgres`](super::postgres).

mod row;
mod sql;

pub(crate) use row::Row;
pub(crate) use sql::{Sql, Value};

use super::postgres;
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction, pool::PoolConnection};
use std::{sync::Arc, time::Duration};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Connections to one database.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool, Arc<postgres::Options>),
}

/// A transaction; rolled back when dropped.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// How long a statement may take, connecting and waiting for a connection aside: a server that went away without a word
/// must not hold a page or the writer for ever. The server's own limit is lower.
const PATIENCE: Duration = Duration::from_secs(30);

// === impl Pool ===

impl Pool {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Pool::Sqlite(_) => Dialect::Sqlite,
            Pool::Postgres(..) => Dialect::Postgres,
        }
    }

    /// An empty statement.
    pub(crate) fn sql(&self) -> Sql {
        Sql::new(self.dialect())
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Pool::Sqlite(pool) => Tx::Sqlite(patiently(pool.begin()).await?),
            Pool::Postgres(pool, options) => match patiently(pool.begin()).await {
                Err(error) if renewed(&error, pool, options) => Tx::Postgres(patiently(pool.begin()).await?),
                tx => Tx::Postgres(tx?),
            },
        })
    }

    pub(crate) async fn fetch_all(&self, sql: Sql) -> sqlx::Result<Vec<Row>> {
        match self {
            Pool::Sqlite(pool) => {
                let mut conn: PoolConnection<Sqlite> = pool.acquire().await?;
                Ok(sql.sqlite()?.fetch_all(&mut *conn).await?.into_iter().map(Row::Sqlite).collect())
            }
            Pool::Postgres(pool, options) => {
                let again = sql.clone();
                let rows = match patiently(sql.postgres()?.fetch_all(pool)).await {
                    Err(error) if renewed(&error, pool, options) => {
                        patiently(again.postgres()?.fetch_all(pool)).await?
                    }
                    rows => rows?,
                };
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn fetch_optional(&self, sql: Sql) -> sqlx::Result<Option<Row>> {
        Ok(self.fetch_all(sql).await?.into_iter().next())
    }

    pub(crate) async fn execute(&self, sql: Sql) -> sqlx::Result<u64> {
        match self {
            Pool::Sqlite(pool) => Ok(sql.sqlite()?.execute(pool).await?.rows_affected()),
            Pool::Postgres(pool, options) => {
                let again = sql.clone();
                let done = match patiently(sql.postgres()?.execute(pool)).await {
                    Err(error) if renewed(&error, pool, options) => {
                        patiently(again.postgres()?.execute(pool)).await?
                    }
                    done => done?,
                };
                Ok(done.rows_affected())
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool, _) => pool.close().await,
        }
    }
}

// === impl Tx ===

impl Tx {
    pub(crate) fn sql(&self) -> Sql {
        Sql::new(match self {
            Tx::Sqlite(_) => Dialect::Sqlite,
            Tx::Postgres(_) => Dialect::Postgres,
        })
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: Sql) -> sqlx::Result<u64> {
        match self {
            Tx::Sqlite(tx) => Ok(sql.sqlite()?.execute(&mut **tx).await?.rows_affected()),
            Tx::Postgres(tx) => Ok(patiently(sql.postgres()?.execute(&mut **tx)).await?.rows_affected()),
        }
    }

    pub(crate) async fn fetch_all(&mut self, sql: Sql) -> sqlx::Result<Vec<Row>> {
        match self {
            Tx::Sqlite(tx) => {
                Ok(sql.sqlite()?.fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect())
            }
            Tx::Postgres(tx) => {
                let rows = patiently(sql.postgres()?.fetch_all(&mut **tx)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        match self {
            Tx::Sqlite(tx) => tx.commit().await,
            Tx::Postgres(tx) => patiently(tx.commit()).await,
        }
    }

    pub(crate) async fn rollback(self) -> sqlx::Result<()> {
        match self {
            Tx::Sqlite(tx) => tx.rollback().await,
            Tx::Postgres(tx) => patiently(tx.rollback()).await,
        }
    }
}

/// Whether it is worth another try because password and authorities were read anew: PostgreSQL did not accept the one, or
/// none of the others vouches for it. Either may have been rotated.
fn renewed(error: &sqlx::Error, pool: &PgPool, options: &postgres::Options) -> bool {
    let doubted = match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("28")),
        // What is wrong with a certificate is told as data that are.
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        sqlx::Error::Tls(_) => true,
        _ => false,
    };
    doubted
        && options.renew(pool).unwrap_or_else(|unreadable| {
            tracing::warn!(error = %unreadable, "what PostgreSQL is reached with cannot be read anew");
            false
        })
}

async fn patiently<T>(answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer within {} s", PATIENCE.as_secs()),
        ))),
    }
}

/// Whether the database refuses what it was given, and will again: 22 data that do not fit, 23 a broken rule.
pub(crate) fn is_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")))
}

/// Whether the database cannot be reached or is not ready, rather than refuses what it was told: worth another try later.
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => true,
        // 08 connection, 28 credentials, 53 resources, 57 operator intervention (shutdown, starting up), 58 system error,
        // 25006 read-only (a standby), 3D000 no such database, 42P01 no such table yet, 40 rolled back, 55P03 lock timeout.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "28", "53", "57", "58", "25006", "3D000", "42P01", "40", "55P03"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}
