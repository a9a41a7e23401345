//! What only the leader does, and what users see of it with kubectl: real operators and gateways, a real API server.
//!
//! # Layout
//! - `conditions`: what is in force, what is wrong, what a gateway rejects
//! - `tokens`: generated, rotated, left alone
//! - `replicas`: one writes; killed, paused, and without an API server; `writers`: who wrote, by the audit log
//! - `spend`: budgets by way of Redis, reports and status; `children`: the webhook's caBundle, stdio servers
//! - `team`: all that the operator does in a namespace that is not the release's
//! - `harm`: one bad object harms nothing else

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod children;
mod conditions;
mod harm;
mod replicas;
mod spend;
mod support;
mod team;
mod tokens;
mod writers;
