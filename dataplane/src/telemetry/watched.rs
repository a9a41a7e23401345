//! What is read when somebody looks.

use super::semconv::metric;
use crate::{config::xds::Status, records::Counts};
use opentelemetry::metrics::Meter;
use std::sync::OnceLock;
use tokio::sync::watch;

type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

static RECORDS: OnceLock<Read<Counts>> = OnceLock::new();
static HOLDS: OnceLock<Read<usize>> = OnceLock::new();
static CONFIGURATION: OnceLock<watch::Receiver<Status>> = OnceLock::new();

/// The records' queue is to be watched.
pub fn watch_records(counts: impl Fn() -> Counts + Send + Sync + 'static) {
    RECORDS.get_or_init(|| Box::new(counts));
}

/// The holds are to be watched.
pub fn watch_holds(holds: impl Fn() -> usize + Send + Sync + 'static) {
    HOLDS.get_or_init(|| Box::new(holds));
}

/// The stream from the operator is to be watched.
pub fn watch_configuration(status: watch::Receiver<Status>) {
    CONFIGURATION.get_or_init(|| status);
}

pub(super) fn observe(meter: &Meter) {
    records(meter);
    configuration(meter);
    meter
        .u64_observable_gauge(metric::HOLDS)
        .with_description("Holds of requests under way")
        .with_callback(|to| {
            if let Some(holds) = HOLDS.get() {
                to.observe(holds() as u64, &[]);
            }
        })
        .build();
}

fn records(meter: &Meter) {
    let gauge = |name: &'static str, what: &'static str, of: fn(&Counts) -> u64| {
        meter
            .u64_observable_gauge(name)
            .with_description(what)
            .with_callback(move |to| {
                if let Some(counts) = RECORDS.get() {
                    to.observe(of(&counts()), &[]);
                }
            })
            .build();
    };
    let counter = |name: &'static str, what: &'static str, of: fn(&Counts) -> u64| {
        meter
            .u64_observable_counter(name)
            .with_description(what)
            .with_callback(move |to| {
                if let Some(counts) = RECORDS.get() {
                    to.observe(of(&counts()), &[]);
                }
            })
            .build();
    };
    gauge(metric::RECORDS_QUEUED, "Records that wait to be written", |c| c.queued);
    gauge(metric::RECORDS_SPILL_PENDING, "Spilled records that are not written yet", |c| c.spill_pending);
    counter(metric::RECORDS_WRITTEN, "Records written", |c| c.written);
    counter(metric::RECORDS_SPILLED, "Records that went to the spill file", |c| c.spilled);
    counter(metric::RECORDS_CONTENT_DROPPED, "Records that lost their content", |c| c.content_dropped);
    counter(metric::RECORDS_LOST, "Records that are lost (expected 0)", |c| c.lost);
}

fn configuration(meter: &Meter) {
    let gauge = |name: &'static str, unit: &'static str, what: &'static str, of: fn(&Status) -> f64| {
        meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(what)
            .with_callback(move |to| {
                if let Some(status) = CONFIGURATION.get() {
                    to.observe(of(&status.borrow()), &[]);
                }
            })
            .build();
    };
    gauge(metric::XDS_CONNECTED, "", "The operator's stream is open", |s| f64::from(u8::from(s.connected)));
    gauge(metric::XDS_AGE, "s", "Since the operator was last connected", |s| s.age().as_secs_f64());
    gauge(metric::XDS_GENERATION, "", "The configuration in force", |s| s.generation as f64);
    gauge(metric::XDS_REJECTED, "", "Resources that are rejected", |s| s.rejected as f64);
}
