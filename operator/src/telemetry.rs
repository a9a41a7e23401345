//! What the operator tells of itself: metrics and spans, under the names of this file. What may be named here is bounded: kinds,
//! conditions, outcomes; never an object.
//!
//! [`metrics`] is of the process. Before [`tollgate_process::telemetry::Telemetry::start`], and where nobody reads, it costs nothing.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, Meter},
    trace::SpanKind,
};
use opentelemetry_sdk::trace::SdkTracer;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
    time::{Duration, Instant},
};
use tollgate_crds::{
    compile::Status,
    conditions::{ACCEPTED, RESOLVED_REFS},
};
use tollgate_process::{
    telemetry::{Options, Telemetry},
    trace::{self, Place},
};
use tollgate_proto::Kind;

/// The service's name, unless `OTEL_SERVICE_NAME` says otherwise.
pub const SERVICE: &str = "tollgate-operator";

/// The names of metrics.
pub mod name {
    /// Gauge: objects, by [`super::label::KIND`].
    pub const OBJECTS: &str = "tollgate.operator.objects";
    /// Gauge: objects whose condition has a status, by kind, [`super::label::CONDITION`], [`super::label::STATUS`].
    pub const CONDITIONS: &str = "tollgate.operator.conditions";
    /// Histogram, s: a compilation of all objects.
    pub const COMPILE: &str = "tollgate.operator.compile.duration";
    /// Gauge: resources that are served.
    pub const RESOURCES: &str = "tollgate.operator.xds.resources";
    /// Counter: changes that were published.
    pub const PUBLISHED: &str = "tollgate.operator.xds.published";
    /// Gauge: gateways that report to this replica.
    pub const GATEWAYS: &str = "tollgate.operator.xds.gateways";
    /// Gauge: rejections in force at those gateways, by kind.
    pub const REJECTED: &str = "tollgate.operator.xds.rejected";
    /// Counter: streams that were refused, by [`super::label::REASON`].
    pub const REFUSED: &str = "tollgate.operator.xds.refused";
    /// Counter: writes of status, by kind and [`super::label::OUTCOME`].
    pub const STATUS_WRITES: &str = "tollgate.operator.status.writes";
    /// Gauge: watches that the API server does not allow: what they would see counts as empty, or as it was seen last.
    pub const WATCHES_REFUSED: &str = "tollgate.operator.watches.refused";
    /// Gauge, 0 or 1: this replica leads.
    pub const LEADER: &str = "tollgate.operator.leader";
    /// Counter: answers to admission requests, by [`super::label::OUTCOME`].
    pub const ADMISSIONS: &str = "tollgate.operator.admissions";
}

/// The names of labels, and of attributes of spans.
pub mod label {
    /// `VirtualKey` and so on.
    pub const KIND: &str = "tollgate.kind";
    /// `Accepted` and so on.
    pub const CONDITION: &str = "tollgate.condition";
    /// `True`, `False`, `Unknown`.
    pub const STATUS: &str = "tollgate.status";
    /// One of few.
    pub const REASON: &str = "tollgate.reason";
    /// One of few, such as `written`, `failed`.
    pub const OUTCOME: &str = "tollgate.outcome";
}

/// Seconds of a compilation: a few objects take less than a millisecond, thousands some tens.
const COMPILE_BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

static TRACER: OnceLock<SdkTracer> = OnceLock::new();
static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new(&global::meter(SERVICE)));

/// The operator's instruments.
#[derive(Debug)]
pub struct Metrics {
    objects: Gauge<u64>,
    conditions: Gauge<u64>,
    compile: Histogram<f64>,
    resources: Gauge<u64>,
    published: Counter<u64>,
    gateways: Gauge<u64>,
    rejected: Gauge<u64>,
    refused: Counter<u64>,
    status_writes: Counter<u64>,
    watches_refused: Gauge<u64>,
    leader: Gauge<u64>,
    admissions: Counter<u64>,
}

/// Begins to measure: OTLP by the `OTEL_*` variables, Prometheus when there is an admin port (`scrape`). To be called once, before
/// [`metrics`].
pub fn start(instance: &str, scrape: bool) -> Telemetry {
    let telemetry = Telemetry::start(&Options {
        service: SERVICE,
        version: env!("CARGO_PKG_VERSION"),
        instance: instance.to_owned(),
        scrape,
    });
    if let Some(tracer) = telemetry.tracer() {
        TRACER.get_or_init(|| tracer);
    }
    telemetry
}

/// The operator's instruments.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// A span below the running one, or a trace of its own; ends when it is dropped. `None`: traces go nowhere.
pub fn span(name: &'static str) -> Option<Arc<Place>> {
    let above = trace::current();
    trace::begin(TRACER.get(), name, SpanKind::Internal, above.as_deref().map(Place::context))
}

/// Runs a compilation of all objects: in a span, and timed.
pub fn compiling<T>(compile: impl FnOnce() -> T) -> T {
    let (span, began) = (span("compile"), Instant::now());
    let compiled = compile();
    metrics().compiled(began.elapsed());
    if let Some(span) = span {
        span.end();
    }
    compiled
}

