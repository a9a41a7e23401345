//! `/_control/*`: scripts the fake provider from outside its process.
//!
//! - `POST /_control/script`: a [`Rule`] or an array of them
//! - `GET /_control/requests`: what arrived, oldest first
//! - `DELETE /_control`: forget everything

use super::{Rule, State};
use crate::http::{self, Body};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde_json::{Value, json};
use std::io;

/// Answers a control request.
pub(super) async fn handle(state: &State, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let answer =
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/_control/script") => add(state, &http::read_body(body).await?),
            (&Method::GET, "/_control/requests") => {
                let all: Vec<Value> = state.inner.lock().seen.iter().map(|s| s.to_json()).collect();
                Ok(Value::Array(all))
            }
            (&Method::DELETE, "/_control") => {
                state.reset();
                Ok(json!({"ok": true}))
            }
            _ => Err("unknown; there are POST /_control/script, GET /_control/requests, DELETE /_control"
                .to_owned()),
        };
    Ok(match answer {
        Ok(value) => http::json(StatusCode::OK, &value),
        Err(words) => http::json(StatusCode::BAD_REQUEST, &json!({"error": words})),
    })
}

fn add(state: &State, body: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let rules: Result<Vec<Rule>, _> = list.into_iter().map(serde_json::from_value).collect();
    let rules = rules.map_err(|e| e.to_string())?;
    let added = rules.len();
    state.inner.lock().rules.extend(rules);
    Ok(json!({"added": added}))
}
