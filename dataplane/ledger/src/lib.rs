//! Money and limits: two-phase charges up the key tree. All levels or none, idempotent by id, held until settled.
//! Integers only: nano-USD and tokens. Time is passed in (Unix milliseconds); no I/O, no clock.
//!
//! # Layout
//! - [`budget`]: budgets, periods, calendar and rolling windows
//! - [`charge`]: what a request asks to hold, what is decided, what is posted
//! - [`rules`]: the pure decision over counters (shared by every store)
//! - [`memory`]: the in-memory store of standalone mode, rebuilt from postings at start

pub mod budget;
pub mod charge;
pub mod memory;
pub mod rules;
