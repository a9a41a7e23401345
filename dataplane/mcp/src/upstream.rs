//! The client side: how the gateway speaks to one MCP server, without doing any I/O. The shell posts what these types give it and feeds
//! them what comes back.
//!
//! # Layout
//! - [`handshake`]: `initialize` and what it settles (legacy; the modern era has none); [`exchange`]: one POST's answer, JSON or event stream
//! - [`forward`]: a client's call as the upstream gets it, and its progress on the way back

pub mod exchange;
pub mod forward;
pub mod handshake;

pub use exchange::{Answer, Exchange, Incoming};
pub use handshake::{Handshake, Peer};

/// The largest answer taken from an upstream, and the largest of its events: what Claude Code takes of an SSE frame.
pub const MAX_ANSWER: usize = 16 << 20;

/// Why an upstream did not answer. The words end up before a model or an administrator, after the server's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// It no longer knows the session: the request was not executed; initialise again.
    #[error("its session was lost")]
    SessionGone,
    /// It does not take the gateway's credentials.
    #[error("it refused the gateway's credentials (HTTP {0})")]
    Unauthorized(u16),
    /// Another HTTP status, with the beginning of the body.
    #[error("it answered HTTP {0}{1}")]
    Status(u16, String),
    /// Neither JSON nor an event stream.
    #[error("it answered with content type {0:?}, which is not MCP: is the URL right?")]
    NotMcp(String),
    /// More than [`MAX_ANSWER`].
    #[error("its answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    /// What it sent is no JSON-RPC, or answers something else.
    #[error("its answer is malformed: {0}")]
    Malformed(String),
    /// The body ended without an answer.
    #[error("it ended the answer before it was whole")]
    ClosedEarly,
    /// It answered `initialize` or a list with an error.
    #[error("it refused {0}: {1}")]
    Refused(&'static str, String),
    /// It speaks no revision that the gateway speaks.
    #[error("it speaks protocol version {0:?}, which this gateway does not")]
    Version(String),
    /// It was not reached at all.
    #[error("{0}")]
    Connection(String),
    /// The connection broke before the answer came.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// It did not answer in time.
    #[error("it did not answer within {0}")]
    Timeout(String),
}

/// A request to the upstream's endpoint: the shell adds the URL, credentials, and `accept`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// The JSON-RPC message.
    pub body: String,
    /// `MCP-Protocol-Version`, once settled.
    pub version: Option<&'static str>,
    /// `Mcp-Session-Id`, when the server gave one.
    pub session: Option<String>,
}

impl UpstreamError {
    /// Whether the request may have had an effect all the same.
    pub fn may_have_run(&self) -> bool {
        matches!(
            self,
            UpstreamError::TooLarge
                | UpstreamError::Malformed(_)
                | UpstreamError::ClosedEarly
                | UpstreamError::Broken(_)
                | UpstreamError::Timeout(_)
                | UpstreamError::Status(500.., _)
        )
    }
}
