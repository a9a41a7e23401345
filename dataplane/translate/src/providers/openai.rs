//! OpenAI Chat Completions, and servers that speak it.

pub mod answer;
pub(crate) mod encoder;
pub mod error;
pub mod request;
pub mod stream;
mod tools;
pub mod usage;
