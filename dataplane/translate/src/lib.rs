//! Pure translation between model APIs: no I/O, no clock, no randomness (ids and times are passed in).
//!
//! A request in the client's [`Format`] is either passed through byte for byte ([`head`]: peek and splice) or
//! translated by way of one neutral conversation ([`request`]). An answer is either tapped on its way
//! ([`answer::Tap`]) or translated by way of neutral stream events ([`answer::Translator`]).
//!
//! # Layout
//! - [`format`]: the wire formats and the provider kinds
//! - [`head`]: what routing needs of a body, found without parsing the rest; splices for the pass-through
//! - [`request`]: request translation, tool names, capability tables, token estimates
//! - [`answer`]: whole answers and streams: SSE codec, neutral events, encoders, taps
//! - [`error`]: upstream errors understood, errors rendered in the client's shape
//! - [`usage`]: tokens by kind
//! - `raw`: scanning, lazy reading and writing at the byte level
//! - [`price`]: the price catalogue and exact cost in nano-USD
//! - [`providers`]: one folder per wire format with the same set of files

pub mod answer;
pub mod error;
pub mod format;
pub mod head;
mod json;
pub mod price;
pub mod providers;
mod raw;
pub mod request;
pub mod usage;

pub use format::{Format, Provider};
pub use usage::Usage;
