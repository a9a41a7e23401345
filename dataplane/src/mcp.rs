//! `/mcp`: the shell around the pure crate `tollgate-mcp`: HTTP in, HTTP out, upstreams, records.
//!
//! # Layout
//! - here: [`Endpoint`], from a POST to its answer
//! - `access`: which servers and tools a caller sees; `tools`: `tools/list` and what `initialize` says; `call`: `tools/call`, its task and its
//!   answer; `running`: calls that may be cancelled; `record`: what is recorded of a call
//! - `upstream`: one server: its sessions (`sessions`), its cached list (`catalog`), and one HTTP exchange (`wire`)
//! - `http`: headers and answers; [`keys`]: the sealing key of a gateway that stands alone

mod access;
mod call;
mod catalog;
mod http;
pub mod keys;
mod record;
mod running;
mod seen;
mod sessions;
mod tools;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

pub use seen::Seen;

use self::{access::Grant, http::Caller, running::Running, upstream::Upstreams};
use crate::{
    body::{Body, BodyError},
    gateway::Gateway,
    model::SealingKeys,
    records::Sink,
    snapshot::{KeyNode, Snapshot},
};
use ::http::{Method as HttpMethod, Request as HttpRequest, Response, StatusCode};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate_mcp::{
    RpcError,
    error::{INTERNAL, INVALID_REQUEST},
    intake::{Intake, Item, Method, Notice, Request},
    reply::{self, Reply},
    seal::{KEY_LEN, NONCE_LEN, SealError, Sealer},
    session::ClientSession,
};

/// How long calls that are given up may take to be recorded.
const LETTING_GO: Duration = Duration::from_secs(2);

/// The gateway's MCP endpoint, shared by all listeners.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Shared>);

struct Shared {
    sink: Sink,
    /// Of this gateway alone, where the operator pushes no keys.
    own: Arc<Sealer>,
    /// Made of the keys that the operator pushed last.
    pushed: ArcSwapOption<(Arc<SealingKeys>, Arc<Sealer>)>,
    random: SystemRandom,
    upstreams: Upstreams,
    running: Running,
    /// The calls under way, also those that nobody waits for any more.
    jobs: TaskTracker,
    /// They must end.
    ended: CancellationToken,
    /// Where calls are counted.
    account: Option<Arc<Gateway>>,
}

/// One POST on its way: everything that is the same for each message in it.
#[derive(Clone, Copy)]
struct Context<'a> {
    shared: &'a Arc<Shared>,
    sealer: &'a Sealer,
    key: &'a Arc<KeyNode>,
    grants: &'a [Grant<'a>],
    /// `/mcp/<server>`: names have no prefix.
    single: bool,
    caller: &'a Caller,
}

/// What a request is answered with.
enum Outcome {
    Message(Reply),
    Session(Reply, String),
    Unavailable(Reply),
    Call(Box<call::Started>),
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint that gives its tool calls' records to `sink` and seals session ids with the first of `keys` (all of them open).
    /// Sessions survive a restart and move between replicas only when the keys do.
    ///
    /// # Errors
    /// When there is no key.
    pub fn new(sink: Sink, keys: &[[u8; KEY_LEN]]) -> Result<Self, SealError> {
        Ok(Endpoint(Arc::new(Shared {
            sink,
            own: Arc::new(Sealer::new(keys)?),
            pushed: ArcSwapOption::empty(),
            random: SystemRandom::new(),
            upstreams: Upstreams::default(),
            running: Running::default(),
            jobs: TaskTracker::new(),
            ended: CancellationToken::new(),
            account: None,
        })))
    }

    /// Counts calls against the limits that `gateway` keeps. Before the endpoint is shared.
    #[must_use]
    pub fn counted(mut self, gateway: Arc<Gateway>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.account = Some(gateway);
        }
        self
    }

    /// Waits for the calls under way, at most until `until` or `cut`; those that are left then are given up, and recorded as such.
    pub async fn end(&self, until: tokio::time::Instant, cut: &CancellationToken) {
        self.0.jobs.close();
        let all = tokio::time::timeout_at(until, self.0.jobs.wait());
        if !matches!(cut.run_until_cancelled(all).await, Some(Ok(()))) {
            tracing::warn!(calls = self.0.jobs.len(), "tool calls under way are given up");
            self.0.ended.cancel();
            // They only tell their servers and record: that takes no time.
            tokio::time::timeout(LETTING_GO, self.0.jobs.wait()).await.unwrap_or(());
        }
    }

    /// Answers one HTTP request of an identified caller; `server`: the one of `/mcp/<server>`. Never fails: errors are answers.
    pub async fn handle<B>(
        &self,
        snapshot: Arc<Snapshot>,
        caller: Arc<KeyNode>,
        server: Option<&str>,
        request: HttpRequest<B>,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        if request.method() != HttpMethod::POST {
            return http::method_not_allowed();
        }
        let grants = access::grants(&snapshot, &caller, server);
        if let (Some(name), true) = (server, grants.is_empty()) {
            return http::no_such_server(name);
        }
        let (head, body) = request.into_parts();
        let from = Caller::new(&head.headers, Instant::now());
        let body = match http::read_body(&head.headers, body).await {
            Ok(body) => body,
            Err(reply) => return http::json(reply),
        };
        let sealer = self.0.sealer(&snapshot);
        let cx = Context {
            shared: &self.0,
            sealer: &sealer,
            key: &caller,
            grants: &grants,
            single: server.is_some(),
            caller: &from,
        };
        let principal = caller.id().as_str();
        let open = |token: &str| {
            ClientSession::open(&sealer, principal, now_ms(), token)
                .inspect_err(
                    |e| tracing::debug!(key = principal, error = %e, "an MCP session id does not open"),
                )
                .ok()
        };
        match Intake::read(&body, from.headers(), open) {
            Err(reply) => http::json(reply),
            Ok(Intake::Notice(notice)) => {
                cx.notice(&notice);
                http::json(Reply::accepted())
            }
            Ok(Intake::One(request)) => cx.answer(&request).await.into_response(from.streams).await,
            Ok(Intake::Batch(items)) => cx.batch(items).await,
        }
    }
}

