//! A gateway's batch of full records in one transaction.

use super::{
    lock,
    stored::{self, Source, SourcedRow, Stored},
};
use crate::records::{
    batch::{Batch, WordsRow},
    db::{Pool, Sql, Tx},
    insert::{Insert, insert},
    sums::Sums,
    trees::Trees,
    words::words,
};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Where the money of records is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Money {
    /// From the records' own postings: this process has the ledger, in memory.
    #[default]
    Records,
    /// From the ledger's stream, by whichever gateway drains it: records only show their postings.
    Stream,
}

/// A row of the search index.
struct LexemesRow {
    seq: i64,
    words: Vec<String>,
}

/// Writes all of it or nothing. A record that is there in full is left out; one of which only the charge was there gets the
/// rest.
pub(crate) async fn write(batch: &mut Batch, pool: &Pool, trees: &Trees, money: Money) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    pieces(batch, &mut tx).await?;
    lock::wait(&mut tx, lock::WRITERS).await?;
    let known = stored::stored(&mut tx, batch.records.iter().map(|row| row.entry.id)).await?;
    let mut seen = HashSet::new();
    batch.retain(|row| {
        let id = row.entry.id;
        seen.insert(id) && known.get(&id).is_none_or(|stored| stored.source < Source::Full)
    });
    let (ids, fresh) = trees.ids(&mut tx, batch.paths()).await?;
    place(batch, &mut tx, &ids, &known).await?;
    let rows: Vec<_> = batch.records.iter().map(|row| SourcedRow(row, Source::Full)).collect();
    insert(&mut tx, &rows).await?;
    insert(&mut tx, &batch.contents).await?;
    insert(&mut tx, &lexemes(&batch.words)).await?;
    insert(&mut tx, &batch.suggestions).await?;
    let mut sums = Sums::default();
    for row in &batch.records {
        if money == Money::Records {
            let root = row.entry.tree.last().map_or("", |root| root);
            row.entry.postings.iter().for_each(|line| sums.post(line, root, false));
        }
        stored::count(&mut sums, row, Source::Full, known.get(&row.entry.id));
    }
    sums.write(&mut tx).await?;
    tx.commit().await?;
    trees.committed(fresh);
    Ok(())
}

/// Blocks and nodes, before the lock. In the order of their ids, so that two gateways that bring the same never wait for
/// each other in a circle.
async fn pieces(batch: &mut Batch, tx: &mut Tx) -> sqlx::Result<()> {
    batch.pieces.blocks.sort_unstable_by_key(|block| (block.id, std::cmp::Reverse(block.keep_until)));
    batch.pieces.blocks.dedup_by_key(|block| block.id);
    batch.pieces.nodes.sort_unstable_by_key(|node| (node.id, std::cmp::Reverse(node.keep_until)));
    batch.pieces.nodes.dedup_by_key(|node| node.id);
    insert(tx, &batch.pieces.blocks).await?;
    insert(tx, &batch.pieces.nodes).await?;
    Ok(())
}

/// Gives new rows their places; rows that replace others take theirs.
async fn place(
    batch: &mut Batch,
    tx: &mut Tx,
    ids: &[i64],
    known: &HashMap<Uuid, Stored>,
) -> sqlx::Result<()> {
    let replaced: Vec<i64> =
        batch.records.iter().filter_map(|row| Some(known.get(&row.entry.id)?.seq)).collect();
    let mut next = stored::places(tx, batch.records.len() - replaced.len()).await?;
    let mut seqs = HashMap::with_capacity(batch.records.len());
    for row in &batch.records {
        let seq = known.get(&row.entry.id).map_or_else(
            || {
                next += 1;
                next - 1
            },
            |stored| stored.seq,
        );
        seqs.insert(row.at, seq);
    }
    stored::remove(tx, replaced).await?;
    batch.place(ids, |at| seqs.get(&at).copied().unwrap_or(0));
    Ok(())
}

/// The search index's rows.
pub(super) fn lexemes(rows: &[WordsRow]) -> Vec<impl Insert + use<>> {
    rows.iter().map(|row| LexemesRow { seq: row.seq, words: words(&row.text) }).collect()
}

impl Insert for LexemesRow {
    const HEAD: &'static str = "INSERT INTO words (seq, words) VALUES ";
    const COLUMNS: usize = 2;
    const TAIL: &'static str = "";

    fn bind(&self, to: &mut Sql) {
        to.value(self.seq).value(crate::records::db::Value::Words(self.words.clone()));
    }
}
