//! Phases 6 to 8: the request in the upstream's format, sent; the next attempt or backend when it fails before its first byte.

use super::{
    Answered, Decoded,
    answer::{Answer, Through},
    exchange::Exchange,
    header,
    plan::Candidate,
    reserve::Cap,
};
use crate::{
    body::Body,
    error::GatewayError,
    model::route::{Backend, Retry},
    names, respond,
    upstream::send::{self, Operation, SendError},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::time::Duration;
use tollgate_translate::{
    Format, Provider,
    answer::{Context, Summary, Tap, Translator},
    error::{self, Kind, UpstreamError},
    head::{Splices, splice},
    request::{Target, ToolNames, translate},
};

/// The most bytes of a whole answer.
const MAX_ANSWER: usize = 64 << 20;
/// The most bytes read of an error's body.
const MAX_ERROR: usize = 256 << 10;
/// The pause before an attempt is repeated at the same backend; doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a stream's first piece is waited for before the client gets its headers (and heartbeats).
const FIRST_PIECE: Duration = Duration::from_secs(10);

/// A stream whose first piece is there.
#[derive(Debug)]
pub struct Streaming {
    upstream: Incoming,
    through: Through,
    first: Bytes,
    headers: HeaderMap,
    idle: Duration,
}

/// A request in the upstream's format.
struct Outgoing {
    body: Bytes,
    names: ToolNames,
    same: bool,
    strip_usage: bool,
}

/// How one attempt failed.
struct Failed {
    error: UpstreamError,
    /// The upstream's own body and headers, to be passed on as they are to a client of the same format.
    raw: Option<(StatusCode, HeaderMap, Bytes)>,
    /// Another try may help: at the same backend, or only at another.
    again: Again,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    Elsewhere,
    Anywhere,
}

/// Tries the candidates in order until one answers.
pub async fn attempt(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: Vec<Candidate>,
    cap: Cap,
) -> Result<Answered, GatewayError> {
    let retry = candidates.first().map(|c| c.route().retry);
    let mut left = retry.map_or(0, |r| r.attempts);
    let mut last: Option<(Failed, bool)> = None;
    for candidate in candidates {
        let Some(backend) = candidate.backend() else { continue };
        let outgoing = prepare(exchange, decoded, &candidate, backend, cap)?;
        let mut pause = PAUSE;
        exchange.candidate = Some(candidate.clone());
        loop {
            match once(exchange, decoded, &candidate, backend, &outgoing).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => {
                    let again = failed.again;
                    exchange.sent = false; // an attempt that was refused is not billed
                    let same = outgoing.same;
                    last = Some((failed, same));
                    if again == Again::Never {
                        return finish_failed(exchange, last);
                    }
                    if again == Again::Elsewhere || left == 0 {
                        break;
                    }
                }
            }
            left -= 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    finish_failed(exchange, last)
}

/// No candidate answered: the last failure, as it came where the client speaks the same format.
fn finish_failed(exchange: &mut Exchange, last: Option<(Failed, bool)>) -> Result<Answered, GatewayError> {
    let Some((failed, same)) = last else {
        return Err(GatewayError::NoBackend("no backend is configured for this model".into()));
    };
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

fn prepare(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    backend: &Backend,
    cap: Cap,
) -> Result<Outgoing, GatewayError> {
    let same = candidate.format == exchange.format;
    if same {
        let strip_usage =
            exchange.format == Format::Chat && decoded.head.stream && !decoded.head.include_usage;
        let renamed = candidate.upstream_model != decoded.head.model;
        let splices = Splices {
            model: renamed.then_some(candidate.upstream_model.as_str()),
            output_cap: cap.tokens.filter(|_| cap.changed),
            include_usage: strip_usage,
            // Servers that only imitate OpenAI know the older name of the cap.
            cap_field: (backend.provider == Provider::OpenAiCompatible).then_some("max_tokens"),
        };
        let asked = decoded.head.shadow_cap.is_some() || decoded.head.foreign_reasoning || strip_usage;
        let untouched = splices.model.is_none() && splices.output_cap.is_none() && !asked;
        let body = match untouched {
            true => decoded.body.clone(),
            false => splice(exchange.format, decoded.body, decoded.head, &splices).into(),
        };
        return Ok(Outgoing { body, names: ToolNames::default(), same, strip_usage });
    }
    let target = Target {
        format: candidate.format,
        provider: backend.provider,
        model: &candidate.upstream_model,
        output_cap: cap.tokens.or(candidate.max_output),
        strict: candidate.route().strict,
    };
    let translated = translate(exchange.format, decoded.body, &target)
        .map_err(|e| GatewayError::BadRequest(e.to_string()))?;
    exchange.record.degradations = translated.degradations;
    Ok(Outgoing { body: translated.body.into(), names: translated.names, same, strip_usage: false })
}

async fn once(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    backend: &Backend,
    outgoing: &Outgoing,
) -> Result<Answered, Failed> {
    let route = candidate.route();
    let headers = send::headers(&decoded.parts.headers, backend, outgoing.same);
    let query = decoded.parts.uri.query().filter(|_| outgoing.same);
    let client = exchange.gateway.client(route.timeouts.connect).map_err(|e| ours(&e))?;
    exchange.leaving(decoded.at);
    exchange.sent = true;
    let (body, deadline) = (outgoing.body.clone(), route.timeouts.first_byte);
    let sent = send::send(&client, backend, Operation::Generate, query, headers, body, deadline).await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            note(exchange, backend, &error.to_string());
            unhealthy(exchange, candidate, backend);
            return Err(unreachable(&error, &route.retry));
        }
    };
    if !response.status().is_success() {
        let failed = refused(response, candidate.format, backend, &route.retry).await;
        note(exchange, backend, &format!("{} {}", failed.error.status, failed.error.message));
        if failed.error.status >= 500 || failed.error.status == 429 {
            unhealthy(exchange, candidate, backend);
        }
        return Err(failed);
    }
    exchange.first_byte();
    let answered = if decoded.head.stream {
        begin_stream(exchange, decoded, candidate, outgoing, response).await
    } else {
        whole(exchange, decoded, candidate, outgoing, response).await
    };
    match &answered {
        Ok(_) => {
            note(exchange, backend, "ok");
            exchange.record.backend = Some(backend.name.clone());
            exchange.record.provider = Some(backend.provider.as_str());
            exchange.gateway.health.succeeded(&route.id, &backend.name);
        }
        Err(failed) => {
            note(exchange, backend, &failed.error.message);
            unhealthy(exchange, candidate, backend);
        }
    }
    answered
}

fn note(exchange: &mut Exchange, backend: &Backend, outcome: &str) {
    let short: String = outcome.chars().take(200).collect();
    exchange.record.attempts.push(format!("{}: {short}", backend.name));
}

fn unhealthy(exchange: &Exchange, candidate: &Candidate, backend: &Backend) {
    let route = candidate.route();
    let now = exchange.gateway.now();
    if exchange.gateway.health.failed(&route.id, &backend.name, &route.health, now) {
        tracing::warn!(route = %route.id, backend = %backend.name, for_s = route.health.eject_for.as_secs(), "backend ejected");
    }
}

fn ours(error: &dyn std::error::Error) -> Failed {
    let error = UpstreamError { kind: Kind::Api, message: error.to_string(), ..UpstreamError::default() };
    Failed { error, raw: None, again: Again::Never }
}

fn unreachable(error: &SendError, retry: &Retry) -> Failed {
    let (kind, again) = match error {
        SendError::Timeout { .. } => (Kind::Timeout, Again::Elsewhere),
        SendError::Connect { .. } if retry.on_connect => (Kind::Api, Again::Anywhere),
        SendError::Connect { .. } => (Kind::Api, Again::Elsewhere),
        SendError::Endpoint { .. } => (Kind::Api, Again::Elsewhere),
    };
    Failed {
        error: UpstreamError { kind, message: error.to_string(), ..UpstreamError::default() },
        raw: None,
        again,
    }
}

/// An error answer: read (bounded), understood, and judged for another try.
async fn refused(response: Response<Incoming>, format: Format, backend: &Backend, retry: &Retry) -> Failed {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ERROR).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let status = parts.status.as_u16();
    let error = error::understand(format, status, &|name| header(&parts.headers, name), &body);
    let credential = matches!(status, 401 | 403);
    let again = match status {
        429 if retry.on_rate_limited => Again::Anywhere,
        500.. if retry.on_server_error => Again::Anywhere,
        401 | 403 | 404 | 408 | 429 | 500.. => Again::Elsewhere,
        _ => Again::Never,
    };
    if credential {
        tracing::warn!(backend = %backend.name, status, "the upstream refused the gateway's credential");
    }
    let raw = (!credential && !body.is_empty()).then_some((parts.status, parts.headers, body));
    Failed { error, raw, again }
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
    let collecting = Limited::new(body, MAX_ANSWER).collect();
    let body = match tokio::time::timeout(candidate.route().timeouts.idle, collecting).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(broke(&format!("the upstream's answer broke off: {error}"))),
        Err(_) => return Err(broke("the upstream's answer did not end in time")),
    };
    let mut through = through(exchange, decoded, candidate, outgoing, false);
    let out = match &mut through {
        Through::Translate(translator) => match translator.whole(&body) {
            Ok(out) => Bytes::from(out),
            Err(error) => return Err(Failed { error, raw: None, again: Again::Elsewhere }),
        },
        Through::Tap(tap) => {
            tap.feed(&body);
            tap.end();
            if !tap.summary().complete {
                // An empty or malformed 200 is fatal for Claude Code; a 502 is retried.
                return Err(broke("the upstream answered 200 without an answer in its API's shape"));
            }
            body
        }
    };
    let mut response: Response<Body> = Response::new(crate::body::full(out));
    *response.headers_mut() = answer_headers(exchange, candidate, outgoing, &parts.headers, false);
    exchange.outcome(200, None);
    exchange.record.backend = candidate.backend().map(|b| b.name.clone());
    exchange.record.provider = candidate.backend().map(|b| b.provider.as_str());
    if let Some(backend) = candidate.backend() {
        note(exchange, backend, "ok");
    }
    exchange.finish(through.into_summary());
    Ok(Answered::Whole(response))
}

