//! Requests: decoded from and encoded to Chat Completions.
//!
//! # Layout
//! - [`decode`]: a client's Chat request → conversation; [`decode_messages`] its messages
//! - [`encode`]: conversation → a Chat request; [`encode_messages`] its messages
//! - [`models`]: what each model family and kind of server takes

mod decode;
mod decode_messages;
mod encode;
mod encode_messages;
mod models;

pub(crate) use decode::decode;
pub(crate) use encode::encode;
pub(crate) use models::server;

#[cfg(test)]
mod tests;
