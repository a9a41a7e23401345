//! A client of `/mcp` with a session, as agents have one.

use super::{Answer, Http};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// The version that it speaks: Claude Code's.
const VERSION: &str = "2025-11-25";

/// A session.
#[derive(Debug)]
pub struct Mcp {
    http: Http,
    url: String,
    authorization: String,
    session: Option<String>,
}

// === impl Mcp ===

impl Mcp {
    /// Opens a session at `url` with a key's token.
    pub async fn open(url: impl Into<String>, token: &str) -> anyhow::Result<Self> {
        let authorization = format!("Bearer {token}");
        let mut mcp = Mcp { http: Http::new(), url: url.into(), authorization, session: None };
        let info = json!({"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let hello = mcp.send("initialize", info).await?.expect(200)?;
        mcp.session = hello.header("mcp-session-id").map(str::to_owned);
        let version = payload(&hello)?["result"]["protocolVersion"].clone();
        ensure!(version == VERSION, "the server speaks {version}");
        mcp.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?.expect(202)?;
        Ok(mcp)
    }

    /// Goes on at another gateway: a session is at home at every one.
    pub fn go_to(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// Sends a message as it stands.
    pub async fn post(&self, message: &Value) -> anyhow::Result<Answer> {
        let accept = ("accept", "application/json, text/event-stream");
        let mut headers = vec![accept, ("authorization", self.authorization.as_str())];
        if let Some(session) = &self.session {
            headers.extend([("mcp-session-id", session.as_str()), ("mcp-protocol-version", VERSION)]);
        }
        self.http.post(&self.url, &headers, message).await
    }

    /// Sends a request.
    pub async fn send(&self, method: &str, params: Value) -> anyhow::Result<Answer> {
        self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await
    }

    /// The names of all tools.
    pub async fn tools(&self) -> anyhow::Result<Vec<String>> {
        let list = payload(&self.send("tools/list", json!({})).await?)?;
        let tools = list["result"]["tools"].as_array().with_context(|| format!("no tools: {list}"))?;
        Ok(tools.iter().filter_map(|t| t["name"].as_str().map(str::to_owned)).collect())
    }

    /// What a tool answers: the whole JSON-RPC message.
    pub async fn call(&self, tool: &str, arguments: Value) -> anyhow::Result<Value> {
        payload(&self.send("tools/call", json!({"name": tool, "arguments": arguments})).await?)
    }
}

/// The JSON-RPC answer, from a JSON body or from the last event of a stream.
pub fn payload(answer: &Answer) -> anyhow::Result<Value> {
    if answer.header("content-type").is_some_and(|t| t.starts_with("text/event-stream")) {
        let last =
            answer.text().lines().filter_map(|l| l.strip_prefix("data: ").map(str::to_owned)).next_back();
        return Ok(serde_json::from_str(&last.context("no event")?)?);
    }
    answer.json()
}
