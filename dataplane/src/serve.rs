//! Listening: connections, the guard against web pages, paths to endpoints, the orderly end.
//!
//! # Layout
//! - here: [`serve`], from the first connection to the last
//! - [`front`]: what is answered before there is a configuration, and the account kept of each request
//! - `connection`: one connection, plain or TLS
//! - [`guard`]: Host and Origin
//! - [`paths`]: which endpoint a path and method mean
//! - [`dispatch`]: the endpoint's answer

mod connection;
pub mod dispatch;
pub mod front;
pub mod guard;
pub mod paths;

use connection::Shared;
use front::Front;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// An address that is listened on.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// With TLS: HTTP/2 where the client speaks it, else HTTP/1.1. Without: HTTP/1.1.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What is answered.
    pub front: Arc<Front>,
}

/// When serving ends.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// No more is wanted: what is under way may end.
    pub drain: CancellationToken,
    /// What is under way must end now.
    pub cut: CancellationToken,
}

/// How long an end may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Drain {
    /// How long new connections are still taken after the end has begun: a balancer needs time to notice that they are not wanted.
    pub accepting: Duration,
    /// How long requests under way may take after that.
    pub most: Duration,
}

/// The most connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 10_000;
/// The pause after an accept failed (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections that are cut off may take to let go of their requests.
const LETTING_GO: Duration = Duration::from_secs(5);

/// Serves until [`Stop::drain`], goes on for [`Drain::accepting`], then finishes what is under way, at most for [`Drain::most`];
/// what is left then is cut off. When this returns, every request is settled and its record handed over. Returns until when
/// whatever else is under way may go on.
///
/// # Errors
/// Never for a single connection's failure; only when a listener's task fails.
pub async fn serve(listeners: Vec<Listener>, stop: Stop, drain: Drain) -> io::Result<Instant> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let (closed, leaving) = (CancellationToken::new(), CancellationToken::new());
    let fronts: Vec<_> = listeners.iter().map(|listener| listener.front.clone()).collect();
    let mut accepting = JoinSet::new();
    for Listener { socket, tls, front } in listeners {
        let shared = Shared { front, leaving: leaving.clone(), cut: stop.cut.clone() };
        accepting.spawn(accept(socket, tls, Arc::new(shared), slots.clone(), closed.clone()));
    }
    stop.drain.cancelled().await;
    fronts.iter().for_each(|front| front.drain());
    // Either way the listeners close now.
    _ = stop.cut.run_until_cancelled(sleep(drain.accepting)).await;
    closed.cancel();
    while let Some(ended) = accepting.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    leaving.cancel();
    let deadline = Instant::now() + drain.most;
    let all = slots.acquire_many(MAX_CONNECTIONS);
    match stop.cut.run_until_cancelled(timeout_at(deadline, all)).await {
        Some(Ok(_)) => return Ok(deadline),
        Some(Err(_)) => {
            tracing::warn!(
                after_s = drain.most.as_secs(),
                "drain deadline passed: requests under way are cut off"
            );
        }
        None => tracing::warn!("told to end at once: requests under way are cut off"),
    }
    stop.cut.cancel();
    // A request that is cut off settles and records as it is let go of: whoever flushes the records next must have that too.
    if timeout(LETTING_GO, slots.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        tracing::warn!("some connections did not end");
    }
    Ok(deadline)
}

async fn accept(
    socket: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    closed: CancellationToken,
) {
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    loop {
        let slot = tokio::select! {
            biased;
            () = closed.cancelled() => return,
            slot = slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connection::prepare(&stream);
                let (shared, acceptor) = (shared.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _slot = slot; // given back also when a request panics
                    match acceptor {
                        Some(acceptor) => shared.tls(acceptor, stream).await,
                        None => shared.plain(stream).await,
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

// === impl Stop ===

impl Stop {
    /// Ends with the process: the first SIGTERM or Ctrl-C drains, a second one cuts off.
    ///
    /// # Errors
    /// When the system gives no signals.
    pub fn with_signals() -> io::Result<Self> {
        let mut signals = tollgate_process::stop::Signals::new()?;
        let stop = Stop::default();
        let theirs = stop.clone();
        tokio::spawn(async move {
            let signal = signals.next().await;
            tracing::info!(signal, "draining");
            theirs.drain.cancel();
            let signal = signals.next().await;
            tracing::warn!(signal, "told again: ending at once");
            theirs.cut.cancel();
        });
        Ok(stop)
    }
}

// === impl Listener ===

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
