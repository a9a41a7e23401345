//! The fake model provider: Anthropic Messages and OpenAI Chat Completions on one port, as strict as the real ones, so
//! that a wrong translation shows as the provider's own 400. It never computes anything: its answers are scripted
//! ([`Rule`], [`Reply`]) or follow magic words in the last user message ([`magic`]).
//!
//! A gateway must never send its clients' virtual keys here: a header with one is answered 500 and remembered as a
//! [leak](Provider::leaks).
//!
//! # Layout
//! - [`script`]: rules and replies; [`magic`]: the words that ask for a reply
//! - [`seen`]: what arrived
//! - [`messages`], [`chat`]: the two wire shapes; [`check`]: their rules for requests
//! - [`control`]: `/_control/*`; [`fast`]: canned answers for benchmarks

pub mod chat;
pub mod check;
pub mod control;
pub mod fast;
pub mod ids;
pub mod magic;
pub mod messages;
pub mod route;
pub mod script;
pub mod seen;

pub use script::{Api, Reply, Rule, ToolCall, UsageSpec};
pub use seen::Seen;

use crate::http::Server;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

/// The credential that the fake accepts when none is given: what `deploy/samples` uses.
pub const DEFAULT_KEY: &str = "sk-fake-provider-credential";

/// How a fake provider is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The credentials it accepts; empty: any that is not a virtual key.
    pub keys: Vec<String>,
    /// Canned answers without checks or records, for benchmarks.
    pub fast: bool,
}

/// A running fake provider; dropping it closes it.
#[derive(Debug)]
pub struct Provider {
    server: Server,
    state: Arc<State>,
}

/// What the connections share.
#[derive(Debug)]
pub struct State {
    keys: Vec<String>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rules: VecDeque<Rule>,
    seen: VecDeque<Arc<Seen>>,
    count: u64,
    /// Prompt prefixes that are in the cache.
    cached: HashSet<u64>,
    /// How often a magic word that fails only once has been seen.
    failed: HashMap<u64, u32>,
}

/// The most requests that are remembered.
const MAX_SEEN: usize = 20_000;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        let keys = vec![DEFAULT_KEY.to_owned()];
        Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), keys, fast: false }
    }
}

// === impl Provider ===

impl Provider {
    /// Starts a strict provider on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(Options::default()).await
    }

    /// Starts a provider.
    pub async fn with(options: Options) -> anyhow::Result<Self> {
        let state = Arc::new(State { keys: options.keys, inner: Mutex::default() });
        let server = if options.fast {
            Server::start(options.listen, fast::handle).await?
        } else {
            let shared = state.clone();
            Server::start(options.listen, move |request| route::handle(shared.clone(), request)).await?
        };
        Ok(Provider { server, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// `http://127.0.0.1:PORT`, the endpoint of an Anthropic backend; OpenAI's is this and `/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Adds a rule; rules are used in order, each as often as it says.
    pub fn script(&self, rule: Rule) {
        self.state.inner.lock().rules.push_back(rule);
    }

    /// All requests so far, oldest first (at most the last 20,000).
    pub fn requests(&self) -> Vec<Arc<Seen>> {
        self.state.inner.lock().seen.iter().cloned().collect()
    }

    /// The requests to this API so far.
    pub fn requests_to(&self, api: Api) -> Vec<Arc<Seen>> {
        self.requests().into_iter().filter(|s| s.api == Some(api)).collect()
    }

    /// Requests that showed a credential or header of the gateway's own clients: always a bug of the gateway.
    pub fn leaks(&self) -> Vec<String> {
        self.requests().iter().filter_map(|s| s.leak.clone()).collect()
    }

    /// What the strict rules refused, as `model: words`.
    pub fn refusals(&self) -> Vec<String> {
        let refused = |s: &Arc<Seen>| s.refused.as_ref().map(|words| format!("{}: {words}", s.model()));
        self.requests().iter().filter_map(refused).collect()
    }

    /// Fails when there was a leak or a refusal, with their words.
    pub fn assert_clean(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.leaks().is_empty(), "the gateway leaked: {:?}", self.leaks());
        anyhow::ensure!(self.refusals().is_empty(), "the provider refused: {:#?}", self.refusals());
        Ok(())
    }

    /// Forgets rules, requests and caches.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Runs until the process ends.
    pub async fn forever(self) {
        self.server.forever().await;
    }
}

// === impl State ===

impl State {
    fn reset(&self) {
        *self.inner.lock() = Inner::default();
    }

    /// Takes the reply of the first rule that fits.
    fn take_reply(&self, api: Api, model: &str) -> Option<Reply> {
        let mut inner = self.inner.lock();
        let at = inner.rules.iter().position(|rule| rule.fits(api, model))?;
        let rule = inner.rules.get_mut(at)?;
        let reply = rule.reply.clone();
        if rule.spend() {
            inner.rules.remove(at);
        }
        Some(reply)
    }

    fn remember(&self, seen: Seen) -> Arc<Seen> {
        let mut inner = self.inner.lock();
        inner.count += 1;
        let seen = Arc::new(Seen { n: inner.count, ..seen });
        if inner.seen.len() >= MAX_SEEN {
            inner.seen.pop_front();
        }
        inner.seen.push_back(seen.clone());
        seen
    }

    /// Whether this prompt prefix was seen before; it is from now on.
    fn cache_hit(&self, prefix: u64) -> bool {
        !self.inner.lock().cached.insert(prefix)
    }

    /// Whether this is the first failure asked for by this message (so that a retry succeeds).
    fn first_failure(&self, message: u64) -> bool {
        let mut inner = self.inner.lock();
        let times = inner.failed.entry(message).or_default();
        *times += 1;
        *times % 2 == 1
    }
}
