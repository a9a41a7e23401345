//! Listening: connections, the guard against web pages, paths to endpoints, drain.
//!
//! # Layout
//! - [`guard`]: Host and Origin
//! - [`paths`]: which endpoint a path and method mean
//! - [`dispatch`]: the endpoint's answer

pub mod dispatch;
pub mod guard;
pub mod paths;

use dispatch::Service;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// The most connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 10_000;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes nothing for so long is cut off by the kernel: its stream would hold money and an upstream for ever.
const STALLED_CLIENT: Duration = Duration::from_secs(120);
/// The pause after an accept failed (no file descriptors left).
/// How long connections that are cut off may take to let go of their requests.
const LETTING_GO: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves, then finishes what is under way, at most for `drain`; what is left then is cut off. When this
/// returns, every request is settled and its record handed over.
///
/// # Errors
/// Never returns early for a single connection's failure; only when the listener's address cannot be read.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> io::Result<()> {
    let graceful = GracefulShutdown::new();
    let cut_off = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let mut stop = std::pin::pin!(stop);
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.map_err(io::Error::other)?,
            () = &mut stop => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        prepare(&stream);
        let service = service.clone();
        let handler = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), handler);
        let connection = graceful.watch(connection);
        let cut_off = cut_off.clone();
        tokio::spawn(async move {
            let _slot = slot; // given back also when a request panics
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                },
                () = cut_off.cancelled() => {}
            }
        });
    }
    drop(listener);
    service.draining();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(after_s = drain.as_secs(), "drain deadline passed: requests under way are cut off");
        cut_off.cancel();
    }
    // A request that is cut off settles and records as it is let go of: whoever flushes the records next must have that too.
    if tokio::time::timeout(LETTING_GO, slots.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        tracing::warn!("some connections did not end");
    }
    Ok(())
}

fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = stream.set_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(STALLED_CLIENT)));
    if let Err(error) = set {
        tracing::debug!(%error, "socket options");
    }
}
