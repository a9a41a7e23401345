//! Requests and answers of streamable HTTP.

use super::{
    pool::{Common, Pool, PoolError, first},
    process::{Asked, Out, Process, not_sent},
    rewrite,
};
use crate::body::{Body, empty, full};
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, RETRY_AFTER},
    request::Parts,
};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tollgate_mcp::{
    Era, Message, RpcError, Version,
    error::{INTERNAL, INVALID_REQUEST, METHOD_NOT_FOUND, SESSION_NOT_FOUND, UNSUPPORTED_VERSION},
    json::Object,
    message::Kind,
    reply::Reply,
    sse,
};

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
/// How long a client may take to send a message.
const READ_DEADLINE: Duration = Duration::from_secs(60);
/// A quiet stream of what belongs to no request shows so often that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Errors of the stateless era whose HTTP status is 400 (2026-07-28, transports).
const BAD_REQUEST: [&str; 3] = ["-32020", "-32021", "-32022"];

/// What a request's headers say.
struct Head {
    session: Option<String>,
    streams: bool,
    modern: bool,
}

// === the endpoint ===

/// Answers one HTTP request. Never fails: errors are answers.
pub async fn answer(pool: &Arc<Pool>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // A gateway sends no Origin; a web page always does.
    if parts.headers.contains_key(ORIGIN) {
        return json(refused(403, "A web page may not call this endpoint"));
    }
    let head = Head::new(&parts.headers);
    match parts.method {
        Method::POST => match read(&parts, body, pool.limits.message).await {
            Ok(body) => post(pool, &head, &body).await,
            Err(reply) => json(reply),
        },
        Method::GET => listen(pool, &head),
        Method::DELETE => end(pool, &head),
        _ => method_not_allowed(),
    }
}

async fn read(parts: &Parts, body: Incoming, max: usize) -> Result<String, Reply> {
    let mime = text(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    if !mime.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(refused(415, "The content type must be application/json"));
    }
    let bytes = match tokio::time::timeout(READ_DEADLINE, Limited::new(body, max).collect()).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            return Err(refused(413, &format!("The message is larger than {max} bytes")));
        }
        Ok(Err(e)) => return Err(refused(400, &format!("The body broke off: {e}"))),
        Err(_) => return Err(refused(408, "The body did not come in time")),
    };
    String::from_utf8(bytes.into()).map_err(|_| refused(400, "The body is no UTF-8"))
}

async fn post(pool: &Arc<Pool>, head: &Head, body: &str) -> Response<Body> {
    let message = match Message::parse(body) {
        Ok(message) => message,
        Err(error) => return json(Reply::error(400, None, &error)),
    };
    let own = match &head.session {
        None => None,
        Some(id) => match pool.session(id) {
            Some(process) => Some(process),
            None => return json(no_session(id_of(&message))),
        },
    };
    match &message.kind {
        Kind::Request { method, .. } if method == "initialize" && own.is_none() => {
            if pool.limits.shared {
                shared_initialize(pool, &message).await
            } else {
                open(pool, &message).await
            }
        }
        Kind::Request { id, .. } => match own {
            Some(process) => ask(&process, &message, head, false).await,
            None => match pool.common().await {
                Ok(common) => ask_common(&common, &message, head).await,
                Err(error) => unavailable(&error, Some(id)),
            },
        },
        Kind::Notification { method } => notify(pool, own, method, &message).await,
        Kind::Response { .. } => {
            // Of a shared process no client was asked anything.
            let Some(process) = own else { return json(Reply::accepted()) };
            sent(process.send(rewrite::one_line(message.object.text())).await)
        }
    }
}

async fn notify(
    pool: &Arc<Pool>,
    own: Option<Arc<Process>>,
    method: &str,
    message: &Message<'_>,
) -> Response<Body> {
    if method == "notifications/cancelled" {
        let process = match own {
            Some(process) => Some(process),
            None => pool.common_now().map(|c| c.process.clone()),
        };
        if let Some((process, id)) = process.zip(rewrite::cancelled(message)) {
            process.cancel(&id).await;
        }
        return json(Reply::accepted());
    }
    match own {
        Some(process) => sent(process.send(rewrite::one_line(message.object.text())).await),
        // What one client tells of itself is not for a process that others share.
        None => json(Reply::accepted()),
    }
}

