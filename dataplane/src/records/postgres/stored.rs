//! What of a record is stored already. A request's record comes in parts, in any order: charges alone, the billing record
//! with the last of them, the full record by another way. The better known replaces the less known; what its hour's spend
//! was told before is taken back.

use super::uuids;
use crate::records::{
    db::{Sql, Tx},
    entry::{Entry, Line, ModelEntry, UsageEntry},
    insert::Insert,
    rows::{self, RecordRow},
    sums::{Slot, Spent, Sums, hour},
    trees::Trees,
};
use std::collections::HashMap;
use uuid::Uuid;

/// How much of a record is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Source {
    /// What was charged, and whose it is.
    Charge = 0,
    /// The billing record.
    Billing = 1,
    /// All of it.
    Full = 2,
}

/// A record's row as it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) source: Source,
    pub(crate) at: i64,
    pub(crate) tree: i64,
    slot: Slot,
    spent: Spent,
    postings: Option<String>,
    error: Option<String>,
    status: u16,
}

/// A row with how much is known of it.
pub(crate) struct SourcedRow<'a>(pub(crate) &'a RecordRow, pub(crate) Source);

/// The rows with these ids. Nobody else changes them while the writers' lock is held.
pub(crate) async fn stored(
    tx: &mut Tx,
    ids: impl Iterator<Item = Uuid>,
) -> sqlx::Result<HashMap<Uuid, Stored>> {
    let mut sql = tx.sql();
    sql.push(
        "SELECT id, seq, source, at, kind, tree, status, COALESCE(model, ''), input, cache_read, \
         COALESCE(cache_write, 0) + COALESCE(cache_write_1h, 0), output, cost, COALESCE(is_error, 0), postings, \
         error, COALESCE(server, '') || ':' || COALESCE(tool, '') FROM records WHERE id = ANY(CAST(? AS uuid[]))",
    );
    sql.value(uuids(ids));
    let mut found = HashMap::new();
    for row in tx.fetch_all(sql).await? {
        let (at, kind, tree) = (row.int(3)?, row.int(4)?, row.int(5)?);
        let name = if kind == 1 { row.text(16)? } else { row.text(7)? };
        let status = row.int(6)?;
        let known = row.maybe_int(8)?.is_some();
        let spent = Spent {
            requests: 1,
            failed: i64::from(status >= 400 || row.int(13)? == 1),
            unpriced: i64::from(known && row.maybe_int(12)?.is_none()),
            input: row.int(8)?,
            cache_read: row.int(9)?,
            cache_write: row.int(10)?,
            output: row.int(11)?,
            cost: row.int(12)?,
        };
        let stored = Stored {
            seq: row.int(1)?,
            source: match row.int(2)? {
                0 => Source::Charge,
                1 => Source::Billing,
                _ => Source::Full,
            },
            at,
            tree,
            slot: Slot { hour: hour(at), kind: u8::try_from(kind).unwrap_or(0), tree, name },
            spent,
            postings: row.maybe_text(14)?,
            error: row.maybe_text(15)?,
            status: u16::try_from(status).unwrap_or(0),
        };
        found.insert(row.id(0)?, stored);
    }
    Ok(found)
}

/// Takes rows away that others replace, with what belongs to them.
pub(crate) async fn remove(tx: &mut Tx, seqs: Vec<i64>) -> sqlx::Result<()> {
    if seqs.is_empty() {
        return Ok(());
    }
    for table in ["words", "suggestions", "contents", "records"] {
        let mut sql = tx.sql();
        sql.push("DELETE FROM ").push(table).push(" WHERE seq = ANY(?)").value(seqs.clone());
        tx.execute(sql).await?;
    }
    Ok(())
}

/// The first of `count` new places in the order of writing. The writers' lock is held.
pub(crate) async fn places(tx: &mut Tx, count: usize) -> sqlx::Result<i64> {
    if count == 0 {
        return Ok(0);
    }
    let more = count as i64 - 1;
    let mut sql = tx.sql();
    sql.push("SELECT setval('records_seq', nextval('records_seq') + ").int(more).push(")");
    match tx.fetch_all(sql).await?.first() {
        Some(row) => Ok(row.int(0)? - more),
        None => Err(sqlx::Error::RowNotFound),
    }
}

/// Counts a new row in; what the row that it replaces had counted is taken back.
pub(crate) fn count(sums: &mut Sums, row: &RecordRow, source: Source, replaced: Option<&Stored>) {
    match replaced {
        None if source > Source::Charge => sums.record(row.tree, &row.entry),
        None => {
            sums.spend(Slot::of(row.tree, &row.entry), Spent::of(&row.entry));
        }
        Some(old) => {
            sums.spend(old.slot.clone(), old.spent.negated());
            if old.source == Source::Charge && source > Source::Charge {
                sums.record(row.tree, &row.entry);
            } else {
                sums.spend(Slot::of(row.tree, &row.entry), Spent::of(&row.entry));
            }
        }
    }
}

// === impl Stored ===

impl Stored {
    /// A row of charges alone as the entry that it was made of, so that another charge can be added.
    pub(crate) fn entry(&self, id: Uuid, trees: &Trees) -> Entry {
        let amount = |n: i64| n.max(0).unsigned_abs();
        let usage = UsageEntry {
            input: amount(self.spent.input),
            output: amount(self.spent.output),
            ..UsageEntry::default()
        };
        Entry {
            id,
            at: self.at,
            tree: trees.path(self.tree).to_vec(),
            status: self.status,
            error: self.error.clone(),
            postings: self.postings(),
            model: Some(Box::new(ModelEntry {
                usage: Some(usage),
                usage_estimated: true,
                cost: Some(amount(self.spent.cost)),
                ..ModelEntry::default()
            })),
            ..Entry::default()
        }
    }

    pub(crate) fn postings(&self) -> Vec<Line> {
        self.postings.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

// === impl SourcedRow ===

impl Insert for SourcedRow<'_> {
    const HEAD: &'static str = concat!("INSERT INTO records (", rows::columns!(), ", source) VALUES ");
    const COLUMNS: usize = rows::COLUMNS + 1;
    const TAIL: &'static str = "";

    fn bind(&self, to: &mut Sql) {
        rows::bind(self.0, to);
        to.value(self.1 as i64);
    }
}
