//! Deletes what is past its time, in small steps. One gateway at a time.

use super::lock;
use crate::records::{
    db::{Pool, Tx},
    retention::{CHARGES_MS, COUNTERS_MS, LATENCY_HOURS, SPEND_HOURS, STEP},
};

/// A record and all that is its own, in one statement.
const RECORDS: &str = "WITH old AS (SELECT seq FROM records WHERE expires <= ? ORDER BY expires LIMIT ?), \
    gone_contents AS (DELETE FROM contents USING old WHERE contents.seq = old.seq), \
    gone_words AS (DELETE FROM words USING old WHERE words.seq = old.seq), \
    gone_suggestions AS (DELETE FROM suggestions USING old WHERE suggestions.seq = old.seq) \
    DELETE FROM records USING old WHERE records.seq = old.seq";

/// Blocks and nodes know themselves until when a record needs them. One that a gateway prolongs at this moment is left.
const NODES: &str = "DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE keep_until <= ? LIMIT ? \
    FOR UPDATE SKIP LOCKED)";
const BLOCKS: &str = "DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE keep_until <= ? LIMIT ? \
    FOR UPDATE SKIP LOCKED)";
const CHARGES: &str = "DELETE FROM charges WHERE ctid IN (SELECT ctid FROM charges WHERE at <= ? LIMIT ?)";

/// One step. Returns whether there may be more; not when another gateway is at it.
pub(crate) async fn step(pool: &Pool, now: i64) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    if !lock::is_free(&mut tx, lock::SWEEPER).await? {
        return Ok(false);
    }
    let mut most = 0;
    for (statement, before) in
        [(RECORDS, now), (NODES, now), (BLOCKS, now), (CHARGES, now.saturating_sub(CHARGES_MS))]
    {
        let mut sql = tx.sql();
        sql.push(statement).value(before).value(STEP);
        most = most.max(tx.execute(sql).await?);
    }
    sums(&mut tx, now).await?;
    tx.commit().await?;
    Ok(most >= STEP as u64)
}

async fn sums(tx: &mut Tx, now: i64) -> sqlx::Result<()> {
    let hour = now.div_euclid(3_600_000);
    for (statement, before) in [
        ("DELETE FROM counters WHERE window_end <= ?", now.saturating_sub(COUNTERS_MS)),
        ("DELETE FROM spend WHERE hour <= ?", hour - SPEND_HOURS),
        ("DELETE FROM latencies WHERE span = 24 AND slot <= ?", (hour - SPEND_HOURS) / 24),
        ("DELETE FROM latencies WHERE span = 1 AND slot <= ?", hour - LATENCY_HOURS),
        ("DELETE FROM set_aside WHERE at <= ?", now.saturating_sub(CHARGES_MS)),
    ] {
        let mut sql = tx.sql();
        sql.bind(statement, before);
        tx.execute(sql).await?;
    }
    Ok(())
}
