//! Deletes what is past its time, in small steps.

use crate::records::{
    db::{Pool, Tx},
    retention::{COUNTERS_MS, LATENCY_HOURS, SPEND_HOURS, STEP},
};

/// The records that a step deletes: the same in each of its statements, which run in one transaction.
const EXPIRED: &str = "(SELECT seq FROM records WHERE expires <= ?1 ORDER BY expires, seq LIMIT ?2)";

/// One step. Returns whether there may be more.
pub(crate) async fn step(pool: &Pool, now: i64) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    let mut most = 0;
    for (table, column) in
        [("contents", "seq"), ("words", "rowid"), ("suggestions", "seq"), ("records", "seq")]
    {
        let sql = format!("DELETE FROM {table} WHERE {column} IN {EXPIRED}");
        most = most.max(delete(&mut tx, &sql, now).await?);
    }
    // Blocks and nodes know themselves until when a record needs them.
    for table in ["nodes", "blocks"] {
        let sql = format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE keep_until <= ?1 LIMIT ?2)"
        );
        most = most.max(delete(&mut tx, &sql, now).await?);
    }
    let hour = now.div_euclid(3_600_000);
    for (sql, before) in [
        ("DELETE FROM counters WHERE window_end <= ?", now - COUNTERS_MS),
        ("DELETE FROM spend WHERE hour <= ?", hour - SPEND_HOURS),
        ("DELETE FROM latencies WHERE span = 24 AND slot <= ?", (hour - SPEND_HOURS) / 24),
        ("DELETE FROM latencies WHERE span = 1 AND slot <= ?", hour - LATENCY_HOURS),
    ] {
        let mut statement = tx.sql();
        statement.bind(sql, before);
        tx.execute(statement).await?;
    }
    tx.commit().await?;
    Ok(most >= STEP as u64)
}

async fn delete(tx: &mut Tx, text: &str, now: i64) -> sqlx::Result<u64> {
    let mut sql = tx.sql();
    sql.push(text).value(now).value(STEP);
    tx.execute(sql).await
}
