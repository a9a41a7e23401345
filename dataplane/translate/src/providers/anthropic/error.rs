//! Anthropic's errors: its words for each kind, and its envelope.

use crate::{answer::sse, error::Kind, json};

/// The kind behind Anthropic's word.
pub(crate) fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "invalid_request_error" => Kind::InvalidRequest,
        "authentication_error" => Kind::Authentication,
        "billing_error" => Kind::Billing,
        "permission_error" => Kind::Permission,
        "not_found_error" => Kind::NotFound,
        "conflict_error" => Kind::Conflict,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" => Kind::RateLimit,
        "api_error" => Kind::Api,
        "timeout_error" => Kind::Timeout,
        "overloaded_error" => Kind::Overloaded,
        _ => return None,
    })
}

/// Anthropic's word for a kind.
pub(crate) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidRequest => "invalid_request_error",
        Kind::Authentication => "authentication_error",
        Kind::Billing => "billing_error",
        Kind::Permission => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::Conflict => "conflict_error",
        Kind::TooLarge => "request_too_large",
        Kind::RateLimit => "rate_limit_error",
        Kind::Api => "api_error",
        Kind::Timeout => "timeout_error",
        Kind::Overloaded => "overloaded_error",
    }
}

/// Appends the envelope; an empty `request_id` is left out.
pub(crate) fn write(kind: Kind, message: &str, request_id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":\"");
    out.extend_from_slice(word(kind).as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    json::string(message, out);
    out.push(b'}');
    if !request_id.is_empty() {
        out.extend_from_slice(b",\"request_id\":");
        json::string(request_id, out);
    }
    out.push(b'}');
}

/// Appends the event that ends a stream in error.
pub(crate) fn write_event(kind: Kind, message: &str, out: &mut Vec<u8>) {
    sse::named("error", out);
    write(kind, message, "", out);
    sse::finish(out);
}
