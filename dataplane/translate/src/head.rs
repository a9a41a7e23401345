//! What the gateway must know of a request body before it decides anything, found in one scan that builds no tree;
//! and the splices of the byte-preserving pass-through.

use crate::Format;
use std::ops::Range;

/// The parts of a request body that routing, authorisation and the ledger need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `model`, unescaped. Never empty.
    pub model: String,
    /// Where the value of `model` stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// `stream`; false when absent.
    pub stream: bool,
    /// The output cap: `max_tokens` (Messages, Chat) or `max_completion_tokens` (Chat).
    pub output_cap: Option<OutputCap>,
    /// `thinking.budget_tokens`, when sent (Messages).
    pub thinking_budget: Option<u64>,
    /// Whether a Chat stream asked for its usage (`stream_options.include_usage: true`).
    pub include_usage: bool,
    /// Where the value of `stream_options` stands, when sent (Chat).
    pub stream_options_span: Option<Range<usize>>,
    /// How many tools the request offers.
    pub tools: usize,
    /// `metadata.user_id` (Messages) or `user`/`safety_identifier` (Chat): to derive a session from; never logged raw.
    pub user: Option<String>,
    /// `n` choices asked (Chat); 1 otherwise. Multiplies the worst-case output.
    pub choices: u64,
    /// Just after the opening brace of the body: where a missing field is inserted.
    pub insert_at: usize,
}

/// The output cap a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCap {
    /// The number of tokens.
    pub tokens: u64,
    /// Where the number stands in the body.
    pub span: Range<usize>,
}

/// Why a body cannot be used at all (a 400), in words for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBody(pub String);

/// The changes a pass-through makes to a body. `None` leaves a part as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Splices<'a> {
    /// The upstream's name of the model.
    pub model: Option<&'a str>,
    /// A lowered or added output cap.
    pub output_cap: Option<u64>,
    /// Ask a Chat stream for its usage (the extra chunk is taken out of the answer again).
    pub include_usage: bool,
}

/// Reads the head of `body`. Errors name the field: not JSON, not an object, `model` missing or not a string, depth over 128.
/// The whole body is checked to be well-formed JSON; duplicates of a key are refused (they mean different things to
/// different parsers, and would let a request pass under another model's name).
pub fn peek(_format: Format, _body: &[u8]) -> Result<Head, BadBody> {
    Err(BadBody("not built yet".into()))
}

/// Applies `splices`; every byte outside them is the client's.
pub fn splice(_format: Format, body: &[u8], _head: &Head, _splices: &Splices<'_>) -> Vec<u8> {
    body.to_vec()
}
