//! Records: every model request and tool call, kept without ever slowing one down.
//!
//! # Layout
//! - [`record`]: what is recorded

pub mod record;

pub use record::Record;
