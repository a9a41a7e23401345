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

/// The most connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes nothing for so long is cut off by the kernel: its stream would hold money and an upstream for ever.
const STALLED_CLIENT: Duration = Duration::from_secs(120);
/// The pause after an accept failed (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves, then finishes what is under way, at most for `drain`.
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
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    service.draining();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(after_s = drain.as_secs(), "drain deadline passed with requests under way");
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
