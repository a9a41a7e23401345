//! What every process of Tollgate has, whatever it does.
//!
//! # Layout
//! - [`readiness`]: whether it can serve, and why not, in words
//! - [`admin`]: the port for probes and scrapes, on a thread of its own
//! - [`stop`]: the signals that end it
//! - [`log`]: lines as text or JSON, with the ids of the trace
//! - [`telemetry`]: OpenTelemetry by the `OTEL_*` variables, Prometheus from the same instruments
//! - [`trace`]: W3C trace context, and where the running task is in its trace
//! - [`memory`]: without huge pages
//! - [`certificate`]: a certificate from files, taken anew while it is in use

pub mod admin;
pub mod certificate;
pub mod log;
pub mod memory;
pub mod readiness;
pub mod stop;
pub mod telemetry;
pub mod trace;