fn broke(message: &str) -> Failed {
    let error = UpstreamError { kind: Kind::Api, message: message.to_owned(), ..UpstreamError::default() };
    Failed { error, raw: None, again: Again::Elsewhere }
}

fn through(
    exchange: &Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    outgoing: &Outgoing,
    stream: bool,
) -> Through {
    let keep = exchange.record.request.is_some();
    if outgoing.same {
        return Through::Tap(Box::new(Tap::new(exchange.format, stream, keep, outgoing.strip_usage)));
    }
    let context = Context {
        upstream: candidate.format,
        client: exchange.format,
        model: decoded.head.model.clone(),
        names: outgoing.names.clone(),
        id: exchange.id.simple().to_string(),
        created: exchange.at() / 1000,
        include_usage: decoded.head.include_usage,
        input_estimate: exchange.input_estimate,
    };
    Through::Translate(Box::new(Translator::new(context, stream, keep)))
}

/// Waits for the stream's first piece: an error in it is still an HTTP error, and another backend may still answer.
async fn begin_stream(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    outgoing: &Outgoing,
    response: Response<Incoming>,
) -> Result<Answered, Failed> {
    let (parts, mut upstream) = response.into_parts();
    let kind = header(&parts.headers, "content-type").unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Err(broke(&format!(
            "the upstream answered a request for a stream with content type {kind:?}"
        )));
    }
    let mut through = through(exchange, decoded, candidate, outgoing, true);
    let first = match tokio::time::timeout(FIRST_PIECE, upstream.frame()).await {
        Err(_) => Bytes::new(), // silent, but alive: the client gets its headers and heartbeats
        Ok(None) => return Err(broke("the upstream closed its stream before the first event")),
        Ok(Some(Err(error))) => {
            return Err(broke(&format!("the upstream's stream broke: {}", send::root_cause(&error))));
        }
        Ok(Some(Ok(frame))) => frame.into_data().map(|piece| through.feed(piece)).unwrap_or_default(),
    };
    if let Some(error) = &through.summary().error
        && through.summary().output_bytes == 0
    {
        return Err(Failed { error: error.clone(), raw: None, again: Again::Elsewhere });
    }
    let headers = answer_headers(exchange, candidate, outgoing, &parts.headers, true);
    let idle = candidate.route().timeouts.idle;
    Ok(Answered::Stream(Box::new(Streaming { upstream, through, first, headers, idle })))
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
