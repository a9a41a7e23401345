//! Turns a record's content into rows: blocks and nodes that are new, and the small rest. Runs on the writer's side.

use super::{
    db::Sql,
    entry::{Entry, Kept},
    insert::Insert,
    preview::{self, Said},
    record::{ModelRecord, Record, RecordKind, ToolRecord},
    redact::Redact,
    split::{Id, Parts, block_id, bounded, node_id, pack, without_cache_marks},
};
use serde_json::{Value, json};
use std::{borrow::Cow, collections::HashMap};
use tollgate_translate::answer::{Block, Summary};

/// A request of at most this many bytes is stored as it is: blocks would cost more than they save.
const INLINE_MAX: usize = 1024;
/// The most bytes of an unreadable request, or of a tool's arguments or result, that are kept.
const RAW_MAX: usize = 256 << 10;
/// Ids remembered per generation of [`Known`].
const KNOWN_MAX: usize = 1 << 16;

/// A row of `contents`.
#[derive(Debug, Default)]
pub(crate) struct ContentRow {
    /// Its record's place in the batch.
    pub(crate) at: usize,
    /// Given when it is written.
    pub(crate) seq: i64,
    request: Option<Vec<u8>>,
    answer: Option<Vec<u8>>,
    tools: Option<Vec<u8>>,
    system: Option<Vec<u8>>,
    thread: Option<Vec<u8>>,
}

/// A row of `blocks`.
#[derive(Debug)]
pub(crate) struct BlockRow {
    pub(crate) id: Id,
    size: i64,
    body: Vec<u8>,
    pub(crate) keep_until: i64,
}

/// A row of `nodes`.
#[derive(Debug)]
pub(crate) struct NodeRow {
    pub(crate) id: Id,
    parent: Option<Id>,
    block: Id,
    pub(crate) keep_until: i64,
}

/// What is known to be stored, and until when: two generations, so that it stays small and the busy stay in.
#[derive(Debug, Default)]
struct Known {
    young: HashMap<Id, i64>,
    old: HashMap<Id, i64>,
}

/// The writer's memory for content.
pub(crate) struct Splitter {
    redact: Redact,
    zstd: zstd::bulk::Compressor<'static>,
    known: Known,
}

/// What a record's content became.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) row: Option<ContentRow>,
    pub(crate) prompt: Said,
    pub(crate) reply: Said,
}

/// New rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) blocks: Vec<BlockRow>,
    pub(crate) nodes: Vec<NodeRow>,
}

// === impl Known ===

impl Known {
    /// Whether `id` is stored at least until `need`; if not, remembers that it now will be until `until`.
    fn covers(&mut self, id: Id, need: i64, until: i64) -> bool {
        if let Some(kept) = self.young.get_mut(&id) {
            return std::mem::replace(kept, (*kept).max(if *kept < need { until } else { *kept })) >= need;
        }
        let kept = self.old.get(&id).copied().unwrap_or(i64::MIN);
        if self.young.len() >= KNOWN_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, if kept < need { until } else { kept });
        kept >= need
    }
}

// === impl Splitter ===

impl Splitter {
    pub(crate) fn new(redact: Redact) -> std::io::Result<Self> {
        Ok(Splitter { redact, zstd: zstd::bulk::Compressor::new(3)?, known: Known::default() })
    }

    /// Forgets what is stored: after a batch that failed, and after old blocks were deleted.
    pub(crate) fn forget(&mut self) {
        self.known = Known::default();
    }

    /// Redacts what an entry repeats of others' words: an upstream's error may name the key it refused.
    pub(crate) fn redact_words(&self, entry: &mut Entry) {
        for words in [&mut entry.error, &mut entry.metadata].into_iter().flatten() {
            if let Cow::Owned(clean) = (self.redact)(words) {
                *words = clean;
            }
        }
    }

