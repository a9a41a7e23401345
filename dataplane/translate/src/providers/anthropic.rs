//! Anthropic Messages.

pub mod answer;
pub mod error;
pub mod request;
pub mod stream;
pub mod usage;
