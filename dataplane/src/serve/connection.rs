//! One connection, from its first byte to its last.

use super::front::Front;
use http::{HeaderValue, Request, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use std::{convert::Infallible, fmt::Display, pin::pin, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) front: Arc<Front>,
    /// The listener is closed: connections end with the requests under way.
    pub(super) leaving: CancellationToken,
    /// They end now.
    pub(super) cut: CancellationToken,
}

/// Runs the streams of one HTTP/2 connection, so that they can be waited for.
#[derive(Clone)]
struct Streams(TaskTracker);

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A client that takes nothing for so long is cut off by the kernel: its stream would hold money and an upstream for ever.
const STALLED_CLIENT: Duration = Duration::from_secs(120);
/// How often an HTTP/2 connection is asked whether it is there, and how long the answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));
/// The most requests at once on one HTTP/2 connection: a relay's whole pod may share one.
const MAX_STREAMS: u32 = 1000;
/// What a client may send ahead on one HTTP/2 stream: an agent's request is tens of kilobytes.
const STREAM_WINDOW: u32 = 1 << 20;

// === impl Shared ===

impl Shared {
    pub(super) async fn plain(self: Arc<Self>, stream: TcpStream) {
        self.http1(TokioIo::new(stream)).await;
    }

    pub(super) async fn tls(self: Arc<Self>, acceptor: TlsAcceptor, stream: TcpStream) {
        let stream = match self.cut.run_until_cancelled(timeout(HANDSHAKE, acceptor.accept(stream))).await {
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(error))) => {
                tracing::debug!(%error, "a connection did not speak TLS as it should");
                return;
            }
            Some(Err(_)) => {
                tracing::debug!("a connection did not finish its TLS handshake");
                return;
            }
            None => return,
        };
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(TokioIo::new(stream)).await,
            _ => self.http1(TokioIo::new(stream)).await,
        }
    }

    async fn http1<I>(self: Arc<Self>, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let front = self.front.clone();
        let handler = service_fn(move |request: Request<Incoming>| {
            let front = front.clone();
            async move {
                let mut response = front.answer(request).await;
                if front.is_draining() {
                    // The client goes elsewhere by itself, before this connection is closed under it.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .half_close(false)
            .serve_connection(io, handler);
        self.run(connection).await;
    }

    async fn http2<I>(self: Arc<Self>, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let front = self.front.clone();
        let handler = service_fn(move |request: Request<Incoming>| {
            let front = front.clone();
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        });
        let streams = Streams(TaskTracker::new());
        let connection = http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * 4)
            .serve_connection(io, handler);
        self.run(connection).await;
        // Without their connection the streams end by themselves; each settles its request before.
        streams.0.close();
        streams.0.wait().await;
    }

    /// Until it ends, by itself, in good order, or cut off.
    async fn run<C>(&self, connection: C)
    where
        C: GracefulConnection,
        C::Error: Display,
    {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.leaving.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.cut.cancelled() => return,
                }
            }
            () = self.cut.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

pub(super) fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = stream.set_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(STALLED_CLIENT)));
    if let Err(error) = set {
        tracing::debug!(%error, "socket options");
    }
}