    /// Prepares a record's content, when it is to be kept.
    pub(crate) fn prepare(&mut self, record: &Record, entry: &Entry, pieces: &mut Pieces) -> Content {
        if entry.kept != Kept::Full {
            return Content::default();
        }
        match &record.kind {
            RecordKind::Model(model) => self.model(model, entry, pieces),
            RecordKind::Tool(tool) => self.tool(tool),
        }
    }

    fn tool(&mut self, tool: &ToolRecord) -> Content {
        let mut side = |text: &Option<String>| {
            let clean = (self.redact)(text.as_deref()?);
            Some((preview::of_tool(&clean), pack(&mut self.zstd, &cut(&clean, RAW_MAX))))
        };
        let (prompt, request) = side(&tool.arguments).unzip();
        let (reply, answer) = side(&tool.result).unzip();
        let row = (request.is_some() || answer.is_some()).then(|| ContentRow {
            request,
            answer,
            ..ContentRow::default()
        });
        Content { row, prompt: prompt.unwrap_or_default(), reply: reply.unwrap_or_default() }
    }

    fn model(&mut self, model: &ModelRecord, entry: &Entry, pieces: &mut Pieces) -> Content {
        let mut row = ContentRow::default();
        let mut prompt = Said::default();
        if let Some(body) = &model.request {
            match Parts::read(body) {
                Ok(parts) => {
                    prompt = self.said(preview::of_request(&parts));
                    self.request(body, &parts, entry, pieces, &mut row);
                }
                Err(_) => {
                    row.request = Some(self.text(&String::from_utf8_lossy(&body[..body.len().min(RAW_MAX)])))
                }
            }
        }
        let reply = self.said(preview::of_answer(&model.answer));
        if let Some(answer) = answer_json(&model.answer) {
            row.answer = Some(self.text(&answer));
        }
        let any = row.request.is_some() || row.answer.is_some();
        Content { row: any.then_some(row), prompt, reply }
    }

    fn request(
        &mut self,
        body: &[u8],
        parts: &Parts<'_>,
        entry: &Entry,
        pieces: &mut Pieces,
        row: &mut ContentRow,
    ) {
        if body.len() <= INLINE_MAX {
            row.request = Some(self.text(&String::from_utf8_lossy(body)));
            return;
        }
        let namespace = entry.tree.first().and_then(|k| k.split_once('/')).map_or("", |(ns, _)| ns);
        // Kept somewhat longer than asked, so that the next turns need not touch them again.
        let slack = (entry.expires - entry.at).clamp(0, 86_400_000 * 16) / 16;
        let keep =
            Keep { namespace, need: entry.expires, until: entry.expires.saturating_add(slack.max(60_000)) };
        row.request = Some(self.text(&bounded(&parts.params())));
        row.tools = parts.tools.map(|tools| self.block(tools.get(), &keep, pieces).to_vec());
        let system: Vec<Id> =
            parts.system_blocks().iter().map(|raw| self.block(raw.get(), &keep, pieces)).collect();
        row.system = (!system.is_empty()).then(|| system.concat());
        let mut head = None;
        for message in &parts.messages {
            let block = self.block(message.get(), &keep, pieces);
            let id = node_id(head.as_ref(), &block);
            if !self.known.covers(id, keep.need, keep.until) {
                pieces.nodes.push(NodeRow { id, parent: head, block, keep_until: keep.until });
            }
            head = Some(id);
        }
        row.thread = head.map(|id| id.to_vec());
    }

    /// The block's id; its row too, unless it is known to be stored.
    fn block(&mut self, raw: &str, keep: &Keep<'_>, pieces: &mut Pieces) -> Id {
        let raw = without_cache_marks(raw);
        let id = block_id(keep.namespace, &raw);
        if !self.known.covers(id, keep.need, keep.until) {
            let body = self.text(&bounded(&raw));
            pieces.blocks.push(BlockRow { id, size: raw.len() as i64, body, keep_until: keep.until });
        }
        id
    }

