//! Money and limits: two-phase charges up the key tree. All levels or none, idempotent by id, held until settled.
//! Integers only: nano-USD and tokens. Time is passed in (Unix milliseconds); no I/O, no clock.
//!
//! # Layout
//! - [`budget`]: budgets, periods, calendar and rolling windows
//! - [`charge`]: what a request asks to hold, what is decided, what is posted
//! - [`rules`]: the pure decision over counters (shared by every store)
//! - `state`: what is known of one key, and the decision over the keys of a path (shared by every store)
//! - [`memory`]: the in-memory store of standalone mode, rebuilt from postings at start
//! - `redis` (feature `redis`): the store that gateways share
//! - `suite` (feature `test-suite`): the behaviour that every store must show
//!
//! # The way of one request
//! ```
//! use tollgate_ledger::{budget::{Budget, Limit, Period}, charge::{Actual, Ask, Decision, Level}, memory::MemoryStore};
//! # let (store, now, id) = (MemoryStore::new(), 1_750_000_000_000, uuid::Uuid::from_u128(1));
//! # let month = Budget::new("month", Limit::NanoUsd(200_000_000_000), Period::Month, jiff::tz::TimeZone::UTC);
//! // One level a key of the path, the key itself first, with the budgets whose globs match `route/model`.
//! let level = |key| Level { key, budgets: [&month].into_iter().collect(), requests_per_minute: Some(60),
//!     tokens_per_minute: None, concurrent: Some(10) };
//! let levels = [level("default/vk-main"), level("default/team-engineering")];
//! // The worst price over every candidate that routing may choose; safe and close estimates of the input:
//! // price.worst_input(estimate) and price.worst_output(estimate) of tollgate_translate.
//! let (safe, close, worst_input, worst_output) = (2_000, 1_200, 6_000, 15_000);
//! let ask = Ask { id, now, input_cost: safe * worst_input, output_price: worst_output, input_tokens: safe,
//!     rate_tokens: close, output_cap: 32_000, output_floor: 4_096, choices: 1, expires: now + 60_000 };
//! let grant = match store.reserve(&levels, &ask) {
//!     Decision::Granted(grant) => grant, // send grant.output_cap upstream when it is below what the client asked
//!     Decision::Refused(refusal) => panic!("{}: {:?}", refusal.key, refusal.reason), // the table of errors
//! };
//! store.progress(&grant, &Actual { cost: 9_000_000, input_tokens: 1_500, output_tokens: 300 }, now + 90_000);
//! // price.cost(&usage); input without cache reads. `settle` on every exit, or `cancel` if nothing was sent.
//! let actual = Actual { cost: 12_000_000, input_tokens: 1_500, output_tokens: 500 };
//! let settled = store.settle(&levels, &grant, &actual, now + 5_000);
//! assert_eq!(settled.postings.len(), 2); // into the record: `restore` rebuilds the store from them
//! ```

pub mod budget;
pub mod charge;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
pub mod rules;
mod state;
#[cfg(any(test, feature = "test-suite"))]
pub mod suite;
