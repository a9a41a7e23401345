//! A record without its content: one row of the store, and one line of the spill file.

use super::record::{ModelRecord, Record, RecordKind, ToolRecord};
use crate::model::key::Content;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};
use tollgate_ledger::{
    budget::{Limit, Window},
    charge::{Counter, Posting},
};
use uuid::Uuid;

type Text = Cow<'static, str>;

/// All of a record but its content: what billing and the list need. Bounded: long words are cut.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) at: i64,
    pub(crate) expires: i64,
    /// 0 model request, 1 tool call.
    pub(crate) kind: u8,
    pub(crate) tree: Vec<Arc<str>>,
    pub(crate) status: u16,
    pub(crate) error: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) total_us: u64,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) gateway_us: u64,
    pub(crate) kept: Kept,
    pub(crate) metadata: Option<String>,
    pub(crate) postings: Vec<Line>,
    pub(crate) model: Option<Box<ModelEntry>>,
    pub(crate) tool: Option<Box<ToolEntry>>,
}

/// The columns of a model request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ModelEntry {
    pub(crate) api: Text,
    pub(crate) stream: bool,
    pub(crate) model_asked: String,
    pub(crate) model: Option<String>,
    pub(crate) answer_model: Option<String>,
    pub(crate) answer_id: Option<String>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) backend: Option<String>,
    pub(crate) provider: Option<Text>,
    pub(crate) stop: Option<String>,
    pub(crate) usage: Option<UsageEntry>,
    pub(crate) usage_estimated: bool,
    pub(crate) cost: Option<u64>,
    pub(crate) overrun: u64,
    pub(crate) output_cap: Option<u64>,
    pub(crate) attempts: Option<String>,
    pub(crate) degradations: Option<String>,
    /// Suggested calls: id and name.
    pub(crate) tool_calls: Vec<(String, String)>,
}

/// Tokens by kind (`tollgate_translate::Usage`, which knows no serde).
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UsageEntry {
    pub(crate) input: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) cache_write_1h: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
    pub(crate) web_searches: u64,
}

/// The columns of a tool call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ToolEntry {
    pub(crate) server: Option<Arc<str>>,
    pub(crate) tool: String,
    pub(crate) found: bool,
    pub(crate) method: String,
    pub(crate) is_error: bool,
    pub(crate) tool_use_id: Option<String>,
    pub(crate) suggested: Option<bool>,
}

/// What of the content is kept with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kept {
    /// Not even metadata.
    None = 0,
    /// No content, by policy.
    #[default]
    Metadata = 1,
    /// The content is there.
    Full = 2,
    /// The policy keeps it, but the writer could not keep up.
    Dropped = 3,
}

/// A posting as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) budget: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) unit: Unit,
    pub(crate) limit: u64,
    pub(crate) amount: u64,
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Unit {
    /// Nano-USD.
    NanoUsd = 0,
    /// Tokens.
    Tokens = 1,
}

/// The longest error, user agent and other single words that are kept, in bytes.
const WORDS_MAX: usize = 2048;
/// The most entries of a list (attempts, degradations, tool calls, metadata) that are kept.
const LIST_MAX: usize = 256;

// === impl Entry ===

impl Entry {
    /// Splits the content-free part off a record. Moves what it can.
    pub(crate) fn take(record: &mut Record) -> Self {
        let none = record.content == Content::None;
        let mut entry = Entry {
            id: record.id,
            at: record.at,
            expires: record.at.saturating_add_unsigned(record.retention_s.saturating_mul(1000)),
            tree: tree(record),
            status: record.status,
            total_us: record.latency.total,
            first_byte_us: record.latency.first_byte,
            gateway_us: record.latency.gateway,
            kept: Kept::from(record.content),
            postings: record.postings.drain(..).map(Line::from).collect(),
            ..Entry::default()
        };
        if !none {
            entry.error = record.error.take().map(cut);
            entry.session = record.session.take().map(cut);
            entry.user_agent = record.user_agent.take().map(cut);
            entry.trace_id = record.trace_id.take().map(cut);
            entry.metadata = pairs(&record.metadata);
        }
        match &mut record.kind {
            RecordKind::Model(model) => entry.model = Some(Box::new(ModelEntry::take(model, none))),
            RecordKind::Tool(tool) => {
                entry.kind = 1;
                entry.tool = Some(Box::new(ToolEntry::take(tool, none)));
            }
        }
        entry
    }

    /// What sums are kept by: the model, or server and tool. Names that only a client knows make no sum of their own: there is no
    /// end of them, and sums are kept for a year.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match (&self.model, &self.tool) {
            (Some(model), _) => self.model_name(model),
            (_, Some(tool)) => match &tool.server {
                Some(server) => format!("{server}:{}", if tool.found { &tool.tool } else { "" }).into(),
                None => "".into(),
            },
            _ => "".into(),
        }
    }

    /// The model; of a request that an upstream refused, and that used nothing, the route alone: `route/*`.
    fn model_name<'a>(&self, model: &'a ModelEntry) -> Cow<'a, str> {
        let name = model.model.as_deref().unwrap_or("");
        match name.split_once('/') {
            Some((route, _)) if model.usage.is_none() && matches!(self.status, 400..=404) => {
                format!("{route}/*").into()
            }
            _ => name.into(),
        }
    }
}

/// The path of keys; just the key when the request path gave no tree.
fn tree(record: &mut Record) -> Vec<Arc<str>> {
    let tree = std::mem::take(&mut record.tree);
    if tree.is_empty() && !record.key.is_empty() { vec![record.key.clone()] } else { tree }
}