    fn text(&mut self, text: &str) -> Vec<u8> {
        pack(&mut self.zstd, &(self.redact)(text))
    }

    fn said(&self, said: Said) -> Said {
        let clean = |text: &str| (self.redact)(text).into_owned();
        Said { line: said.line.as_deref().map(clean), words: clean(&said.words) }
    }
}

/// How long blocks are needed and kept, and in whose namespace.
struct Keep<'a> {
    namespace: &'a str,
    need: i64,
    until: i64,
}

/// The answer's content in Messages' own shape; `None` when nothing is kept.
fn answer_json(answer: &Summary) -> Option<String> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut placed = vec![false; answer.tool_calls.len()];
    for block in &answer.content {
        match block {
            Block::Text(text) => blocks.push(json!({"type": "text", "text": text})),
            Block::Thinking(text) => blocks.push(json!({"type": "thinking", "thinking": text})),
            Block::ToolCall(at) => {
                if let (Some(call), Some(done)) = (answer.tool_calls.get(*at), placed.get_mut(*at)) {
                    *done = true;
                    blocks.push(tool_use(call));
                }
            }
        }
    }
    let missing = answer.tool_calls.iter().zip(placed).filter(|(_, placed)| !placed);
    blocks.extend(missing.map(|(call, _)| tool_use(call)));
    (!blocks.is_empty()).then(|| Value::from(blocks).to_string())
}

fn tool_use(call: &tollgate_translate::answer::ToolCall) -> Value {
    let input = serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::from(call.arguments.clone()));
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let start = &text[..preview::floor_char(text, most)];
    format!("{start}… [{} bytes more, not kept]", text.len() - start.len())
}

// === Rows ===

impl Insert for ContentRow {
    const HEAD: &'static str = "INSERT INTO contents (seq, request, answer, tools, system, thread) VALUES ";
    const COLUMNS: usize = 6;
    const TAIL: &'static str = "";

    fn bind(&self, to: &mut Sql) {
        to.value(self.seq);
        for part in [&self.request, &self.answer, &self.tools, &self.system, &self.thread] {
            to.value(part.as_deref());
        }
    }
}

impl Insert for BlockRow {
    const HEAD: &'static str = "INSERT INTO blocks (id, size, body, keep_until) VALUES ";
    const COLUMNS: usize = 4;
    const TAIL: &'static str = " ON CONFLICT (id) DO UPDATE SET keep_until = excluded.keep_until \
        WHERE excluded.keep_until > blocks.keep_until";

    fn bind(&self, to: &mut Sql) {
        to.value(&self.id[..]).value(self.size).value(&self.body[..]).value(self.keep_until);
    }
}

impl Insert for NodeRow {
    const HEAD: &'static str = "INSERT INTO nodes (id, parent, block, keep_until) VALUES ";
    const COLUMNS: usize = 4;
    const TAIL: &'static str = " ON CONFLICT (id) DO UPDATE SET keep_until = excluded.keep_until \
        WHERE excluded.keep_until > nodes.keep_until";

    fn bind(&self, to: &mut Sql) {
        to.value(&self.id[..]).value(self.parent.as_ref().map(|p| &p[..]));
        to.value(&self.block[..]).value(self.keep_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{redact, split::unpack};

    #[test]
    fn what_stands_beside_the_messages_is_bounded_too() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
            "metadata": {"note": "x".repeat(8 << 20)}, "temperature": 0.5});
        let model = ModelRecord { request: Some(body.to_string().into()), ..ModelRecord::default() };
        let mut splitter = Splitter::new(redact::hook()).unwrap();
        let entry = Entry { kept: Kept::Full, ..Entry::default() };
        let content = splitter.model(&model, &entry, &mut Pieces::default());
        let kept = unpack(&content.row.unwrap().request.unwrap());
        assert!(kept.len() < 2 << 20, "{} bytes", kept.len());
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!((&kept["temperature"], &kept["model"]), (&json!(0.5), &json!("m")));
    }
}
