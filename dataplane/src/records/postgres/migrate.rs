//! The schema's versions. Gateways that start at once wait for the first to change it; a script only adds, so that the
//! gateways of the version before go on meanwhile.

use super::lock;
use crate::records::db::{Pool, Tx};

/// The scripts that lead from version to version.
const MIGRATIONS: &[&str] = &[include_str!("001.sql")];

/// The version that this program needs.
pub(crate) const NEEDED: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date. A later version is none of our concern: scripts only add, and one that must not be used
/// by earlier programs says so in `oldest`.
pub(crate) async fn migrate(pool: &Pool) -> sqlx::Result<Version> {
    let mut tx = pool.begin().await?;
    lock::wait(&mut tx, lock::SCHEMA).await?;
    let mut version = found(&mut tx).await?;
    for (index, script) in MIGRATIONS.iter().enumerate() {
        let next = index as i64 + 1;
        if next > version.found {
            raw(&mut tx, script).await?;
            let mut sql = tx.sql();
            sql.push("UPDATE schema_version SET version = ").int(next);
            tx.execute(sql).await?;
            version.found = next;
        }
    }
    tx.commit().await?;
    Ok(version)
}

/// A schema's version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    /// The latest script that was run.
    pub(crate) found: i64,
    /// The least version a program must know to use it.
    pub(crate) oldest: i64,
}

async fn found(tx: &mut Tx) -> sqlx::Result<Version> {
    let mut sql = tx.sql();
    sql.push("SELECT to_regclass('schema_version') IS NOT NULL");
    let there = tx.fetch_all(sql).await?.first().map(|row| row.int(0)).transpose()? == Some(1);
    if !there {
        raw(
            tx,
            "CREATE TABLE schema_version (version INTEGER NOT NULL, oldest INTEGER NOT NULL DEFAULT 1); \
             INSERT INTO schema_version (version) VALUES (0)",
        )
        .await?;
    }
    let mut sql = tx.sql();
    sql.push("SELECT version, oldest FROM schema_version");
    match tx.fetch_all(sql).await?.first() {
        Some(row) => Ok(Version { found: row.int(0)?, oldest: row.int(1)? }),
        None => Ok(Version { found: 0, oldest: 0 }),
    }
}

/// Runs several statements.
async fn raw(tx: &mut Tx, script: &'static str) -> sqlx::Result<()> {
    if let Tx::Postgres(tx) = tx {
        sqlx::raw_sql(script).execute(&mut **tx).await?;
    }
    Ok(())
}
