//! Errors: an upstream's understood, and any error rendered in the shape of the client's API (reference: translation.md §2.12).

mod body;
mod overflow;
mod retry;
#[cfg(test)]
mod tests;

use crate::{
    Format,
    providers::{anthropic, openai},
};
use body::Body;

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

/// The most bytes of an upstream's words that are passed on.
pub const MESSAGE_CAP: usize = 4096;

/// Understands an upstream's error answer. `header` looks a response header up by lower-case name.
///
/// A 401 or 403 is about the gateway's own credential, not the client's: it becomes [`Kind::Api`] (502). Told of a 401, Claude
/// Code would ask its user to log in. Of a 401 the upstream's words are not repeated: providers quote parts of the key.
pub fn understand<'h>(
    format: Format,
    status: u16,
    header: &dyn Fn(&str) -> Option<&'h str>,
    body: &[u8],
) -> UpstreamError {
    let body = Body::parse(body);
    let mut error = classify(format, status, &body);
    let words = body.message.as_deref();
    error.retry_after = match error.kind {
        Kind::RateLimit | Kind::Overloaded | Kind::Api | Kind::Timeout => retry::after(header, words),
        _ => None,
    };
    error.should_retry = match header("x-should-retry").map(str::trim) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => error.should_retry,
    };
    error
}

/// Understands an error inside a stream, or inside a body with status 200: `error` is the JSON value of its `error` field.
pub fn inside(format: Format, error: &str) -> UpstreamError {
    let body = Body::of_error(error.as_bytes());
    let mut error = classify(format, body.code_as_status(), &body);
    error.status = 0;
    error
}

/// Renders an error body in the client's shape. `code` is OpenAI's `error.code` where one is known.
pub fn render(format: Format, kind: Kind, message: &str, request_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 128);
    match format {
        Format::Messages => anthropic::error::write(kind, message, request_id, &mut out),
        Format::Chat => openai::error::write(kind, message, &mut out),
    }
    out
}

/// Appends the terminal error event of a stream in the client's format.
pub fn render_event(format: Format, kind: Kind, message: &str, out: &mut Vec<u8>) {
    match format {
        Format::Messages => anthropic::error::write_event(kind, message, out),
        Format::Chat => openai::error::write_event(kind, message, out),
    }
}

/// What an error means: by its words where they are known, else by its status.
fn classify(format: Format, status: u16, body: &Body) -> UpstreamError {
    let by_word = match format {
        Format::Messages => anthropic::error::kind(&body.kind),
        Format::Chat => openai::error::kind(&body.code).or_else(|| openai::error::kind(&body.kind)),
    };
    let by_status = kind_of_status(status, body);
    // The status is the better witness of a 4xx (many servers call everything `invalid_request_error`); words refine it
    // where there is no status or only a general one.
    let kind = match (by_status, by_word) {
        (_, Some(Kind::Billing)) => Kind::Billing,
        (Some(Kind::Api), Some(word @ (Kind::Overloaded | Kind::Timeout | Kind::RateLimit))) => word,
        (Some(kind), _) => kind,
        (None, word) => word.unwrap_or_default(),
    };
    let mut error = UpstreamError { status, kind, ..UpstreamError::default() };
    if matches!(status, 401 | 403) || matches!(kind, Kind::Authentication | Kind::Permission) {
        refused_credential(&mut error, body);
    } else if let Some(words) = overflow::words(kind, body) {
        error.kind = Kind::InvalidRequest;
        error.message = words;
    } else {
        error.message = body.words(status);
        if error.kind == Kind::InvalidRequest && is_billing(&error.message) {
            error.kind = Kind::Billing;
        }
    }
    if error.kind == Kind::Billing {
        error.should_retry = Some(false);
    }
    error.message = bounded(std::mem::take(&mut error.message));
    error
}

/// The meaning of a status; `None` for one that says nothing.
fn kind_of_status(status: u16, body: &Body) -> Option<Kind> {
    Some(match status {
        401 => Kind::Authentication,
        402 => Kind::Billing,
        403 => Kind::Permission,
        // OpenAI answers 404 for a bad parameter too, such as an unknown previous response.
        404 if body.param.as_deref().is_some_and(|param| param != "model") => Kind::InvalidRequest,
        404 => Kind::NotFound,
        408 | 504 => Kind::Timeout,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        424 | 499 => Kind::Api,
        429 => Kind::RateLimit,
        400..500 => Kind::InvalidRequest,
        503 | 529 => Kind::Overloaded,
        500..600 => Kind::Api,
        _ => return None,
    })
}

/// The upstream does not accept the credential that the gateway sent.
fn refused_credential(error: &mut UpstreamError, body: &Body) {
    let denied = error.status == 403 || error.kind == Kind::Permission;
    error.kind = Kind::Api;
    error.should_retry = Some(false);
    let http = if error.status == 0 { String::new() } else { format!(" (HTTP {})", error.status) };
    error.message = match body.message.as_deref() {
        Some(words) if denied => {
            format!("the upstream refused the gateway's credential for this request{http}: {words}")
        }
        _ => format!(
            "the upstream refused the gateway's credential for it{http}: ask whoever runs the gateway to renew the credential of this route"
        ),
    };
}

/// Anthropic says with a 400 that the account has no money left.
fn is_billing(message: &str) -> bool {
    message.contains("credit balance is too low")
}

/// Cuts words that are too long.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_CAP {
        message.truncate(message.floor_char_boundary(MESSAGE_CAP));
        message.push('…');
    }
    message
}

// === impl Kind ===

impl Kind {
    /// The HTTP status in the given client format. A request that a key may not make is the caller's choice of kind:
    /// design.md has 400 for Messages (Claude Code shows its words) and 403 for Chat.
    pub fn status(self, format: Format) -> u16 {
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
            Kind::Overloaded => match format {
                Format::Messages => 529,
                Format::Chat => 503,
            },
        }
    }
}
