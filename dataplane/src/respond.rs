//! The one place where an error becomes an HTTP answer, in the shape of the API that the client speaks (design.md's table).

use crate::{
    body::{Body, full},
    error::GatewayError,
    names,
};
use http::{HeaderValue, Response, StatusCode, header};
use tollgate_translate::{
    Format,
    error::{Kind, render},
};
use uuid::Uuid;

/// How an error is shown: status, kind, seconds to wait, whether the client may retry.
struct Shown {
    status: u16,
    kind: Kind,
    retry_after: Option<u64>,
    should_retry: Option<bool>,
}

/// Seconds after which a client asks again while the shared account is away.
const STORE_AWAY: u64 = 2;

/// Renders `error` for a client of `format`.
pub fn error(format: Format, error: &GatewayError, id: Uuid) -> Response<Body> {
    let shown = shown(format, error);
    let id = id.to_string();
    let mut response = Response::new(full(render(format, shown.kind, &error.to_string(), &id)));
    *response.status_mut() = StatusCode::from_u16(shown.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = shown.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(retry) = shown.should_retry {
        headers.insert(names::SHOULD_RETRY, HeaderValue::from_static(if retry { "true" } else { "false" }));
    }
    identify(headers, format, &id);
    response
}

/// Puts the request's id into an answer's headers.
pub fn identify(headers: &mut http::HeaderMap, format: Format, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        if format == Format::Messages && !headers.contains_key(names::ANTHROPIC_REQUEST_ID) {
            headers.insert(names::ANTHROPIC_REQUEST_ID, value.clone());
        }
        headers.insert(names::REQUEST_ID, value);
    }
}

/// The HTTP status an error is answered with.
pub fn status(format: Format, error: &GatewayError) -> u16 {
    shown(format, error).status
}

fn shown(format: Format, error: &GatewayError) -> Shown {
    let plain =
        |kind: Kind| Shown { status: kind.status(format), kind, retry_after: None, should_retry: None };
    match error {
        // Without x-should-retry: false Claude Code retries a 401 for a minute and looks hung.
        GatewayError::UnknownKey(_) => Shown { should_retry: Some(false), ..plain(Kind::Authentication) },
        GatewayError::KeyRefused(_) | GatewayError::Forbidden(_) => {
            Shown { should_retry: Some(false), ..plain(Kind::Permission) }
        }
        // Claude Code prints "Failed to authenticate" before any 403 and shows a 400's words as they are.
        GatewayError::NotAllowed(_) if format == Format::Messages => plain(Kind::InvalidRequest),
        GatewayError::NotAllowed(_) => plain(Kind::Permission),
        GatewayError::ModelNotFound(_) => plain(Kind::NotFound),
        // To a client of OpenAI's API `NotFound` says that the model is not there, and it would try another.
        GatewayError::NoSuchEndpoint(_) if format == Format::Chat => {
            Shown { status: 404, ..plain(Kind::InvalidRequest) }
        }
        GatewayError::NoSuchEndpoint(_) => plain(Kind::NotFound),
        GatewayError::BadRequest(_) => plain(Kind::InvalidRequest),
        GatewayError::TooLarge { .. } => plain(Kind::TooLarge),
        GatewayError::BudgetExhausted(_) => Shown { should_retry: Some(false), ..plain(Kind::Billing) },
        GatewayError::Busy { retry_after, .. } => {
            Shown { retry_after: Some(*retry_after), ..plain(Kind::RateLimit) }
        }
        GatewayError::StoreAway(_) => {
            Shown { status: 503, retry_after: Some(STORE_AWAY), ..plain(Kind::Overloaded) }
        }
        GatewayError::NoBackend(_) => Shown { status: 503, retry_after: Some(5), ..plain(Kind::Overloaded) },
        GatewayError::Internal(_) => Shown { status: 500, ..plain(Kind::Api) },
        GatewayError::Upstream(e) => {
            Shown { retry_after: e.retry_after, should_retry: e.should_retry, ..plain(e.kind) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::paths::unknown;
    use http::Method;

    /// `/v1/responses` of a client of OpenAI's API: the URL is not there, which says nothing of the model that it asked for.
    #[test]
    fn an_unknown_path_is_no_unknown_model() {
        let body = |format, error: &GatewayError| -> serde_json::Value {
            let shown = shown(format, error);
            assert_eq!(shown.status, 404);
            serde_json::from_slice(&render(format, shown.kind, &error.to_string(), "id")).unwrap()
        };
        let path = |format| GatewayError::NoSuchEndpoint(unknown(format, &Method::POST, "/v1/responses"));
        let chat = body(Format::Chat, &path(Format::Chat));
        assert_eq!(
            (&chat["error"]["type"], &chat["error"]["code"]),
            (&"invalid_request_error".into(), &"unknown_url".into())
        );
        let words = chat["error"]["message"].as_str().unwrap();
        assert!(
            words.starts_with("Unknown request URL: POST /v1/responses.")
                && words.contains("/v1/chat/completions"),
            "{words}"
        );
        let messages = body(Format::Messages, &path(Format::Messages));
        assert_eq!(messages["error"]["type"], "not_found_error");
        let model = body(Format::Chat, &GatewayError::ModelNotFound("no route".into()));
        assert_eq!(model["error"]["code"], "model_not_found");
    }
}
