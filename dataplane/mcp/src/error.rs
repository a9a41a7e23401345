//! JSON-RPC errors as MCP clients see them.

use crate::json::quote;

/// Not JSON.
pub const PARSE: i32 = -32700;
/// Not a request of this protocol.
pub const INVALID_REQUEST: i32 = -32600;
/// No such method here.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// Parameters that name nothing the caller may use, or are malformed.
pub const INVALID_PARAMS: i32 = -32602;
/// The gateway or an upstream failed.
pub const INTERNAL: i32 = -32603;
/// An unknown or expired session (with HTTP 404). From the legacy range, but the code that clients look for before they re-initialise.
pub const SESSION_NOT_FOUND: i32 = -32001;
/// 2026-07-28: a mirrored header is missing or differs from the body (HTTP 400).
pub const HEADER_MISMATCH: i32 = -32020;
/// 2026-07-28: a protocol version that is not spoken here (HTTP 400, `data.supported`, `data.requested`).
pub const UNSUPPORTED_VERSION: i32 = -32022;

/// A JSON-RPC error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// One of this module's codes, or an upstream's.
    pub code: i32,
    /// What happened and what to do, for a person or a model.
    pub message: String,
    /// JSON text of `data`.
    pub data: Option<String>,
}

// === impl RpcError ===

impl RpcError {
    /// An error without data.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        RpcError { code, message: message.into(), data: None }
    }

    /// A tool that does not exist for the caller: the same words whether it is forbidden or was never there.
    pub fn unknown_tool(name: &str) -> Self {
        RpcError::new(INVALID_PARAMS, format!("Unknown tool: {}", clip(name)))
    }

    /// A method that is not served.
    pub fn unknown_method(method: &str) -> Self {
        RpcError::new(METHOD_NOT_FOUND, format!("Method not found: {}", clip(method)))
    }

    /// The message that answers the request `id` (raw JSON text; `None`: it could not be read).
    pub fn to_message(&self, id: Option<&str>) -> String {
        let data = self.data.as_ref().map(|d| format!(",\"data\":{d}")).unwrap_or_default();
        let (id, code, message) = (id.unwrap_or("null"), self.code, quote(&self.message));
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#)
    }
}

/// A client's text that is repeated to it: no longer than anyone needs to recognise it.
fn clip(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}
