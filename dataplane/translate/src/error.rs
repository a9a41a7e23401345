//! Errors: an upstream's understood, and any error rendered in the shape of the client's API (reference: translation.md §2.12).

use crate::Format;

/// What went wrong, in terms that every API can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// 400 `invalid_request_error`.
    InvalidRequest,
    /// 401 `authentication_error`.
    Authentication,
    /// 402 `billing_error`.
    Billing,
    /// 403 `permission_error`.
    Permission,
    /// 404 `not_found_error`.
    NotFound,
    /// 409 `conflict_error`.
    Conflict,
    /// 413 `request_too_large`.
    TooLarge,
    /// 429 `rate_limit_error`.
    RateLimit,
    /// 500 or 502 `api_error`.
    #[default]
    Api,
    /// 504 `timeout_error`.
    Timeout,
    /// 529 or 503 `overloaded_error`.
    Overloaded,
}

/// An upstream's error, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamError {
    /// The upstream's HTTP status; 0 when the error came inside a stream or from the connection.
    pub status: u16,
    /// What it means. A context overflow is `InvalidRequest` with the words that Claude Code acts on.
    pub kind: Kind,
    /// The words for the client; upstream 4xx words are kept verbatim.
    pub message: String,
    /// Seconds to wait, from `retry-after`, `retry-after-ms`, `x-ratelimit-reset-*` or the body.
    pub retry_after: Option<u64>,
    /// `x-should-retry` as the upstream sent it, or set by the meaning (`insufficient_quota` → false).
    pub should_retry: Option<bool>,
}

/// Understands an upstream's error answer. `header` looks a response header up by lower-case name.
pub fn understand<'h>(
    _format: Format,
    status: u16,
    _header: &dyn Fn(&str) -> Option<&'h str>,
    _body: &[u8],
) -> UpstreamError {
    UpstreamError { status, ..UpstreamError::default() }
}

/// Renders an error body in the client's shape. `code` is OpenAI's `error.code` where one is known.
pub fn render(_format: Format, _kind: Kind, _message: &str, _request_id: &str) -> Vec<u8> {
    Vec::new()
}

// === impl Kind ===

impl Kind {
    /// The HTTP status in the given client format (403 and 529 differ by format, see design.md's table).
    pub fn status(self, _format: Format) -> u16 {
        match self {
            Kind::InvalidRequest => 400,
            Kind::Authentication => 401,
            Kind::Billing => 402,
            Kind::Permission => 403,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::TooLarge => 413,
            Kind::RateLimit => 429,
            Kind::Api => 502,
            Kind::Timeout => 504,
            Kind::Overloaded => 529,
        }
    }
}
