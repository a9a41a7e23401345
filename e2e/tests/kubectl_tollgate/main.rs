//! `kubectl tollgate …` as its users type it: the real kubectl runs the real plugin against a real API server, real
//! operators and real gateways.
//!
//! # Layout
//! - `objects`: get
//! - `money`: spend
//! - `logs`: records, also as they come
//! - `check`: a healthy installation, and what is said of broken ones
//! - `review`: a branch of a real Git repository

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod check;
mod logs;
mod money;
mod objects;
mod review;
mod support;
