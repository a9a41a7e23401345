//! Deletes what is past its time, in small steps.

use sqlx::{Connection as _, SqliteConnection};

/// Rows a step.
const STEP: i64 = 500;
/// Counters stay this long after their window: for a clock that runs late.
const COUNTERS_MS: i64 = 7 * 86_400_000;
/// Sums by hour and histograms by day stay this many hours.
const SPEND_HOURS: i64 = 400 * 24;
/// Histograms by hour stay this many.
const LATENCY_HOURS: i64 = 72;

/// The records that a step deletes: the same in each of its statements, which run in one transaction.
const EXPIRED: &str = "(SELECT seq FROM records WHERE expires <= ?1 ORDER BY expires, seq LIMIT ?2)";

/// One step. Returns whether there may be more.
pub(crate) async fn step(conn: &mut SqliteConnection, now: i64) -> sqlx::Result<bool> {
    let mut tx = conn.begin().await?;
    let mut most = 0;
    for (table, column) in
        [("contents", "seq"), ("words", "rowid"), ("suggestions", "seq"), ("records", "seq")]
    {
        let sql = format!("DELETE FROM {table} WHERE {column} IN {EXPIRED}");
        most = most.max(delete(&mut tx, sql, now).await?);
    }
    // Blocks and nodes know themselves until when a record needs them.
    for table in ["nodes", "blocks"] {
        let sql = format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE keep_until <= ?1 LIMIT ?2)"
        );
        most = most.max(delete(&mut tx, sql, now).await?);
    }
    let hour = now.div_euclid(3_600_000);
    for (sql, before) in [
        ("DELETE FROM counters WHERE window_end <= ?", now - COUNTERS_MS),
        ("DELETE FROM spend WHERE hour <= ?", hour - SPEND_HOURS),
        ("DELETE FROM latencies WHERE span = 24 AND slot <= ?", (hour - SPEND_HOURS) / 24),
        ("DELETE FROM latencies WHERE span = 1 AND slot <= ?", hour - LATENCY_HOURS),
    ] {
        sqlx::query(sql).bind(before).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(most >= STEP as u64)
}

async fn delete(conn: &mut SqliteConnection, sql: String, now: i64) -> sqlx::Result<u64> {
    // Only constants of this file go into the text.
    let sql = sqlx::AssertSqlSafe(sql);
    Ok(sqlx::query(sql).bind(now).bind(STEP).execute(conn).await?.rows_affected())
}
