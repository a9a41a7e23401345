//! OpenTelemetry: what is measured once is pushed by OTLP (gRPC) and pulled by Prometheus, and traces are pushed by OTLP.
//!
//! What is exported where is said by the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and those beside it). Without an
//! endpoint nothing leaves the process.
//!
//! # Layout
//! - here: [`Telemetry`], both providers
//! - `environment`: what the variables say; `export`: the exporters, whose failures are logged

mod environment;
mod export;

use environment::Environment;
use opentelemetry::{KeyValue, global, metrics::Meter, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{SdkTracer, SdkTracerProvider},
};
use prometheus::{Registry, TextEncoder};
use std::{thread, time::Duration};
use tokio::sync::oneshot;

/// Who is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// The service's name, unless `OTEL_SERVICE_NAME` says otherwise.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
    /// This process among those of the service, such as its pod's name.
    pub instance: String,
    /// Metrics are pulled ([`Telemetry::prometheus`]).
    pub scrape: bool,
}

/// What measures this process.
#[derive(Debug, Default)]
pub struct Telemetry {
    registry: Option<Registry>,
    meters: Option<SdkMeterProvider>,
    tracers: Option<SdkTracerProvider>,
    service: &'static str,
    /// The exporters' connections live on a thread of their own, which ends with this.
    _exporting: Option<oneshot::Sender<()>>,
}

/// Why something is not exported.
#[derive(Debug, thiserror::Error)]
enum TelemetryError {
    #[error("no exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("no metrics for Prometheus: {0}")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    #[error("no thread for exporters: {0}")]
    Thread(#[from] std::io::Error),
    #[error("{variable}: {words}")]
    Variable { variable: &'static str, words: String },
}

/// How long what is left may take to be exported at the end.
const LAST: Duration = Duration::from_secs(5);

// === impl Telemetry ===

impl Telemetry {
    /// Begins to measure; what cannot be exported is logged and does not keep the process from its work. The meter provider
    /// becomes the global one.
    pub fn start(options: &Options) -> Self {
        Self::with(options, &Environment::read(|name| std::env::var(name).ok()))
    }

    fn with(options: &Options, environment: &Environment) -> Self {
        let mut telemetry = Telemetry { service: options.service, ..Telemetry::default() };
        if let Some(protocol) = &environment.unsupported {
            tracing::warn!(%protocol, "OTEL_EXPORTER_OTLP_PROTOCOL is not spoken; OTLP over gRPC is");
        }
        if let Err(error) = telemetry.build(options, environment) {
            tracing::error!(%error, "telemetry is not complete");
        }
        telemetry
    }

    fn build(&mut self, options: &Options, environment: &Environment) -> Result<(), TelemetryError> {
        let resource = resource(options, environment);
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone());
        if options.scrape {
            let registry = Registry::new();
            let reader = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .scope_info_enabled(false)
                .build()?;
            meters = meters.with_reader(reader);
            self.registry = Some(registry);
        }
        let runtime = match environment.traces || environment.metrics {
            true => Some(self.exporting()?),
            false => None,
        };
        let _inside = runtime.as_ref().map(tokio::runtime::Handle::enter);
        if environment.metrics {
            let exporter = export::metrics(environment)?;
            meters = meters.with_reader(PeriodicReader::builder(exporter).build());
        }
        if self.registry.is_some() || environment.metrics {
            let meters = meters.build();
            global::set_meter_provider(meters.clone());
            self.meters = Some(meters);
        }
        if environment.traces {
            let exporter = export::traces(environment)?;
            let tracers = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter);
            self.tracers = Some(tracers.build());
        }
        Ok(())
    }

    /// A runtime on a thread of its own: exporting must not take time from requests.
    fn exporting(&mut self) -> Result<tokio::runtime::Handle, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        // An error means that the sender is gone, which is the sign.
        let run = move || runtime.block_on(async { stopped.await.unwrap_or(()) });
        thread::Builder::new().name("telemetry".to_owned()).spawn(run)?;
        self._exporting = Some(stop);
        Ok(handle)
    }

    /// Whether anybody may see what is measured.
    pub fn measures(&self) -> bool {
        self.meters.is_some()
    }

    /// Where instruments are made.
    pub fn meter(&self) -> Meter {
        global::meter(self.service)
    }

    /// Where spans are made; `None`: traces go nowhere.
    pub fn tracer(&self) -> Option<SdkTracer> {
        self.tracers.as_ref().map(|tracers| tracers.tracer(self.service))
    }

    /// What Prometheus reads; `None` when it was not asked for.
    pub fn prometheus(&self) -> Option<Registry> {
        self.registry.clone()
    }

    /// Exports what is left, for at most a few seconds, and ends. Blocks: not for a runtime's thread.
    pub fn stop(&self) {
        if let Some(tracers) = &self.tracers
            && let Err(error) = tracers.shutdown_with_timeout(LAST)
        {
            tracing::warn!(%error, "the last spans may not have been exported");
        }
        if let Some(meters) = &self.meters
            && let Err(error) = meters.shutdown_with_timeout(LAST)
        {
            tracing::warn!(%error, "the last metrics may not have been exported");
        }
    }
}

/// All metrics in Prometheus's text format.
pub fn text(registry: &Registry) -> String {
    let mut out = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut out) {
        tracing::warn!(%error, "some metrics cannot be written");
    }
    out
}

fn resource(options: &Options, environment: &Environment) -> Resource {
    // What the variables say of the service is not overwritten.
    let ours = [
        ("service.name", options.service),
        ("service.version", options.version),
        ("service.instance.id", options.instance.as_str()),
    ];
    let missing = ours.into_iter().filter(|(name, value)| !environment.names(name) && !value.is_empty());
    Resource::builder()
        .with_attributes(missing.map(|(name, value)| KeyValue::new(name, value.to_owned())))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_what_is_measured_and_nothing_is_exported_without_an_endpoint() {
        let options = Options { service: "tollgate-test", version: "1", instance: "a".into(), scrape: true };
        let telemetry = Telemetry::with(&options, &Environment::read(|_| None));
        assert!(telemetry.tracer().is_none() && telemetry._exporting.is_none());
        let meter = telemetry.meter();
        meter.u64_counter("tollgate.test").build().add(2, &[KeyValue::new("kind.of", "a")]);
        meter
            .f64_histogram("op.duration")
            .with_unit("s")
            .with_boundaries(vec![0.5, 1.0])
            .build()
            .record(0.7, &[]);
        let text = text(&telemetry.prometheus().unwrap());
        assert!(text.contains("tollgate_test_total{kind_of=\"a\"} 2"), "{text}");
        assert!(text.contains("op_duration_seconds_bucket{le=\"1\"} 1"), "{text}");
        assert!(text.contains("service_name=\"tollgate-test\""), "{text}");
        telemetry.stop();
    }
}
