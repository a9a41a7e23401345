//! The way to the providers.
//!
//! # Layout
//! - [`health`]: ejection of failing backends
//! - [`send`]: one attempt: URL, headers, deadline

pub mod health;
pub mod send;
