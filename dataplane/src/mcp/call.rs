//! `tools/call`: finding the tool, the task that calls it, and the answer as JSON or as an event stream.

use super::{
    Context, Outcome, Shared, access::Grant, catalog::PAUSE, http, record::Draft, running::Ticket, tools,
    upstream::Upstream,
};
use crate::{
    body::Body,
    model::ObjectId,
    request::slot::{self, Slot},
    telemetry::{
        inbound,
        outbound::{self, McpCall},
    },
};
use ::http::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time};
use tollgate_mcp::{
    Era, RpcError,
    error::INTERNAL,
    intake::Request,
    names,
    reply::{self, Reply},
    sse,
    upstream::{Incoming, UpstreamError, forward},
};
use tollgate_process::trace::{self, Place};

/// Load balancers drop connections that are silent for 60 s.
const PACE: Pace = Pace { quiet: Duration::from_secs(10), keep_alive: Duration::from_secs(15) };
/// Progress that is not taken yet; more is dropped, the answer never is.
const QUEUE: usize = 32;
/// The code of a request that the client itself cancelled (the Language Server Protocol's; MCP has none).
const CANCELLED: i32 = -32800;

/// A call under way.
pub(super) struct Started {
    events: mpsc::Receiver<Event>,
    pace: Pace,
}

/// How long a client is left without a sign of life.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Before it gets an event stream instead of a whole answer, when it takes one.
    quiet: Duration,
    /// Between two signs of life in an event stream.
    keep_alive: Duration,
}

enum Event {
    Progress(String),
    Answer(String),
}

/// Where a call goes.
enum Found {
    Tool(Arc<Upstream>, Box<str>),
    /// The server that would have it cannot be asked.
    Dead(ObjectId, UpstreamError),
    Unknown,
}

/// All that the task needs, owned.
struct Job {
    shared: Arc<Shared>,
    upstream: Arc<Upstream>,
    /// Whose upstream session it runs in.
    owner: String,
    id: u64,
    message: String,
    client_id: String,
    progress: Option<String>,
    era: Era,
    tool: Box<str>,
    draft: Draft,
    ticket: Option<Ticket>,
    place: Option<Arc<Place>>,
    request: Option<McpCall>,
    /// Its place among the calls under way.
    _slot: Option<Slot>,
}

/// Begins a call. A tool that the caller does not see does not exist.
pub(super) async fn start(cx: Context<'_>, request: &Request<'_>, name: &str) -> Outcome {
    let place = inbound::mcp(request, cx.key.id());
    let mut draft = Draft::new(cx.key, cx.caller, request, name);
    draft.traced(place.as_deref());
    // Before anything is asked or looked up: what is refused must cost nothing.
    let longest = cx.grants.iter().map(|grant| grant.server.timeouts.call).max().unwrap_or_default();
    let entered = match &cx.shared.account {
        Some(gateway) => slot::enter(gateway, cx.key, longest).await,
        None => Ok(None),
    };
    let slot = match entered {
        Ok(slot) => slot,
        Err(error) => {
            draft.failed(&error.to_string());
            let words = format!("The tool was not run: {error}. Try again later or go on without it.");
            let body = reply::failure(request.id, request.era, &words);
            draft.answered(&body);
            (cx.shared.sink)(draft.finish(false));
            return Outcome::Message(Reply::ok(body));
        }
    };
    let (upstream, tool) = match find(cx, name).await {
        Found::Tool(upstream, tool) => (upstream, tool),
        Found::Dead(server, error) => {
            draft.server(server.shared());
            draft.failed(&error.to_string());
            let body = reply::failure(request.id, request.era, &words(&server, name, &error));
            draft.answered(&body);
            (cx.shared.sink)(draft.finish(false));
            return Outcome::Message(Reply::ok(body));
        }
        Found::Unknown => {
            let error = RpcError::unknown_tool(name);
            draft.failed(&error.message);
            (cx.shared.sink)(draft.finish(false));
            return Outcome::Message(Reply::error(200, Some(request.id), &error));
        }
    };
    draft.found(upstream.server.id.shared());
    let id = upstream.wire.next_id();
    if let Some(place) = &place {
        place.rename(format!("tools/call {name}"));
    }
    let asked = McpCall::begin(&upstream.server, "tools/call", Some(&tool), place.as_ref());
    let traceparent = outbound::traceparent(asked.place().map(|place| &**place));
    let Some(message) = forward::call(request, id, &tool, traceparent.as_deref()) else {
        let error = RpcError::new(INTERNAL, "The call could not be forwarded");
        return Outcome::Message(Reply::error(200, Some(request.id), &error));
    };
    let principal = cx.key.id().as_str();
    let session = request.session.as_ref().map(|s| s.id.as_str());
    let job = Job {
        shared: cx.shared.clone(),
        upstream,
        owner: session.map_or_else(|| format!("key {principal}"), |s| format!("session {principal} {s}")),
        id,
        message,
        client_id: request.id.to_owned(),
        progress: request.progress.map(str::to_owned),
        era: request.era,
        tool,
        draft,
        ticket: session.map(|s| Ticket::new(cx.shared, principal, s, request.id)),
        place: place.clone(),
        request: Some(asked),
        _slot: slot,
    };
    let (events, receiver) = mpsc::channel(QUEUE);
    cx.shared.jobs.spawn(trace::scope(place, job.run(events)));
    Outcome::Call(Box::new(Started { events: receiver, pace: PACE }))
}

