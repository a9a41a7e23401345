//! What requests and answers are made of: the body type of the whole gateway.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every answer and of every request to an upstream.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// A body that is known whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body without content.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_carry_what_they_were_given() {
        assert_eq!(full("text").collect().await.unwrap().to_bytes(), "text");
        assert!(empty().collect().await.unwrap().to_bytes().is_empty());
    }
}
