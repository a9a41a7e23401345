//! Relay, bridge, workload identity, injection and stdio servers, with the real programs.
//!
//! - `identity`: ServiceAccount tokens at the gateway
//! - `relay`: two gateways behind TLS, Claude Code with a dummy key, what the relay does not hold
//! - `bridge`: the fake MCP server over standard input and output
//! - `cluster`: the webhook and the operator's objects against a real API server

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what went wrong by panicking"
)]

mod bridge;
mod cluster;
mod identity;
mod relay;
mod support;
