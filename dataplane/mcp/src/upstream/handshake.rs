//! `initialize` and what it settles.

use super::{Answer, Post, UpstreamError};
use crate::{
    json::Object,
    version::{Era, Version},
};

/// The most bytes of a server's instructions that are kept.
const MAX_INSTRUCTIONS: usize = 8192;
/// The longest session id that is sent back as a header.
const MAX_SESSION: usize = 4096;

/// An upstream after its `initialize`: what every later request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The settled revision.
    pub version: Version,
    /// The session it opened; `None`: it keeps none, so all callers may share this.
    pub session: Option<String>,
    /// It has tools.
    pub has_tools: bool,
    /// What it says of itself.
    pub instructions: Option<String>,
}

/// The two steps of a legacy opening: `initialize`, then `notifications/initialized`.
#[derive(Debug, Clone, Copy)]
pub struct Handshake;

// === impl Handshake ===

impl Handshake {
    /// The first request, with the id `id`. It offers no capability: the gateway answers no sampling, elicitation or roots yet.
    pub fn initialize(id: u64) -> Post {
        let version = Version::NEWEST_LEGACY.as_str();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"tollgate","version":"{}"}}}}}}"#,
            env!("CARGO_PKG_VERSION")
        );
        Post { body, version: None, session: None }
    }

    /// Takes the answer to `initialize` and the `Mcp-Session-Id` beside it.
    ///
    /// # Errors
    /// When the server refuses, or speaks a revision that is not spoken here.
    pub fn settle(answer: &Answer, session: Option<&str>) -> Result<Peer, UpstreamError> {
        let result = answer.outcome().map_err(|e| UpstreamError::Refused("initialize", e))?;
        let malformed = |e: crate::json::JsonError| UpstreamError::Malformed(e.to_string());
        let result = Object::parse(result).map_err(malformed)?;
        let version = result.string("protocolVersion").map_err(malformed)?.unwrap_or_default();
        let settled = Version::parse(&version)
            .filter(|v| v.era() == Era::Legacy)
            .ok_or_else(|| UpstreamError::Version(version.chars().take(40).collect()))?;
        let session = session.filter(|s| !s.is_empty());
        if session.is_some_and(|s| s.len() > MAX_SESSION || !s.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(UpstreamError::Malformed("the session id is not short visible ASCII".into()));
        }
        let capabilities = result.object("capabilities").map_err(malformed)?;
        let instructions = result.string("instructions").ok().flatten();
        Ok(Peer {
            version: settled,
            session: session.map(str::to_owned),
            has_tools: capabilities.is_some_and(|c| c.get("tools").is_some()),
            instructions: instructions.map(|text| text.chars().take(MAX_INSTRUCTIONS).collect()),
        })
    }
}

// === impl Peer ===

impl Peer {
    /// A message to this peer.
    pub fn post(&self, body: String) -> Post {
        // The header exists since 2025-06-18; older servers ignore it.
        Post { body, version: Some(self.version.as_str()), session: self.session.clone() }
    }

    /// The second step of the opening.
    pub fn initialized(&self) -> Post {
        self.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into())
    }

    /// A page of the tool list.
    pub fn list_tools(&self, id: u64, params: &str) -> Post {
        self.post(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{params}}}"#))
    }

    /// The client no longer wants the answer to `id`.
    pub fn cancel(&self, id: u64) -> Post {
        self.post(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the client cancelled"}}}}"#
        ))
    }

    /// The answer to a request of the server's: to `ping` it is there, to anything else that this was not offered.
    pub fn answer_request(&self, id: &str, method: &str) -> Post {
        if method == "ping" {
            return self.post(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
        }
        self.post(crate::RpcError::unknown_method(method).to_message(Some(id)))
    }
}
