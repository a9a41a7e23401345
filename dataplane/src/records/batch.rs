//! One batch: rows for all tables, written in one transaction.

use super::{
    content::{ContentRow, Pieces, Splitter},
    db::Sql,
    entry::{Entry, Kept},
    insert::Insert,
    recorder::Queued,
    rows::RecordRow,
    trees::Path,
};
use std::collections::{HashMap, HashSet};

/// Rows under way to the store. What the database gives (the order of writing, ids of paths) they get when they are
/// written: a batch may be tried more than once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<RecordRow>,
    pub(crate) contents: Vec<ContentRow>,
    pub(crate) pieces: Pieces,
    pub(crate) words: Vec<WordsRow>,
    pub(crate) suggestions: Vec<SuggestionRow>,
    paths: Vec<Path>,
    places: HashMap<Path, usize>,
}

/// A row of the search index.
#[derive(Debug)]
pub(crate) struct WordsRow {
    at: usize,
    pub(crate) seq: i64,
    pub(crate) text: String,
}

/// A row of `suggestions`.
#[derive(Debug)]
pub(crate) struct SuggestionRow {
    at: usize,
    seq: i64,
    tool_use_id: String,
}

// === impl Batch ===

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds a record as it came from the request path.
    pub(crate) fn add(&mut self, queued: Queued, splitter: &mut Splitter) {
        let mut record = queued.record;
        let mut entry = Entry::take(&mut record);
        if queued.dropped {
            entry.kept = Kept::Dropped;
        }
        splitter.redact_words(&mut entry);
        let content = splitter.prepare(&record, &entry, &mut self.pieces);
        if let Some(mut row) = content.row {
            row.at = self.len();
            self.contents.push(row);
        }
        self.words(&entry, &content.prompt.words, &content.reply.words);
        self.entry(entry);
        if let Some(row) = self.records.last_mut() {
            (row.prompt, row.reply) = (content.prompt.line, content.reply.line);
        }
    }

    /// Adds an entry without content: it comes back from the spill file, or out of the billing stream.
    pub(crate) fn add_bare(&mut self, mut entry: Entry) {
        if entry.kept == Kept::Full {
            entry.kept = Kept::Dropped;
        }
        self.words(&entry, "", "");
        self.entry(entry);
    }

    fn entry(&mut self, entry: Entry) {
        let at = self.len();
        for (id, _) in entry.model.iter().flat_map(|m| &m.tool_calls) {
            self.suggestions.push(SuggestionRow { at, seq: 0, tool_use_id: id.clone() });
        }
        let path = self.path(&entry);
        self.records.push(RecordRow { at, path, seq: 0, tree: 0, entry, prompt: None, reply: None });
    }

    fn path(&mut self, entry: &Entry) -> usize {
        if let Some(place) = self.places.get(entry.tree.as_slice()) {
            return *place;
        }
        let path = Path::from(entry.tree.as_slice());
        self.paths.push(path.clone());
        self.places.insert(path, self.paths.len() - 1);
        self.paths.len() - 1
    }

    fn words(&mut self, entry: &Entry, prompt: &str, reply: &str) {
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
            self.words.push(WordsRow { at: self.len(), seq: 0, text });
        }
    }

    /// The paths whose ids [`Batch::place`] wants.
    pub(crate) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Gives all rows their ids of paths and their places in the order of writing.
    pub(crate) fn place(&mut self, trees: &[i64], seq: impl Fn(usize) -> i64) {
        for row in &mut self.records {
            (row.tree, row.seq) = (trees.get(row.path).copied().unwrap_or(0), seq(row.at));
        }
        self.contents.iter_mut().for_each(|row| row.seq = seq(row.at));
        self.words.iter_mut().for_each(|row| row.seq = seq(row.at));
        self.suggestions.iter_mut().for_each(|row| row.seq = seq(row.at));
    }

    /// Leaves out records that `keep` does not want, with all that is theirs.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&RecordRow) -> bool) {
        let before = self.records.len();
        let mut keep = keep;
        self.records.retain(|row| keep(row));
        if self.records.len() == before {
            return;
        }
        let left: HashSet<usize> = self.records.iter().map(|row| row.at).collect();
        self.contents.retain(|row| left.contains(&row.at));
        self.words.retain(|row| left.contains(&row.at));
        self.suggestions.retain(|row| left.contains(&row.at));
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

    fn bind(&self, to: &mut Sql) {
        to.value(self.seq).value(&*self.text);
    }
}

impl Insert for SuggestionRow {
    const HEAD: &'static str = "INSERT INTO suggestions (tool_use_id, seq) VALUES ";
    const COLUMNS: usize = 2;
    const TAIL: &'static str = " ON CONFLICT DO NOTHING";

    fn bind(&self, to: &mut Sql) {
        to.value(&*self.tool_use_id).value(self.seq);
    }
}
