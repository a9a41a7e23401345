//! Operating the gateway: readiness, the orderly end, TLS, metrics, traces. Each with the real processes.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

mod drain;
mod metrics;
mod operator;
mod readiness;
mod rolling;
mod support;
mod tls;
mod trace;
mod variables;
