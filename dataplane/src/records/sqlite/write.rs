//! A batch in one transaction.

use crate::records::{
    batch::Batch,
    db::{Pool, Tx},
    insert::insert,
    sums::Sums,
    trees::Trees,
};
use std::collections::HashSet;

/// Writes all of it or nothing. Records that are already stored (a spill file that was replayed, but not yet removed) are
/// left out, their money too. `next_seq`: the first free place in the order of writing.
pub(crate) async fn write(
    batch: &mut Batch,
    pool: &Pool,
    trees: &Trees,
    next_seq: &mut i64,
) -> sqlx::Result<()> {
    let mut known = false;
    loop {
        let mut tx = pool.begin().await?;
        let (ids, fresh) = trees.ids(&mut tx, batch.paths()).await?;
        let first = *next_seq;
        batch.place(&ids, |at| first + at as i64);
        let written = insert(&mut tx, &batch.records).await?;
        if written != batch.records.len() as u64 && !known {
            tx.rollback().await?;
            drop_stored(batch, pool).await?;
            known = true;
            continue;
        }
        rest(batch, &mut tx).await?;
        tx.commit().await?;
        trees.committed(fresh);
        *next_seq = batch.records.last().map_or(first, |row| row.seq + 1);
        return Ok(());
    }
}

async fn rest(batch: &Batch, tx: &mut Tx) -> sqlx::Result<()> {
    insert(tx, &batch.contents).await?;
    insert(tx, &batch.pieces.blocks).await?;
    insert(tx, &batch.pieces.nodes).await?;
    insert(tx, &batch.words).await?;
    insert(tx, &batch.suggestions).await?;
    let mut sums = Sums::default();
    for row in &batch.records {
        row.entry.postings.iter().for_each(|line| sums.post(line, "", false));
        sums.record(row.tree, &row.entry);
    }
    sums.write(tx).await
}

/// Leaves out records whose ids are stored, or come twice in the batch.
async fn drop_stored(batch: &mut Batch, pool: &Pool) -> sqlx::Result<()> {
    let mut seen = HashSet::new();
    for row in &batch.records {
        let mut sql = pool.sql();
        sql.bind("SELECT 1 FROM records WHERE id = ?", row.entry.id);
        if pool.fetch_optional(sql).await?.is_some() {
            seen.insert(row.entry.id);
        }
    }
    batch.retain(|row| seen.insert(row.entry.id));
    Ok(())
}
