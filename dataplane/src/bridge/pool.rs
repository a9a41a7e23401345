//! Sessions and the shared process: caps, idleness, and the pause before a server that keeps dying is started again.

use super::{
    command::CommandLine,
    process::{Asked, Out, Process, SendError},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tollgate_mcp::{Message, json::Object, message::Kind, upstream::Handshake};
use uuid::Uuid;

/// How long a server may take to answer `initialize`.
const OPENING: Duration = Duration::from_secs(60);
/// The pause after a first failure to start; doubled with each in a row.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// So many failures in a row make a bridge unready.
const FAILURES: u32 = 3;
/// A session that was used more recently is not ended to make room.
const FRESH: Duration = Duration::from_secs(30);
/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// What a bridge allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One process for all.
    pub shared: bool,
    /// The most sessions.
    pub sessions: usize,
    /// How long an unused session lives.
    pub idle: Duration,
    /// The longest message in bytes.
    pub message: usize,
}

/// One server's processes.
#[derive(Debug)]
pub struct Pool {
    name: String,
    command: CommandLine,
    pub(super) limits: Limits,
    sessions: Mutex<HashMap<String, Arc<Process>>>,
    common: tokio::sync::Mutex<Option<Arc<Common>>>,
    /// The same, for those that must not wait.
    common_up: Mutex<Weak<Common>>,
    backoff: Mutex<Backoff>,
}

/// The process that all share, opened by the bridge.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) process: Arc<Process>,
    /// What it answered to `initialize`, raw; `None`: it knows no such method, so it is of the stateless era.
    pub(super) opened: Option<String>,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
    reason: String,
}

/// Why there is no process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PoolError {
    /// It failed, and will be tried again.
    #[error("the server cannot be started: {reason}; it is tried again in {} s", .wait.as_secs() + 1)]
    Failing {
        /// The last failure.
        reason: String,
        /// How long that takes.
        wait: Duration,
    },
    /// All sessions are in use.
    #[error("all {0} sessions of the server are in use (--max-sessions)")]
    Full(usize),
}

// === impl Pool ===

impl Pool {
    /// A pool that begins to work: a shared process is started at once, and again whenever it ends.
    pub fn start(name: &str, command: CommandLine, limits: Limits) -> Arc<Self> {
        let pool = Arc::new(Pool {
            name: name.to_owned(),
            command,
            limits,
            sessions: Mutex::default(),
            common: tokio::sync::Mutex::new(None),
            common_up: Mutex::default(),
            backoff: Mutex::default(),
        });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        if limits.shared {
            tokio::spawn(keep(Arc::downgrade(&pool)));
        }
        pool
    }

    /// Why no request can be served now; `None`: they can.
    pub fn not_ready(&self) -> Option<String> {
        let backoff = self.backoff.lock();
        if backoff.failures >= FAILURES {
            return Some(format!("the server cannot be started: {}", backoff.reason));
        }
        let up = self.common_up.lock().upgrade().is_some_and(|c| c.process.ended().is_none());
        (self.limits.shared && !up).then(|| "the server is being started".to_owned())
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Ends all processes, and waits until they have.
    pub async fn end(&self) {
        let mut all: Vec<Arc<Process>> = self.sessions.lock().drain().map(|(_, p)| p).collect();
        all.extend(self.common.lock().await.take().map(|c| c.process.clone()));
        let mut ending = JoinSet::new();
        for process in all {
            process.end();
            ending.spawn(async move { drop(process.wait().await) });
        }
        ending.join_all().await;
    }

    /// The process of a session.
    pub(super) fn session(&self, id: &str) -> Option<Arc<Process>> {
        let mut sessions = self.sessions.lock();
        let process = sessions.get(id)?.clone();
        if process.ended().is_some() {
            // The client opens a new one, as it must when a server forgets it.
            sessions.remove(id);
            return None;
        }
        Some(process)
    }

    /// A process for a session that a client opens.
    pub(super) fn open(&self) -> Result<Arc<Process>, PoolError> {
        self.make_room()?;
        self.spawn(false)
    }

    /// Keeps a session whose `initialize` was answered; its id.
    pub(super) fn keep(&self, process: Arc<Process>) -> String {
        self.backoff.lock().succeeded();
        let id = Uuid::new_v4().simple().to_string();
        self.sessions.lock().insert(id.clone(), process);
        id
    }

    /// Ends a session; whether there was one.
    pub(super) fn close(&self, id: &str) -> bool {
        let closed = self.sessions.lock().remove(id);
        closed.inspect(|process| process.end()).is_some()
    }

    /// An `initialize` failed.
    pub(super) fn failed(&self, process: &Process, reason: &str) {
        process.end();
        self.backoff.lock().failed(reason);
    }

    /// The shared process, started and opened when it is not there.
    pub(super) async fn common(&self) -> Result<Arc<Common>, PoolError> {
        let mut slot = self.common.lock().await;
        if let Some(common) = slot.as_ref().filter(|c| c.process.ended().is_none()) {
            return Ok(common.clone());
        }
        *slot = None;
        let process = self.spawn(true)?;
        let opened = match tokio::time::timeout(OPENING, opening(&process)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(reason)) => return Err(self.gave_up(&process, &reason)),
            Err(_) => return Err(self.gave_up(&process, "it does not answer initialize")),
        };
        self.backoff.lock().succeeded();
        let common = Arc::new(Common { process, opened });
        *self.common_up.lock() = Arc::downgrade(&common);
        *slot = Some(common.clone());
        Ok(common)
    }

