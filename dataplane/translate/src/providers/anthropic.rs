//! Anthropic Messages.

pub mod answer;
pub(crate) mod encoder;
pub mod error;
pub mod request;
pub mod stream;
pub mod usage;
