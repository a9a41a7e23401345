//! What is recorded of a tool call.

use super::http::Caller;
use crate::{
    model::key::{Content, Logging},
    records::{
        Record,
        record::{Latency, RecordKind, ToolRecord},
        redact,
    },
    snapshot::KeyNode,
    telemetry::{self, ToolCalled},
};
use std::{sync::Arc, time::Instant};
use tollgate_mcp::{
    Message,
    intake::Request,
    json::{Object, string},
    message::Kind,
};
use tollgate_process::trace::Place;

/// The most bytes of arguments, and of a result, that are kept.
const MAX_CONTENT: usize = 1 << 20;
/// The most bytes of an error's words.
const MAX_ERROR: usize = 1000;

/// A record in the making.
#[derive(Debug)]
pub(super) struct Draft {
    record: Record,
    tool: ToolRecord,
    since: Instant,
}

// === impl Draft ===

impl Draft {
    /// Begins the record of `tools/call` for `tool`, as the client names it.
    pub(super) fn new(key: &KeyNode, caller: &Caller, request: &Request<'_>, tool: &str) -> Self {
        let Logging { content, retention } = key.logging();
        let params = request.message.params().ok().flatten();
        let arguments = params.as_ref().and_then(|p| p.get("arguments"));
        let meta = params.as_ref().and_then(|p| p.object("_meta").ok().flatten());
        let use_id = meta.and_then(|m| m.string("claudecode/toolUseId").ok().flatten());
        let session = request.session.as_ref().map(|s| s.id.clone());
        let tool = ToolRecord {
            tool: clip(tool, MAX_ERROR),
            method: "tools/call".into(),
            arguments: arguments.filter(|_| content == Content::Full).map(|a| clip(a, MAX_CONTENT)),
            tool_use_id: use_id.map(|id| clip(&id, MAX_ERROR)),
            ..ToolRecord::default()
        };
        let record = Record {
            id: uuid::Uuid::now_v7(),
            // Replaced when the record is done.
            kind: RecordKind::Tool(Box::default()),
            at: caller.at,
            key: key.id().shared(),
            tree: key.path.iter().map(|k| k.id.shared()).collect(),
            session: caller.client_session.clone().or(session),
            user_agent: caller.user_agent.clone(),
            status: 200,
            error: None,
            latency: Latency::default(),
            metadata: caller.metadata.clone(),
            trace_id: caller.trace_id.clone(),
            postings: Vec::new(),
            content,
            retention_s: retention.as_secs(),
        };
        Draft { record, tool, since: caller.since }
    }

    /// Where it is in its trace.
    pub(super) fn traced(&mut self, place: Option<&Place>) {
        if let Some(place) = place {
            self.record.trace_id = Some(place.context().trace_id().to_string());
        }
    }

    /// The server that has the tool.
    pub(super) fn found(&mut self, server: Arc<str>) {
        (self.tool.server, self.tool.found) = (Some(server), true);
    }

    /// The server that would have it, if there is such a tool: it cannot be asked.
    pub(super) fn server(&mut self, server: Arc<str>) {
        self.tool.server = Some(server);
    }

    /// The request leaves for the upstream.
    pub(super) fn sent(&mut self) {
        self.record.latency.gateway = micros(self.since);
    }

    /// The upstream's first sign of life.
    pub(super) fn heard(&mut self) {
        let now = micros(self.since);
        self.record.latency.first_byte.get_or_insert(now);
    }

    /// The message that the client is answered with.
    pub(super) fn answered(&mut self, answer: &str) {
        match Message::parse(answer).map(|m| m.kind) {
            Ok(Kind::Response { outcome: Ok(result), .. }) => {
                let failed = Object::parse(result).ok().and_then(|r| r.get("isError")) == Some("true");
                self.tool.is_error = failed;
                self.tool.result = (self.record.content == Content::Full).then(|| clip(result, MAX_CONTENT));
            }
            Ok(Kind::Response { outcome: Err(error), .. }) => {
                let words = Object::parse(error).ok().and_then(|e| string(e.get("message")?));
                self.failed(&words.unwrap_or_default());
            }
            _ => self.failed("the upstream's answer is malformed"),
        }
    }

    /// The call failed, in words.
    pub(super) fn failed(&mut self, words: &str) {
        self.tool.is_error = true;
        let clean = || clip(&redact::default(&clip(words, 4 * MAX_ERROR)), MAX_ERROR);
        self.record.error.get_or_insert_with(clean);
    }

    /// The finished record; `gone`: the client went away first.
    pub(super) fn finish(mut self, gone: bool) -> Record {
        self.record.latency.total = micros(self.since);
        if gone {
            self.record.status = 499;
        }
        let (tool, total) = (&self.tool, self.record.latency.total);
        telemetry::tool_called(|| ToolCalled {
            tool: tool.server.is_some().then(|| tool.tool.clone()),
            error: match (tool.is_error, &self.record.error) {
                (false, _) => None,
                // By the MCP conventions: the result says `isError`.
                (true, None) => Some("tool_error"),
                (true, Some(_)) => Some("error"),
            },
            seconds: total as f64 / 1e6,
        });
        self.record.kind = RecordKind::Tool(Box::new(self.tool));
        self.record
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn clip(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
