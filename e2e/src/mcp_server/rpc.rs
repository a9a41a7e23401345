//! The methods.

use super::{Failure, State, database, everything};
use serde_json::{Value, json};

/// The cursor of the second page.
const SECOND_PAGE: &str = "cGFnZTI=";

/// The revisions this server speaks, newest first.
pub const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// Answers a request: the result, or an error's code and words.
pub fn answer(
    state: &State,
    method: &str,
    params: &Value,
    failure: Option<&Failure>,
) -> Result<Value, (i64, String)> {
    if let Some((code, words)) = failure.and_then(|f| f.error.clone()) {
        return Err((code, words));
    }
    match method {
        "initialize" => Ok(initialize(state, params)),
        "ping" => Ok(json!({})),
        "tools/list" if state.options.everything => Ok(json!({"tools": everything::tools()})),
        "tools/list" => list(params),
        "tools/call" => call(state, params, failure),
        _ => Err((-32601, format!("Method not found: {method}"))),
    }
}

fn initialize(state: &State, params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    state.inner.lock().capabilities = params.get("capabilities").cloned().unwrap_or_default();
    let version = VERSIONS.iter().find(|v| **v == asked).unwrap_or(&VERSIONS[0]);
    let name = &state.options.name;
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": false}},
        "serverInfo": {"name": name, "version": "1.0.0"},
        "instructions": format!("The database {name}. Look at list_tables first."),
    })
}

fn list(params: &Value) -> Result<Value, (i64, String)> {
    let [first, second] = database::pages();
    match params.get("cursor").and_then(Value::as_str) {
        None => Ok(json!({"tools": first, "nextCursor": SECOND_PAGE})),
        Some(SECOND_PAGE) => Ok(json!({"tools": second})),
        Some(other) => Err((-32602, format!("Invalid cursor: {other}"))),
    }
}

fn call(state: &State, params: &Value, failure: Option<&Failure>) -> Result<Value, (i64, String)> {
    let tool = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let empty = json!({});
    let arguments = params.get("arguments").unwrap_or(&empty);
    let text = |t: &str| json!([{"type": "text", "text": t}]);
    if let Some(words) = failure.and_then(|f| f.tool_error.as_deref()) {
        return Ok(json!({"content": text(words), "isError": true}));
    }
    if state.options.everything {
        let result = everything::call(tool, &state.inner.lock().capabilities);
        return result.ok_or_else(|| (-32602, format!("Unknown tool: {tool}")));
    }
    match state.inner.lock().database.call(tool, arguments) {
        None => Err((-32602, format!("Unknown tool: {tool}"))),
        Some(Ok(value)) => {
            Ok(json!({"content": text(&value.to_string()), "structuredContent": value, "isError": false}))
        }
        Some(Err(words)) => Ok(json!({"content": text(&words), "isError": true})),
    }
}
