//! What is recorded of a request or a tool call.

use crate::model::key::Content;
use bytes::Bytes;
use std::sync::Arc;
use tollgate_ledger::charge::Posting;
use tollgate_translate::{Usage, answer::Summary, request::Degradation};
use uuid::Uuid;

/// One record. Built by the request path, moved into the queue, written in batches.
#[derive(Debug, Clone)]
pub struct Record {
    /// The request's id (UUIDv7, so ids sort by time); also `x-request-id` and the reservation's id.
    pub id: Uuid,
    /// What it is.
    pub kind: RecordKind,
    /// When it came in, Unix milliseconds.
    pub at: i64,
    /// `namespace/name` of the key; empty when none was identified.
    pub key: Arc<str>,
    /// The key's path up to the root, the key itself first.
    pub tree: Vec<Arc<str>>,
    /// The client's session, when it names one (`x-claude-code-session-id`, `mcp-session-id`).
    pub session: Option<String>,
    /// Client user agent.
    pub user_agent: Option<String>,
    /// Status sent to the client; 499 when the client went away first.
    pub status: u16,
    /// The error's words, when it failed.
    pub error: Option<String>,
    /// Latency in microseconds.
    pub latency: Latency,
    /// `x-tollgate-meta-NAME` headers and configured ones.
    pub metadata: Vec<(String, String)>,
    /// The W3C trace id of the client, when it sent one.
    pub trace_id: Option<String>,
    /// What was charged where.
    pub postings: Vec<Posting>,
    /// How much of the content may be kept (the key's policy).
    pub content: Content,
    /// Days or hours it is kept, in seconds.
    pub retention_s: u64,
}

/// The two kinds of record.
#[derive(Debug, Clone)]
pub enum RecordKind {
    /// A model request.
    Model(Box<ModelRecord>),
    /// An MCP tool call.
    Tool(Box<ToolRecord>),
}

/// The parts of a model request's record.
#[derive(Debug, Clone, Default)]
pub struct ModelRecord {
    /// The client's API: `messages`, `chat` or `count_tokens`.
    pub api: &'static str,
    /// Whether it was streamed.
    pub stream: bool,
    /// The model as the client named it.
    pub model_asked: String,
    /// `route/model` it resolved to.
    pub model: Option<String>,
    /// The route's `namespace/name` and the backend that answered.
    pub route: Option<Arc<str>>,
    /// The backend's name.
    pub backend: Option<String>,
    /// The provider's kind.
    pub provider: Option<&'static str>,
    /// One entry an attempt: `backend: outcome`.
    pub attempts: Vec<String>,
    /// What the answer used; `None` when nothing is known.
    pub usage: Option<Usage>,
    /// The usage was estimated because the upstream gave none.
    pub usage_estimated: bool,
    /// The cost in nano-USD; `None` when the model has no price.
    pub cost: Option<u64>,
    /// Nano-USD over the hold.
    pub overrun: u64,
    /// The output cap the gateway wrote, when it lowered or added one.
    pub output_cap: Option<u64>,
    /// What translation could not express.
    pub degradations: Vec<Degradation>,
    /// The request's body as the client sent it (for its content blocks); only with `Content::Full`.
    pub request: Option<Bytes>,
    /// The answer's summary: stop reason, tool calls, and its content with `Content::Full`.
    pub answer: Summary,
}

/// The parts of a tool call's record.
#[derive(Debug, Clone, Default)]
pub struct ToolRecord {
    /// The MCP server's `namespace/name`.
    pub server: Option<Arc<str>>,
    /// The tool's name as the client called it.
    pub tool: String,
    /// The server has a tool of that name. Other names are anything a client thinks of, and sums are not kept by them.
    pub found: bool,
    /// The JSON-RPC method, `tools/call`.
    pub method: String,
    /// The arguments as JSON text; only with `Content::Full`.
    pub arguments: Option<String>,
    /// The result as JSON text; only with `Content::Full`.
    pub result: Option<String>,
    /// Whether the result said `isError`, or a JSON-RPC error came.
    pub is_error: bool,
    /// `_meta["claudecode/toolUseId"]`: links the call to the answer that suggested it.
    pub tool_use_id: Option<String>,
    /// Whether an answer through this gateway suggested this call, when known.
    pub suggested: Option<bool>,
}

/// Parts of the latency in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    /// From the request's first byte to the answer's last.
    pub total: u64,
    /// Until the answer's first byte from the upstream.
    pub first_byte: Option<u64>,
    /// Spent in the gateway itself before the request left.
    pub gateway: u64,
}
