//! What the ledger's stream tells, written exactly once: each entry has its own key, so that one that is read twice (the
//! drainer died between writing and deleting it, or two drain at once) changes nothing the second time.

use super::{
    lock,
    stored::{self, Source, SourcedRow, Stored},
    uuids,
    write::lexemes,
};
use crate::records::{
    batch::Batch,
    db::{Pool, Sql, Tx},
    entry::{Entry, Kept, Line, ModelEntry, UsageEntry, array, int},
    insert::{Insert, insert},
    sums::Sums,
    trees::Trees,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tollgate_ledger::charge::Actual;
use uuid::Uuid;

/// How a charge came about. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum How {
    /// A hold was settled.
    Settled = 0,
    /// Its gateway died: it was charged what it had used so far.
    Died = 1,
    /// It was settled after that: the difference.
    Late = 2,
    /// A budget was reset.
    Reset = 3,
}

/// An entry of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Charged {
    pub(crate) root: Arc<str>,
    /// Its place in the root's stream, `MS-N`.
    pub(crate) position: String,
    pub(crate) reservation: Uuid,
    /// The record's id.
    pub(crate) request: Uuid,
    pub(crate) how: How,
    pub(crate) used: Actual,
    pub(crate) postings: Vec<Line>,
    pub(crate) taken_back: Vec<Line>,
    /// The path of the key, where the entry has no record that tells.
    pub(crate) levels: Vec<Arc<str>>,
    /// The billing record, decoded.
    pub(crate) record: Option<Entry>,
}

/// How long a record is kept of which only the charge is known.
const BARE_MS: i64 = 400 * 86_400_000;

/// Writes entries; how many of them were new.
pub(crate) async fn write(pool: &Pool, trees: &Trees, entries: &[Charged]) -> sqlx::Result<usize> {
    let mut tx = pool.begin().await?;
    lock::wait(&mut tx, lock::WRITERS).await?;
    let fresh = fresh(&mut tx, entries).await?;
    if fresh.is_empty() {
        return Ok(0);
    }
    let rows: Vec<ChargeRow<'_>> = fresh.iter().map(|charged| ChargeRow(charged)).collect();
    insert(&mut tx, &rows).await?;
    let mut sums = Sums::default();
    for charged in &fresh {
        charged.postings.iter().for_each(|line| sums.post(line, &charged.root, false));
        charged.taken_back.iter().for_each(|line| sums.post(line, &charged.root, true));
    }
    let known = stored::stored(&mut tx, fresh.iter().map(|charged| charged.request)).await?;
    if known.values().any(|stored| stored.source == Source::Charge && !trees.knows(stored.tree)) {
        trees.refresh_in(&mut tx).await?;
    }
    let fresh_trees = records(&mut tx, trees, &fresh, &known, &mut sums).await?;
    sums.write(&mut tx).await?;
    tx.commit().await?;
    trees.committed(fresh_trees);
    Ok(fresh.len())
}

/// The entries that are not stored yet, each once.
async fn fresh<'a>(tx: &mut Tx, entries: &'a [Charged]) -> sqlx::Result<Vec<&'a Charged>> {
    let mut sql = tx.sql();
    sql.push("SELECT reservation, how FROM charges WHERE reservation = ANY(CAST(? AS uuid[]))");
    sql.value(uuids(entries.iter().map(|charged| charged.reservation)));
    let mut seen = HashSet::new();
    for row in tx.fetch_all(sql).await? {
        seen.insert((row.id(0)?, row.int(1)?));
    }
    Ok(entries.iter().filter(|charged| seen.insert((charged.reservation, charged.how as i64))).collect())
}

/// What of the requests' records these charges make known.
async fn records(
    tx: &mut Tx,
    trees: &Trees,
    fresh: &[&Charged],
    known: &HashMap<Uuid, Stored>,
    sums: &mut Sums,
) -> sqlx::Result<crate::records::trees::Fresh> {
    let mut better: BTreeMap<Uuid, (Source, Entry)> = BTreeMap::new();
    for charged in fresh.iter().filter(|charged| charged.how != How::Reset) {
        let stored = known.get(&charged.request);
        if stored.is_none_or(|stored| stored.source < Source::Full) {
            let now = better.remove(&charged.request);
            if let Some(next) = charged.improve(now, stored, trees) {
                better.insert(charged.request, next);
            }
        }
    }
    let mut batch = Batch::default();
    let mut sources = Vec::with_capacity(better.len());
    for (source, entry) in better.into_values() {
        sources.push(source);
        batch.add_bare(entry);
    }
    let replaced: Vec<i64> =
        batch.records.iter().filter_map(|row| Some(known.get(&row.entry.id)?.seq)).collect();
    let mut next = stored::places(tx, batch.records.len() - replaced.len()).await?;
    let mut seqs = Vec::with_capacity(batch.records.len());
    for row in &batch.records {
        seqs.push(known.get(&row.entry.id).map_or_else(
            || {
                next += 1;
                next - 1
            },
            |stored| stored.seq,
        ));
    }
    stored::remove(tx, replaced).await?;
    let (ids, fresh) = trees.ids(tx, batch.paths()).await?;
    batch.place(&ids, |at| seqs.get(at).copied().unwrap_or(0));
    let rows: Vec<_> =
        batch.records.iter().zip(&sources).map(|(row, source)| SourcedRow(row, *source)).collect();
    insert(tx, &rows).await?;
    insert(tx, &lexemes(&batch.words)).await?;
    for (row, source) in batch.records.iter().zip(&sources) {
        stored::count(sums, row, *source, known.get(&row.entry.id));
    }
    Ok(fresh)
}

