//! Real SQLite files in temporary folders, and a real PostgreSQL: one server for all tests, a schema for each.

use super::{db::Pool, record::*, *};
use crate::model::key::Content;
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_ledger::{
    budget::{Limit, Window},
    charge::{Counter, Posting},
};
use tollgate_translate::{
    Usage,
    answer::{Block, Summary, ToolCall},
};
use uuid::Uuid;

/// Makes of each function a test on SQLite and one on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name(&Place::sqlite()).await;
            })+
        }
        mod on_postgres {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name(&Place::postgres()).await;
            })+
        }
    };
}

mod content;
mod place;
mod queue;
mod reading;
mod restore;
mod shared;

use place::Place;

/// A fixed moment, 2100-01-01T00:00:00Z: ahead of any clock, so that the writer's own sweep deletes nothing.
const AT: i64 = 4_102_444_800_000;

/// A successful small model request of `key`, content kept.
fn model(key: &str, at: i64, prompt: &str, reply: &str) -> Record {
    let body = json!({"model": "claude-haiku", "messages": [{"role": "user", "content": prompt}]});
    with_body(key, at, &body, reply)
}

fn with_body(key: &str, at: i64, body: &Value, reply: &str) -> Record {
    let answer = Summary {
        stop: Some("end_turn".into()),
        content: vec![Block::Text(reply.into())],
        complete: true,
        ..Summary::default()
    };
    let model = ModelRecord {
        api: "messages",
        model_asked: "claude-haiku".into(),
        model: Some("anthropic/claude-haiku".into()),
        provider: Some("Anthropic"),
        usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
        cost: Some(1_000_000),
        request: Some(Bytes::from(body.to_string())),
        answer,
        ..ModelRecord::default()
    };
    record(key, at, RecordKind::Model(Box::new(model)))
}

fn record(key: &str, at: i64, kind: RecordKind) -> Record {
    Record {
        id: Uuid::now_v7(),
        kind,
        at,
        key: key.into(),
        tree: vec![key.into(), "eng/team".into()],
        session: None,
        user_agent: Some("test/1".into()),
        status: 200,
        error: None,
        latency: Latency { total: 120_000, first_byte: Some(40_000), gateway: 300 },
        metadata: vec![("ticket".into(), "T-1".into())],
        trace_id: None,
        postings: vec![posting(key, "month", 1_000_000), posting("eng/team", "month", 1_000_000)],
        content: Content::Full,
        retention_s: 720 * 3600,
    }
}

fn tool(key: &str, at: i64, tool_use_id: &str) -> Record {
    let tool = ToolRecord {
        server: Some("eng/staging-db".into()),
        tool: "staging-db__query".into(),
        found: true,
        method: "tools/call".into(),
        arguments: Some(r#"{"sql":"select 1"}"#.into()),
        result: Some(r#"{"content":[{"type":"text","text":"one row"}]}"#.into()),
        tool_use_id: Some(tool_use_id.into()),
        suggested: Some(true),
        ..ToolRecord::default()
    };
    Record { postings: Vec::new(), ..record(key, at, RecordKind::Tool(Box::new(tool))) }
}

fn posting(key: &str, budget: &str, amount: u64) -> Posting {
    let window = Window { start: AT - 86_400_000, end: AT + 86_400_000 };
    let counter =
        Counter { key: key.into(), budget: budget.into(), window, limit: Limit::NanoUsd(200_000_000_000) };
    Posting { counter, amount }
}

/// Sums of postings as a ledger would add them up.
fn summed(postings: &[Posting]) -> std::collections::BTreeMap<(String, String), u64> {
    let mut sums = std::collections::BTreeMap::new();
    for p in postings {
        *sums.entry((p.counter.key.clone(), p.counter.budget.clone())).or_default() += p.amount;
    }
    sums
}
