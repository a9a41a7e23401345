//! Lists of records.

use super::{
    Store,
    filter::{Cursor, Filter},
};
use crate::records::{db::Row, entry::Kept, viewer::Viewer};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// One record as a list shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The request's id.
    pub id: Uuid,
    /// The order of writing: what live views follow.
    pub seq: i64,
    /// When it came in, Unix milliseconds.
    pub at: i64,
    /// `model` or `tool`.
    pub kind: &'static str,
    /// The key's path, the key itself first; empty when none was identified.
    pub tree: Arc<[Arc<str>]>,
    /// Status sent to the client; 499 when the client went away.
    pub status: u16,
    /// Why it failed.
    pub error: Option<String>,
    /// The client's session.
    pub session: Option<String>,
    /// Microseconds in all.
    pub total_us: u64,
    /// Microseconds until the upstream's first byte.
    pub first_byte_us: Option<u64>,
    /// Microseconds in the gateway before the request left.
    pub gateway_us: u64,
    /// What of the content is kept.
    pub content: Kept,
    /// The client's API.
    pub api: Option<String>,
    /// Streamed.
    pub stream: bool,
    /// The model as the client named it.
    pub model_asked: Option<String>,
    /// `route/model` it resolved to.
    pub model: Option<String>,
    /// The provider's kind.
    pub provider: Option<String>,
    /// Why the answer ended.
    pub stop: Option<String>,
    /// Tokens, when known.
    pub tokens: Option<Tokens>,
    /// The tokens were estimated.
    pub usage_estimated: bool,
    /// Nano-USD; absent when the model has no price.
    pub cost: Option<u64>,
    /// The MCP server.
    pub server: Option<String>,
    /// The tool's name as the client called it.
    pub tool: Option<String>,
    /// The tool's result was an error.
    pub is_error: bool,
    /// The answer's tool call that led to this call.
    pub tool_use_id: Option<String>,
    /// The beginning of the newest user message, or of the arguments.
    pub prompt: Option<String>,
    /// The beginning of the answer, or of the result.
    pub reply: Option<String>,
}

/// Tokens by kind; kinds are exclusive.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Tokens {
    /// Input, not from or to a cache.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written to the 5-minute cache.
    pub cache_write: u64,
    /// Written to the 1-hour cache.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// The reasoning part of the output.
    pub reasoning: u64,
    /// Web searches.
    pub web_searches: u64,
}

/// A page of a list, the newest first.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Listed>,
    /// Where the next page begins; absent on the last.
    pub next: Option<Cursor>,
}

/// The columns of [`Listed`], in the order that [`Listed::read`] takes them.
pub(super) const COLUMNS: &str = "seq, id, at, kind, tree, status, error, session, total_us, first_byte_us, \
    gateway_us, content, api, stream, model_asked, model, provider, stop, input, cache_read, cache_write, \
    cache_write_1h, output, reasoning, web_searches, usage_estimated, cost, server, tool, is_error, tool_use_id, \
    prompt, reply";
/// Which of them is the path.
const TREE: usize = 4;
/// How many they are: more columns of a query come after.
pub(super) const COLUMN_COUNT: usize = 33;

/// The most records of a page.
pub(crate) const PAGE_MAX: usize = 500;

// === impl Store ===

