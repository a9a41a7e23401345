//! Invented records: agents' conversations, tool calls, refusals, failures. Deterministic but for the ids.

use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_dataplane::{
    model::key::Content,
    records::{
        Record,
        record::{Latency, ModelRecord, RecordKind, ToolRecord},
    },
};
use tollgate_ledger::{
    budget::{Limit, Window},
    charge::{Counter, Posting},
};
use tollgate_translate::{
    Usage,
    answer::{Block, Summary, ToolCall},
    request::Degradation,
};
use uuid::Uuid;

/// Makes `count` records that end at `end` and reach `span` milliseconds back.
pub(crate) struct Seed {
    end: i64,
    span: i64,
    count: u64,
    made: u64,
    random: u64,
    /// The conversation under way: session, key, messages, and a call that waits for its record.
    session: Session,
}

#[derive(Default)]
struct Session {
    id: String,
    key: usize,
    model: usize,
    messages: Vec<Value>,
    call: Option<(String, &'static str)>,
}

const KEYS: [&[&str]; 5] = [
    &["engineering/alice", "engineering/team-engineering", "platform/acme"],
    &["engineering/bob", "engineering/team-engineering", "platform/acme"],
    &["engineering/ci", "engineering/team-engineering", "platform/acme"],
    &["research/mina", "research/team-research", "platform/acme"],
    &["research/notebooks", "research/team-research", "platform/acme"],
];
const MODELS: [(&str, &str, &str, u64, u64); 5] = [
    ("anthropic/claude-sonnet-4-5", "Anthropic", "messages", 3_000, 15_000),
    ("anthropic/claude-haiku-4-5", "Anthropic", "messages", 1_000, 5_000),
    ("openai/gpt-5", "OpenAI", "messages", 1_250, 10_000),
    ("openai/gpt-5-mini", "OpenAI", "chat", 250, 2_000),
    ("local/qwen3-coder", "OpenAICompatible", "chat", 0, 0),
];
const ASKS: [&str; 8] = [
    "The nightly job fails with a deadlock in the ledger; find out why and fix it.",
    "Why does the invoice total differ from the sum of its lines by one cent?",
    "Add a retry with jitter to the uploader, and a test that shows it.",
    "Summarise what changed in the payments service since Monday.",
    "Write a migration that splits the address column, with a way back.",
    "Explain this stack trace: thread main panicked at index out of bounds.",
    "Review the pull request for the rate limiter; look for races.",
    "Which queries on the staging database take longer than a second?",
];
const ANSWERS: [&str; 6] = [
    "The two transactions take the row locks in opposite order. I changed `settle` to sort the counters first, and added a test that interleaves both.",
    "Each line is rounded before the sum. Summing first and rounding once gives the invoice's total; the fix is in `Invoice::total`.",
    "Done: three attempts, 100 ms doubling, full jitter. The test drives a clock of its own, so it does not sleep.",
    "Five merges: the new webhook signatures, two dependency updates, a flag for instant payouts, and a fix of the time zone in statements.",
    "The slice is empty when the feed has no entries. `first()` with an early return is enough; I left the caller as it was.",
    "I see one race: the window is read before the lock. The rest is fine, and the names are clear.",
];

impl Seed {
    /// See [`Seed`].
    pub(crate) fn new(end: i64, span: i64, count: u64) -> Self {
        let random = 0x9E37_79B9_7F4A_7C15 ^ (end as u64).rotate_left(17);
        Seed { end, span, count, made: 0, random, session: Session::default() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        let at = self.below(list.len() as u64) as usize;
        list[at]
    }

    fn model(&mut self, at: i64) -> Record {
        self.ask();
        let (name, provider, api, input_price, output_price) = MODELS[self.session.model];
        let request = self.request(name);
        let answer = self.answer(name);
        let usage = self.usage();
        let cost = usage.input * input_price
            + usage.cache_read * input_price / 10
            + usage.cache_write * input_price * 5 / 4
            + usage.output * output_price;
        let cost = (input_price > 0).then_some(cost);
        let dropped = name.starts_with("openai").then(|| Degradation {
            field: "thinking".into(),
            what: "dropped: reasoning effort is sent instead".into(),
        });
        let record = ModelRecord {
            api,
            stream: true,
            model_asked: name.into(),
            model: Some(name.into()),
            route: Some(format!("engineering/{}", name.split('/').next().unwrap_or("")).into()),
            backend: Some("main".into()),
            provider: Some(provider),
            attempts: vec!["main: 200".into()],
            usage: Some(usage),
            cost,
            degradations: dropped.into_iter().collect(),
            request: Some(request),
            answer,
            ..ModelRecord::default()
        };
        let mut record = self.record(at, RecordKind::Model(Box::new(record)), cost);
        self.spoil(&mut record);
        record
    }

    /// The user's next words, in a new session when the last one was long.
    fn ask(&mut self) {
        if self.session.messages.is_empty() || self.session.messages.len() > 24 {
            let (key, model) = (self.below(5) as usize, self.below(7).min(4) as usize);
            self.session = Session { id: Uuid::new_v4().to_string(), key, model, ..Session::default() };
        }
        let ask = format!("{} (#{})", self.pick(&ASKS), self.below(100_000));
        if self.session.messages.len().is_multiple_of(2) {
            self.session.messages.push(json!({"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nThe date is today. Be brief.\n</system-reminder>"},
                {"type": "text", "text": ask, "cache_control": {"type": "ephemeral"}}]}));
        }
    }

