//! One batch: rows for all tables, written in one transaction.

use super::{
    content::{ContentRow, Pieces, Splitter},
    entry::{BindError, Entry, Kept, RecordRow},
    insert::{Insert, insert},
    recorder::Queued,
    sums::Sums,
    trees::TreeIds,
};
use sqlx::{Arguments as _, Connection as _, Row as _, SqliteConnection, sqlite::SqliteArguments};
use std::collections::HashSet;

/// Rows under way to the store.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    records: Vec<RecordRow>,
    contents: Vec<ContentRow>,
    pieces: Pieces,
    words: Vec<WordsRow>,
    suggestions: Vec<SuggestionRow>,
}

/// A row of the search index.
#[derive(Debug)]
struct WordsRow {
    seq: i64,
    text: String,
}

/// A row of `suggestions`.
#[derive(Debug)]
struct SuggestionRow {
    tool_use_id: String,
    seq: i64,
}

// === impl Batch ===

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds a record as it came from the request path.
    pub(crate) fn add(&mut self, seq: i64, queued: Queued, trees: &mut TreeIds, splitter: &mut Splitter) {
        let mut record = queued.record;
        let mut entry = Entry::take(&mut record);
        if queued.dropped {
            entry.kept = Kept::Dropped;
        }
        splitter.redact_words(&mut entry);
        let content = splitter.prepare(&record, &entry, &mut self.pieces);
        if let Some(mut row) = content.row {
            row.seq = seq;
            self.contents.push(row);
        }
        self.words(seq, &entry, &content.prompt.words, &content.reply.words);
        self.entry(seq, entry, trees);
        if let Some(row) = self.records.last_mut() {
            (row.prompt, row.reply) = (content.prompt.line, content.reply.line);
        }
    }

    /// Adds an entry that comes back from the spill file, without content.
    pub(crate) fn add_spilled(&mut self, seq: i64, mut entry: Entry, trees: &mut TreeIds) {
        if entry.kept == Kept::Full {
            entry.kept = Kept::Dropped;
        }
        self.words(seq, &entry, "", "");
        self.entry(seq, entry, trees);
    }

    fn entry(&mut self, seq: i64, entry: Entry, trees: &mut TreeIds) {
        for (id, _) in entry.model.iter().flat_map(|m| &m.tool_calls) {
            self.suggestions.push(SuggestionRow { tool_use_id: id.clone(), seq });
        }
        let tree = trees.id(&entry.tree);
        self.records.push(RecordRow { seq, tree, entry, prompt: None, reply: None });
    }

    fn words(&mut self, seq: i64, entry: &Entry, prompt: &str, reply: &str) {
        let tool = entry.tool.as_ref().map_or("", |t| t.tool.as_str());
        let error = entry.error.as_deref().unwrap_or("");
        let calls = entry.model.iter().flat_map(|m| m.tool_calls.iter().map(|(_, name)| name.as_str()));
        let mut text = String::new();
        for part in [prompt, reply, error, tool].into_iter().chain(calls.take(16)) {
            if !part.is_empty() {
                text.push_str(part);
                text.push('\n');
            }
        }
        if !text.is_empty() {
            self.words.push(WordsRow { seq, text });
        }
    }

    /// Writes all of it or nothing. Records that are already stored (a spill file that was replayed, but not yet removed)
    /// are left out, their money too.
    pub(crate) async fn write(
        &mut self,
        conn: &mut SqliteConnection,
        trees: &mut TreeIds,
    ) -> sqlx::Result<()> {
        let mut known = false;
        loop {
            let mut tx = conn.begin().await?;
            let written = insert(&mut tx, &self.records).await?;
            if written != self.records.len() as u64 && !known {
                tx.rollback().await?;
                self.drop_stored(conn).await?;
                known = true;
                continue;
            }
            insert(&mut tx, trees.fresh()).await?;
            insert(&mut tx, &self.contents).await?;
            insert(&mut tx, &self.pieces.blocks).await?;
            insert(&mut tx, &self.pieces.nodes).await?;
            insert(&mut tx, &self.words).await?;
            insert(&mut tx, &self.suggestions).await?;
            Sums::of(&self.records).write(&mut tx).await?;
            tx.commit().await?;
            trees.committed();
            return Ok(());
        }
    }

    /// Leaves out records whose ids are stored, or come twice in the batch.
    async fn drop_stored(&mut self, conn: &mut SqliteConnection) -> sqlx::Result<()> {
        let mut seen = HashSet::new();
        for row in &self.records {
            let id = row.entry.id;
            let stored = sqlx::query("SELECT 1 FROM records WHERE id = ?").bind(&id.as_bytes()[..]);
            if let Some(row) = stored.fetch_optional(&mut *conn).await? {
                let _: i64 = row.try_get(0)?;
                seen.insert(id);
            }
        }
        self.records.retain(|row| seen.insert(row.entry.id));
        let left: HashSet<i64> = self.records.iter().map(|row| row.seq).collect();
        self.contents.retain(|row| left.contains(&row.seq));
        self.words.retain(|row| left.contains(&row.seq));
        self.suggestions.retain(|row| left.contains(&row.seq));
        Ok(())
    }

    /// What of it can be spilled, when it cannot be written.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.records.into_iter().map(|row| row.entry)
    }
}

// === Rows ===

impl Insert for WordsRow {
    const HEAD: &'static str = "INSERT INTO words (rowid, text) VALUES ";
    const COLUMNS: usize = 2;
    const TAIL: &'static str = "";

    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError> {
        args.add(self.seq)?;
        args.add(&*self.text)
    }
}

impl Insert for SuggestionRow {
    const HEAD: &'static str = "INSERT INTO suggestions (tool_use_id, seq) VALUES ";
    const COLUMNS: usize = 2;
    const TAIL: &'static str = " ON CONFLICT DO NOTHING";

    fn bind(&self, args: &mut SqliteArguments) -> Result<(), BindError> {
        args.add(&*self.tool_use_id)?;
        args.add(self.seq)
    }
}
