//! Phase 7: the request sent; the next attempt or backend when it fails before its first byte.

use super::{
    Answered, Decoded,
    answer::{Answer, Through},
    exchange::Exchange,
    failure::{Again, Failed, refused},
    header,
    outgoing::{Outgoing, prepare},
    plan::Candidate,
    reserve::{self, Cap},
};
use crate::{
    body::Body,
    error::GatewayError,
    model::route::Backend,
    names, respond,
    telemetry::{self, outbound::Attempt},
    upstream::send::{self, Operation},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::Instant;
use tollgate_translate::{answer::Summary, error::Kind};

/// The most bytes of a whole answer.
const MAX_ANSWER: usize = 64 << 20;
/// The pause before an attempt is repeated at the same backend; doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
/// A backend that asks for a longer pause than this is not asked again: another is, or the client waits by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a stream's first event is waited for before the client gets its headers (and heartbeats).
const FIRST_EVENT: Duration = Duration::from_secs(10);
/// What is kept of a stream before its first event is whole.
const MAX_FIRST: usize = 64 << 10;
/// How long a client waits for an answer that does not say: what the official SDKs do.
const PATIENCE: Duration = Duration::from_secs(600);

/// A stream whose first event is there.
#[derive(Debug)]
pub struct Streaming {
    upstream: Incoming,
    through: Through,
    first: Bytes,
    headers: HeaderMap,
    idle: Duration,
}

/// The attempts of one request: how many and how long they may still be made, and how the last one failed.
struct Tries {
    left: u32,
    until: Instant,
    pause: Duration,
    failed: Option<(Failed, bool)>,
}

/// Tries the candidates in order until one answers.
pub async fn attempt(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: Vec<Candidate>,
    mut cap: Cap,
) -> Result<Answered, GatewayError> {
    let mut tries = Tries::new(decoded, candidates.first());
    for (place, candidate) in candidates.iter().enumerate() {
        let Some(backend) = candidate.backend() else { continue };
        if tries.over() {
            break;
        }
        let rest = candidates.get(place..).unwrap_or_default();
        let outgoing = match begin(exchange, decoded, rest, backend, &mut cap).await {
            Ok(outgoing) => outgoing,
            // Of a fallback that cannot be used the client learns nothing: it asked for another model, whose failure counts.
            Err(_) if tries.failed.is_some() => continue,
            Err(error) => return Err(error),
        };
        exchange.candidate = Some(candidate.clone());
        tries.pause = PAUSE;
        loop {
            let deadline = tries.deadline(candidate);
            let failed = match once(exchange, decoded, candidate, backend, &outgoing, deadline).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            exchange.failed(failed.used);
            let never = failed.again == Again::Never;
            let pause = tries.next_pause(&failed);
            tries.failed = Some((failed, outgoing.same));
            if never {
                return tries.finish(exchange);
            }
            let Some(pause) = pause else { break };
            tokio::time::sleep(pause).await;
        }
    }
    tries.finish(exchange)
}

/// The hold for the first of `candidates`, and its request.
async fn begin(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &[Candidate],
    backend: &Backend,
    cap: &mut Cap,
) -> Result<Outgoing, GatewayError> {
    if let Some(new) = reserve::again(exchange, decoded, candidates).await? {
        *cap = new;
    }
    let Some(candidate) = candidates.first() else { return Err(no_backend()) };
    prepare(exchange, decoded, candidate, backend, *cap)
}

fn no_backend() -> GatewayError {
    GatewayError::NoBackend("no backend is configured for this model".into())
}

// === impl Tries ===

impl Tries {
    fn new(decoded: &Decoded<'_>, first: Option<&Candidate>) -> Self {
        Tries {
            left: first.map_or(0, |c| c.route().retry.attempts),
            until: decoded.at + patience(&decoded.parts.headers),
            pause: PAUSE,
            failed: None,
        }
    }

    /// Whether the client has given up waiting by now.
    fn over(&self) -> bool {
        self.failed.is_some() && Instant::now() >= self.until
    }

    /// How long the answer's head is waited for. The first attempt has the route's time, the others what is left of the client's.
    fn deadline(&self, candidate: &Candidate) -> Duration {
        let first_byte = candidate.route().timeouts.first_byte;
        match self.failed {
            None => first_byte,
            Some(_) => first_byte.min(self.until.saturating_duration_since(Instant::now())),
        }
    }

    /// The pause before another attempt at the same backend; `None`: no more there.
    fn next_pause(&mut self, failed: &Failed) -> Option<Duration> {
        let asked = Duration::from_secs(failed.error.retry_after.unwrap_or(0));
        let pause = self.pause.max(asked);
        if failed.again != Again::Anywhere
            || self.left == 0
            || asked > LONGEST_PAUSE
            || Instant::now() + pause >= self.until
        {
            return None;
        }
        self.left -= 1;
        self.pause *= 2;
        Some(pause)
    }

    /// No candidate answered: the last failure, as it came where the client speaks the same format.
    fn finish(self, exchange: &mut Exchange) -> Result<Answered, GatewayError> {
        let Some((failed, same)) = self.failed else { return Err(no_backend()) };
        exchange.candidate = None;
        match failed.raw {
            Some((status, headers, body)) if same => {
                exchange.outcome(status.as_u16(), Some(failed.error.message.clone()));
                exchange.finish(Summary { error: Some(failed.error), ..Summary::default() });
                let mut response = Response::new(crate::body::full(body));
                *response.status_mut() = status;
                *response.headers_mut() = send::returned(&headers);
                respond::identify(response.headers_mut(), exchange.format, &exchange.id.to_string());
                Ok(Answered::Whole(response))
            }
            _ => Err(failed.error.into()),
        }
    }
}

/// How long the client waits: the SDKs say it in seconds.
fn patience(headers: &HeaderMap) -> Duration {
    let said = names::CLIENT_PATIENCE.iter().find_map(|name| header(headers, name)?.parse::<f64>().ok());
    let said = said.filter(|seconds| (1.0..=86_400.0).contains(seconds));
    said.map_or(PATIENCE, Duration::from_secs_f64)
}

async fn once(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    backend: &Backend,
    outgoing: &Outgoing,
    deadline: Duration,
) -> Result<Answered, Failed> {
    let route = candidate.route();
    let mut headers = send::headers(&decoded.parts.headers, backend, outgoing.same);
    let query = decoded.parts.uri.query().filter(|_| outgoing.same);
    let client =
        exchange.gateway.client(route.timeouts.connect, route.reach).map_err(|e| Failed::ours(&e))?;
    exchange.leaving(decoded.at, deadline + route.timeouts.idle);
    let before = exchange.record.attempts.len();
    exchange.attempt = Attempt::begin(candidate, backend, decoded.head.stream, before)
        .inspect(|attempt| attempt.inject(&mut headers));
    let body = outgoing.body.clone();
    let sent = send::send(&client, backend, Operation::Generate, query, headers, body, deadline).await;
    let failed = match sent {
        Err(error) => {
            Failed::unreachable(&error, &route.retry, exchange.input_only(), route.timeouts.first_byte)
        }
        Ok(response) if !response.status().is_success() => {
            refused(response, candidate.format, backend, &route.retry).await
        }
        Ok(response) => {
            exchange.first_byte();
            let answered = match decoded.head.stream {
                true => begin_stream(exchange, decoded, candidate, outgoing, response).await,
                false => whole(exchange, decoded, candidate, outgoing, response).await,
            };
            match answered {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            }
        }
    };
    exchange.note_failed(backend, &failed);
    if let Some(attempt) = exchange.attempt.take() {
        attempt.failed(&failed.error, failed.used);
    }
    // Errors of the client's making say nothing of the backend's health.
    if matches!(failed.error.status, 0 | 429 | 500..) && !failed.cut_short {
        unhealthy(exchange, candidate, backend, &failed.in_public());
    }
    Err(failed)
}

fn unhealthy(exchange: &Exchange, candidate: &Candidate, backend: &Backend, error: &str) {
    let route = candidate.route();
    let now = exchange.gateway.now();
    if exchange.gateway.health.failed(&route.id, &backend.name, &route.health, now, error) {
        tracing::warn!(route = %route.id, backend = %backend.name, for_s = route.health.eject_for.as_secs(), "backend ejected");
        telemetry::ejected(&route.id.shared(), &backend.name);
    }
}

/// A whole answer: read, tapped or translated, settled.
async fn whole(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    outgoing: &Outgoing,
    response: Response<Incoming>,
) -> Result<Answered, Failed> {
    let (parts, body) = response.into_parts();
    if let Some(failed) = unreadable(&parts.headers) {
        return Err(failed);
    }
    let collecting = Limited::new(body, MAX_ANSWER).collect();
    let broke = |words: String| Failed::elsewhere(Kind::Api, words, Some(exchange.input_only()));
    let body = match tokio::time::timeout(candidate.route().timeouts.idle, collecting).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(broke(format!("the upstream's answer broke off: {error}"))),
        Err(_) => return Err(broke("the upstream's answer did not end in time".into())),
    };
    let mut through = outgoing.reader(exchange, decoded, candidate);
    let out = match &mut through {
        Through::Translate(translator) => match translator.whole(&body) {
            Ok(out) => Bytes::from(out),
            Err(error) => {
                let used = translator.summary().usage;
                return Err(Failed { used, ..Failed::new(error, Again::Elsewhere) });
            }
        },
        Through::Tap(tap) => {
            tap.feed(&body);
            tap.end();
            if !tap.summary().complete {
                // An empty or malformed 200 is fatal for Claude Code; a 502 is retried.
                let words = "the upstream answered 200 without an answer in its API's shape";
                return Err(Failed::elsewhere(Kind::Api, words, tap.summary().usage));
            }
            body
        }
    };
    exchange.answering(candidate);
    let mut response: Response<Body> = Response::new(crate::body::full(out));
    *response.headers_mut() = answer_headers(exchange, candidate, outgoing, &parts.headers, false);
    exchange.outcome(200, None);
    exchange.finish(through.into_summary());
    Ok(Answered::Whole(response))
}

