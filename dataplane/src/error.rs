//! What can end a request without an answer. Rendered in one place: [`crate::respond`].

use tollgate_translate::error::UpstreamError;

/// An error of a request, in words for the client: what happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No credential, or one that is no virtual key.
    #[error("{0}")]
    UnknownKey(String),
    /// The key exists but is expired, disabled or cut off from its parent.
    #[error("{0}")]
    KeyRefused(String),
    /// The key may not use this model or provider.
    #[error("{0}")]
    NotAllowed(String),
    /// No visible route has the model.
    #[error("{0}")]
    ModelNotFound(String),
    /// The body or a parameter is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// The body is over the limit.
    #[error("the request body is over {limit} bytes (--max-body, the chart's gateway.maxBody)")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A budget is used up: final until its reset.
    #[error("{0}")]
    BudgetExhausted(String),
    /// Rates, concurrency, or a budget that only others' holds block: it passes by itself.
    #[error("{message}")]
    Busy {
        /// The words.
        message: String,
        /// Seconds until another try makes sense.
        retry_after: u64,
    },
    /// The account that gateways share is away, and the key refuses requests without it.
    #[error("{0}")]
    StoreAway(String),
    /// The upstream answered with an error, or could not be reached.
    #[error("{}", .0.message)]
    Upstream(Box<UpstreamError>),
    /// No backend can take the request now.
    #[error("{0}")]
    NoBackend(String),
    /// The path or method does not exist here.
    #[error("{0}")]
    NoSuchEndpoint(String),
    /// The request comes from a web page or names a foreign host.
    #[error("{0}")]
    Forbidden(String),
    /// Our fault.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<UpstreamError> for GatewayError {
    fn from(error: UpstreamError) -> Self {
        GatewayError::Upstream(Box::new(error))
    }
}
