//! What arrived at the fake provider.

use super::Api;
use crate::http::Finished;
use bytes::Bytes;
use serde_json::{Value, json};

/// One request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counts from 1.
    pub n: u64,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Which endpoint it was for; `None` for paths that a provider does not have.
    pub api: Option<Api>,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Bytes,
    /// The status that was answered.
    pub status: u16,
    /// Why the request was refused by the provider's own rules.
    pub refused: Option<String>,
    /// A credential or header of the gateway's clients that must not have come here.
    pub leak: Option<String>,
    /// Whether the whole answer was taken.
    pub finished: Finished,
}

// === impl Seen ===

impl Seen {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The model that was asked for; empty when none.
    pub fn model(&self) -> String {
        self.json().get("model").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whether its answer is still being sent.
    pub fn open(&self) -> bool {
        self.finished.open()
    }

    /// For `GET /_control/requests`.
    pub fn to_json(&self) -> Value {
        let body = match self.json() {
            Value::Null => Value::String(String::from_utf8_lossy(&self.body).into_owned()),
            parsed => parsed,
        };
        json!({
            "n": self.n, "method": self.method, "path": self.path, "api": self.api,
            "headers": self.headers.iter().map(|(n, v)| json!([n, v])).collect::<Vec<_>>(),
            "body": body, "status": self.status, "refused": self.refused, "leak": self.leak,
            "finished": self.finished.get(),
        })
    }
}
