//! Records: every model request and tool call, kept without ever slowing one down.
//!
//! # Layout
//! - [`record`]: what is recorded

pub mod record;

pub use record::Record;

/// Takes records off the hands of those who make them; never blocks and never fails.
pub type Sink = std::sync::Arc<dyn Fn(Record) + Send + Sync>;
