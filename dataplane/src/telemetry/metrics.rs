//! The instruments, and what is written into them.

use super::{
    COUNTS, Labels, Refused, error_class,
    events::{Attempted, Event, McpCalled, Served, ToolCalled},
    semconv::{attribute, bounds, metric, operation},
};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};
use std::{borrow::Cow, collections::HashSet, sync::Arc, sync::atomic::Ordering};
use tollgate_translate::Usage;

/// The instruments. One thread writes them.
pub(super) struct Instruments {
    client_duration: Histogram<f64>,
    client_first: Histogram<f64>,
    token_usage: Histogram<u64>,
    /// Input, output, cache read, cache write, reasoning.
    tokens: [Counter<u64>; 5],
    server_duration: Histogram<f64>,
    server_first: Histogram<f64>,
    server_per_token: Histogram<f64>,
    mcp_client: Histogram<f64>,
    mcp_server: Histogram<f64>,
    cost: Counter<f64>,
    overrun: Counter<f64>,
    ejections: Counter<u64>,
    store_duration: Histogram<f64>,
    store_errors: Counter<u64>,
    models: Bounded,
    tools: Bounded,
    keys: Bounded,
}

/// Values of a label that clients choose: so many have a series, the rest shares one.
struct Bounded {
    most: usize,
    known: HashSet<Arc<str>>,
}

/// The most models, and the most tools, that are told apart.
const MOST_NAMES: usize = 300;
/// The longest name.
const LONGEST_NAME: usize = 120;
/// What stands for the rest.
const OTHER: &str = "_OTHER";
/// Nano-USD in a dollar.
const NANO: f64 = 1e9;