fn sent(outcome: Result<(), super::process::SendError>) -> Response<Body> {
    match outcome {
        Ok(()) => json(Reply::accepted()),
        Err(error) => json(not_sent(&error, None)),
    }
}

// === sessions ===

/// `initialize`: a process of the client's own.
async fn open(pool: &Arc<Pool>, message: &Message<'_>) -> Response<Body> {
    let id = id_of(message);
    let process = match pool.open() {
        Ok(process) => process,
        Err(error) => return unavailable(&error, id),
    };
    let asked = match process.request(message, true).await {
        Ok(asked) => asked,
        Err(error) => {
            pool.failed(&process, &error.to_string());
            return json(not_sent(&error, id));
        }
    };
    let Some(answer) = asked.answer().await else {
        pool.failed(&process, "it gave no answer to initialize");
        return json(Reply::error(
            502,
            id,
            &RpcError::new(INTERNAL, "The server gave no answer to initialize"),
        ));
    };
    if process.ended().is_some() {
        pool.failed(&process, "it ended before it answered initialize");
        return retry_later(json(Reply { status: 503, body: Some(answer) }));
    }
    if error_code(&answer).is_some() {
        process.end();
        return json(Reply { status: status(&answer, false), body: Some(answer) });
    }
    let session = pool.keep(process);
    let mut response = json(Reply::ok(answer));
    if let Ok(value) = HeaderValue::try_from(session) {
        response.headers_mut().insert(SESSION, value);
    }
    response
}

/// `initialize` under `--shared`: what the process answered to the bridge. No session: there is nothing to keep.
async fn shared_initialize(pool: &Arc<Pool>, message: &Message<'_>) -> Response<Body> {
    let id = id_of(message);
    match pool.common().await {
        Ok(common) => json(match &common.opened {
            Some(result) => Reply::ok(format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#,
                id.unwrap_or("null"),
                rewrite::one_line(result)
            )),
            None => Reply::error(400, id, &RpcError::unknown_method("initialize")),
        }),
        Err(error) => unavailable(&error, id),
    }
}

fn listen(pool: &Arc<Pool>, head: &Head) -> Response<Body> {
    let Some(id) = head.session.as_ref().filter(|_| head.streams) else { return method_not_allowed() };
    match pool.session(id) {
        Some(process) => event_stream(quiet_stream(process.listen())),
        None => json(no_session(None)),
    }
}

fn end(pool: &Arc<Pool>, head: &Head) -> Response<Body> {
    match &head.session {
        Some(id) if pool.close(id) => Response::new(empty()),
        Some(_) => json(no_session(None)),
        None => method_not_allowed(),
    }
}

// === requests ===

/// A request without a session: in the era of the process that all share.
async fn ask_common(common: &Arc<Common>, message: &Message<'_>, head: &Head) -> Response<Body> {
    let (modern_client, modern_server) = (head.modern || is_modern(message), common.opened.is_none());
    if modern_client && !modern_server && !is_discover(message) {
        // The client learns which versions there are, and opens a session in one of them.
        let data = format!(
            r#"{{"supported":["{}"],"requested":"{}"}}"#,
            Version::NEWEST_LEGACY.as_str(),
            Version::V2026_07_28.as_str()
        );
        let error = RpcError {
            data: Some(data),
            ..RpcError::new(UNSUPPORTED_VERSION, "The server speaks revisions that begin with initialize")
        };
        return json(Reply::error(400, id_of(message), &error));
    }
    ask(&common.process, message, head, true).await
}

async fn ask(process: &Arc<Process>, message: &Message<'_>, head: &Head, cancels: bool) -> Response<Body> {
    let id = id_of(message);
    let mut asked = match process.request(message, cancels).await {
        Ok(asked) => asked,
        Err(error) => return retry_later(json(not_sent(&error, id))),
    };
    if !head.streams {
        return match asked.answer().await {
            Some(answer) => json(Reply { status: status(&answer, head.modern), body: Some(answer) }),
            None => json(unanswered(id)),
        };
    }
    match first(&mut asked).await {
        Some(Out::Answer(answer)) => json(Reply { status: status(&answer, head.modern), body: Some(answer) }),
        Some(Out::Message(message)) => event_stream(answer_stream(message, asked)),
        None => json(unanswered(id)),
    }
}