    /// The shared process, when it is there.
    pub(super) fn common_now(&self) -> Option<Arc<Common>> {
        self.common_up.lock().upgrade()
    }

    fn gave_up(&self, process: &Process, reason: &str) -> PoolError {
        self.failed(process, reason);
        let wait = self.backoff.lock().wait();
        tracing::warn!(server = %self.name, reason, "an MCP server could not be opened");
        PoolError::Failing { reason: reason.to_owned(), wait }
    }

    fn spawn(&self, shared: bool) -> Result<Arc<Process>, PoolError> {
        let wait = self.backoff.lock().wait();
        if !wait.is_zero() {
            return Err(PoolError::Failing { reason: self.backoff.lock().reason.clone(), wait });
        }
        Process::start(&self.command, &self.name, shared, self.limits.message).map_err(|error| {
            let reason = format!("cannot run {}: {error}", self.command.program());
            tracing::warn!(server = %self.name, %error, "an MCP server's command cannot be run");
            let mut backoff = self.backoff.lock();
            backoff.failed(&reason);
            PoolError::Failing { reason, wait: backoff.wait() }
        })
    }

    /// Room for one more session: the one that was unused for longest ends, when it was for long enough.
    fn make_room(&self) -> Result<(), PoolError> {
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, p| p.ended().is_none());
        if sessions.len() < self.limits.sessions {
            return Ok(());
        }
        let longest = sessions.iter().map(|(id, p)| (p.unused_for(), id)).max();
        match longest.filter(|(unused, _)| *unused >= FRESH.min(self.limits.idle)).map(|(_, id)| id.clone()) {
            Some(id) => {
                if let Some(process) = sessions.remove(&id) {
                    process.end();
                }
                Ok(())
            }
            None => Err(PoolError::Full(self.limits.sessions)),
        }
    }

    fn sweep(&self) {
        self.sessions.lock().retain(|_, process| {
            let keep = process.ended().is_none() && process.unused_for() < self.limits.idle;
            if !keep {
                process.end();
            }
            keep
        });
    }
}

/// `initialize` and what follows, in the bridge's own name: its result, raw, or `None` when there is no such method.
async fn opening(process: &Arc<Process>) -> Result<Option<String>, String> {
    let ask = Handshake::initialize(0).body;
    let message = Message::parse(&ask).map_err(|e| e.to_string())?;
    let asked: Asked = process.request(&message, true).await.map_err(|e: SendError| e.to_string())?;
    let answer = asked.answer().await.ok_or("it gives no answer to initialize")?;
    let answer = Message::parse(&answer).map_err(|e| e.to_string())?;
    let Kind::Response { outcome, .. } = answer.kind else { return Err("it gives no answer".to_owned()) };
    match outcome {
        Ok(result) => {
            let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
            process.send(initialized.to_owned()).await.map_err(|e| e.to_string())?;
            Ok(Some(result.to_owned()))
        }
        Err(error) => {
            let code = Object::parse(error).ok().and_then(|o| o.get("code").map(str::to_owned));
            match code.as_deref() {
                // No such method, or no such version of the protocol: it is stateless.
                Some("-32601" | "-32022") => Ok(None),
                _ => Err(format!("it refuses initialize: {}", error.chars().take(300).collect::<String>())),
            }
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match pool.upgrade() {
            Some(pool) => pool.sweep(),
            None => return,
        }
    }
}

/// Keeps a shared process running.
async fn keep(pool: Weak<Pool>) {
    loop {
        let Some(strong) = pool.upgrade() else { return };
        let common = strong.common().await;
        drop(strong);
        match common {
            Ok(common) => drop(common.process.wait().await),
            Err(PoolError::Failing { wait, .. }) => tokio::time::sleep(wait.max(PAUSE)).await,
            Err(PoolError::Full(_)) => tokio::time::sleep(PAUSE_MOST).await,
        }
    }
}

// === impl Backoff ===

impl Backoff {
    fn failed(&mut self, reason: &str) {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MOST);
        self.failures += 1;
        self.not_before = Some(Instant::now() + pause);
        self.reason = reason.chars().take(500).collect();
    }

    fn succeeded(&mut self) {
        *self = Backoff::default();
    }

    /// How long to wait before the next try.
    fn wait(&self) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// What came of a request's beginning: the first thing that was heard.
pub(super) async fn first(asked: &mut Asked) -> Option<Out> {
    asked.out.recv().await
}
