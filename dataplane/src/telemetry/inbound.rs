//! The account of a request at a listener: under way, its span, its line in the log.

use super::{
    COUNTS, error_class,
    semconv::{
        attribute::{
            HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, JSONRPC_ID, KEY, MCP_METHOD, MCP_VERSION,
            NETWORK_TRANSPORT, OPERATION, REQUEST_ID, SERVER_ADDRESS, URL_PATH, USER_AGENT,
        },
        operation,
    },
    tracer,
};
use crate::serve::paths;
use http::{HeaderMap, Method, Request, StatusCode, header};
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanKind},
};
use std::sync::{Arc, atomic::Ordering};
use tokio::time::Instant;
use tollgate_process::trace::{self, Place};
use uuid::Uuid;

/// A request under way; closed when dropped, which is when its answer's last byte is gone or nobody waits for it any more.
#[derive(Debug)]
pub struct Inbound {
    since: Instant,
    id: Uuid,
    method: Method,
    route: &'static str,
    status: Option<StatusCode>,
    place: Option<Arc<Place>>,
}

/// The one method of MCP that is traced on its own.
const TOOLS_CALL: &str = "tools/call";
/// The most characters of a path and of a user agent in a span.
const LONGEST: usize = 256;

/// The context that a client sent.
pub fn remote(headers: &HeaderMap) -> Option<SpanContext> {
    let traceparent = headers.get(trace::TRACEPARENT)?.to_str().ok()?;
    let state = headers.get(trace::TRACESTATE).and_then(|state| state.to_str().ok());
    trace::parse(traceparent, state)
}

// === impl Inbound ===

impl Inbound {
    /// A request came in.
    pub fn begin<B>(request: &Request<B>, id: Uuid) -> Self {
        COUNTS.in_flight.fetch_add(1, Ordering::Relaxed);
        let route = paths::route(request.uri().path());
        let remote = remote(request.headers());
        let place =
            trace::begin(tracer().filter(|_| route.traced), route.span, SpanKind::Server, remote.as_ref());
        if let Some(place) = place.as_ref().filter(|place| place.records()) {
            place.set(described(request, route.pattern, id));
        }
        Inbound {
            since: Instant::now(),
            id,
            method: request.method().clone(),
            route: route.pattern,
            status: None,
            place,
        }
    }

    /// Where it is in its trace, if it is in one.
    pub fn place(&self) -> Option<Arc<Place>> {
        self.place.clone()
    }

    /// The answer's head is there.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

/// The span of an MCP client's `tools/call`: below the context in its `_meta`, else below the HTTP request's. `None` when neither
/// is in a trace.
pub fn mcp(request: &tollgate_mcp::intake::Request<'_>, key: &crate::model::ObjectId) -> Option<Arc<Place>> {
    let above = trace::current();
    let Some(tracer) = tracer() else { return above };
    let said = meta(request);
    let parent = said.as_ref().or_else(|| above.as_deref().map(Place::context))?;
    let place = trace::begin(Some(tracer), TOOLS_CALL, SpanKind::Server, Some(parent))?;
    if place.records() {
        place.set([
            KeyValue::new(MCP_METHOD, TOOLS_CALL),
            KeyValue::new(OPERATION, operation::EXECUTE_TOOL),
            KeyValue::new(JSONRPC_ID, request.id.trim_matches('"').to_owned()),
            KeyValue::new(MCP_VERSION, request.version.as_str()),
            KeyValue::new(NETWORK_TRANSPORT, "tcp"),
            KeyValue::new(KEY, key.shared()),
        ]);
        if let (Some(_), Some(above)) = (&said, &above) {
            place.link(above.context().clone());
        }
    }
    Some(place)
}

/// The context in a request's `_meta`.
fn meta(request: &tollgate_mcp::intake::Request<'_>) -> Option<SpanContext> {
    let params = request.message.params().ok()??;
    let meta = params.object("_meta").ok()??;
    let text = |name| meta.string(name).ok().flatten();
    trace::parse(&text(trace::TRACEPARENT)?, text(trace::TRACESTATE).as_deref())
}

impl Drop for Inbound {
    fn drop(&mut self) {
        COUNTS.in_flight.fetch_sub(1, Ordering::Relaxed);
        let status = self.status.map_or(0, |status| status.as_u16());
        let close = || {
            let (id, method, route) = (self.id, &self.method, self.route);
            let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(target: "tollgate_dataplane::access", %id, %method, route, status, ms, "request");
        };
        match &self.place {
            Some(place) => {
                trace::within(place.clone(), close);
                place.set([KeyValue::new(HTTP_STATUS, i64::from(status))]);
                // By the HTTP conventions a server span has failed when the server is at fault.
                if let Some(class) = error_class(status).filter(|_| status >= 500) {
                    place.fail(class, "");
                }
                place.end();
            }
            None => close(),
        }
    }
}

fn described<B>(request: &Request<B>, route: &'static str, id: Uuid) -> Vec<KeyValue> {
    let clip = |text: &str| text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned();
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok()).map(clip);
    let mut all = vec![
        KeyValue::new(HTTP_METHOD, request.method().to_string()),
        KeyValue::new(HTTP_ROUTE, route),
        KeyValue::new(URL_PATH, clip(request.uri().path())),
        KeyValue::new(REQUEST_ID, id.to_string()),
    ];
    all.extend(text(header::HOST).map(|host| KeyValue::new(SERVER_ADDRESS, host)));
    all.extend(text(header::USER_AGENT).map(|agent| KeyValue::new(USER_AGENT, agent)));
    all
}
