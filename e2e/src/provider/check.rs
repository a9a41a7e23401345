//! The real providers' rules for requests, with their words, so that a translation's mistake shows as their 400.

pub mod chat;
pub mod messages;

use super::Api;
use hyper::header::HeaderMap;
use serde_json::Value;

/// A request that a provider refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// `error.type`.
    pub kind: String,
    /// The words.
    pub message: String,
    /// OpenAI's `error.param`.
    pub param: Option<String>,
    /// OpenAI's `error.code`.
    pub code: Option<String>,
}

// === impl Refusal ===

impl Refusal {
    /// A refusal with a status and a type.
    pub fn new(status: u16, kind: &str, message: String) -> Self {
        Refusal { status, kind: kind.to_owned(), message, param: None, code: None }
    }

    /// The usual 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message.into())
    }

    /// The 400 of OpenAI, with the parameter and the code.
    pub fn param(param: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        Refusal { param: Some(param.to_owned()), code: code.map(str::to_owned), ..Self::invalid(message) }
    }
}

/// A header that must not leave the gateway: a virtual key, or one of the gateway's own names.
pub fn leak(headers: &HeaderMap) -> Option<String> {
    headers.iter().find_map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let own = name.as_str().starts_with("x-tollgate") || name.as_str().starts_with("x-bf-");
        (own || value.contains("vk-")).then(|| format!("header {name}: {value}"))
    })
}

/// Checks the credential: `x-api-key` or a bearer for Anthropic, a bearer for OpenAI.
pub fn credential(keys: &[String], anthropic: bool, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |n: &str| headers.get(n).and_then(|v| v.to_str().ok());
    let bearer = text("authorization").and_then(|v| v.strip_prefix("Bearer "));
    let got = if anthropic { text("x-api-key").or(bearer) } else { bearer };
    match got {
        Some(key) if keys.is_empty() || keys.iter().any(|k| k == key) => Ok(()),
        Some(_) if anthropic => {
            Err(Refusal::new(401, "authentication_error", "invalid x-api-key".to_owned()))
        }
        None if anthropic => {
            Err(Refusal::new(401, "authentication_error", "x-api-key header is required".to_owned()))
        }
        Some(key) => {
            let words = format!("Incorrect API key provided: {}. You can find your API key at …", mask(key));
            Err(Refusal {
                code: Some("invalid_api_key".to_owned()),
                ..Refusal::new(401, "invalid_request_error", words)
            })
        }
        None => {
            let words =
                "You didn't provide an API key. You need to provide your API key in an Authorization header.";
            Err(Refusal::new(401, "invalid_request_error", words.to_owned()))
        }
    }
}

fn mask(key: &str) -> String {
    let shown: String = key.chars().take(4).collect();
    format!("{shown}{}", "*".repeat(8))
}

/// The body as a JSON object.
pub fn json(bytes: &[u8]) -> Result<Value, Refusal> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Refusal::invalid(format!("The request body is not valid JSON: {e}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Refusal::invalid("The request body must be a JSON object"))
    }
}

/// Models of other providers, and names that still carry a route, do not exist.
pub fn model(api: Api, model: &str) -> Result<(), Refusal> {
    let claude = model.starts_with("claude-") && !model.contains('/');
    match api {
        Api::Chat if model.contains('/') || model.starts_with("claude-") || model.starts_with("missing") => {
            let words = format!("The model `{model}` does not exist or you do not have access to it.");
            let code = Some("model_not_found".to_owned());
            Err(Refusal { code, ..Refusal::new(404, "invalid_request_error", words) })
        }
        Api::Messages | Api::CountTokens if !claude => {
            Err(Refusal::new(404, "not_found_error", format!("model: {model}")))
        }
        _ => Ok(()),
    }
}

/// The type that goes with a status.
pub fn error_type(api: Api, status: u16) -> &'static str {
    match (api, status) {
        (Api::Chat, 429) => "requests",
        (Api::Chat, 500..) => "server_error",
        (Api::Chat, _) => "invalid_request_error",
        (_, 401) => "authentication_error",
        (_, 402) => "billing_error",
        (_, 403) => "permission_error",
        (_, 404) => "not_found_error",
        (_, 409) => "conflict_error",
        (_, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (_, 504) => "timeout_error",
        (_, 529) => "overloaded_error",
        (_, 500..) => "api_error",
        _ => "invalid_request_error",
    }
}

/// Fields of an object that are not among `known`.
pub(super) fn unknown<'v>(object: &'v Value, known: &[&str]) -> Option<&'v str> {
    let map = object.as_object()?;
    map.keys().map(String::as_str).find(|k| !known.contains(k))
}

/// A text field; empty when it is none.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The items of an array field; none when it is none.
pub(super) fn items<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a name is of letters, digits, `_` and `-` only.
pub(super) fn plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
