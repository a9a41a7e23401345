//! The rules of Anthropic Messages.

#[cfg(test)]
mod tests;

use super::{Refusal, items, plain_name, text, unknown};
use crate::provider::ids;
use hyper::header::HeaderMap;
use serde_json::Value;
use std::collections::HashSet;

type Checked = Result<(), Refusal>;

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "system",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "tools",
    "tool_choice",
    "thinking",
    "service_tier",
    "container",
    "output_config",
    "cache_control",
    "inference_geo",
];

/// Fields that exist only together with a beta.
const BETA_FIELDS: &[(&str, &str)] = &[
    ("context_management", "context-management-"),
    ("mcp_servers", "mcp-client-"),
    ("output_format", "structured-outputs-"),
    ("speed", "fast-mode-"),
    ("fallbacks", "server-side-fallback-"),
    ("diagnostics", "cache-diagnosis-"),
];

/// Checks a request; `counting`: for `count_tokens`, which needs no cap.
pub fn check(body: &Value, headers: &HeaderMap, counting: bool) -> Checked {
    let header = |n: &str| headers.get(n).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let version = header("anthropic-version");
    ensure(!version.is_empty(), "anthropic-version: header is required")?;
    let known = ["2023-06-01", "2026-10-21"].contains(&version);
    ensure(known, format!("anthropic-version: \"{version}\" is not a valid version"))?;
    let betas = header("anthropic-beta");
    fields(body, betas)?;
    ensure(!text(body, "model").is_empty(), "model: Field required")?;
    let cap = body.get("max_tokens").and_then(Value::as_u64);
    ensure(counting || cap.is_some(), "max_tokens: Field required")?;
    ensure(counting || cap.is_some_and(|c| c > 0), "max_tokens: Input should be greater than or equal to 1")?;
    sampling(body, version)?;
    thinking(body)?;
    tools(body)?;
    system(body)?;
    roles(body, betas)?;
    pairing(body)?;
    for (i, message) in items(body, "messages").iter().enumerate() {
        content(i, message)?;
    }
    let marks = body.to_string().matches("\"cache_control\":{").count();
    ensure(marks <= 4, format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}."))
}

fn ensure(holds: bool, words: impl Into<String>) -> Checked {
    if holds { Ok(()) } else { Err(Refusal::invalid(words)) }
}

fn fields(body: &Value, betas: &str) -> Checked {
    let allowed: Vec<&str> =
        BETA_FIELDS.iter().filter(|(_, beta)| betas.contains(beta)).map(|(f, _)| *f).collect();
    let known: Vec<&str> = FIELDS.iter().copied().chain(allowed).collect();
    match unknown(body, &known) {
        Some(field) => Err(Refusal::invalid(format!("{field}: Extra inputs are not permitted"))),
        None => Ok(()),
    }
}

fn sampling(body: &Value, version: &str) -> Checked {
    let number = |f: &str| body.get(f).and_then(Value::as_f64);
    let sampling = ["temperature", "top_p", "top_k"].iter().find(|f| body.get(**f).is_some());
    if let (Some(field), "2026-10-21") = (sampling, version) {
        return Err(Refusal::invalid(format!("{field}: is not supported by this API version")));
    }
    let temperature = number("temperature");
    ensure(
        temperature.is_none_or(|t| (0.0..=1.0).contains(&t)),
        "temperature: Input should be less than or equal to 1",
    )?;
    ensure(
        temperature.is_none() || body.get("top_p").is_none(),
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    )?;
    for stop in items(body, "stop_sequences") {
        let blank = stop.as_str().is_none_or(|s| s.trim().is_empty());
        ensure(!blank, "stop_sequences: each stop sequence must contain non-whitespace")?;
    }
    Ok(())
}