/// Finds the tool by the tables of the servers whose it may be. A list that does not have it is asked for again, but not too often.
async fn find(cx: Context<'_>, name: &str) -> Found {
    let mut dead = None;
    for grant in cx.grants.iter().filter(|g| may_have(cx, g, name)) {
        match look(cx, grant, name).await {
            Ok(Some((upstream, tool))) => return Found::Tool(upstream, tool),
            Ok(None) => {}
            Err(error) => {
                dead.get_or_insert((grant.server.id.clone(), error));
            }
        }
    }
    dead.map_or(Found::Unknown, |(server, error)| Found::Dead(server, error))
}

/// Whether the name may be one of this server's tools that the caller sees: a name as it was listed, or one whose server was never listed.
fn may_have(cx: Context<'_>, grant: &Grant<'_>, name: &str) -> bool {
    !tools::prefixed(cx, grant) || name.starts_with(&names::prefix(grant.server.id.name()))
}

async fn look(
    cx: Context<'_>,
    grant: &Grant<'_>,
    name: &str,
) -> Result<Option<(Arc<Upstream>, Box<str>)>, UpstreamError> {
    let prefixed = tools::prefixed(cx, grant);
    let guess =
        name.strip_prefix(&names::prefix(grant.server.id.name())).filter(|_| prefixed).unwrap_or(name);
    let upstream = match cx.shared.upstreams.get(grant.server) {
        Ok(upstream) => upstream,
        Err(error) => return if grant.allows(guess) { Err(error) } else { Ok(None) },
    };
    let known = upstream.catalogs.last();
    for age in [None, Some(PAUSE)] {
        let catalog = match (age, &known) {
            (None, Some(catalog)) => catalog.clone(),
            (None, None) => continue,
            (Some(age), _) => match upstream.catalog_within(age).await {
                Ok(catalog) => catalog,
                Err(error) => return if grant.allows(guess) { Err(error) } else { Ok(None) },
            },
        };
        let list = &catalog.listing;
        if let Some(tool) = if prefixed { list.by_public(name) } else { list.by_name(name) } {
            return Ok(grant.allows(&tool.name).then(|| (upstream, tool.name.clone())));
        }
    }
    Ok(None)
}

/// A failure for the model, so that it can go on.
fn words(server: &ObjectId, tool: &str, error: &UpstreamError) -> String {
    let tool: String = tool.chars().take(200).collect();
    let advice = match error.may_have_run() {
        true => "It may have had its effect all the same: check before repeating it.",
        false => "It was not run. Try again later or go on without it.",
    };
    let server = server.name();
    format!("MCP server {server} could not answer tool {tool}: {error}. {advice}")
}

// === impl Job ===

impl Job {
    /// Calls, answers, records.
    async fn run(mut self, events: mpsc::Sender<Event>) {
        let ticket = self.ticket.take();
        let cancelled = async {
            match &ticket {
                Some(ticket) => ticket.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let (era, grace) = (self.era, self.upstream.server.timeouts.call);
        let gone = async {
            events.closed().await;
            // A closed connection cancels a modern call, but not a legacy one: it may end, though nobody may wait for ever.
            if era == Era::Legacy {
                time::sleep(grace).await;
            }
        };
        let shared = self.shared.clone();
        let outcome = tokio::select! {
            outcome = self.call(&events) => Ok(outcome),
            () = cancelled => Err("cancelled by the client"),
            () = gone => Err("cancelled by the client"),
            () = shared.ended.cancelled() => Err("the gateway was stopped"),
        };
        self.answered(&outcome);
        let answer = match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.draft.failed(&error.to_string());
                self.failure(&words(&self.upstream.server.id, &self.tool, &error))
            }
            Err(why) => self.give_up(why),
        };
        self.draft.answered(&answer);
        let gone = events.send(Event::Answer(answer)).await.is_err();
        (self.shared.sink)(self.draft.finish(gone));
        if let Some(place) = &self.place {
            place.end();
        }
    }

