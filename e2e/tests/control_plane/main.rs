//! The control plane as it runs in a cluster: a real API server, the real operator program, real gateway programs, TLS and
//! tokens between them.
//!
//! # Layout
//! - `delivery`: what `kubectl apply` says is in force at every gateway
//! - `tenancy`: what one namespace may do to another
//! - `access`: who may connect, and what each gets
//! - `outages`: the operator, the API server and gateways go and come back
//! - `rotation`: certificates, authorities and sealing keys grow old
//! - `scale`: hundreds of keys
//! - `secrets`: what the operator has of Secrets

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod access;
mod delivery;
mod outages;
mod rotation;
mod scale;
mod secrets;
mod support;
mod tenancy;
