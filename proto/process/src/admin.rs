//! The port for probes and scrapes: `/healthz`, `/readyz`, `/metrics`, plain HTTP. It has a thread and a runtime of its own, so
//! that it answers when all others are busy.

use crate::{readiness::Readiness, telemetry};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// What the port tells.
#[derive(Debug, Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Option<Registry>,
    /// The listener is on loopback: then only loopback names are answered, for a web page must not read it by DNS rebinding.
    loopback: bool,
}

/// The process lives. Nothing but that: a liveness probe that looks at more kills processes that could serve.
pub const HEALTHZ: &str = "/healthz";
/// The process can serve; 503 with the reasons, a line each, when it cannot.
pub const READYZ: &str = "/readyz";
/// All metrics in Prometheus's text format.
pub const METRICS: &str = "/metrics";

/// The most connections at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send a request's head, and how long it may be silent.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after an accept failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on `address` until the process ends; returns where (port 0 picks a free one). `metrics`: see
/// [`telemetry::Telemetry::prometheus`].
///
/// # Errors
/// When the address cannot be listened on, or there can be no thread.
pub fn start(address: SocketAddr, readiness: Readiness, metrics: Option<Registry>) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let admin = Admin { readiness, metrics, loopback: address.ip().is_loopback() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => admin.serve(listener).await,
                Err(error) => tracing::error!(%error, "the admin port cannot be served"),
            }
        });
    })?;
    Ok(address)
}

// === impl Admin ===

impl Admin {
    async fn serve(self, listener: TcpListener) {
        let (admin, slots) = (Arc::new(self), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(admin.clone(), stream, slot))),
                Err(error) => {
                    tracing::warn!(%error, "the admin port cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        if self.loopback && !of_loopback(request) {
            return text(StatusCode::FORBIDDEN, "only loopback names are served here\n");
        }
        match request.uri().path() {
            HEALTHZ => text(StatusCode::OK, "ok\n"),
            READYZ => readyz(&self.readiness),
            METRICS => match &self.metrics {
                Some(registry) => {
                    let mut response = text(StatusCode::OK, telemetry::text(registry));
                    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                    response
                }
                None => text(StatusCode::NOT_FOUND, "nothing is measured here\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz and /metrics exist here\n"),
        }
    }
}

/// `/readyz`: 200, or 503 with the reasons, a line each.
pub fn readyz(readiness: &Readiness) -> Response<Full<Bytes>> {
    match readiness.reasons() {
        reasons if reasons.is_empty() => text(StatusCode::OK, "ready\n"),
        reasons => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

async fn connection(admin: Arc<Admin>, stream: TcpStream, _slot: OwnedSemaphorePermit) {
    let handler = service_fn(|request: Request<Incoming>| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(&request)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), handler)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin port ended");
    }
}

fn of_loopback(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(words.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn get(address: SocketAddr, path: &str, host: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn probes_are_answered_in_words() {
        let readiness = Readiness::default();
        let waiting = readiness.wait_for("waiting for the first configuration from https://operator:18000");
        let address = start(([127, 0, 0, 1], 0).into(), readiness.clone(), Some(Registry::new())).unwrap();
        assert!(get(address, HEALTHZ, "127.0.0.1:1").starts_with("HTTP/1.1 200"));
        let unready = get(address, READYZ, "localhost");
        assert!(
            unready.starts_with("HTTP/1.1 503") && unready.contains("https://operator:18000\n"),
            "{unready}"
        );
        drop(waiting);
        assert!(get(address, READYZ, "[::1]:80").contains("\r\n\r\nready\n"));
        readiness.drain();
        assert!(get(address, READYZ, "localhost").contains("draining"));
        assert!(get(address, METRICS, "localhost").contains("version=0.0.4"));
        assert!(get(address, METRICS, "evil.example").starts_with("HTTP/1.1 403"));
        assert!(get(address, "/secret", "localhost").starts_with("HTTP/1.1 404"));
    }
}
