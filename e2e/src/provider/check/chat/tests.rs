use super::*;
use serde_json::json;

fn words(body: &Value) -> String {
    check(body).err().map(|r| r.message).unwrap_or_default()
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]});
    body[field] = value;
    body
}

#[test]
fn a_plain_request_passes() {
    assert_eq!(words(&with("max_completion_tokens", json!(10))), "");
    assert_eq!(words(&with("reasoning_effort", json!("high"))), "");
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "Read", "arguments": "{}"}});
    let messages = json!([
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "y"}
    ]);
    assert_eq!(words(&with("messages", messages)), "");
}

#[test]
fn mistakes_are_refused_in_the_providers_words() {
    let user = json!({"role": "user", "content": "hi"});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "Read", "arguments": "{}"}}]});
    let tool = |name: &str| json!([{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}]);
    for (body, want) in [
        (with("thinking", json!({})), "Unknown parameter: 'thinking'"),
        (with("max_tokens", json!(5)), "Use 'max_completion_tokens' instead"),
        (with("temperature", json!(0.5)), "does not support 0.5"),
        (with("stop", json!(["x"])), "'stop' is not supported"),
        (with("reasoning_effort", json!("max")), "Invalid value: 'max'"),
        (with("stream_options", json!({"include_usage": true})), "only allowed when 'stream'"),
        (with("tools", json!([])), "empty array"),
        (with("tools", tool(&"x".repeat(90))), "maximum length 64"),
        (with("tools", tool("a.b")), "does not match pattern"),
        (with("tool_choice", json!("auto")), "only allowed when 'tools'"),
        (
            with("messages", json!([user, {"role": "tool", "tool_call_id": "c", "content": "x"}])),
            "preceeding message",
        ),
        (with("messages", json!([user, call, user])), "did not have response messages: c"),
        (with("messages", json!([user, call])), "did not have response messages: c"),
        (
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]),
            ),
            "cache_control",
        ),
        (with("messages", json!([{"role": "assistant", "content": null}])), "expected a string, got null"),
        (with("user", json!("x".repeat(65))), "maximum length 64"),
    ] {
        assert!(words(&body).contains(want), "{body}: {}", words(&body));
    }
    let mut forced = with("tools", tool("here"));
    forced["tool_choice"] = json!({"type": "function", "function": {"name": "gone"}});
    assert!(words(&forced).contains("'gone' not found"));
}
