//! W3C trace context, and where the running task is in its trace.

use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use parking_lot::Mutex;
use std::{borrow::Cow, fmt, future::Future, str::FromStr, sync::Arc};

/// The header (and the member of MCP's `_meta`) of the trace context. <https://www.w3.org/TR/trace-context/>
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on (the least that the standard asks for).
const MAX_STATE: usize = 512;

/// The attribute of a span that failed: a class of errors, of which there are few.
const ERROR_TYPE: &str = "error.type";

/// A place in a trace: a span of ours, or the caller's when ours go nowhere.
pub struct Place {
    context: SpanContext,
    /// Ends when it is dropped.
    span: Option<Mutex<Span>>,
}

tokio::task_local! {
    static CURRENT: Arc<Place>;
}

/// Begins a span below `parent`, or a new trace. `None` when there is neither a tracer nor a parent, or nobody samples: then
/// there is nothing to keep.
pub fn begin(
    tracer: Option<&SdkTracer>,
    name: impl Into<Cow<'static, str>>,
    kind: SpanKind,
    parent: Option<&SpanContext>,
) -> Option<Arc<Place>> {
    let Some(tracer) = tracer else {
        // Not taking part in the trace: what comes after is called from where the caller was.
        return parent.map(|context| Arc::new(Place { context: context.clone(), span: None }));
    };
    let above = match parent {
        Some(parent) => Context::new().with_remote_span_context(parent.clone()),
        None => Context::new(),
    };
    let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, &above);
    let context = span.span_context().clone();
    if span.is_recording() {
        return Some(Arc::new(Place { context, span: Some(Mutex::new(span)) }));
    }
    parent.map(|_| Arc::new(Place { context, span: None }))
}

/// Reads a `traceparent` and the `tracestate` beside it; `None` when it is none: then a new trace begins.
pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version = hex(version, 2)?;
    // A later version may say more after what is known of it; this one may not.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    hex(trace.get(..16)?, 16)?;
    hex(trace.get(16..)?, 16)?;
    let trace = TraceId::from_hex(trace).ok()?;
    let parent = SpanId::from(hex(parent, 16)?);
    let flags = TraceFlags::new(u8::try_from(hex(flags, 2)?).ok()?);
    let state = tracestate.filter(|text| text.len() <= MAX_STATE);
    let state = state.and_then(|text| TraceState::from_str(text).ok()).unwrap_or_default();
    let context = SpanContext::new(trace, parent, flags, true, state);
    context.is_valid().then_some(context)
}

/// Lower-case hexadecimal of exactly `len` digits.
fn hex(text: &str, len: usize) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (text.len() == len && digits).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The `traceparent` of what is called from this place.
pub fn format(context: &SpanContext) -> String {
    let flags = context.trace_flags().to_u8();
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

/// Runs `future` at this place of a trace: what it logs carries the ids.
pub async fn scope<F: Future>(place: Option<Arc<Place>>, future: F) -> F::Output {
    match place {
        Some(place) => CURRENT.scope(place, future).await,
        None => future.await,
    }
}

/// Runs `what` at this place of a trace.
pub fn within<T>(place: Arc<Place>, what: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(place, what)
}

/// Where the running task is in its trace, if it is in one.
pub fn current() -> Option<Arc<Place>> {
    CURRENT.try_with(Clone::clone).ok()
}

// === impl Place ===

impl Place {
    /// Its ids.
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    /// Whether what is set is kept: nothing need be made for it otherwise.
    pub fn records(&self) -> bool {
        self.span.is_some()
    }

    /// Says something of the span.
    pub fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(span) = &self.span {
            span.lock().set_attributes(attributes);
        }
    }

    /// Names it anew, when more is known.
    pub fn rename(&self, name: impl Into<Cow<'static, str>>) {
        if let Some(span) = &self.span {
            span.lock().update_name(name);
        }
    }

    /// Refers to another place.
    pub fn link(&self, other: SpanContext) {
        if let Some(span) = &self.span {
            span.lock().add_link(other, Vec::new());
        }
    }

    /// It failed: `kind` is one of few, `words` are for people.
    pub fn fail(&self, kind: impl Into<Cow<'static, str>>, words: impl Into<Cow<'static, str>>) {
        if let Some(span) = &self.span {
            let (mut span, kind) = (span.lock(), kind.into());
            span.set_attribute(KeyValue::new(ERROR_TYPE, kind));
            span.set_status(Status::error(words));
        }
    }

    /// It is over, now and not when the last who knows it lets go.
    pub fn end(&self) {
        if let Some(span) = &self.span {
            span.lock().end();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format(&self.context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
    };

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().extend(batch);
            Ok(())
        }
    }

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_comes_back_as_it_was_and_a_wrong_one_is_none() {
        let context = parse(GOOD, Some("congo=t61rcWkgMzE")).unwrap();
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(
            (format(&context).as_str(), context.trace_state().get("congo")),
            (GOOD, Some("t61rcWkgMzE"))
        );
        assert!(parse(&GOOD.replace("00-4", "01-4").replace("-01", "-01-more"), None).is_some());
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert!(parse(wrong, None).is_none(), "{wrong}");
        }
        assert!(parse(GOOD, Some(&"x".repeat(600))).unwrap().trace_state().header().is_empty());
    }

    #[tokio::test]
    async fn a_task_knows_its_place() {
        let context = parse(GOOD, None).unwrap();
        let place = begin(None, "no tracer", SpanKind::Server, Some(&context));
        let seen = scope(place, async { current() }).await.unwrap();
        assert_eq!((seen.context(), seen.records()), (&context, false));
        assert!(scope(None, async { current() }).await.is_none());
        assert!(begin(None, "no tracer", SpanKind::Server, None).is_none());
    }

    #[test]
    fn a_span_is_below_its_caller_and_an_unsampled_one_is_nothing() {
        let exported = Kept::default();
        let tracers = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
            .with_simple_exporter(exported.clone())
            .build();
        let tracer = tracers.tracer("test");
        assert!(begin(Some(&tracer), "unsampled", SpanKind::Server, None).is_none());
        let unsampled = parse(&GOOD.replace("-01", "-00"), None);
        let passed = begin(Some(&tracer), "passed on", SpanKind::Server, unsampled.as_ref()).unwrap();
        assert!(!passed.records() && !passed.context().is_sampled());
        let context = parse(GOOD, None).unwrap();
        let place = begin(Some(&tracer), "server", SpanKind::Server, Some(&context)).unwrap();
        let below = begin(Some(&tracer), "client", SpanKind::Client, Some(place.context())).unwrap();
        below.fail("timeout", "too slow");
        below.end();
        place.set([KeyValue::new("a", 1)]);
        drop((below, place));
        let spans = exported.0.lock().clone();
        let (client, server) = (&spans[0], &spans[1]);
        assert_eq!((spans.len(), client.name.as_ref(), server.name.as_ref()), (2, "client", "server"));
        assert_eq!(client.parent_span_id, server.span_context.span_id());
        assert_eq!(server.parent_span_id, context.span_id());
        assert_eq!(client.span_context.trace_id(), context.trace_id());
        assert_eq!(client.status, Status::error("too slow"));
    }
}