    /// The server's part is over.
    fn answered(&mut self, outcome: &Result<Result<String, UpstreamError>, &'static str>) {
        let Some(request) = self.request.take() else { return };
        request.ended(match outcome {
            Ok(Ok(answer)) => outbound::mcp_failure(answer),
            Ok(Err(error)) => Some(outbound::mcp_class(error).into()),
            Err(_) => Some("cancelled".into()),
        });
    }

    async fn call(&mut self, events: &mpsc::Sender<Event>) -> Result<String, UpstreamError> {
        self.draft.sent();
        let (draft, progress, id, message) = (&mut self.draft, &self.progress, self.id, &self.message);
        let heard = |incoming| {
            draft.heard();
            let (Incoming::Notification(method, text), Some(token)) = (incoming, progress) else { return };
            if method == "notifications/progress"
                && let Some(text) = forward::progress(&text, id, token)
            {
                // Full or closed: the client is slow or gone, and progress is only news.
                _ = events.try_send(Event::Progress(text));
            }
        };
        let idle = self.upstream.server.timeouts.call;
        let from = self.request.as_ref().and_then(|request| request.place().cloned());
        let asked = self.upstream.request(&self.owner, id, idle, |peer| peer.post(message.clone()), heard);
        let answer = trace::scope(from, asked).await?;
        self.draft.heard();
        reply::relay(&answer.text, &self.client_id, self.era)
            .ok_or_else(|| UpstreamError::Malformed("it cannot be passed on".into()))
    }

    /// Nobody wants the answer any more: the upstream is told.
    fn give_up(&mut self, why: &str) -> String {
        if let Some(peer) = self.upstream.sessions.known(&self.owner) {
            self.upstream.cancel(&peer, self.id);
        }
        self.draft.failed(why);
        RpcError::new(CANCELLED, format!("Given up: {why}")).to_message(Some(&self.client_id))
    }

    fn failure(&self, words: &str) -> String {
        reply::failure(&self.client_id, self.era, words)
    }
}

// === impl Started ===

impl Started {
    /// The answer as it suits: JSON when it is there soon or the client takes nothing else, else an event stream with progress.
    pub(super) async fn into_response(mut self, streams: bool) -> Response<Body> {
        if !streams {
            return http::json(Reply::ok(self.into_message().await));
        }
        match time::timeout(self.pace.quiet, self.events.recv()).await {
            Ok(Some(Event::Answer(answer))) => http::json(Reply::ok(answer)),
            Ok(Some(Event::Progress(first))) => http::event_stream(self.into_stream(sse::encode(&first))),
            Err(_) => http::event_stream(self.into_stream(sse::KEEP_ALIVE.to_owned())),
            Ok(None) => http::json(lost()),
        }
    }

    /// The answer's message, without progress.
    pub(super) async fn into_message(mut self) -> String {
        loop {
            match self.events.recv().await {
                Some(Event::Answer(answer)) => return answer,
                Some(Event::Progress(_)) => {}
                None => return lost().body.unwrap_or_default(),
            }
        }
    }

    fn into_stream(self, first: String) -> Body {
        let pace = self.pace;
        let state = (Some(first), self.events, false);
        let frames = futures_util::stream::unfold(state, move |(first, mut events, done)| async move {
            if done {
                return None;
            }
            let (text, done) = match first {
                Some(first) => (first, false),
                None => match time::timeout(pace.keep_alive, events.recv()).await {
                    Err(_) => (sse::KEEP_ALIVE.to_owned(), false),
                    Ok(Some(Event::Progress(message))) => (sse::encode(&message), false),
                    Ok(Some(Event::Answer(message))) => (sse::encode(&message), true),
                    Ok(None) => return None,
                },
            };
            Some((Ok(hyper::body::Frame::data(Bytes::from(text))), (None, events, done)))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

/// The task ended without an answer; it never should.
fn lost() -> Reply {
    Reply::error(500, None, &RpcError::new(INTERNAL, "The call was lost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_quiet_call_gives_signs_of_life_and_then_its_answer() {
        let (sender, events) = mpsc::channel(QUEUE);
        let pace = Pace { quiet: Duration::from_millis(5), keep_alive: Duration::from_millis(5) };
        let response = Started { events, pace }.into_response(true).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        for _ in 0..3 {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), sse::KEEP_ALIVE);
        }
        sender.send(Event::Answer("{}".into())).await.ok().unwrap();
        let rest = body.collect().await.unwrap().to_bytes();
        assert!(rest.ends_with(b"event: message\ndata: {}\n\n"));
    }

    #[tokio::test]
    async fn a_call_that_is_lost_is_an_error_and_no_hang() {
        for streams in [true, false] {
            let (sender, events) = mpsc::channel::<Event>(QUEUE);
            drop(sender);
            let response = Started { events, pace: PACE }.into_response(streams).await;
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.starts_with(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603"#));
        }
    }
}