    fn request(&self, model: &str) -> Bytes {
        let body = json!({
            "model": model, "max_tokens": 32000, "stream": true, "thinking": {"type": "adaptive"},
            "system": [{"type": "text", "text": "You are Claude Code, a command line tool for software engineering. ".repeat(12)}],
            "tools": (0..24).map(|t| json!({"name": format!("Tool{t}"), "description": "Does one thing and does it well. ".repeat(8),
                "input_schema": {"type": "object"}})).collect::<Vec<_>>(),
            "messages": self.session.messages,
        });
        Bytes::from(body.to_string())
    }

    /// What the model says, in one of four cases with a tool call.
    fn answer(&mut self, model: &str) -> Summary {
        let call = self.below(4) == 0;
        let text = self.pick(&ANSWERS);
        let mut answer = Summary {
            id: Some(format!("msg_{:012x}", self.below(1 << 48))),
            model: model.split_once('/').map(|(_, m)| m.to_owned()),
            stop: Some(if call { "tool_use" } else { "end_turn" }.into()),
            content: vec![
                Block::Thinking("The ledger's tests hold a hint. First look, then change.".into()),
                Block::Text(text.into()),
            ],
            complete: true,
            ..Summary::default()
        };
        if call {
            let tool = self.pick(&["mcp__tollgate__staging-db__query", "mcp__tollgate__issues__search"]);
            let id = format!("toolu_{:016x}", self.below(u64::MAX));
            answer.content.push(Block::ToolCall(0));
            let arguments =
                r#"{"sql":"select id, total from invoices where total <> lines_total limit 20"}"#.to_owned();
            answer.tool_calls = vec![ToolCall { id: id.clone(), name: tool.into(), arguments }];
            self.session.call = Some((id, tool));
        }
        self.session.messages.push(json!({"role": "assistant", "content": text}));
        answer
    }

    fn usage(&mut self) -> Usage {
        Usage {
            input: 400 + self.below(3_000),
            cache_read: 16_000 + self.below(60_000),
            cache_write: self.below(4_000),
            output: 120 + self.below(1_800),
            ..Usage::default()
        }
    }

    /// Some requests fail, or their client goes.
    fn spoil(&mut self, record: &mut Record) {
        match self.below(60) {
            0 => self.fail(record, 402, "budget month of key engineering/bob is used up: spent $20.00 of $20.00, resets 2026-12-01T00:00:00+01:00"),
            1 => self.fail(record, 429, "key engineering/ci may make 60 requests a minute; try again in 4 s"),
            2 => self.fail(record, 529, "anthropic: Overloaded (after 2 attempts)"),
            3 => record.status = 499,
            _ => {}
        }
    }