fn thinking(body: &Value) -> Checked {
    let Some(thinking) = body.get("thinking") else { return Ok(()) };
    let kind = text(thinking, "type");
    ensure(
        ["enabled", "disabled", "adaptive"].contains(&kind),
        format!("thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags"),
    )?;
    if kind == "disabled" {
        return Ok(());
    }
    let temperature = body.get("temperature").and_then(Value::as_f64);
    ensure(
        temperature.is_none_or(|t| t == 1.0),
        "`temperature` may only be set to 1 when thinking is enabled.",
    )?;
    let forced = ["any", "tool"].contains(&body.get("tool_choice").map_or("", |c| text(c, "type")));
    ensure(!forced, "Thinking may not be enabled when tool_choice forces tool use.")?;
    if kind == "enabled" {
        let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
        ensure(budget.is_some(), "thinking.enabled.budget_tokens: Field required")?;
        let budget = budget.unwrap_or(0);
        ensure(
            budget >= 1024,
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        )?;
        let cap = body.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
        ensure(cap > budget, "`max_tokens` must be greater than `thinking.budget_tokens`.")?;
    }
    Ok(())
}

fn tools(body: &Value) -> Checked {
    let mut names = HashSet::new();
    for (i, tool) in items(body, "tools").iter().enumerate() {
        let name = text(tool, "name");
        let fits = plain_name(name) && name.len() <= 128;
        ensure(
            fits,
            format!("tools.{i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"),
        )?;
        ensure(names.insert(name), "tools: Tool names must be unique.")?;
        let custom = ["", "custom"].contains(&text(tool, "type"));
        let schema = tool.get("input_schema").map_or("", |s| text(s, "type"));
        ensure(!custom || schema == "object", format!("tools.{i}.custom.input_schema.type: Field required"))?;
        let known = unknown(
            tool,
            &[
                "type",
                "name",
                "description",
                "input_schema",
                "cache_control",
                "strict",
                "defer_loading",
                "eager_input_streaming",
                "input_examples",
                "allowed_callers",
            ],
        );
        if let (true, Some(field)) = (custom, known) {
            return Err(Refusal::invalid(format!(
                "tools.{i}.custom.{field}: Extra inputs are not permitted"
            )));
        }
    }
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    ensure(!names.is_empty(), "tool_choice may only be specified while providing tools.")?;
    let kind = text(choice, "type");
    let known = ["auto", "any", "tool", "none"].contains(&kind);
    ensure(
        known,
        format!("tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags"),
    )?;
    let name = text(choice, "name");
    ensure(
        kind != "tool" || names.contains(name),
        format!("tool_choice: Tool '{name}' not found in provided tools"),
    )
}

fn system(body: &Value) -> Checked {
    match body.get("system") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            let fine = blocks.iter().all(|b| text(b, "type") == "text" && !text(b, "text").is_empty());
            ensure(fine, "system: text content blocks must be non-empty")
        }
        Some(_) => Err(Refusal::invalid("system: Input should be a valid string")),
    }
}

/// User and assistant alternate (the API would merge equal neighbours; a gateway's own translation must not make
/// them), the user first. System messages in between need their beta.
fn roles(body: &Value, betas: &str) -> Checked {
    let all = items(body, "messages");
    ensure(!all.is_empty(), "messages: at least one message is required")?;
    let mut last = "";
    for (i, message) in all.iter().enumerate() {
        let role = text(message, "role");
        if role == "system" {
            let allowed = betas.contains("mid-conversation-system-");
            ensure(allowed, format!("messages.{i}.role: role 'system' is not supported on this model"))?;
            continue;
        }
        let known = ["user", "assistant"].contains(&role);
        ensure(known, format!("messages.{i}.role: Input should be 'user' or 'assistant'"))?;
        ensure(role == "user" || !last.is_empty(), "messages: first message must use the \"user\" role")?;
        ensure(
            role != last,
            format!(
                "messages: roles must alternate between \"user\" and \"assistant\", but found multiple \"{role}\" roles in a row"
            ),
        )?;
        last = role;
    }
    Ok(())
}

fn ids_of<'v>(message: &'v Value, kind: &str, field: &str) -> Vec<&'v str> {
    let of_kind = |b: &&Value| text(b, "type") == kind;
    items(message, "content").iter().filter(of_kind).map(|b| text(b, field)).collect()
}

