//! The requests: small ones, and one like Claude Code's (76 kB, 24 tools, a stream of 50 events).

use bytes::Bytes;
use serde_json::{Value, json};

/// A row of the report.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name in the report.
    pub name: &'static str,
    /// The path, the same at the gateway, the floor and the provider.
    pub path: &'static str,
    /// Whether the gateway translates it.
    pub translated: bool,
    /// Requests a second in the fixed-rate mode: well below what one core of a small machine carries.
    pub rate: u32,
    /// The model as the gateway's clients name it.
    pub model: &'static str,
    body: Vec<u8>,
    /// Where the body carries a number that makes each request another one.
    mark: usize,
}

/// Stands in a body for the request's number; as many bytes as the number has digits.
const MARK: &str = "@@@@@@@@@@";

/// Claude Code's request, as captured: 76 kB.
const CLAUDE_BYTES: usize = 76_000;

/// All rows.
pub fn all() -> Vec<Case> {
    let chat = small("openai/gpt-5", "max_completion_tokens");
    let messages = small("openai/gpt-5", "max_tokens");
    vec![
        Case::new("small Chat, passed through", "/v1/chat/completions", "openai/gpt-5", false, 400, chat),
        Case::new("small Messages to Chat", "/v1/messages", "openai/gpt-5", true, 400, messages),
        Case::new(
            "Claude Code, passed through",
            "/v1/messages",
            "anthropic/claude-sonnet-4-5",
            false,
            80,
            claude_code("anthropic/claude-sonnet-4-5"),
        ),
        Case::new(
            "Claude Code to Chat",
            "/v1/messages",
            "openai/gpt-5",
            true,
            80,
            claude_code("openai/gpt-5"),
        ),
    ]
}

fn small(model: &str, cap: &str) -> Value {
    json!({"model": model, cap: 200, "messages": [{"role": "user", "content": format!("say hello, number {MARK}")}]})
}

fn claude_code(model: &str) -> Value {
    let cached = json!({"type": "ephemeral"});
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": format!("<system-reminder>\n{}</system-reminder>", words(300))},
                {"type": "text", "text": format!("say hello, number {MARK}"), "cache_control": cached},
            ]},
            {"role": "system", "content": words(40)},
        ],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.abc; cc_entrypoint=sdk-cli; cch=00000;"},
            {"type": "text", "text": words(20), "cache_control": cached},
            {"type": "text", "text": words(1_000), "cache_control": cached},
        ],
        "tools": (0..24).map(tool).collect::<Vec<_>>(),
        "metadata": {"user_id": "{\"device_id\":\"0\",\"account_uuid\":\"\",\"session_id\":\"1\"}"},
        "max_tokens": 32_000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": true,
    });
    // The tools' descriptions fill the body up to the captured size.
    let missing = CLAUDE_BYTES.saturating_sub(body.to_string().len()) / 24;
    for tool in body.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(text) = tool.get_mut("description") {
            *text = json!(words(missing).chars().take(missing).collect::<String>());
        }
    }
    body
}

fn tool(i: usize) -> Value {
    let text = |d: &str| json!({"type": "string", "description": d});
    json!({
        "name": format!("Tool{i}"), "description": "",
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {
                "path": text("The absolute path to the file"),
                "pattern": text("What to look for"),
                "limit": {"type": "integer", "description": "The most lines", "exclusiveMinimum": 0},
                "mode": {"type": "string", "enum": ["content", "files", "count"]},
                "edits": {"type": "array", "items": {"type": "object", "properties": {"old": text("Old"), "new": text("New")}}},
            },
            "required": ["path"], "additionalProperties": false,
        },
    })
}

fn words(count: usize) -> String {
    let some = ["the", "agent", "reads", "a", "file", "and", "\"writes\"", "what\nit", "found", "in", "it."];
    some.iter().cycle().take(count).copied().collect::<Vec<_>>().join(" ")
}

// === impl Case ===

impl Case {
    fn new(
        name: &'static str,
        path: &'static str,
        model: &'static str,
        translated: bool,
        rate: u32,
        body: Value,
    ) -> Self {
        let body = body.to_string().into_bytes();
        let mark = body.windows(MARK.len()).position(|w| w == MARK.as_bytes()).unwrap_or(0);
        Case { name, path, translated, rate, model, body, mark }
    }

    /// The body of the request with this number.
    pub fn body(&self, number: u64) -> Bytes {
        let mut body = self.body.clone();
        let digits = format!("{number:010}");
        for (to, from) in body.iter_mut().skip(self.mark).zip(digits.bytes()) {
            *to = from;
        }
        body.into()
    }

    /// Whether the answer is a stream.
    pub fn streamed(&self) -> bool {
        self.name.starts_with("Claude")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_request_is_as_large_as_the_captured_one() {
        for case in all() {
            let body = case.body(7);
            let parsed: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(parsed["model"], case.model);
            assert!(String::from_utf8_lossy(&body).contains("0000000007"), "{}", case.name);
            if case.streamed() {
                assert!((70_000..80_000).contains(&body.len()), "{}", body.len());
                assert_eq!(parsed["tools"].as_array().unwrap().len(), 24);
            }
        }
    }
}
