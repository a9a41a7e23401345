//! What is read when somebody looks.

use super::semconv::metric;
use crate::{
    config::xds::Status,
    records::{Counts, drainer::DrainStats},
};
use opentelemetry::metrics::Meter;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

static RECORDS: OnceLock<Read<Counts>> = OnceLock::new();
static HOLDS: OnceLock<Read<usize>> = OnceLock::new();
static LEDGER: OnceLock<Read<bool>> = OnceLock::new();
static DRAIN: OnceLock<Arc<DrainStats>> = OnceLock::new();
static CONFIGURATION: OnceLock<watch::Receiver<Status>> = OnceLock::new();

/// The records' queue is to be watched.
pub fn watch_records(counts: impl Fn() -> Counts + Send + Sync + 'static) {
    RECORDS.get_or_init(|| Box::new(counts));
}

/// The holds are to be watched.
pub fn watch_holds(holds: impl Fn() -> usize + Send + Sync + 'static) {
    HOLDS.get_or_init(|| Box::new(holds));
}

/// Whether the ledger answers is to be watched.
pub fn watch_ledger(answers: impl Fn() -> bool + Send + Sync + 'static) {
    LEDGER.get_or_init(|| Box::new(answers));
}

/// The way of billing records from the ledger's stream to PostgreSQL is to be watched.
pub fn watch_drain(stats: Arc<DrainStats>) {
    DRAIN.get_or_init(|| stats);
}

/// The stream from the operator is to be watched.
pub fn watch_configuration(status: watch::Receiver<Status>) {
    CONFIGURATION.get_or_init(|| status);
}

pub(super) fn observe(meter: &Meter) {
    records(meter);
    drain(meter);
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
    meter
        .u64_observable_gauge(metric::LEDGER_UP)
        .with_description("1: the ledger answers; 0: it does not, and onStoreFailure decides")
        .with_callback(|to| {
            if let Some(answers) = LEDGER.get() {
                to.observe(u64::from(answers()), &[]);
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

fn drain(meter: &Meter) {
    let gauge = |name: &'static str, unit: &'static str, what: &'static str, of: fn(&DrainStats) -> f64| {
        meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(what)
            .with_callback(move |to| {
                if let Some(stats) = DRAIN.get() {
                    to.observe(of(stats), &[]);
                }
            })
            .build();
    };
    let counter = |name: &'static str, what: &'static str, of: fn(&DrainStats) -> u64| {
        meter
            .u64_observable_counter(name)
            .with_description(what)
            .with_callback(move |to| {
                if let Some(stats) = DRAIN.get() {
                    to.observe(of(stats), &[]);
                }
            })
            .build();
    };
    gauge(metric::BILLING_WAITING, "", "Billing records that wait in the ledger's streams", |s| {
        s.waiting() as f64
    });
    gauge(metric::BILLING_LAG, "s", "How old the oldest of them is", |s| s.lag().as_secs_f64());
    counter(metric::BILLING_WRITTEN, "Billing records written to PostgreSQL", DrainStats::drained_total);
    counter(metric::BILLING_SET_ASIDE, "Billing records set aside (expected 0)", DrainStats::set_aside_total);
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