/// Cuts a text to [`WORDS_MAX`] bytes at a character's start.
fn cut(mut text: String) -> String {
    if text.len() > WORDS_MAX {
        text.truncate(super::preview::floor_char(&text, WORDS_MAX));
        text.push('…');
    }
    text
}

/// A list of pairs as a JSON object's text; `None` when empty.
fn pairs(list: &[(String, String)]) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    let map: serde_json::Map<String, serde_json::Value> =
        list.iter().take(LIST_MAX).map(|(k, v)| (k.clone(), cut(v.clone()).into())).collect();
    serde_json::to_string(&map).ok()
}

/// A list as a JSON array's text; `None` when empty.
pub(super) fn array<T: Serialize>(list: impl ExactSizeIterator<Item = T>) -> Option<String> {
    if list.len() == 0 {
        return None;
    }
    serde_json::to_string(&list.take(LIST_MAX).collect::<Vec<_>>()).ok()
}

// === impl ModelEntry ===

impl ModelEntry {
    fn take(m: &mut ModelRecord, none: bool) -> Self {
        let usage = m.usage.map(|u| UsageEntry {
            input: u.input,
            cache_read: u.cache_read,
            cache_write: u.cache_write,
            cache_write_1h: u.cache_write_1h,
            output: u.output,
            reasoning: u.reasoning,
            web_searches: u.web_searches,
        });
        let mut entry = ModelEntry {
            api: m.api.into(),
            stream: m.stream,
            model_asked: cut(std::mem::take(&mut m.model_asked)),
            model: m.model.take().map(cut),
            route: m.route.take(),
            backend: m.backend.take(),
            provider: m.provider.map(Cow::Borrowed),
            usage,
            usage_estimated: m.usage_estimated,
            cost: m.cost,
            overrun: m.overrun,
            output_cap: m.output_cap,
            attempts: array(m.attempts.iter()),
            ..ModelEntry::default()
        };
        if !none {
            entry.answer_model = m.answer.model.take().map(cut);
            entry.answer_id = m.answer.id.take().map(cut);
            entry.stop = m.answer.stop.take().map(cut);
            entry.degradations = array(m.degradations.iter().map(|d| (&d.field, &d.what)));
            let calls = m.answer.tool_calls.iter().take(LIST_MAX);
            entry.tool_calls = calls.map(|c| (cut(c.id.clone()), cut(c.name.clone()))).collect();
        }
        entry
    }
}

// === impl ToolEntry ===

impl ToolEntry {
    fn take(t: &mut ToolRecord, none: bool) -> Self {
        ToolEntry {
            server: t.server.take(),
            tool: cut(std::mem::take(&mut t.tool)),
            found: t.found,
            method: cut(std::mem::take(&mut t.method)),
            is_error: t.is_error,
            tool_use_id: t.tool_use_id.take().filter(|_| !none).map(cut),
            suggested: t.suggested,
        }
    }
}

// === impl Kept ===

impl From<Content> for Kept {
    fn from(content: Content) -> Self {
        match content {
            Content::None => Kept::None,
            Content::Metadata => Kept::Metadata,
            Content::Full => Kept::Full,
        }
    }
}

impl Kept {
    /// From its column.
    pub(crate) fn from_column(value: i64) -> Self {
        match value {
            0 => Kept::None,
            2 => Kept::Full,
            3 => Kept::Dropped,
            _ => Kept::Metadata,
        }
    }
}

/// The databases' integers are signed: amounts beyond them stop at the largest.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

// === impl Line ===

impl From<Posting> for Line {
    fn from(posting: Posting) -> Self {
        let (unit, limit) = match posting.counter.limit {
            Limit::NanoUsd(limit) => (Unit::NanoUsd, limit),
            Limit::Tokens(limit) => (Unit::Tokens, limit),
        };
        let Counter { key, budget, window, .. } = posting.counter;
        Line { key, budget, start: window.start, end: window.end, unit, limit, amount: posting.amount }
    }
}

impl From<Line> for Posting {
    fn from(line: Line) -> Self {
        let limit = match line.unit {
            Unit::NanoUsd => Limit::NanoUsd(line.limit),
            Unit::Tokens => Limit::Tokens(line.limit),
        };
        let window = Window { start: line.start, end: line.end };
        Posting {
            counter: Counter { key: line.key, budget: line.budget, window, limit },
            amount: line.amount,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(server: Option<&str>, found: bool) -> Entry {
        let tool =
            ToolEntry { server: server.map(Arc::from), tool: "any".into(), found, ..ToolEntry::default() };
        Entry { kind: 1, tool: Some(Box::new(tool)), ..Entry::default() }
    }

    fn model(status: u16, usage: Option<UsageEntry>) -> Entry {
        let model = ModelEntry { model: Some("llm/any/thing".into()), usage, ..ModelEntry::default() };
        Entry { status, model: Some(Box::new(model)), ..Entry::default() }
    }

    #[test]
    fn names_that_only_a_client_knows_make_no_sum() {
        assert_eq!(tool(Some("n/db"), true).name(), "n/db:any");
        assert_eq!(tool(Some("n/db"), false).name(), "n/db:", "its server could not be asked");
        assert_eq!(tool(None, false).name(), "");
        assert_eq!(model(404, None).name(), "llm/*");
        assert_eq!(model(400, None).name(), "llm/*");
        assert_eq!(model(404, Some(UsageEntry::default())).name(), "llm/any/thing");
        assert_eq!(model(529, None).name(), "llm/any/thing");
        assert_eq!(model(200, None).name(), "llm/any/thing");
    }
}
