use super::*;
use serde_json::json;

fn words(body: &Value) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", "2023-06-01".parse().unwrap());
    headers.insert("anthropic-beta", "mid-conversation-system-2026-04-07".parse().unwrap());
    check(body, &headers, false).err().map(|r| r.message).unwrap_or_default()
}

fn with(field: &str, value: Value) -> Value {
    let mut body =
        json!({"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]});
    body[field] = value;
    body
}

#[test]
fn a_plain_request_passes() {
    assert_eq!(words(&with("stream", json!(true))), "");
    let loop_ = json!([
        {"role": "user", "content": [{"type": "text", "text": "read"}]},
        {"role": "system", "content": "a note"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}, {"type": "text", "text": "y"}]}
    ]);
    assert_eq!(words(&with("messages", loop_)), "");
}

#[test]
fn mistakes_are_refused_in_the_providers_words() {
    let use_ = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]});
    let user = json!({"role": "user", "content": "hi"});
    let tool = json!({"name": "a", "input_schema": {"type": "object"}});
    for (body, want) in [
        (with("messages", json!([user, use_, user])), "without `tool_result`"),
        (with("messages", json!([user, user])), "roles must alternate"),
        (with("messages", json!([use_])), "first message"),
        (
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "q"}]}]),
            ),
            "unexpected `tool_use_id`",
        ),
        (with("messages", json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])), "non-empty"),
        (
            with("messages", json!([{"role": "tool", "content": "x"}])),
            "Input should be 'user' or 'assistant'",
        ),
        (with("max_tokens", Value::Null), "max_tokens: Field required"),
        (with("reasoning_effort", json!("high")), "reasoning_effort: Extra inputs are not permitted"),
        (with("context_management", json!({})), "context_management: Extra inputs"),
        (with("tool_choice", json!({"type": "auto"})), "while providing tools"),
        (with("tools", json!([tool, tool])), "unique"),
        (with("tools", json!([{"name": "a b", "input_schema": {"type": "object"}}])), "pattern"),
        (with("tools", json!([{"name": "a"}])), "input_schema.type"),
        (with("temperature", json!(1.5)), "less than or equal to 1"),
        (with("thinking", json!({"type": "enabled", "budget_tokens": 2000})), "must be greater than"),
    ] {
        assert!(words(&body).contains(want), "{body}: {}", words(&body));
    }
    let mut forced = with("tools", json!([tool]));
    forced["tool_choice"] = json!({"type": "tool", "name": "gone"});
    assert!(words(&forced).contains("'gone' not found"));
}

#[test]
fn foreign_signatures_are_refused() {
    let turn = |signature: String| {
        with(
            "messages",
            json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "x"}]},
                {"role": "user", "content": "go on"}
            ]),
        )
    };
    assert_eq!(words(&turn(ids::sign("hm"))), "");
    assert!(words(&turn("other".to_owned())).contains("Invalid `signature`"));
}
