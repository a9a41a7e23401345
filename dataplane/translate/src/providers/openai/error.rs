//! OpenAI's errors: its words for each kind, and its envelope.

use crate::{answer::sse, error::Kind, json};

/// The kind behind a `code` or a `type`, where the word says more than the status.
pub(crate) fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "billing_error" => {
            Kind::Billing
        }
        "rate_limit_exceeded"
        | "rate_limit_error"
        | "requests"
        | "tokens"
        | "too_many_requests"
        | "RESOURCE_EXHAUSTED" => Kind::RateLimit,
        "overloaded" | "overloaded_error" | "server_overloaded" | "engine_overloaded" | "UNAVAILABLE" => {
            Kind::Overloaded
        }
        "timeout" | "timeout_error" | "DEADLINE_EXCEEDED" => Kind::Timeout,
        "invalid_api_key" | "authentication_error" | "UNAUTHENTICATED" => Kind::Authentication,
        "permission_denied" | "permission_error" | "PERMISSION_DENIED" => Kind::Permission,
        "model_not_found" | "not_found_error" | "NOT_FOUND" => Kind::NotFound,
        "request_too_large" => Kind::TooLarge,
        "invalid_request_error"
        | "BadRequestError"
        | "content_filter"
        | "context_length_exceeded"
        | "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION" => Kind::InvalidRequest,
        "server_error" | "api_error" | "internal_error" | "INTERNAL" => Kind::Api,
        _ => return None,
    })
}

/// OpenAI's `type` and `code` for a kind.
fn words(kind: Kind, message: &str) -> (&'static str, Option<&'static str>) {
    match kind {
        Kind::InvalidRequest if message.starts_with("prompt is too long") => {
            ("invalid_request_error", Some("context_length_exceeded"))
        }
        Kind::InvalidRequest if message.starts_with("Unknown request URL") => {
            ("invalid_request_error", Some("unknown_url"))
        }
        Kind::InvalidRequest => ("invalid_request_error", None),
        Kind::Authentication => ("authentication_error", Some("invalid_api_key")),
        Kind::Billing => ("insufficient_quota", Some("insufficient_quota")),
        Kind::Permission => ("permission_error", Some("permission_denied")),
        Kind::NotFound => ("invalid_request_error", Some("model_not_found")),
        Kind::Conflict => ("conflict_error", None),
        Kind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        Kind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        Kind::Api => ("server_error", Some("server_error")),
        Kind::Timeout => ("server_error", Some("timeout")),
        Kind::Overloaded => ("server_error", Some("overloaded")),
    }
}

/// Appends the envelope.
pub(crate) fn write(kind: Kind, message: &str, out: &mut Vec<u8>) {
    let (word, code) = words(kind, message);
    out.extend_from_slice(b"{\"error\":{\"message\":");
    json::string(message, out);
    out.extend_from_slice(b",\"type\":");
    json::string(word, out);
    out.extend_from_slice(b",\"param\":null,\"code\":");
    match code {
        Some(code) => json::string(code, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}}");
}

/// Appends the event that ends a stream in error: no `[DONE]` follows it.
pub(crate) fn write_event(kind: Kind, message: &str, out: &mut Vec<u8>) {
    sse::data(out);
    write(kind, message, out);
    sse::finish(out);
}
