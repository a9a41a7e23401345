//! What the gateway tells of itself: metrics, traces, a line of the log for each request. Content is never in them.
//!
//! Telemetry is of the process, not of one gateway in it, so it is reached by functions and not handed around. On the way of a
//! request it costs a few relaxed counters; what ends is handed to a thread that writes the instruments, and only when somebody
//! may read them.
//!
//! # Layout
//! - [`semconv`]: every name, with its source
//! - [`inbound`]: the account of a request at a listener; [`outbound`]: an attempt at a provider, a call of an MCP server
//! - `events`: what is handed over, and the thread; `metrics`: the instruments
//! - `watched`: what is read when somebody looks: queues, the stream from the operator

mod events;
pub mod inbound;
mod metrics;
pub mod outbound;
pub mod semconv;
mod watched;

#[cfg(test)]
mod tests;

use events::Event;
use opentelemetry_sdk::trace::SdkTracer;
use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tollgate_ledger::charge::Reason;
use tollgate_process::telemetry::Telemetry;

pub use events::{Refused, Served, ToolCalled};
pub use watched::{watch_configuration, watch_drain, watch_holds, watch_ledger, watch_records};

static TRACER: OnceLock<SdkTracer> = OnceLock::new();
static EVENTS: OnceLock<events::Queue> = OnceLock::new();
static COUNTS: Counts = Counts {
    in_flight: AtomicI64::new(0),
    dropped: AtomicU64::new(0),
    refusals: [const { AtomicU64::new(0) }; Refused::ALL.len()],
};

/// What is counted on the way of a request.
#[derive(Debug)]
struct Counts {
    in_flight: AtomicI64,
    dropped: AtomicU64,
    refusals: [AtomicU64; Refused::ALL.len()],
}

/// How metrics are labelled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels {
    /// How many keys have a series of their own; those beyond share one. 0: keys are not told apart.
    pub keys: usize,
}

/// Begins to measure. To be called once, before the first request.
pub fn start(telemetry: &Telemetry, labels: Labels) {
    if let Some(tracer) = telemetry.tracer() {
        // A second process in this one, which only tests could make, keeps the first's.
        TRACER.get_or_init(|| tracer);
    }
    if telemetry.measures() {
        let meter = telemetry.meter();
        metrics::observe(&meter);
        watched::observe(&meter);
        EVENTS.get_or_init(|| events::Queue::start(metrics::Instruments::new(&meter), labels));
    }
}

/// Where spans are made; `None`: nowhere.
fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Whether anybody may see what is measured; what need not be made otherwise is not.
fn measures() -> bool {
    EVENTS.get().is_some()
}

fn send(event: impl FnOnce() -> Event) {
    if let Some(queue) = EVENTS.get()
        && !queue.send(event())
    {
        COUNTS.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A model request is over.
pub fn served(served: impl FnOnce() -> Served) {
    send(|| Event::Served(Box::new(served())));
}

/// A tool call of a client is over.
pub fn tool_called(called: impl FnOnce() -> ToolCalled) {
    send(|| Event::Tool(Box::new(called())));
}

/// A budget or a limit refused a request.
pub fn refused(reason: &Reason) {
    Refused::of(reason).count();
}

/// A request was refused because the ledger's store does not answer.
pub fn refused_without_store() {
    Refused::Store.count();
}

/// A backend was ejected.
pub fn ejected(route: &Arc<str>, backend: &str) {
    send(|| Event::Ejected { route: route.clone(), backend: backend.to_owned() });
}

/// A call of the ledger's shared store is over; `error`: one of few.
pub fn ledger_call(operation: &'static str, took: Duration, error: Option<&'static str>) {
    send(|| Event::Store { operation, seconds: took.as_secs_f64(), error });
}

/// The class of an HTTP answer that is an error.
fn error_class(status: u16) -> Option<Cow<'static, str>> {
    (status >= 400).then(|| status.to_string().into())
}

// === impl Refused ===

impl Refused {
    fn of(reason: &Reason) -> Self {
        match reason {
            Reason::BudgetExhausted(_) => Refused::Exhausted,
            Reason::BudgetBusy(_) => Refused::Held,
            Reason::Requests { .. } => Refused::Requests,
            Reason::Tokens { .. } => Refused::Tokens,
            Reason::Concurrent { .. } => Refused::Concurrent,
        }
    }

    fn count(self) {
        if let Some(count) = COUNTS.refusals.get(self as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
