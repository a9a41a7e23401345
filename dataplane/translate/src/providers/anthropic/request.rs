//! Requests: decoded from and encoded to Anthropic Messages.
//!
//! # Layout
//! - [`decode`]: a client's Messages request → conversation; [`decode_blocks`] its content
//! - [`encode`]: conversation → a Messages request; [`encode_messages`] its messages, [`reasoning`] its thinking
//! - [`models`]: what each Claude takes

mod decode;
mod decode_blocks;
mod encode;
mod encode_messages;
mod models;
mod reasoning;

pub(crate) use decode::decode;
pub(crate) use encode::encode;

#[cfg(test)]
mod tests;