impl Store {
    /// A page of the records that `viewer` sees and `filter` picks, below `cursor`.
    pub async fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> sqlx::Result<Page> {
        let scope = self.scope(viewer, filter.key.as_deref()).await?;
        if *viewer == Viewer::Nobody || scope.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Page::default());
        }
        let limit = limit.clamp(1, PAGE_MAX);
        let sql = filter.sql(self.pool.sql(), COLUMNS, &scope, cursor, limit + 1);
        let rows = self.pool.fetch_all(sql).await?;
        let mut records = self.all_listed(&rows).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|last| Cursor { at: last.at, seq: last.seq });
        Ok(Page { records, next })
    }

    /// Records written after `seq`, the oldest first: what a live view adds. At most `limit`; the filter's period and
    /// text hold too.
    pub async fn after(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        seq: i64,
        limit: usize,
    ) -> sqlx::Result<Vec<Listed>> {
        // Up to here all paths are known below: a record of a path that appears meanwhile is for the next call, or its key's
        // owner would never see it.
        let newest = self.newest().await?;
        let scope = self.scope(viewer, filter.key.as_deref()).await?;
        if *viewer == Viewer::Nobody || scope.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let mut sql = self.pool.sql();
        filter.after_sql(&mut sql, COLUMNS, &scope, seq);
        sql.bind(" AND seq <= ?", newest);
        sql.push(" ORDER BY seq LIMIT ").int(limit.clamp(1, PAGE_MAX) as i64);
        let rows = self.pool.fetch_all(sql).await?;
        self.all_listed(&rows).await
    }

    /// The `seq` of the newest record: where a live view begins.
    pub async fn newest(&self) -> sqlx::Result<i64> {
        let mut sql = self.pool.sql();
        sql.push("SELECT COALESCE(MAX(seq), 0) FROM records");
        self.pool.fetch_optional(sql).await?.map_or(Ok(0), |row| row.int(0))
    }

    /// Names to offer for filters: keys (all on the paths that the viewer sees) and models of the last `hours`.
    pub async fn names(
        &self,
        viewer: &Viewer,
        since_hour: i64,
    ) -> sqlx::Result<(Vec<Arc<str>>, Vec<String>)> {
        let scope = self.scope(viewer, None).await?;
        if *viewer == Viewer::Nobody || scope.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Default::default());
        }
        let mut sql = self.pool.sql();
        sql.bind("SELECT DISTINCT name FROM spend WHERE kind = 0 AND name != '' AND hour >= ?", since_hour);
        sql.scope("tree", &scope).push(" ORDER BY name LIMIT 500");
        let rows = self.pool.fetch_all(sql).await?;
        let models = rows.iter().map(|row| row.text(0)).collect::<sqlx::Result<_>>()?;
        Ok((self.trees.keys(viewer), models))
    }

    async fn all_listed(&self, rows: &[Row]) -> sqlx::Result<Vec<Listed>> {
        for row in rows {
            if !self.trees.knows(row.int(TREE)?) {
                self.refresh().await?;
                break;
            }
        }
        rows.iter().map(|row| self.listed(row)).collect()
    }

    pub(super) fn listed(&self, row: &Row) -> sqlx::Result<Listed> {
        Listed::read(row, |tree| self.trees.path(tree))
    }
}

// === impl Listed ===

impl Listed {
    /// The key; empty when none was identified.
    pub fn key(&self) -> &str {
        self.tree.first().map_or("", |key| key)
    }

    fn read(row: &Row, path: impl Fn(i64) -> Arc<[Arc<str>]>) -> sqlx::Result<Self> {
        let r = &mut Columns { row, at: 0 };
        Ok(Listed {
            seq: r.int()?,
            id: r.id()?,
            at: r.int()?,
            kind: if r.int()? == 1 { "tool" } else { "model" },
            tree: path(r.int()?),
            status: r.uint()?.try_into().unwrap_or(0),
            error: r.text()?,
            session: r.text()?,
            total_us: r.uint()?,
            first_byte_us: r.maybe_uint()?,
            gateway_us: r.uint()?,
            content: Kept::from_column(r.int()?),
            api: r.text()?,
            stream: r.int()? == 1,
            model_asked: r.text()?,
            model: r.text()?,
            provider: r.text()?,
            stop: r.text()?,
            tokens: Tokens::read(r)?,
            usage_estimated: r.int()? == 1,
            cost: r.maybe_uint()?,
            server: r.text()?,
            tool: r.text()?,
            is_error: r.int()? == 1,
            tool_use_id: r.text()?,
            prompt: r.text()?,
            reply: r.text()?,
        })
    }
}

impl Tokens {
    fn read(r: &mut Columns<'_>) -> sqlx::Result<Option<Self>> {
        let known = r.row.maybe_int(r.at)?.is_some();
        let tokens = Tokens {
            input: r.uint()?,
            cache_read: r.uint()?,
            cache_write: r.uint()?,
            cache_write_1h: r.uint()?,
            output: r.uint()?,
            reasoning: r.uint()?,
            web_searches: r.uint()?,
        };
        Ok(known.then_some(tokens))
    }

    /// All input tokens.
    pub fn total_input(&self) -> u64 {
        self.input + self.cache_read + self.cache_write + self.cache_write_1h
    }
}

/// Reads columns one after the other.
pub(super) struct Columns<'a> {
    pub(super) row: &'a Row,
    pub(super) at: usize,
}

impl Columns<'_> {
    fn next(&mut self) -> usize {
        self.at += 1;
        self.at - 1
    }

    pub(super) fn int(&mut self) -> sqlx::Result<i64> {
        let at = self.next();
        self.row.int(at)
    }

    /// An amount; NULL is 0.
    pub(super) fn uint(&mut self) -> sqlx::Result<u64> {
        Ok(self.int()?.unsigned_abs())
    }

    pub(super) fn maybe_int(&mut self) -> sqlx::Result<Option<i64>> {
        let at = self.next();
        self.row.maybe_int(at)
    }

    pub(super) fn maybe_uint(&mut self) -> sqlx::Result<Option<u64>> {
        Ok(self.maybe_int()?.map(i64::unsigned_abs))
    }

    pub(super) fn text(&mut self) -> sqlx::Result<Option<String>> {
        let at = self.next();
        self.row.maybe_text(at)
    }

    fn id(&mut self) -> sqlx::Result<Uuid> {
        let at = self.next();
        self.row.id(at)
    }
}
