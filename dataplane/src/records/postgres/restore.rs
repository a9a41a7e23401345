//! What a ledger that was emptied is restored from: the sums of all charges in windows that are still open, and what ended
//! lately, which gateways may tell again.

use crate::records::{
    Store,
    db::{Dialect, Sql, Tx},
    store::line,
};
use tollgate_ledger::{
    charge::{Actual, Posting},
    redis::{Backup, DeadHold},
};

/// How far back Redis knows what was settled: what gateways tell again of earlier times it does not post, so it need not be told
/// (`KEEP_SETTLED` in prelude.lua). Measured from now, since that is: an outage may have begun long ago. A little more, since
/// clocks differ.
const SETTLED_MS: i64 = 75 * 60_000;
/// In steps of so much, the newest first, until so many are found.
const STEP_MS: i64 = 60_000;
const SETTLED_MAX: usize = 1_000_000;
/// How far back it knows which holds died (`KEEP_DEAD`), and the most of them.
const DIED_MS: i64 = 8 * 86_400_000;
const DIED_MAX: i64 = 200_000;

impl Store {
    /// What a ledger is restored from that lost something: what was committed in windows that are open at `now` (Unix
    /// milliseconds), and what ended lately; empty where records are not in PostgreSQL.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn ledger_backup(&self, now: i64) -> sqlx::Result<Backup> {
        let mut backup = Backup::default();
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(backup);
        }
        // One moment: a charge that is among the sums is among what ended.
        let mut tx = self.pool.begin().await?;
        let mut sql = tx.sql();
        sql.push("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
        tx.execute(sql).await?;
        let mut sql = tx.sql();
        // Days of charges are read, once, by somebody who waits for it.
        sql.push("SET LOCAL statement_timeout = 0");
        tx.execute(sql).await?;
        settled(&mut tx, &mut backup, now, SETTLED_MAX).await?;
        died(&mut tx, &mut backup, now).await?;
        let mut sql = tx.sql();
        sql.bind(
            "SELECT key, budget, window_start, window_end, unit, last_limit, amount, root FROM counters \
             WHERE window_end > ? AND amount > 0 ORDER BY key, budget, window_start",
            now,
        );
        for row in tx.fetch_all(sql).await? {
            let posting: Posting = line(&row)?.into();
            let key = backup.keys.entry(posting.counter.key.clone()).or_default();
            key.roots.insert(row.text(7)?);
            key.postings.push(posting);
        }
        Ok(backup)
    }

    /// The ledger's generation as it was last noted here; `None`: there never was one.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn generation(&self) -> sqlx::Result<Option<String>> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let mut sql = self.pool.sql();
        sql.push("SELECT generation FROM generations ORDER BY number DESC LIMIT 1");
        self.pool.fetch_optional(sql).await?.map(|row| row.text(0)).transpose()
    }

    /// Notes the ledger's generation: the newest, also where it was that before (a backup of Redis was put back).
    ///
    /// # Errors
    /// When PostgreSQL does not take it.
    pub async fn set_generation(&self, generation: &str) -> sqlx::Result<()> {
        if self.pool.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let mut sql: Sql = self.pool.sql();
        sql.push(
            "INSERT INTO generations (generation, at) VALUES (?, ?) \
             ON CONFLICT (generation) DO UPDATE SET number = excluded.number, at = excluded.at",
        );
        sql.value(generation).value(jiff::Timestamp::now().as_millisecond());
        self.pool.execute(sql).await.map(drop)
    }
}

/// The reservations that were settled lately, by tree.
pub(crate) async fn settled(tx: &mut Tx, backup: &mut Backup, now: i64, most: usize) -> sqlx::Result<()> {
    let (mut until, mut found) = (i64::MAX, 0);
    let mut from = now.saturating_sub(STEP_MS);
    while until > now.saturating_sub(SETTLED_MS) {
        let mut sql = tx.sql();
        sql.push("SELECT root, reservation FROM charges WHERE how = 0 AND at >= ? AND at < ?");
        sql.value(from).value(until);
        for row in tx.fetch_all(sql).await? {
            backup.trees.entry(row.text(0)?).or_default().settled.push(row.id(1)?);
            found += 1;
        }
        if found >= most {
            // Told before, and stored after: within this step.
            backup.forgotten = Some(from.saturating_add(STEP_MS));
            return Ok(());
        }
        (until, from) = (from, from.saturating_sub(STEP_MS));
    }
    Ok(())
}

/// The holds that died in the last days, with what they and what came late for them were charged.
async fn died(tx: &mut Tx, backup: &mut Backup, now: i64) -> sqlx::Result<()> {
    let mut sql = tx.sql();
    sql.bind(
        "SELECT MIN(root), reservation, CAST(SUM(cost) AS BIGINT), CAST(SUM(input) AS BIGINT), \
         CAST(SUM(output) AS BIGINT), MAX(how) FROM charges WHERE how IN (1, 2) AND at > ? \
         GROUP BY reservation HAVING MIN(how) = 1 ORDER BY MAX(at) DESC LIMIT ",
        now.saturating_sub(DIED_MS),
    );
    sql.int(DIED_MAX);
    for row in tx.fetch_all(sql).await? {
        let charged = Actual { cost: row.uint(2)?, input_tokens: row.uint(3)?, output_tokens: row.uint(4)? };
        let hold = DeadHold { id: row.id(1)?, charged, late: row.int(5)? == 2 };
        backup.trees.entry(row.text(0)?).or_default().died.push(hold);
    }
    Ok(())
}