/// Every `tool_use` is answered in the next message, before anything else in it; every result answers one.
fn pairing(body: &Value) -> Checked {
    let said: Vec<&Value> = items(body, "messages").iter().filter(|m| text(m, "role") != "system").collect();
    for (i, message) in said.iter().enumerate() {
        let uses = ids_of(message, "tool_use", "id");
        let results =
            said.get(i + 1).map(|next| ids_of(next, "tool_result", "tool_use_id")).unwrap_or_default();
        let open: Vec<&str> = uses.iter().copied().filter(|id| !results.contains(id)).collect();
        ensure(
            open.is_empty(),
            format!(
                "messages.{i}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
                open.join(", ")
            ),
        )?;
        let before = i.checked_sub(1).and_then(|j| said.get(j));
        let asked = before.map(|m| ids_of(m, "tool_use", "id")).unwrap_or_default();
        for (j, id) in ids_of(message, "tool_result", "tool_use_id").into_iter().enumerate() {
            ensure(
                asked.contains(&id),
                format!(
                    "messages.{i}.content.{j}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                ),
            )?;
        }
        let kinds: Vec<&str> = items(message, "content").iter().map(|b| text(b, "type")).collect();
        let first_other = kinds.iter().position(|k| *k != "tool_result").unwrap_or(kinds.len());
        let late = kinds.iter().skip(first_other).any(|k| *k == "tool_result");
        ensure(!late, format!("messages.{i}: `tool_result` blocks must come first in the content array"))?;
    }
    Ok(())
}

fn content(i: usize, message: &Value) -> Checked {
    match message.get("content") {
        Some(Value::String(text)) => {
            ensure(!text.is_empty(), format!("messages.{i}: all messages must have non-empty content"))
        }
        Some(Value::Array(blocks)) => {
            ensure(!blocks.is_empty(), format!("messages.{i}: all messages must have non-empty content"))?;
            blocks
                .iter()
                .enumerate()
                .try_for_each(|(j, b)| block(&format!("messages.{i}.content.{j}"), message, b))
        }
        _ => Err(Refusal::invalid(format!("messages.{i}.content: Field required"))),
    }
}

fn block(at: &str, message: &Value, block: &Value) -> Checked {
    let kind = text(block, "type");
    let extra = |known: &[&str]| match unknown(block, known) {
        Some(field) => Err(Refusal::invalid(format!("{at}.{kind}.{field}: Extra inputs are not permitted"))),
        None => Ok(()),
    };
    match (kind, text(message, "role")) {
        ("text", _) => {
            extra(&["type", "text", "cache_control", "citations"])?;
            ensure(!text(block, "text").is_empty(), "messages: text content blocks must be non-empty")
        }
        ("tool_use", "assistant") => {
            extra(&["type", "id", "name", "input", "cache_control", "caller"])?;
            let pattern = format!("{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'");
            ensure(plain_name(text(block, "id")), pattern)?;
            let object = block.get("input").is_some_and(Value::is_object);
            ensure(object, format!("{at}.tool_use.input: Input should be a valid dictionary"))
        }
        ("tool_result", "user") => extra(&["type", "tool_use_id", "content", "is_error", "cache_control"]),
        ("thinking", "assistant") => {
            extra(&["type", "thinking", "signature"])?;
            // Thinking that the model keeps to itself comes back empty, with its signature.
            let own = text(block, "thinking").is_empty()
                || text(block, "signature") == ids::sign(text(block, "thinking"));
            ensure(own, format!("{at}: Invalid `signature` in `thinking` block"))
        }
        ("redacted_thinking" | "server_tool_use", "assistant") => Ok(()),
        ("image" | "document", "user") => {
            let source = block.get("source").map_or("", |s| text(s, "type"));
            let known = ["base64", "url", "file", "text", "content"].contains(&source);
            ensure(
                known,
                format!("{at}.{kind}.source: Input tag '{source}' does not match any of the expected tags"),
            )
        }
        ("search_result", "user") => Ok(()),
        (other, _) if other.ends_with("_tool_result") => Ok(()),
        (other, _) => Err(Refusal::invalid(format!(
            "{at}: Input tag '{other}' found using 'type' does not match any of the expected tags"
        ))),
    }
}