/// A message that came before the answer, then the others, then the answer.
fn answer_stream(first: String, asked: Asked) -> Body {
    let events = stream::unfold((Some(first), Some(asked)), |(first, asked)| async move {
        if let Some(first) = first {
            return Some((event(&first), (None, asked)));
        }
        let mut asked = asked?;
        match asked.out.recv().await? {
            Out::Message(message) => Some((event(&message), (None, Some(asked)))),
            Out::Answer(answer) => Some((event(&answer), (None, None))),
        }
    });
    StreamBody::new(events).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn quiet_stream(messages: mpsc::Receiver<String>) -> Body {
    let events = stream::unfold(messages, |mut messages| async move {
        match tokio::time::timeout(KEEP_ALIVE, messages.recv()).await {
            Ok(message) => Some((event(&message?), messages)),
            Err(_) => Some((Ok(Frame::data(Bytes::from_static(sse::KEEP_ALIVE.as_bytes()))), messages)),
        }
    });
    StreamBody::new(events).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn event(message: &str) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(sse::encode(message))))
}

// === messages ===

fn id_of<'a>(message: &Message<'a>) -> Option<&'a str> {
    match &message.kind {
        Kind::Request { id, .. } => Some(id),
        _ => None,
    }
}

/// Whether a request says of itself that it is of the stateless era.
fn is_modern(message: &Message<'_>) -> bool {
    let version = || {
        let params = message.object.object("params").ok()??;
        let version =
            params.object("_meta").ok()??.string("io.modelcontextprotocol/protocolVersion").ok()??;
        Version::parse(&version)
    };
    version().is_some_and(|v| v.era() == Era::Modern)
}

fn is_discover(message: &Message<'_>) -> bool {
    matches!(&message.kind, Kind::Request { method, .. } if method == "server/discover")
}

/// The code of an answer that is an error, raw.
fn error_code(answer: &str) -> Option<String> {
    match Message::parse(answer).ok()?.kind {
        Kind::Response { outcome: Err(error), .. } => {
            Object::parse(error).ok()?.get("code").map(str::to_owned)
        }
        _ => None,
    }
}

/// The HTTP status of an answer: in the stateless era some errors have one of their own.
fn status(answer: &str, modern: bool) -> u16 {
    match error_code(answer) {
        Some(code) if modern && code.parse() == Ok(METHOD_NOT_FOUND) => 404,
        Some(code) if BAD_REQUEST.contains(&code.as_str()) => 400,
        _ => 200,
    }
}

fn refused(status: u16, words: &str) -> Reply {
    Reply::error(status, None, &RpcError::new(INVALID_REQUEST, words))
}

fn no_session(id: Option<&str>) -> Reply {
    Reply::error(
        404,
        id,
        &RpcError::new(SESSION_NOT_FOUND, "Session not found: it has ended, or its process has"),
    )
}

fn unanswered(id: Option<&str>) -> Reply {
    Reply::error(200, id, &RpcError::new(INTERNAL, "The request was cancelled"))
}

fn unavailable(error: &PoolError, id: Option<&str>) -> Response<Body> {
    retry_later(json(Reply::error(503, id, &RpcError::new(INTERNAL, error.to_string()))))
}

// === answers ===

fn json(reply: Reply) -> Response<Body> {
    let mut response = match reply.body {
        Some(body) => {
            let mut response = Response::new(full(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        None => Response::new(empty()),
    };
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn retry_later(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn method_not_allowed() -> Response<Body> {
    let mut response = json(refused(405, "Without a session this endpoint takes POST only"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

// === impl Head ===

impl Head {
    fn new(headers: &HeaderMap) -> Self {
        let accepts = |v: &HeaderValue| v.to_str().is_ok_and(|v| v.contains("text/event-stream"));
        Head {
            session: text(headers, SESSION).map(str::to_owned),
            streams: headers.get_all(ACCEPT).iter().any(accepts),
            modern: text(headers, VERSION).and_then(Version::parse).is_some_and(|v| v.era() == Era::Modern),
        }
    }
}
