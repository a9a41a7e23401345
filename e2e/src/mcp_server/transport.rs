//! Streamable HTTP: one endpoint, sessions, JSON or SSE answers; and `/_control/*`.

use super::{Failure, Rule, Seen, State, everything, rpc};
use crate::{
    http::{self, Body, Finished, Step},
    provider::ids,
};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, HeaderValue},
};
use serde_json::{Value, json};
use std::{io, sync::Arc, time::Duration};

const SESSION: &str = "mcp-session-id";
/// Between two pieces of news of a tool.
const BETWEEN: Duration = Duration::from_millis(50);

/// The service function of the fake MCP server.
pub(super) async fn handle(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = http::read_body(body).await?;
    match head.uri.path() {
        "/mcp" => {}
        path if path.starts_with("/_control") => return Ok(control(&state, &head.method, path, &body)),
        _ => return Ok(plain(StatusCode::NOT_FOUND, "Not Found")),
    }
    if let Some(want) = &state.options.authorization
        && header(&head.headers, "authorization") != want
    {
        return Ok(plain(StatusCode::UNAUTHORIZED, "the Authorization header is wrong"));
    }
    match head.method {
        Method::POST => post(&state, &head.headers, &body).await,
        Method::DELETE => {
            let known = state.inner.lock().sessions.remove(header(&head.headers, SESSION));
            Ok(plain(if known { StatusCode::OK } else { StatusCode::NOT_FOUND }, ""))
        }
        _ => {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
            Ok(refused)
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn plain(status: StatusCode, words: &str) -> Response<Body> {
    http::raw(status, "text/plain", words.to_owned())
}

fn rpc_error(status: StatusCode, id: &Value, code: i64, words: &str) -> Response<Body> {
    http::json(status, &json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": words}}))
}

async fn post(state: &State, headers: &HeaderMap, body: &[u8]) -> io::Result<Response<Body>> {
    let accept = header(headers, "accept");
    if !(accept.contains("application/json") && accept.contains("text/event-stream")) {
        let words = "Not Acceptable: Client must accept both application/json and text/event-stream";
        return Ok(rpc_error(StatusCode::NOT_ACCEPTABLE, &Value::Null, -32000, words));
    }
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        return Ok(rpc_error(StatusCode::BAD_REQUEST, &Value::Null, -32700, "Parse error"));
    };
    if !message.is_object() || message.get("jsonrpc").is_none_or(|v| v != "2.0") {
        return Ok(rpc_error(StatusCode::BAD_REQUEST, &Value::Null, -32600, "Invalid Request"));
    }
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let headers_seen = headers.iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect();
    state.remember(Seen { method: method.clone(), message: message.clone(), headers: headers_seen });
    if let Some(refused) = session_problem(state, headers, &method, &message) {
        return Ok(refused);
    }
    let Some(id) = message.get("id") else {
        return Ok(plain(StatusCode::ACCEPTED, ""));
    };
    request(state, id, &method, &message).await
}

fn session_problem(
    state: &State,
    headers: &HeaderMap,
    method: &str,
    message: &Value,
) -> Option<Response<Body>> {
    if method == "initialize" {
        return None;
    }
    let id = message.get("id").unwrap_or(&Value::Null);
    let session = header(headers, SESSION);
    if session.is_empty() {
        let words = "Bad Request: Mcp-Session-Id header is required";
        return Some(rpc_error(StatusCode::BAD_REQUEST, id, -32000, words));
    }
    if !state.inner.lock().sessions.contains(session) {
        return Some(rpc_error(StatusCode::NOT_FOUND, id, -32001, "Session not found"));
    }
    let version = header(headers, "mcp-protocol-version");
    if !version.is_empty() && !rpc::VERSIONS.contains(&version) {
        let words = format!("Bad Request: Unsupported protocol version: {version}");
        return Some(rpc_error(StatusCode::BAD_REQUEST, id, -32000, &words));
    }
    None
}

async fn request(state: &State, id: &Value, method: &str, message: &Value) -> io::Result<Response<Body>> {
    let empty = json!({});
    let params = message.get("params").unwrap_or(&empty);
    let tool = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let failure = state.take_failure(method, tool);
    if let Some(failure) = &failure {
        tokio::time::sleep(Duration::from_millis(failure.delay_ms)).await;
        if let Some(failed) = fail(failure)? {
            return Ok(failed);
        }
    }
    let answer = match rpc::answer(state, method, params, failure.as_ref()) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, words)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": words}}),
    };
    let mut response = match news(state, tool, params) {
        Some(news) => streamed(&news, &answer),
        None => http::json(StatusCode::OK, &answer),
    };
    if method == "initialize" {
        let session = ids::fresh("session-");
        let value = HeaderValue::from_str(&session).map_err(io::Error::other)?;
        state.inner.lock().sessions.insert(session);
        response.headers_mut().insert(SESSION, value);
    }
    Ok(response)
}

fn fail(failure: &Failure) -> io::Result<Option<Response<Body>>> {
    if failure.drop {
        return Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed on purpose"));
    }
    if failure.garbage {
        return Ok(Some(http::raw(StatusCode::OK, "application/json", "{\"jsonrpc\": broken")));
    }
    match failure.status {
        Some(status) => {
            let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
            Ok(Some(plain(status, "failed on purpose")))
        }
        None => Ok(None),
    }
}

/// What a tool that answers by an event stream tells before its answer, such as a sign of progress when the caller wants one.
fn news(state: &State, tool: &str, params: &Value) -> Option<Vec<Value>> {
    if state.options.everything {
        return everything::news(tool, params);
    }
    let progress = |token: &Value| {
        let params = json!({"progressToken": token, "progress": 1, "total": 2, "message": "writing"});
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    };
    (tool == "write_row").then(|| params.pointer("/_meta/progressToken").map(progress).into_iter().collect())
}

fn streamed(news: &[Value], answer: &Value) -> Response<Body> {
    let event = |v: &Value| Step::Send(format!("event: message\ndata: {v}\n\n").into());
    let mut steps = Vec::new();
    for (n, one) in news.iter().enumerate() {
        if n > 0 {
            steps.push(Step::Pause(BETWEEN));
        }
        steps.push(event(one));
    }
    steps.push(event(answer));
    let mut response = Response::new(http::steps(steps, Finished::default()));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

fn control(state: &State, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
    match (method, path) {
        (&Method::POST, "/_control/script") => match serde_json::from_slice::<Rule>(body) {
            Ok(rule) => {
                state.inner.lock().rules.push_back(rule);
                http::json(StatusCode::OK, &json!({"added": 1}))
            }
            Err(e) => http::json(StatusCode::BAD_REQUEST, &json!({"error": e.to_string()})),
        },
        (&Method::GET, "/_control/requests") => {
            let all: Vec<Value> = state.inner.lock().seen.iter().map(Seen::to_json).collect();
            http::json(StatusCode::OK, &Value::Array(all))
        }
        (&Method::DELETE, "/_control") => {
            let mut inner = state.inner.lock();
            inner.rules.clear();
            inner.seen.clear();
            http::json(StatusCode::OK, &json!({"ok": true}))
        }
        _ => plain(StatusCode::NOT_FOUND, "Not Found"),
    }
}
