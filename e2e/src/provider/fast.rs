//! Canned answers for benchmarks: no checks, no records, as little work as a server can do.

use crate::http::{self, Body, Finished, Step};
use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Incoming};
use memchr::memmem;
use std::{io, sync::LazyLock};

use super::{Options, Reply, UsageSpec};

/// The events of the canned stream of each shape, including the shape's own first and last ones.
pub const STREAM_EVENTS: usize = 50;

static CANNED: LazyLock<Canned> = LazyLock::new(Canned::new);

struct Canned {
    message: Bytes,
    message_events: Vec<Step>,
    completion: Bytes,
    completion_chunks: Vec<Step>,
}

/// Answers with a canned body: streamed when the request's bytes say `"stream":true`.
pub(super) async fn handle(request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = http::read_body(body).await?;
    // A client may write the field with or without a space.
    let stream =
        [b"\"stream\":true".as_slice(), b"\"stream\": true"].iter().any(|f| memmem::find(&body, f).is_some());
    let canned = &*CANNED;
    let chat = head.uri.path().ends_with("/chat/completions");
    let (whole, events) = match chat {
        true => (&canned.completion, &canned.completion_chunks),
        false => (&canned.message, &canned.message_events),
    };
    if !stream {
        return Ok(http::raw(StatusCode::OK, "application/json", whole.clone()));
    }
    let mut response = Response::new(http::steps(events.clone(), Finished::default()));
    let kind = hyper::header::HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    Ok(response)
}

// === impl Canned ===

impl Canned {
    fn new() -> Self {
        let text = |n: usize| Reply { deltas: Some(n), ..Reply::text("benchmark ".repeat(n * 2)) };
        let usage = UsageSpec { input: 1_000, output: 100, ..UsageSpec::default() };
        Canned {
            message: body(super::messages::canned(&text(1), usage, false)),
            // message_start, ping, block start and stop, message_delta, message_stop
            message_events: super::messages::canned(&text(STREAM_EVENTS - 6), usage, true),
            completion: body(super::chat::canned(&text(1), usage, false)),
            // role, finish, usage, [DONE]
            completion_chunks: super::chat::canned(&text(STREAM_EVENTS - 4), usage, true),
        }
    }
}

fn body(steps: Vec<Step>) -> Bytes {
    steps.into_iter().find_map(|s| if let Step::Send(b) = s { Some(b) } else { None }).unwrap_or_default()
}

impl Options {
    /// Fast mode on a free port.
    pub fn fast() -> Self {
        Options { fast: true, ..Options::default() }
    }
}