// === impl Charged ===

impl Charged {
    /// The record as it is known with this charge, if it is better known than before. `now`: from charges of this batch;
    /// `stored`: not in full.
    fn improve(
        &self,
        now: Option<(Source, Entry)>,
        stored: Option<&Stored>,
        trees: &Trees,
    ) -> Option<(Source, Entry)> {
        let before = now.as_ref().map_or_else(
            || stored.map(Stored::postings).unwrap_or_default(),
            |(_, entry)| entry.postings.clone(),
        );
        let postings = merged(before, &self.postings);
        let known = now.as_ref().map(|(source, _)| *source).or(stored.map(|stored| stored.source));
        match (&self.record, now) {
            (Some(record), None) if known == Some(Source::Billing) => {
                tracing::debug!(request = %record.id, "a second billing record of one request");
                None
            }
            (Some(record), _) => {
                Some((Source::Billing, Entry { id: self.request, postings, ..record.clone() }))
            }
            // The billing record has the whole amounts already.
            (None, Some((Source::Billing, entry))) => Some((Source::Billing, Entry { postings, ..entry })),
            (None, None) if known == Some(Source::Billing) => None,
            (None, now) => {
                let entry = now.map(|(_, entry)| entry);
                let entry = entry.or_else(|| Some(stored?.entry(self.request, trees)));
                let entry = entry.unwrap_or_else(|| self.bare());
                Some((Source::Charge, self.added(Entry { postings, ..entry })))
            }
        }
    }

    /// A record that says only whose charge it is.
    fn bare(&self) -> Entry {
        let at = self.at();
        let tree = if self.levels.is_empty() { self.keys() } else { self.levels.clone() };
        Entry {
            id: self.request,
            at,
            expires: at.saturating_add(BARE_MS),
            tree,
            kept: Kept::Metadata,
            model: Some(Box::default()),
            ..Entry::default()
        }
    }

    /// Adds what this charge used.
    fn added(&self, mut entry: Entry) -> Entry {
        let words = match self.how {
            How::Died => "its gateway ended without a settle; charged what it had used",
            _ => "an attempt that may have been billed was charged; the request's own record has not come",
        };
        entry.status = 500;
        entry.error = Some(format!("request {}: {words}", self.request));
        entry.expires = entry.at.saturating_add(BARE_MS);
        let before = entry.model.take().map(|model| *model).unwrap_or_default();
        let usage = before.usage.unwrap_or_default();
        let usage = UsageEntry {
            input: usage.input.saturating_add(self.used.input_tokens),
            output: usage.output.saturating_add(self.used.output_tokens),
            ..usage
        };
        let cost = before.cost.unwrap_or(0).saturating_add(self.used.cost);
        let model = ModelEntry { usage: Some(usage), usage_estimated: true, cost: Some(cost), ..before };
        entry.model = Some(Box::new(model));
        entry
    }

    /// The keys that were charged, and the root: all that is known of the path.
    fn keys(&self) -> Vec<Arc<str>> {
        let mut keys: Vec<Arc<str>> = Vec::new();
        for line in &self.postings {
            if !keys.iter().any(|key| **key == *line.key) {
                keys.push(Arc::from(line.key.as_str()));
            }
        }
        if keys.last() != Some(&self.root) {
            keys.push(self.root.clone());
        }
        keys
    }

    /// When it was charged, by the stream, Unix milliseconds.
    pub(crate) fn at(&self) -> i64 {
        self.position.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0)
    }
}

/// Sums of postings by counter.
fn merged(mut lines: Vec<Line>, more: &[Line]) -> Vec<Line> {
    for line in more {
        let same = |known: &&mut Line| {
            (&known.key, &known.budget, known.start, known.end, known.unit)
                == (&line.key, &line.budget, line.start, line.end, line.unit)
        };
        match lines.iter_mut().find(same) {
            Some(known) => known.amount = known.amount.saturating_add(line.amount),
            None => lines.push(line.clone()),
        }
    }
    lines
}

// === Rows ===

struct ChargeRow<'a>(&'a Charged);

impl Insert for ChargeRow<'_> {
    const HEAD: &'static str = "INSERT INTO charges (at, cost, input, output, reservation, request, how, root, \
        position, postings) VALUES ";
    const COLUMNS: usize = 10;
    const TAIL: &'static str = "";

    fn bind(&self, to: &mut Sql) {
        let Charged { used, .. } = self.0;
        to.value(self.0.at())
            .value(int(used.cost))
            .value(int(used.input_tokens))
            .value(int(used.output_tokens));
        to.value(self.0.reservation).value(self.0.request).value(self.0.how as i64);
        to.value(&*self.0.root).value(&*self.0.position);
        let lines = if self.0.how == How::Reset { &self.0.taken_back } else { &self.0.postings };
        to.value(array(lines.iter()).unwrap_or_else(|| "[]".to_owned()));
    }
}