/// An upstream that compresses although it was asked not to cannot be read.
fn unreadable(headers: &HeaderMap) -> Option<Failed> {
    let encoding = header(headers, "content-encoding").filter(|e| !matches!(*e, "" | "identity"))?;
    let words = format!("the upstream answered compressed ({encoding:?}), which it was asked not to");
    Some(Failed::elsewhere(Kind::Api, words, None))
}

/// Waits for the stream's first event: an error in it is still an HTTP error, and another backend may still answer.
async fn begin_stream(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    outgoing: &Outgoing,
    response: Response<Incoming>,
) -> Result<Answered, Failed> {
    let (parts, mut upstream) = response.into_parts();
    if let Some(failed) = unreadable(&parts.headers) {
        return Err(failed);
    }
    let kind = header(&parts.headers, "content-type").unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        let words = format!("the upstream answered a request for a stream with content type {kind:?}");
        return Err(Failed::elsewhere(Kind::Api, words, None));
    }
    let mut through = outgoing.reader(exchange, decoded, candidate);
    let mut first = BytesMut::new();
    // A stream that is silent but alive begins without an event: the client gets its headers and heartbeats.
    let begun = tokio::time::timeout(FIRST_EVENT, first_event(&mut upstream, &mut through, &mut first)).await;
    if let Ok(Err(words)) = begun {
        return Err(Failed::elsewhere(Kind::Api, words, Some(exchange.input_only())));
    }
    if let Some(error) = &through.summary().error
        && through.summary().output_bytes == 0
    {
        let used = through.summary().usage;
        return Err(Failed { used, ..Failed::new(error.clone(), Again::Elsewhere) });
    }
    exchange.answering(candidate);
    let headers = answer_headers(exchange, candidate, outgoing, &parts.headers, true);
    let idle = candidate.route().timeouts.idle;
    Ok(Answered::Stream(Box::new(Streaming { upstream, through, first: first.freeze(), headers, idle })))
}

