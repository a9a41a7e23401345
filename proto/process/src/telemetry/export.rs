//! The exporters. The SDK is silent about failures, so that each first one, and the first success after it, is logged here.

use super::{TelemetryError, environment::Environment};
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithTonicConfig,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter as ExportSpans},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// An exporter whose failures are told.
#[derive(Debug)]
pub(super) struct Told<E> {
    exporter: E,
    what: &'static str,
    failing: AtomicBool,
}

pub(super) fn traces(environment: &Environment) -> Result<Told<SpanExporter>, TelemetryError> {
    let builder = SpanExporter::builder().with_tonic().with_tls_config(tls(environment)?);
    Ok(Told::new(builder.build()?, "traces"))
}

pub(super) fn metrics(environment: &Environment) -> Result<Told<MetricExporter>, TelemetryError> {
    let builder = MetricExporter::builder().with_tonic().with_tls_config(tls(environment)?);
    Ok(Told::new(builder.build()?, "metrics"))
}

/// Whom to trust, should the endpoint be https://.
fn tls(environment: &Environment) -> Result<ClientTlsConfig, TelemetryError> {
    let Some(file) = &environment.authorities else {
        return Ok(ClientTlsConfig::new().trust_anchors(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()));
    };
    let pem = std::fs::read(file).map_err(|error| TelemetryError::Variable {
        variable: "OTEL_EXPORTER_OTLP_CERTIFICATE",
        words: format!("cannot read {}: {error}", file.display()),
    })?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

// === impl Told ===

impl<E> Told<E> {
    fn new(exporter: E, what: &'static str) -> Self {
        Told { exporter, what, failing: AtomicBool::new(false) }
    }

    fn tell(&self, result: &OTelSdkResult) {
        match result {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(what = self.what, "exported by OTLP again");
            }
            Ok(()) => {}
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(what = self.what, %error, "cannot be exported by OTLP; trying on, some are lost");
            }
            Err(_) => {}
        }
    }
}

impl<E: ExportSpans> ExportSpans for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        self.tell(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Told<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.tell(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
