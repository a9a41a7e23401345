//! The fake MCP server: a small database behind legacy streamable HTTP (sessions, pages, JSON and SSE answers), as
//! strict about the protocol as the official servers, and scriptable failures.
//!
//! # Layout
//! - [`database`]: the tables and the tools on them; [`everything`]: the conformance suite's tools instead
//! - [`script`]: failures on request
//! - [`rpc`]: methods; [`transport`]: HTTP, sessions; [`stdio`]: the same server over standard input and output

pub mod database;
pub mod everything;
pub mod rpc;
pub mod script;
pub mod stdio;
pub mod transport;

pub use script::{Failure, Rule};

use crate::http::Server;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

/// How a fake MCP server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Its name, which it shows in `serverInfo` and in its rows, so that answers tell which server gave them.
    pub name: String,
    /// The `Authorization` header it demands.
    pub authorization: Option<String>,
    /// Whether it has the conformance suite's tools in place of a database.
    pub everything: bool,
}

/// A running fake MCP server; dropping it closes it.
#[derive(Debug)]
pub struct McpServer {
    server: Server,
    state: Arc<State>,
}

/// What the connections share.
#[derive(Debug)]
pub struct State {
    options: Options,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: database::Database,
    sessions: HashSet<String>,
    /// What the client that came last offers.
    capabilities: Value,
    rules: VecDeque<Rule>,
    seen: VecDeque<Seen>,
}

/// A JSON-RPC message that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method; empty for an answer.
    pub method: String,
    /// The whole message.
    pub message: Value,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// The most messages that are remembered.
const MAX_SEEN: usize = 10_000;

// === impl Options ===

impl Options {
    /// A server of this name on a free port, without a credential.
    pub fn named(name: &str) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Options { listen, name: name.to_owned(), authorization: None, everything: false }
    }
}

// === impl McpServer ===

impl McpServer {
    /// Starts a server of this name on a free port.
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        Self::with(Options::named(name)).await
    }

    /// Starts a server.
    pub async fn with(options: Options) -> anyhow::Result<Self> {
        let listen = options.listen;
        let state = Arc::new(State::new(options));
        let shared = state.clone();
        let server = Server::start(listen, move |request| transport::handle(shared.clone(), request)).await?;
        Ok(McpServer { server, state })
    }

    /// The endpoint: `http://127.0.0.1:PORT/mcp`.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.server.addr)
    }

    /// Adds a rule.
    pub fn script(&self, rule: Rule) {
        self.state.inner.lock().rules.push_back(rule);
    }

    /// All messages so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.inner.lock().seen.iter().cloned().collect()
    }

    /// The calls of a tool so far.
    pub fn calls(&self, tool: &str) -> Vec<Seen> {
        let called = |s: &Seen| {
            s.method == "tools/call" && s.message.pointer("/params/name").is_some_and(|n| n == tool)
        };
        self.seen().into_iter().filter(called).collect()
    }

    /// Forgets all sessions, as a restart does.
    pub fn forget_sessions(&self) {
        self.state.inner.lock().sessions.clear();
    }

    /// Runs until the process ends.
    pub async fn forever(self) {
        self.server.forever().await;
    }
}

// === impl Seen ===

impl Seen {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// For `GET /_control/requests`.
    pub fn to_json(&self) -> Value {
        json!({"method": self.method, "message": self.message, "headers": self.headers})
    }
}

// === impl State ===

impl State {
    fn new(options: Options) -> Self {
        let inner = Inner {
            database: database::Database::new(&options.name),
            sessions: HashSet::new(),
            capabilities: Value::Null,
            rules: VecDeque::new(),
            seen: VecDeque::new(),
        };
        State { options, inner: Mutex::new(inner) }
    }

    fn remember(&self, seen: Seen) {
        let mut inner = self.inner.lock();
        if inner.seen.len() >= MAX_SEEN {
            inner.seen.pop_front();
        }
        inner.seen.push_back(seen);
    }

    fn take_failure(&self, method: &str, tool: &str) -> Option<Failure> {
        let mut inner = self.inner.lock();
        let at = inner.rules.iter().position(|rule| rule.fits(method, tool))?;
        let rule = inner.rules.get_mut(at)?;
        let failure = rule.failure.clone();
        if rule.spend() {
            inner.rules.remove(at);
        }
        Some(failure)
    }
}