/// Reads until the client has something to see. What was read stays in `first`, also when this future is dropped.
async fn first_event(
    upstream: &mut Incoming,
    through: &mut Through,
    first: &mut BytesMut,
) -> Result<(), String> {
    loop {
        let piece = match upstream.frame().await {
            None => return Err("the upstream closed its stream before the first event".into()),
            Some(Err(error)) => {
                return Err(format!("the upstream's stream broke: {}", send::root_cause(&error)));
            }
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        first.extend_from_slice(&through.feed(piece));
        let whole = !first.is_empty() && through.between_events();
        if whole || first.len() > MAX_FIRST || through.summary().error.is_some() {
            return Ok(());
        }
    }
}

fn answer_headers(
    exchange: &Exchange,
    candidate: &Candidate,
    outgoing: &Outgoing,
    upstream: &HeaderMap,
    stream: bool,
) -> HeaderMap {
    let mut headers = if outgoing.same { send::returned(upstream) } else { HeaderMap::with_capacity(8) };
    if !outgoing.same || !headers.contains_key(http::header::CONTENT_TYPE) {
        let kind = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if stream {
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    let mut add = |name: http::HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    let backend = candidate.backend().map_or("", |b| &b.name);
    add(names::SERVED_BY, format!("{}; backend={backend}", candidate.resolved.qualified));
    if let Some(cap) = exchange.record.output_cap {
        add(names::OUTPUT_CAP, cap.to_string());
    }
    if !exchange.record.degradations.is_empty() {
        let fields: Vec<&str> =
            exchange.record.degradations.iter().map(|d| d.field.as_str()).take(20).collect();
        add(names::DEGRADED, fields.join(", "));
    }
    respond::identify(&mut headers, exchange.format, &exchange.id.to_string());
    headers
}

// === impl Streaming ===

impl Streaming {
    /// The response whose body settles `exchange` when it ends or is dropped.
    pub fn into_response(self, exchange: Exchange) -> Response<Body> {
        let answer = Answer::new(self.upstream, self.through, exchange, self.first, self.idle);
        let mut response = Response::new(answer.map_err(Into::into).boxed_unsync());
        *response.headers_mut() = self.headers;
        response
    }
}
