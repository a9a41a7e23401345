//! Bodies and targets for the acceptance tests.

use serde_json::{Value, json};
use tollgate_translate::request::{Target, Translated, translate};
use tollgate_translate::{Format, Provider};

/// A target at OpenAI.
pub(crate) fn openai(model: &str) -> Target<'_> {
    Target { format: Format::Chat, provider: Provider::OpenAi, model, output_cap: None, strict: false }
}

/// A target that only imitates OpenAI.
pub(crate) fn compatible(model: &str) -> Target<'_> {
    Target { provider: Provider::OpenAiCompatible, ..openai(model) }
}

/// A target at Anthropic.
pub(crate) fn claude(model: &str) -> Target<'_> {
    Target { format: Format::Messages, provider: Provider::Anthropic, ..openai(model) }
}

/// Translates a Messages request for `target`.
pub(crate) fn messages(body: &Value, target: &Target<'_>) -> Translated {
    translate(Format::Messages, body.to_string().as_bytes(), target).unwrap()
}

/// Translates a Chat request for `target`.
pub(crate) fn chat(body: &Value, target: &Target<'_>) -> Translated {
    translate(Format::Chat, body.to_string().as_bytes(), target).unwrap()
}

/// The translated body.
pub(crate) fn output(translated: &Translated) -> Value {
    serde_json::from_slice(&translated.body).unwrap()
}

/// The tools that Claude Code 2.1.197 offers.
const TOOLS: [&str; 24] = [
    "Agent",
    "Bash",
    "CronCreate",
    "CronDelete",
    "CronList",
    "Edit",
    "EnterWorktree",
    "ExitWorktree",
    "NotebookEdit",
    "Read",
    "ReportFindings",
    "ScheduleWakeup",
    "SendMessage",
    "Skill",
    "TaskCreate",
    "TaskGet",
    "TaskList",
    "TaskOutput",
    "TaskStop",
    "TaskUpdate",
    "WebFetch",
    "WebSearch",
    "Workflow",
    "Write",
];

/// A request in the shape and of the size that Claude Code sends (76 kB, 24 tools of 64 kB): see claude-code-requests.md.
pub(crate) fn claude_code(model: &str, messages: &Value) -> Value {
    let tools: Vec<_> = TOOLS.iter().enumerate().map(|(i, name)| tool(name, i)).collect();
    json!({
        "model": model,
        "messages": messages,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.a1; cc_entrypoint=sdk-cli; cch=00000;"},
            {"type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": prose(8_600), "cache_control": {"type": "ephemeral"}}
        ],
        "tools": tools,
        "metadata": {"user_id": "{\"device_id\":\"d0\",\"account_uuid\":\"\",\"session_id\":\"s-1\"}"},
        "max_tokens": 32000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": true
    })
}

/// The first turn of Claude Code: a reminder, the prompt, then instructions in the middle of the conversation.
pub(crate) fn first_turn() -> Value {
    json!([
        {"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>\nToday's date is 2026-11-03.\n</system-reminder>"},
            {"type": "text", "text": "say hello", "cache_control": {"type": "ephemeral"}}
        ]},
        {"role": "system", "content": "The user's working directory is /work."}
    ])
}

fn tool(name: &str, i: usize) -> Value {
    json!({
        "name": name,
        "description": prose(1_900 + i * 10),
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The absolute path to the file \"to read\"\nmust be absolute"},
                "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991u64},
                "mode": {"type": "string", "enum": ["content", "files_with_matches", "count"], "description": prose(160)},
                "todos": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}, "additionalProperties": false}}
            },
            "required": ["file_path"],
            "additionalProperties": false
        }
    })
}

/// Text with the line breaks, quotes and backticks of a tool's description; `len` bytes.
fn prose(len: usize) -> String {
    const LINE: &str = "- Use `rg` with a \"quoted pattern\" when you look for a symbol; never guess a path.\n  Results come as C:\\path:line.\n";
    LINE.chars().cycle().take(len).collect()
}