    fn fail(&mut self, record: &mut Record, status: u16, error: &str) {
        record.status = status;
        record.error = Some(error.into());
        record.postings.clear();
        if let RecordKind::Model(m) = &mut record.kind {
            m.usage = None;
            m.cost = None;
            m.answer = Summary::default();
            m.attempts =
                if status == 529 { vec!["main: 529".into(), "main: 529".into()] } else { Vec::new() };
        }
    }

    fn tool(&mut self, at: i64, id: String, tool: &str) -> Record {
        let is_error = self.below(9) == 0;
        let text = if is_error {
            "relation \"invoices\" does not exist"
        } else {
            "id | total\n42 | 118.99\n57 | 20.01"
        };
        let short = tool.trim_start_matches("mcp__tollgate__");
        let call = ToolRecord {
            server: Some(format!("engineering/{}", short.split("__").next().unwrap_or("")).into()),
            tool: short.into(),
            found: true,
            method: "tools/call".into(),
            arguments: Some(
                r#"{"sql":"select id, total from invoices where total <> lines_total limit 20"}"#.into(),
            ),
            result: Some(
                json!({"content": [{"type": "text", "text": text}], "isError": is_error}).to_string(),
            ),
            is_error,
            tool_use_id: Some(id),
            suggested: Some(true),
        };
        self.record(at, RecordKind::Tool(Box::new(call)), None)
    }

    fn record(&mut self, at: i64, kind: RecordKind, cost: Option<u64>) -> Record {
        let tree: Vec<Arc<str>> = KEYS[self.session.key].iter().map(|k| (*k).into()).collect();
        let first = 300_000 + self.below(900_000);
        let posting = |key: &Arc<str>| Posting {
            counter: Counter {
                key: key.to_string(),
                budget: "month".into(),
                window: Window {
                    start: self.end - self.end.rem_euclid(2_592_000_000),
                    end: self.end + 2_592_000_000,
                },
                limit: Limit::NanoUsd(200_000_000_000),
            },
            amount: cost.unwrap_or(0),
        };
        Record {
            id: Uuid::now_v7(),
            at,
            key: tree[0].clone(),
            postings: tree.iter().take(if cost.is_some() { 2 } else { 0 }).map(posting).collect(),
            tree,
            session: Some(self.session.id.clone()),
            user_agent: Some("claude-cli/2.1.197 (external, sdk-cli)".into()),
            status: 200,
            error: None,
            latency: Latency {
                total: first + self.below(9_000_000),
                first_byte: Some(first),
                gateway: 180 + self.below(400),
            },
            metadata: vec![("ticket".into(), format!("PAY-{}", 100 + self.below(80)))],
            trace_id: Some(format!("{:032x}", u128::from(self.random) * 7)),
            content: Content::Full,
            retention_s: 30 * 86_400,
            kind,
        }
    }
}

impl Iterator for Seed {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.made >= self.count {
            return None;
        }
        self.made += 1;
        let back = i128::from(self.span) * i128::from(self.count - self.made) / i128::from(self.count.max(1));
        let at = self.end - back as i64;
        if let Some((id, tool)) = self.session.call.take() {
            return Some(self.tool(at, id, tool));
        }
        if self.below(200) == 0 {
            let kind = RecordKind::Model(Box::new(ModelRecord {
                api: "messages",
                model_asked: "claude-opus-4-1".into(),
                ..ModelRecord::default()
            }));
            let mut record = self.record(at, kind, None);
            (record.status, record.error) = (401, Some("no virtual key has this token".into()));
            (record.key, record.tree, record.content) = ("".into(), Vec::new(), Content::Metadata);
            return Some(record);
        }
        Some(self.model(at))
    }
}
