//! Sends requests and measures latency, from when a request was due to the last byte of its answer.

use super::cases::Case;
use crate::provider::DEFAULT_KEY;
use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, runtime::Handle, task::JoinSet};

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// So many connections, each with one request after the other.
    Connections(u32),
    /// At a fixed rate, whether or not earlier ones are answered. A late answer counts from when its request was due
    /// (no coordinated omission).
    Rate,
}

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub addr: SocketAddr,
    /// The credential.
    pub key: String,
    numbers: Arc<AtomicU64>,
}

/// A connection.
type Sender = SendRequest<Full<Bytes>>;

// === impl Mode ===

impl Mode {
    /// All modes of the report.
    pub const ALL: [Mode; 3] = [Mode::Connections(1), Mode::Connections(32), Mode::Rate];

    /// Its name in the report.
    pub fn name(self, case: &Case) -> String {
        match self {
            Mode::Connections(1) => "1 connection".to_owned(),
            Mode::Connections(n) => format!("{n} connections"),
            Mode::Rate => format!("{}/s", case.rate),
        }
    }
}

// === impl Target ===

impl Target {
    /// A target that takes the provider's own credential.
    pub fn plain(addr: SocketAddr) -> Self {
        Self::keyed(addr, DEFAULT_KEY)
    }

    /// A target that takes this credential.
    pub fn keyed(addr: SocketAddr, key: &str) -> Self {
        Target { addr, key: key.to_owned(), numbers: Arc::new(AtomicU64::new(1)) }
    }

    /// Sends requests for a while; the latencies in microseconds.
    pub async fn run(&self, case: &Arc<Case>, mode: Mode, time: Duration) -> anyhow::Result<Vec<f64>> {
        match mode {
            Mode::Connections(n) => self.closed(case, n, time).await,
            Mode::Rate => self.open(case, time).await,
        }
    }

    /// Sends this many requests, one after the other.
    pub async fn send(&self, case: &Case, count: u64) -> anyhow::Result<()> {
        let mut sender = self.connect().await?;
        for _ in 0..count {
            self.once(case, &mut sender).await?;
        }
        Ok(())
    }

    async fn closed(&self, case: &Arc<Case>, connections: u32, time: Duration) -> anyhow::Result<Vec<f64>> {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let mut sender = self.connect().await?;
            self.once(case, &mut sender).await?; // a connection that has been used once is warm
            senders.push(sender);
        }
        let end = Instant::now() + time;
        let mut workers = JoinSet::new();
        for mut sender in senders {
            let (target, case) = (self.clone(), case.clone());
            workers.spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let started = Instant::now();
                    target.once(&case, &mut sender).await?;
                    latencies.push(micros(started));
                }
                anyhow::Ok(latencies)
            });
        }
        let mut all = Vec::new();
        while let Some(worker) = workers.join_next().await {
            all.extend(worker??);
        }
        Ok(all)
    }

    async fn open(&self, case: &Arc<Case>, time: Duration) -> anyhow::Result<Vec<f64>> {
        let idle = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..8 {
            let mut sender = self.connect().await?;
            self.once(case, &mut sender).await?;
            idle.lock().push(sender);
        }
        let (target, case, runtime) = (self.clone(), case.clone(), Handle::current());
        // A thread of its own keeps the pace: the runtime's timers are a millisecond coarse.
        let paced = tokio::task::spawn_blocking(move || {
            let period = Duration::from_secs(1) / case.rate.max(1);
            let (mut due, end) = (Instant::now(), Instant::now() + time);
            let mut sent = Vec::new();
            while due < end {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let (target, case, idle) = (target.clone(), case.clone(), idle.clone());
                sent.push(runtime.spawn(async move { target.due(&case, &idle, due).await }));
                due += period;
            }
            sent
        });
        let mut all = Vec::new();
        for request in paced.await? {
            all.push(request.await??);
        }
        Ok(all)
    }

    async fn due(&self, case: &Case, idle: &Mutex<Vec<Sender>>, due: Instant) -> anyhow::Result<f64> {
        let kept = idle.lock().pop();
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        self.once(case, &mut sender).await?;
        idle.lock().push(sender);
        Ok(micros(due))
    }

    async fn connect(&self) -> anyhow::Result<Sender> {
        let stream =
            TcpStream::connect(self.addr).await.with_context(|| format!("cannot reach {}", self.addr))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn once(&self, case: &Case, sender: &mut Sender) -> anyhow::Result<()> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let request = Request::post(case.path)
            .header("host", self.addr.to_string())
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.key))
            .header("anthropic-version", "2023-06-01")
            .header(
                "anthropic-beta",
                "claude-code-20250219,context-management-2025-06-27,mid-conversation-system-2026-04-07",
            )
            .header("user-agent", "claude-cli/2.1.197 (external, sdk-cli)")
            .header("x-claude-code-session-id", "11111111-1111-4111-8111-111111111111")
            .body(Full::new(case.body(number)))?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let (mut size, mut last) = (0, Bytes::new());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                size += data.len();
                last = data;
            }
        }
        let said = String::from_utf8_lossy(&last);
        anyhow::ensure!(status == 200, "{} at {}: {status} {said}", case.name, self.addr);
        let whole = !case.streamed() || said.contains("message_stop");
        anyhow::ensure!(
            whole && size > 100,
            "{} at {}: the answer is not whole: {said}",
            case.name,
            self.addr
        );
        Ok(())
    }
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
