//! Answers: whole bodies and streams, translated or tapped.

pub(crate) mod args;
mod collect;
mod decode;
pub(crate) mod encode;
pub mod event;
pub mod sse;
mod tap;
mod tool_id;
mod translator;
pub(crate) mod whole;

use crate::{Format, Usage, error::UpstreamError, request::ToolNames};

pub(crate) use collect::broken;
pub use encode::heartbeat;
pub use tap::{Tap, WHOLE_CAP};
pub use translator::Translator;

/// What an answer translation must know. Ids and times are passed in: this crate has no clock and no randomness.
#[derive(Debug, Clone)]
pub struct Context {
    /// The upstream's format.
    pub upstream: Format,
    /// The client's format.
    pub client: Format,
    /// The model's name as the client asked for it: what the answer shows.
    pub model: String,
    /// Renamed tools.
    pub names: ToolNames,
    /// The id that a translated answer carries, without prefix (`msg_` / `chatcmpl-` is added). The upstream's own id is in the
    /// summary: some servers give every answer the same one, and clients count answers by it.
    pub id: String,
    /// Unix seconds for Chat's `created`.
    pub created: i64,
    /// Whether a Chat client asked for a usage chunk.
    pub include_usage: bool,
    /// An input estimate for `message_start` where the upstream gives usage only at the end.
    pub input_estimate: u64,
}

/// What became known of an answer while it passed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The upstream's id of the answer.
    pub id: Option<String>,
    /// The model that the upstream says it used.
    pub model: Option<String>,
    /// Why it ended, in Anthropic's words (`end_turn`, `tool_use`, `max_tokens`, `stop_sequence`, `refusal`, …).
    pub stop: Option<String>,
    /// Usage, when the upstream reported any; the latest seen. May be partial when the stream broke.
    pub usage: Option<Usage>,
    /// Bytes of text, reasoning and tool arguments that were produced: the basis of an estimate when no usage came.
    pub output_bytes: u64,
    /// Content as neutral blocks, for the record. Empty unless asked for; capped at [`CONTENT_CAP`] bytes in all.
    pub content: Vec<Block>,
    /// Tool calls that the answer suggests: always kept (ids and names), their arguments only with the content.
    pub tool_calls: Vec<ToolCall>,
    /// An error the upstream sent inside the stream, or how the stream broke.
    pub error: Option<UpstreamError>,
    /// Whether the answer reached its proper end.
    pub complete: bool,
}

/// One block of an answer's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Visible text.
    Text(String),
    /// Reasoning text (no signatures).
    Thinking(String),
    /// A tool call: index into [`Summary::tool_calls`].
    ToolCall(usize),
}

/// A suggested tool call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolCall {
    /// The id that the client sees.
    pub id: String,
    /// The tool's name as the client knows it.
    pub name: String,
    /// The arguments as JSON text; empty unless content is kept.
    pub arguments: String,
}

/// The most bytes of content that a summary keeps.
pub const CONTENT_CAP: usize = 4 << 20;
