//! HTTPS: what the API server calls.

use super::{Injection, PATH, review};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

/// The largest review: a pod as large as etcd takes one, twice, in JSON.
const MAX_BODY: usize = 6 << 20;
/// The most connections at once; API servers keep a few open.
const MAX_CONNECTIONS: usize = 256;
/// How long a review may take to come in, and requests to end when the process does.
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers reviews on `connections` (TLS is done) until `stop`. The injection is the one in force when a review comes.
pub async fn serve<S, C>(connections: S, injection: watch::Receiver<Arc<Injection>>, stop: CancellationToken)
where
    S: Stream<Item = io::Result<C>>,
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = std::pin::pin!(connections);
    while let Some(Some(next)) = stop.run_until_cancelled(connections.next()).await {
        let (Ok(stream), Ok(slot)) = (next, slots.clone().acquire_owned().await) else { continue };
        let (injection, watcher) = (injection.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            let service = service_fn(move |request| {
                let injection = injection.borrow().clone();
                async move { Ok::<_, Infallible>(answer(request, &injection).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(DEADLINE);
            builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection to the webhook ended");
            }
        });
    }
    if tokio::time::timeout(DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some reviews did not end in time");
    }
}

async fn answer(request: Request<Incoming>, injection: &Injection) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, PATH) => {}
        (_, PATH) => return words(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted"),
        _ => return words(StatusCode::NOT_FOUND, "reviews are posted to /inject"),
    }
    let body = tokio::time::timeout(DEADLINE, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            return words(StatusCode::PAYLOAD_TOO_LARGE, &format!("the review cannot be read: {error}"));
        }
        Err(_) => return words(StatusCode::REQUEST_TIMEOUT, "the review did not come in time"),
    };
    match review::answer(&body, injection) {
        Ok(json) => {
            let mut response = Response::new(Full::from(json));
            let kind = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => words(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn words(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(words.to_owned()));
    *response.status_mut() = status;
    response
}