// === impl Metrics ===

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let gauge =
            |name: &'static str, what: &'static str| meter.u64_gauge(name).with_description(what).build();
        let count =
            |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        Metrics {
            objects: gauge(name::OBJECTS, "Objects, by kind"),
            conditions: gauge(name::CONDITIONS, "Objects whose condition has a status"),
            compile: meter
                .f64_histogram(name::COMPILE)
                .with_unit("s")
                .with_description("A compilation of all objects")
                .with_boundaries(COMPILE_BOUNDS.to_vec())
                .build(),
            resources: gauge(name::RESOURCES, "Resources that are served"),
            published: count(name::PUBLISHED, "Changes that were published"),
            gateways: gauge(name::GATEWAYS, "Gateways that report to this replica"),
            rejected: gauge(name::REJECTED, "Rejections in force at gateways"),
            refused: count(name::REFUSED, "Streams that were refused"),
            status_writes: count(name::STATUS_WRITES, "Writes of status"),
            watches_refused: gauge(name::WATCHES_REFUSED, "Watches that the API server does not allow"),
            leader: gauge(name::LEADER, "This replica leads"),
            admissions: count(name::ADMISSIONS, "Answers to admission requests"),
        }
    }

    /// So many objects of a kind are there.
    pub fn objects(&self, kind: &'static str, count: usize) {
        self.objects.record(count as u64, &[KeyValue::new(label::KIND, kind)]);
    }

    /// So many objects of a kind have a condition with this status.
    pub fn condition(&self, kind: &'static str, condition: &'static str, status: &'static str, count: usize) {
        let labels = [
            KeyValue::new(label::KIND, kind),
            KeyValue::new(label::CONDITION, condition),
            KeyValue::new(label::STATUS, status),
        ];
        self.conditions.record(count as u64, &labels);
    }

    /// What is said of all objects: how many there are, and how many are refused or refer to what is not there.
    pub fn statuses(&self, statuses: &[Status]) {
        for kind in [Kind::VirtualKey, Kind::ProviderRoute, Kind::McpServer] {
            let of_kind = || statuses.iter().filter(|status| status.kind == kind);
            let dangling = |status: &&Status| status.of_condition(RESOLVED_REFS).next().is_some();
            self.objects(kind.as_str(), of_kind().count());
            let refused = of_kind().filter(|status| !status.is_accepted()).count();
            self.condition(kind.as_str(), ACCEPTED, "False", refused);
            self.condition(kind.as_str(), RESOLVED_REFS, "False", of_kind().filter(dangling).count());
        }
    }

    /// All objects were compiled.
    pub fn compiled(&self, took: Duration) {
        self.compile.record(took.as_secs_f64(), &[]);
    }

    /// A change was published; so many resources are served now.
    pub fn published(&self, resources: usize) {
        self.published.add(1, &[]);
        self.resources.record(resources as u64, &[]);
    }

    /// So many gateways report, and reject so many resources of each kind.
    pub fn gateways(&self, count: usize, rejected: &BTreeMap<&'static str, usize>) {
        self.gateways.record(count as u64, &[]);
        for (kind, count) in rejected {
            self.rejected.record(*count as u64, &[KeyValue::new(label::KIND, *kind)]);
        }
    }

    /// A gateway's stream was refused; `reason`: one of few, such as `unauthenticated`.
    pub fn stream_refused(&self, reason: &'static str) {
        self.refused.add(1, &[KeyValue::new(label::REASON, reason)]);
    }

    /// A status was written; `outcome`: one of few, such as `written`, `failed`.
    pub fn status_written(&self, kind: &'static str, outcome: &'static str) {
        self.status_writes
            .add(1, &[KeyValue::new(label::KIND, kind), KeyValue::new(label::OUTCOME, outcome)]);
    }

    /// So many watches are not allowed.
    pub fn watches_refused(&self, count: usize) {
        self.watches_refused.record(count as u64, &[]);
    }

    /// Whether this replica leads.
    pub fn leader(&self, leads: bool) {
        self.leader.record(u64::from(leads), &[]);
    }

    /// An admission request was answered; `outcome`: one of few, such as `injected`, `untouched`, `refused`.
    pub fn admission(&self, outcome: &'static str) {
        self.admissions.add(1, &[KeyValue::new(label::OUTCOME, outcome)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    #[test]
    fn what_is_measured_is_read_by_prometheus() {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let reader = exporter.scope_info_enabled(false).build().unwrap();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        // Not the process's own: other tests write that one.
        let metrics = Metrics::new(&provider.meter("test"));
        metrics.objects("VirtualKey", 3);
        metrics.condition("VirtualKey", "Ready", "False", 1);
        metrics.compiled(Duration::from_millis(2));
        metrics.gateways(2, &BTreeMap::from([("VirtualKey", 1)]));
        metrics.published(7);
        metrics.status_written("VirtualKey", "written");
        metrics.leader(true);
        let text = tollgate_process::telemetry::text(&registry);
        for line in [
            "tollgate_operator_objects{tollgate_kind=\"VirtualKey\"} 3",
            "tollgate_operator_compile_duration_seconds_bucket{le=\"0.0025\"} 1",
            "tollgate_operator_xds_gateways 2",
            "tollgate_operator_xds_rejected{tollgate_kind=\"VirtualKey\"} 1",
            "tollgate_operator_xds_published_total 1",
            "tollgate_operator_xds_resources 7",
            "tollgate_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(span("compile").is_none());
    }
}
