//! Who may do what alone. Locks are PostgreSQL's advisory ones, held by a transaction, of this schema only.

use crate::records::db::Tx;

/// To change the schema.
pub(crate) const SCHEMA: i64 = 1_416_591_617;
/// To give places in the order of writing.
pub(crate) const WRITERS: i64 = 1_416_591_618;
/// To delete what is past its time.
pub(crate) const SWEEPER: i64 = 1_416_591_619;

/// Waits for a lock (as long as the session waits for locks); held until the transaction ends.
pub(crate) async fn wait(tx: &mut Tx, lock: i64) -> sqlx::Result<()> {
    let mut sql = tx.sql();
    sql.push("SELECT pg_advisory_xact_lock(").int(lock).push(", hashtext(current_schema()))");
    tx.execute(sql).await.map(drop)
}

/// Takes a lock if it is free.
pub(crate) async fn is_free(tx: &mut Tx, lock: i64) -> sqlx::Result<bool> {
    let mut sql = tx.sql();
    sql.push("SELECT pg_try_advisory_xact_lock(").int(lock).push(", hashtext(current_schema()))");
    match tx.fetch_all(sql).await?.first() {
        Some(row) => Ok(row.int(0)? == 1),
        None => Ok(false),
    }
}
