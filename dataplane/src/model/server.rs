//! An upstream MCP server.

use super::{Export, Globs, ObjectId, Secret};
use crate::client::Reach;
use std::time::Duration;

/// An MCP server whose tools are aggregated.
#[derive(Debug)]
pub struct Server {
    /// Its identity; its name is the tools' prefix.
    pub id: ObjectId,
    /// Who else may see it.
    pub export: Export,
    /// The streamable-HTTP endpoint.
    pub url: http::Uri,
    /// Which addresses it may have.
    pub reach: Reach,
    /// A header that authenticates the gateway: name and value.
    pub auth_header: Option<(http::HeaderName, Secret)>,
    /// Why it is off (a Secret that does not exist).
    pub off: Option<String>,
    /// Which of its tools exist at all.
    pub tools: Globs,
    /// What is said of it in the merged instructions.
    pub description: Option<String>,
    /// Deadlines.
    pub timeouts: ServerTimeouts,
    /// Whether a failure of this server lets the others' tools be listed (Open) or fails the list (Closed).
    pub fail_open: bool,
    /// Prefix tool names with the server's (`server__tool`), or leave them.
    pub prefix: bool,
}

/// Deadlines of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerTimeouts {
    /// To connect.
    pub connect: Duration,
    /// For a whole list.
    pub list: Duration,
    /// For a call, between two signs of life.
    pub call: Duration,
}
