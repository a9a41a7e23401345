//! What the gateway asks of others: an attempt at a provider, a request to an MCP server.

use super::{
    events::{Attempted, Event, McpCalled},
    measures,
    semconv::{attribute, operation, provider},
    send, tracer,
};
use crate::{
    model::{Server, route::Backend},
    request::plan::Candidate,
};
use http::{HeaderMap, HeaderValue, Uri};
use opentelemetry::{Array, KeyValue, StringValue, Value, trace::SpanKind};
use std::{borrow::Cow, sync::Arc};
use tokio::time::Instant;
use tollgate_mcp::{Message, json::Object, message, upstream::UpstreamError as McpError};
use tollgate_process::trace::{self, Place};
use tollgate_translate::{
    Provider, Usage,
    answer::Summary,
    error::{Kind, UpstreamError},
};

/// An attempt at a provider, from the request to the answer's last byte. One that is dropped without an end was given up.
#[derive(Debug)]
pub struct Attempt {
    since: Instant,
    provider: Provider,
    model: String,
    stream: bool,
    first: Option<f64>,
    place: Option<Arc<Place>>,
    ended: bool,
}

/// A request to an MCP server.
#[derive(Debug)]
pub struct McpCall {
    since: Instant,
    server: Arc<str>,
    method: &'static str,
    tool: Option<String>,
    place: Option<Arc<Place>>,
}

/// The class of an attempt that was given up: its client went away, or the gateway ended.
const GIVEN_UP: &str = "cancelled";

// === impl Attempt ===

impl Attempt {
    /// A request is about to leave; `resends`: how many there were before it. `None` when nobody would ever know.
    pub fn begin(candidate: &Candidate, backend: &Backend, stream: bool, resends: usize) -> Option<Self> {
        let above = trace::current();
        if above.is_none() && !measures() {
            return None;
        }
        let model = candidate.upstream_model().to_owned();
        let place = above.and_then(|above| {
            let name = format!("{} {model}", operation::CHAT);
            let tracer = tracer().filter(|_| above.records());
            trace::begin(tracer, name, SpanKind::Client, Some(above.context()))
        });
        if let Some(place) = place.as_ref().filter(|place| place.records()) {
            place.set([
                KeyValue::new(attribute::OPERATION, operation::CHAT),
                KeyValue::new(attribute::PROVIDER, provider(backend.provider)),
                KeyValue::new(attribute::REQUEST_MODEL, model.clone()),
                KeyValue::new(attribute::REQUEST_STREAM, stream),
                KeyValue::new(attribute::ROUTE, candidate.route().id.shared()),
                KeyValue::new(attribute::BACKEND, backend.name.clone()),
            ]);
            place.set(address(&backend.endpoint));
            if resends > 0 {
                place.set([KeyValue::new(attribute::RESEND_COUNT, resends as i64)]);
            }
        }
        Some(Attempt {
            since: Instant::now(),
            provider: backend.provider,
            model,
            stream,
            first: None,
            place,
            ended: false,
        })
    }

    /// Tells the provider where it is called from.
    pub fn inject(&self, headers: &mut HeaderMap) {
        inject(self.place.as_deref(), headers);
    }

    /// The answer's first byte is there.
    pub fn first_byte(&mut self) {
        let since = self.since;
        self.first.get_or_insert_with(|| since.elapsed().as_secs_f64());
    }

    /// No answer came of it.
    pub fn failed(mut self, error: &UpstreamError, used: Option<Usage>) {
        let class = match error.status {
            0 => Cow::Borrowed(class_of(error.kind)),
            status => Cow::Owned(status.to_string()),
        };
        self.close(Some(class), None, used);
    }

    /// The answer is over, well or not; `usage`: what was charged for it.
    pub fn answered(mut self, summary: &Summary, usage: Option<Usage>) {
        if let Some(place) = self.place.as_ref().filter(|place| place.records()) {
            place.set(answer(summary, usage, self.first.filter(|_| self.stream)));
        }
        let error = summary.error.as_ref().map(|error| class_of(error.kind).into());
        let error = error.or_else(|| (!summary.complete).then(|| GIVEN_UP.into()));
        self.close(error, summary.model.clone(), usage);
    }

    /// Of an error its class is told, never its words: an upstream may repeat the request in them, and its key.
    fn close(&mut self, class: Option<Cow<'static, str>>, answered: Option<String>, usage: Option<Usage>) {
        self.ended = true;
        if let Some(place) = &self.place {
            if let Some(class) = class.clone() {
                place.fail(class, "");
            }
            place.end();
        }
        let (first, seconds) = (self.first.filter(|_| self.stream), self.since.elapsed().as_secs_f64());
        send(|| {
            Event::Attempt(Box::new(Attempted {
                provider: provider(self.provider),
                model: std::mem::take(&mut self.model),
                answered,
                error: class,
                seconds,
                first,
                usage,
            }))
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Some(GIVEN_UP.into()), None, None);
        }
    }
}

