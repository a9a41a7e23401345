//! What only the leader does, and what users see of it with kubectl: real operators and gateways, a real API server.
//!
//! # Layout
//! - `conditions`: what is in force, what is wrong, what a gateway rejects
//! - `tokens`: generated, rotated, left alone
//! - `replicas`: one writes; killed, paused, and without an API server

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod conditions;
mod replicas;
mod support;
mod tokens;