/// What is counted on the way of a request, read when somebody looks.
pub(super) fn observe(meter: &Meter) {
    meter
        .i64_observable_gauge(metric::IN_FLIGHT)
        .with_description("Requests under way")
        .with_callback(|to| to.observe(COUNTS.in_flight.load(Ordering::Relaxed), &[]))
        .build();
    meter
        .u64_observable_counter(metric::DROPPED)
        .with_description("Measurements that nobody took in time")
        .with_callback(|to| to.observe(COUNTS.dropped.load(Ordering::Relaxed), &[]))
        .build();
    meter
        .u64_observable_counter(metric::REFUSALS)
        .with_description("Requests that a budget or a limit refused")
        .with_callback(|to| {
            for (reason, count) in Refused::ALL.into_iter().zip(&COUNTS.refusals) {
                let reason = KeyValue::new(attribute::REASON, reason.as_str());
                to.observe(count.load(Ordering::Relaxed), &[reason]);
            }
        })
        .build();
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, bounds: &[f64], what: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(what);
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        let tokens = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_unit("{token}").with_description(what).build()
        };
        let count =
            |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let usd =
            |name: &'static str, what: &'static str| meter.f64_counter(name).with_description(what).build();
        Instruments {
            client_duration: seconds(metric::CLIENT_DURATION, &bounds::DURATION, "An attempt at a provider"),
            client_first: seconds(
                metric::CLIENT_FIRST_CHUNK,
                &bounds::FIRST_TOKEN,
                "Until a stream's first piece",
            ),
            token_usage: meter
                .u64_histogram(metric::CLIENT_TOKEN_USAGE)
                .with_unit("{token}")
                .with_description("Tokens of an answer")
                .with_boundaries(bounds::TOKENS.to_vec())
                .build(),
            tokens: [
                tokens(metric::INPUT_TOKENS, "Input tokens, cached ones included"),
                tokens(metric::OUTPUT_TOKENS, "Output tokens"),
                tokens(metric::CACHE_READ_TOKENS, "Input tokens read from a provider's cache"),
                tokens(metric::CACHE_WRITE_TOKENS, "Input tokens written to a provider's cache"),
                tokens(metric::REASONING_TOKENS, "Output tokens that were reasoning"),
            ],
            server_duration: seconds(
                metric::SERVER_DURATION,
                &bounds::DURATION,
                "A request, to its last byte",
            ),
            server_first: seconds(metric::SERVER_FIRST_TOKEN, &bounds::FIRST_TOKEN, "Until the first token"),
            server_per_token: seconds(
                metric::SERVER_PER_TOKEN,
                &bounds::PER_TOKEN,
                "A token after the first",
            ),
            mcp_client: seconds(metric::MCP_CLIENT_DURATION, &bounds::MCP, "A request to an MCP server"),
            mcp_server: seconds(metric::MCP_SERVER_DURATION, &bounds::MCP, "A request of an MCP client"),
            cost: usd(metric::COST, "US dollars charged"),
            overrun: usd(metric::OVERRUN, "US dollars charged over a hold (expected 0)"),
            ejections: count(metric::EJECTIONS, "Backends ejected"),
            store_duration: seconds(metric::STORE_DURATION, &bounds::STORE, "A call of the ledger's store"),
            store_errors: count(metric::STORE_ERRORS, "Calls of the ledger's store that failed"),
            models: Bounded::new(MOST_NAMES),
            tools: Bounded::new(MOST_NAMES),
            keys: Bounded::new(0),
        }
    }

    pub(super) fn labelled(self, labels: Labels) -> Self {
        Instruments { keys: Bounded::new(labels.keys), ..self }
    }

    pub(super) fn write(&mut self, event: Event) {
        match event {
            Event::Attempt(attempted) => self.attempted(*attempted),
            Event::Served(served) => self.served(*served),
            Event::Tool(called) => self.tool(*called),
            Event::Mcp(called) => self.mcp(*called),
            Event::Ejected { route, backend } => self.ejections.add(
                1,
                &[KeyValue::new(attribute::ROUTE, route), KeyValue::new(attribute::BACKEND, backend)],
            ),
            Event::Store { operation, seconds, error } => {
                let operation = KeyValue::new(attribute::STORE_OPERATION, operation);
                self.store_duration.record(seconds, std::slice::from_ref(&operation));
                if let Some(error) = error {
                    self.store_errors.add(1, &[operation, KeyValue::new(attribute::ERROR_TYPE, error)]);
                }
            }
        }
    }

    fn attempted(&mut self, attempted: Attempted) {
        let Attempted { provider, model, answered, error, seconds, first, usage } = attempted;
        let mut labels = vec![
            KeyValue::new(attribute::OPERATION, operation::CHAT),
            KeyValue::new(attribute::PROVIDER, provider),
            KeyValue::new(attribute::REQUEST_MODEL, self.models.label(&model)),
        ];
        if let Some(answered) = answered {
            labels.push(KeyValue::new(attribute::RESPONSE_MODEL, self.models.label(&answered)));
        }
        if let Some(first) = first.filter(|_| error.is_none()) {
            self.client_first.record(first, &labels);
        }
        if let Some(usage) = usage {
            self.usage(&mut labels, usage);
        }
        labels.extend(failed(error));
        self.client_duration.record(seconds, &labels);
    }

    fn usage(&self, labels: &mut Vec<KeyValue>, usage: Usage) {
        let written = usage.cache_write.saturating_add(usage.cache_write_1h);
        let amounts = [usage.total_input(), usage.output, usage.cache_read, written, usage.reasoning];
        for (counter, amount) in self.tokens.iter().zip(amounts).filter(|(_, amount)| *amount > 0) {
            counter.add(amount, labels);
        }
        for (kind, amount) in [("input", usage.total_input()), ("output", usage.output)] {
            labels.push(KeyValue::new(attribute::TOKEN_TYPE, kind));
            self.token_usage.record(amount, labels);
            labels.pop();
        }
    }

    fn served(&mut self, served: Served) {
        let model = served.model.as_deref().unwrap_or("_NONE");
        let mut labels = vec![
            KeyValue::new(attribute::OPERATION, operation::CHAT),
            KeyValue::new(attribute::PROVIDER, served.provider.unwrap_or("_NONE")),
            KeyValue::new(attribute::REQUEST_MODEL, self.models.label(model)),
        ];
        if self.keys.most > 0 {
            labels.push(KeyValue::new(attribute::KEY, self.keys.label(&served.key)));
        }
        if served.cost > 0 {
            self.cost.add(served.cost as f64 / NANO, &labels);
        }
        if served.overrun > 0 {
            self.overrun.add(served.overrun as f64 / NANO, &labels);
        }
        if let Some(first) = served.first.filter(|_| served.stream && served.status < 400) {
            self.server_first.record(first, &labels);
            if served.output > 1 {
                let each = (served.seconds - first).max(0.0) / (served.output - 1) as f64;
                self.server_per_token.record(each, &labels);
            }
        }
        labels.extend(failed(error_class(served.status)));
        self.server_duration.record(served.seconds, &labels);
    }

    fn tool(&mut self, called: ToolCalled) {
        let mut labels = vec![
            KeyValue::new(attribute::MCP_METHOD, "tools/call"),
            KeyValue::new(attribute::NETWORK_TRANSPORT, "tcp"),
        ];
        if let Some(tool) = called.tool {
            labels.push(KeyValue::new(attribute::TOOL_NAME, self.tools.label(&tool)));
        }
        labels.extend(failed(called.error.map(Cow::Borrowed)));
        self.mcp_server.record(called.seconds, &labels);
    }

    fn mcp(&mut self, called: McpCalled) {
        let mut labels = vec![
            KeyValue::new(attribute::MCP_METHOD, called.method),
            KeyValue::new(attribute::MCP_SERVER, called.server),
            KeyValue::new(attribute::NETWORK_TRANSPORT, "tcp"),
        ];
        if let Some(tool) = called.tool {
            labels.push(KeyValue::new(attribute::TOOL_NAME, self.tools.label(&tool)));
        }
        labels.extend(failed(called.error));
        self.mcp_client.record(called.seconds, &labels);
    }
}

fn failed(error: Option<Cow<'static, str>>) -> Option<KeyValue> {
    error.map(|error| KeyValue::new(attribute::ERROR_TYPE, error))
}

// === impl Bounded ===

impl Bounded {
    fn new(most: usize) -> Self {
        Bounded { most, known: HashSet::new() }
    }

    fn label(&mut self, name: &str) -> Arc<str> {
        let name = name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or_default();
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        if self.known.len() >= self.most {
            return Arc::from(OTHER);
        }
        let name: Arc<str> = name.into();
        self.known.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clients_choose_are_bounded() {
        let mut names = Bounded::new(2);
        assert_eq!(&*names.label("a"), "a");
        assert_eq!(names.label(&"é".repeat(100)).len(), 120);
        assert_eq!(&*names.label("c"), OTHER);
        assert_eq!(&*names.label("a"), "a");
    }
}