fn answer(summary: &Summary, usage: Option<Usage>, first: Option<f64>) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(10);
    let mut add = |name: &'static str, value: Option<Value>| {
        all.extend(value.map(|value| KeyValue::new(name, value)));
    };
    add(attribute::RESPONSE_ID, summary.id.clone().map(Value::from));
    add(attribute::RESPONSE_MODEL, summary.model.clone().map(Value::from));
    add(
        attribute::RESPONSE_FINISH_REASONS,
        summary.stop.clone().map(|stop| Value::Array(Array::String(vec![StringValue::from(stop)]))),
    );
    add(attribute::RESPONSE_TIME_TO_FIRST_CHUNK, first.map(Value::from));
    if let Some(usage) = usage {
        let count = |n: u64| Some(Value::I64(i64::try_from(n).unwrap_or(i64::MAX)));
        let some = |n: u64| count(n).filter(|_| n > 0);
        add(attribute::USAGE_INPUT, count(usage.total_input()));
        add(attribute::USAGE_OUTPUT, count(usage.output));
        add(attribute::USAGE_CACHE_READ, some(usage.cache_read));
        add(attribute::USAGE_CACHE_CREATION, some(usage.cache_write.saturating_add(usage.cache_write_1h)));
        add(attribute::USAGE_REASONING, some(usage.reasoning));
    }
    all
}

// === impl McpCall ===

impl McpCall {
    /// A request is about to leave for an MCP server; `above`: on whose behalf.
    pub fn begin(
        server: &Server,
        method: &'static str,
        tool: Option<&str>,
        above: Option<&Arc<Place>>,
    ) -> Self {
        let place = above.and_then(|above| {
            let name = tool.map_or_else(|| Cow::Borrowed(method), |tool| format!("{method} {tool}").into());
            trace::begin(tracer().filter(|_| above.records()), name, SpanKind::Client, Some(above.context()))
        });
        if let Some(place) = place.as_ref().filter(|place| place.records()) {
            place.set([
                KeyValue::new(attribute::MCP_METHOD, method),
                KeyValue::new(attribute::NETWORK_TRANSPORT, "tcp"),
                KeyValue::new(attribute::MCP_SERVER, server.id.shared()),
            ]);
            place.set(address(&server.url));
            if let Some(tool) = tool {
                place.set([
                    KeyValue::new(attribute::OPERATION, operation::EXECUTE_TOOL),
                    KeyValue::new(attribute::TOOL_NAME, tool.to_owned()),
                ]);
            }
        }
        let tool = tool.filter(|_| measures()).map(str::to_owned);
        McpCall { since: Instant::now(), server: server.id.shared(), method, tool, place }
    }

    /// Where the server is called from.
    pub fn place(&self) -> Option<&Arc<Place>> {
        self.place.as_ref()
    }

    /// It is over; `class`: of its error, one of few. The error's words are the server's, and not for a trace.
    pub fn ended(self, class: Option<Cow<'static, str>>) {
        if let Some(place) = &self.place {
            if let Some(class) = class.clone() {
                place.fail(class, "");
            }
            place.end();
        }
        let seconds = self.since.elapsed().as_secs_f64();
        let (server, method, tool) = (self.server, self.method, self.tool);
        send(|| Event::Mcp(Box::new(McpCalled { server, method, tool, error: class, seconds })));
    }
}

/// What a message to an MCP server says of where it comes from; `None` when this process takes no part in the trace: then what
/// the client said stays.
pub fn traceparent(place: Option<&Place>) -> Option<String> {
    tracer().and(place).map(|place| trace::format(place.context()))
}

/// What an MCP server's answer says has failed: its class, by the MCP conventions.
pub fn mcp_failure(answer: &str) -> Option<Cow<'static, str>> {
    match Message::parse(answer).ok()?.kind {
        message::Kind::Response { outcome: Ok(result), .. } => {
            let failed = Object::parse(result).ok()?.get("isError") == Some("true");
            failed.then(|| "tool_error".into())
        }
        message::Kind::Response { outcome: Err(error), .. } => {
            let error = Object::parse(error).ok()?;
            let code = error.get("code").filter(|code| code.len() <= 12).unwrap_or("error").to_owned();
            Some(code.into())
        }
        _ => None,
    }
}

/// The class of a failure to get an answer from an MCP server.
pub fn mcp_class(error: &McpError) -> &'static str {
    match error {
        McpError::Timeout(_) => "timeout",
        McpError::Connection(_) => "connection",
        McpError::Broken(_) | McpError::ClosedEarly => "broken",
        McpError::Unauthorized(_) => "unauthorized",
        McpError::Status(..) => "http_status",
        McpError::SessionGone => "session_gone",
        McpError::Refused(..) | McpError::Version(_) => "refused",
        McpError::NotMcp(_) | McpError::TooLarge | McpError::Malformed(_) => "malformed",
    }
}

/// The class of an error that has no HTTP status.
pub(crate) fn class_of(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidRequest => "invalid_request",
        Kind::Authentication => "authentication",
        Kind::Billing => "billing",
        Kind::Permission => "permission",
        Kind::NotFound => "not_found",
        Kind::Conflict => "conflict",
        Kind::TooLarge => "too_large",
        Kind::RateLimit => "rate_limit",
        Kind::Api => "api_error",
        Kind::Timeout => "timeout",
        Kind::Overloaded => "overloaded",
    }
}

/// Puts a place into the headers of a request that is made from there.
pub fn inject(place: Option<&Place>, headers: &mut HeaderMap) {
    let Some(context) = place.map(Place::context) else { return };
    if let Ok(value) = HeaderValue::try_from(trace::format(context)) {
        headers.insert(trace::TRACEPARENT, value);
    }
    let state = context.trace_state().header();
    if let Some(value) = HeaderValue::try_from(state).ok().filter(|value| !value.is_empty()) {
        headers.insert(trace::TRACESTATE, value);
    }
}

fn address(uri: &Uri) -> Vec<KeyValue> {
    let Some(host) = uri.host() else { return Vec::new() };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    vec![
        KeyValue::new(attribute::SERVER_ADDRESS, host.to_owned()),
        KeyValue::new(attribute::SERVER_PORT, i64::from(port)),
    ]
}
