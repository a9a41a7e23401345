//! What Tollgate builds on, against a real API server: its CRDs, server-side apply, leases, tokens, RBAC, audit.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod crds;
mod edits;
mod harness;
mod identity;
mod rules;
