//! One account for all gateways: two real gateways, one real Redis.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod away;
mod first;
mod hammer;
mod policy;
mod support;
