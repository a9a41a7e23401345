//! Headers in, answers out.

use super::refused;
use crate::{
    body::{Body, BodyError, empty, full},
    request::exchange,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::{Duration, Instant};
use tollgate_mcp::{RpcError, error::INVALID_PARAMS, intake::Headers, reply::Reply};

/// The largest body of a client's POST.
const MAX_REQUEST: usize = 4 << 20;
/// How long a client may take to send it.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// What the headers say of the caller.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) since: Instant,
    pub(super) at: i64,
    /// It takes an event stream for an answer.
    pub(super) streams: bool,
    pub(super) user_agent: Option<String>,
    pub(super) client_session: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) metadata: Vec<(String, String)>,
    version: Option<String>,
    session: Option<String>,
    method: Option<String>,
    name: Option<String>,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(headers: &HeaderMap, since: Instant) -> Self {
        let own = |name: &str| headers.get(name).map(text);
        Caller {
            since,
            at: super::now_ms(),
            streams: headers.get_all(ACCEPT).iter().any(|v| text(v).contains("text/event-stream")),
            user_agent: exchange::user_agent(headers),
            client_session: exchange::session(headers),
            trace_id: exchange::trace_id(headers),
            metadata: exchange::metadata(headers),
            version: own("mcp-protocol-version"),
            session: own("mcp-session-id"),
            method: own("mcp-method"),
            name: own("mcp-name"),
        }
    }

    pub(super) fn headers(&self) -> Headers<'_> {
        Headers {
            version: self.version.as_deref(),
            session: self.session.as_deref(),
            method: self.method.as_deref(),
            name: self.name.as_deref(),
        }
    }
}

/// A header's value; one that is not UTF-8 is there, but equals nothing.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Reads a POST's body within bounds. Only JSON: a page in a browser cannot send it to another site without asking first.
pub(super) async fn read_body<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Reply>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<BodyError>,
{
    let mime = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    if !mime.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The content type must be application/json"));
    }
    let whole = tokio::time::timeout(READ_DEADLINE, Limited::new(body, MAX_REQUEST).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body is larger than {MAX_REQUEST} bytes"),
        )),
        Ok(Err(e)) => Err(refused(StatusCode::BAD_REQUEST, format!("The body broke off: {e}"))),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")),
    }
}

/// A reply as an HTTP answer.
pub(super) fn json(reply: Reply) -> Response<Body> {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match reply.body {
        Some(body) => {
            let mut response = Response::new(full(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        None => Response::new(empty()),
    };
    *response.status_mut() = status;
    response
}

/// An event stream that no proxy on the way holds back.
pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// GET, because the gateway has nothing to say unasked, and DELETE, because it keeps no session that could be ended.
pub(super) fn method_not_allowed() -> Response<Body> {
    let mut response = json(refused(StatusCode::METHOD_NOT_ALLOWED, "This endpoint takes POST only"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// A server that does not exist for the caller.
pub(super) fn no_such_server(name: &str) -> Response<Body> {
    let name: String = name.chars().take(100).collect();
    json(Reply::error(
        404,
        None,
        &RpcError::new(INVALID_PARAMS, format!("This key has no MCP server {name:?}")),
    ))
}

pub(super) fn with_session(mut response: Response<Body>, token: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(token) {
        response.headers_mut().insert("mcp-session-id", value);
    }
    response
}

pub(super) fn retry_later(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}