// === impl Context ===

impl Context<'_> {
    async fn answer(self, request: &Request<'_>) -> Outcome {
        match &request.method {
            Method::Initialize(version) => {
                let instructions = tools::instructions(self).await;
                let session =
                    ClientSession { id: uuid::Uuid::now_v7().simple().to_string(), version: *version };
                match self.seal_session(&session) {
                    Ok(token) => {
                        let body = reply::initialize(request, *version, instructions.as_deref());
                        Outcome::Session(Reply::ok(body), token)
                    }
                    Err(e) => Outcome::Message(Reply::error(
                        500,
                        Some(request.id),
                        &RpcError::new(INTERNAL, format!("No session id could be made: {e}")),
                    )),
                }
            }
            Method::Ping => Outcome::Message(Reply::ok(reply::result(request, "{}"))),
            Method::Discover => {
                let instructions = tools::instructions(self).await;
                Outcome::Message(Reply::ok(reply::discover(request, instructions.as_deref())))
            }
            Method::ListTools(cursor) => tools::list(self, request, cursor.as_deref()).await,
            Method::CallTool(name) => call::start(self, request, name).await,
            Method::Unknown(method) => {
                let status = if request.era == tollgate_mcp::Era::Modern { 404 } else { 200 };
                Outcome::Message(Reply::error(status, Some(request.id), &RpcError::unknown_method(method)))
            }
        }
    }

    fn notice(self, notice: &Notice<'_>) {
        if let Notice::Cancelled { session: Some(session), request } = notice {
            self.shared.running.cancel(self.key.id().as_str(), session, request);
        }
    }

    /// The requests of a batch at once, their answers in one array.
    async fn batch(self, items: Vec<Item<'_>>) -> Response<Body> {
        let answers = items.into_iter().map(|item| async move {
            match item {
                Item::Request(request) => self.answer(&request).await.into_message().await,
                Item::Refused(message) => Some(message),
                Item::Notice(notice) => {
                    self.notice(&notice);
                    None
                }
            }
        });
        let answers: Vec<_> = futures_util::future::join_all(answers).await.into_iter().flatten().collect();
        http::json(match answers.is_empty() {
            true => Reply::accepted(),
            false => Reply::ok(format!("[{}]", answers.join(","))),
        })
    }

    fn nonce(self) -> Result<[u8; NONCE_LEN], SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.shared.random.fill(&mut nonce).map_err(|_| SealError::Cipher)?;
        Ok(nonce)
    }

    fn seal_session(self, session: &ClientSession) -> Result<String, SealError> {
        session.seal(self.sealer, self.key.id().as_str(), now_ms(), self.nonce()?)
    }
}

// === impl Shared ===

impl Shared {
    /// What seals and opens under this configuration: the keys of the installation, so that a session is at home at every
    /// gateway, else this gateway's own.
    fn sealer(&self, snapshot: &Snapshot) -> Arc<Sealer> {
        let Some(keys) = &snapshot.sealing else { return self.own.clone() };
        if let Some(pushed) = &*self.pushed.load()
            && Arc::ptr_eq(&pushed.0, keys)
        {
            return pushed.1.clone();
        }
        match Sealer::new(&keys.keys) {
            Ok(sealer) => {
                let sealer = Arc::new(sealer);
                self.pushed.store(Some(Arc::new((keys.clone(), sealer.clone()))));
                sealer
            }
            Err(error) => {
                tracing::warn!(%error, "the installation's sealing keys cannot be used: this gateway's own key is");
                self.own.clone()
            }
        }
    }
}

// === impl Outcome ===

impl Outcome {
    async fn into_response(self, streams: bool) -> Response<Body> {
        match self {
            Outcome::Message(reply) => http::json(reply),
            Outcome::Session(reply, token) => http::with_session(http::json(reply), &token),
            Outcome::Unavailable(reply) => http::retry_later(http::json(reply)),
            Outcome::Call(started) => started.into_response(streams).await,
        }
    }

    async fn into_message(self) -> Option<String> {
        match self {
            Outcome::Message(reply) | Outcome::Session(reply, _) | Outcome::Unavailable(reply) => reply.body,
            Outcome::Call(started) => Some(started.into_message().await),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The error of a request that is refused before it is read.
fn refused(status: StatusCode, words: impl Into<String>) -> Reply {
    Reply::error(status.as_u16(), None, &RpcError::new(INVALID_REQUEST, words))
}
