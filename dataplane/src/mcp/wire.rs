//! One HTTP exchange with an upstream.

use crate::{
    body::{empty, full},
    client::HttpClient,
    model::Server,
    telemetry::outbound,
};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::BodyExt;
use hyper::body::Incoming as HttpBody;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tollgate_mcp::upstream::{Answer, Exchange, Incoming, Post, UpstreamError};
use tollgate_process::trace;

const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
/// How long a message that wants no answer may take.
const NOTICE_DEADLINE: Duration = Duration::from_secs(10);

/// The way to one server.
#[derive(Debug)]
pub(super) struct Wire {
    client: HttpClient,
    server: Arc<Server>,
    next: AtomicU64,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(client: HttpClient, server: Arc<Server>) -> Self {
        Wire { client, server, next: AtomicU64::new(1) }
    }

    /// A request id that no other request of this gateway to this server has.
    pub(super) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Posts the request `id` and reads until its answer; everything else that comes goes to `other`. `idle`: the longest silence.
    /// Returns the answer, and the session id that came with it.
    pub(super) async fn request(
        &self,
        id: u64,
        post: Post,
        idle: Duration,
        mut other: impl FnMut(Incoming),
    ) -> Result<(Answer, Option<String>), UpstreamError> {
        let had_session = post.session.is_some();
        let response = self.send(Method::POST, Some(post), idle).await?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let session = header("mcp-session-id");
        let mut exchange =
            Exchange::open(id, response.status().as_u16(), header("content-type").as_deref(), had_session)?;
        let (mut body, mut incoming) = (response.into_body(), Vec::new());
        loop {
            match next(&mut body, idle).await? {
                Some(bytes) => exchange.feed(&bytes, &mut incoming)?,
                None => exchange.end(&mut incoming)?,
            }
            for message in incoming.drain(..) {
                match message {
                    Incoming::Answer(answer) => return Ok((answer, session)),
                    message => other(message),
                }
            }
        }
    }

    /// Posts a message that has no answer.
    pub(super) async fn notify(&self, post: Post) -> Result<(), UpstreamError> {
        let had_session = post.session.is_some();
        let response = self.send(Method::POST, Some(post), NOTICE_DEADLINE).await?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            401 | 403 => Err(UpstreamError::Unauthorized(response.status().as_u16())),
            404 if had_session => Err(UpstreamError::SessionGone),
            status => Err(UpstreamError::Status(status, String::new())),
        }
    }

    /// Ends a session, if the server lets one.
    pub(super) async fn end_session(&self, post: Post) {
        let post = Post { body: String::new(), ..post };
        if let Err(e) = self.send(Method::DELETE, Some(post), NOTICE_DEADLINE).await {
            tracing::debug!(server = %self.server.id, error = %e, "an upstream MCP session could not be ended");
        }
    }

    async fn send(
        &self,
        method: Method,
        post: Option<Post>,
        deadline: Duration,
    ) -> Result<Response<HttpBody>, UpstreamError> {
        let request = self.http_request(method, post)?;
        match tokio::time::timeout(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) if e.is_connect() => {
                Err(UpstreamError::Connection(format!("it cannot be reached: {}", innermost(&e))))
            }
            Ok(Err(e)) => Err(UpstreamError::Broken(innermost(&e).to_string())),
            Err(_) => Err(timed_out(deadline)),
        }
    }

    fn http_request(
        &self,
        method: Method,
        post: Option<Post>,
    ) -> Result<Request<crate::body::Body>, UpstreamError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.server.url.clone())
            .header(ACCEPT, ACCEPTED)
            .header(USER_AGENT, AGENT);
        if let Some((name, value)) = &self.server.auth_header {
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| UpstreamError::Connection("its credentials are no header value".into()))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if let (Some(headers), Some(place)) = (request.headers_mut(), trace::current()) {
            outbound::inject(Some(&place), headers);
        }
        let body = match post {
            None => empty(),
            Some(post) => {
                request = request.header(CONTENT_TYPE, "application/json");
                if let Some(version) = post.version {
                    request = request.header("mcp-protocol-version", version);
                }
                if let Some(session) = post.session {
                    request = request.header("mcp-session-id", session);
                }
                full(post.body)
            }
        };
        request.body(body).map_err(|e| UpstreamError::Connection(e.to_string()))
    }
}

/// The next bytes of a body; `None` at its end.
async fn next(body: &mut HttpBody, idle: Duration) -> Result<Option<Bytes>, UpstreamError> {
    loop {
        return match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => Err(timed_out(idle)),
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(UpstreamError::ClosedEarly),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Ok(Some(bytes)),
                Err(_) => continue,
            },
        };
    }
}

pub(super) fn timed_out(after: Duration) -> UpstreamError {
    UpstreamError::Timeout(format!("{after:?}"))
}

/// The error that says why; those around it only say what for.
fn innermost(error: &hyper_util::client::legacy::Error) -> &dyn std::error::Error {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}
