//! The rules of OpenAI Chat Completions.

#[cfg(test)]
mod tests;

use super::{Refusal, items, plain_name, text, unknown};
use serde_json::Value;
use std::collections::HashSet;

type Checked = Result<(), Refusal>;

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "seed",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "store",
    "metadata",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
];

/// Parameters that reasoning models do not take.
const NOT_REASONING: &[&str] =
    &["top_p", "stop", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"];

const MESSAGE_FIELDS: &[&str] = &[
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "audio",
    "function_call",
    "annotations",
];

/// Checks a request.
pub fn check(body: &Value) -> Checked {
    if let Some(field) = unknown(body, FIELDS) {
        return refuse(field, Some("unknown_parameter"), format!("Unknown parameter: '{field}'."));
    }
    let model = text(body, "model");
    if model.is_empty() {
        return Err(Refusal::invalid("you must provide a model parameter"));
    }
    let reasoning = is_reasoning(model);
    parameters(body, reasoning)?;
    effort(body, model, reasoning)?;
    tools(body)?;
    messages(body, model)
}

fn refuse<T>(param: &str, code: Option<&str>, words: String) -> Result<T, Refusal> {
    Err(Refusal::param(param, code, words))
}

fn is_reasoning(model: &str) -> bool {
    let o_series = model.starts_with('o') && model.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    o_series || (model.starts_with("gpt-5") && !model.contains("-chat"))
}

fn is_openai(model: &str) -> bool {
    model.starts_with("gpt-") || is_reasoning(model)
}

fn parameters(body: &Value, reasoning: bool) -> Checked {
    if body.get("stream_options").is_some_and(|v| !v.is_null())
        && body.get("stream") != Some(&Value::Bool(true))
    {
        let words = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return refuse("stream_options", None, words.to_owned());
    }
    for field in ["user", "prompt_cache_key", "safety_identifier"] {
        let length = text(body, field).len();
        if length > 64 {
            let words = format!(
                "Invalid '{field}': string too long. Expected a string with maximum length 64, but got a string with length {length} instead."
            );
            return refuse(field, Some("string_above_max_length"), words);
        }
    }
    if items(body, "stop").len() > 4 {
        return refuse("stop", Some("array_above_max_length"), "Invalid 'stop': array too long.".to_owned());
    }
    if !reasoning {
        return Ok(());
    }
    if body.get("max_tokens").is_some_and(|v| !v.is_null()) {
        let words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return refuse("max_tokens", Some("unsupported_parameter"), words.to_owned());
    }
    if let Some(t) = body.get("temperature").and_then(Value::as_f64).filter(|t| *t != 1.0) {
        let words = format!(
            "Unsupported value: 'temperature' does not support {t} with this model. Only the default (1) value is supported."
        );
        return refuse("temperature", Some("unsupported_value"), words);
    }
    match NOT_REASONING.iter().find(|f| body.get(**f).is_some_and(|v| !v.is_null())) {
        Some(field) => {
            let words = format!("Unsupported parameter: '{field}' is not supported with this model.");
            refuse(field, Some("unsupported_parameter"), words)
        }
        None => Ok(()),
    }
}

fn effort(body: &Value, model: &str, reasoning: bool) -> Checked {
    let Some(effort) = body.get("reasoning_effort").and_then(Value::as_str) else { return Ok(()) };
    if !reasoning && is_openai(model) {
        let words = "Unrecognized request argument supplied: reasoning_effort";
        return refuse("reasoning_effort", None, words.to_owned());
    }
    let newer = model.starts_with("gpt-5.");
    let known: &[&str] = match (newer, model.starts_with("gpt-5")) {
        (true, _) => &["none", "low", "medium", "high", "xhigh"],
        (false, true) => &["minimal", "low", "medium", "high"],
        (false, false) => &["low", "medium", "high"],
    };
    if known.contains(&effort) {
        return Ok(());
    }
    let words = format!("Invalid value: '{effort}'. Supported values are: '{}'.", known.join("', '"));
    refuse("reasoning_effort", Some("invalid_value"), words)
}

fn tools(body: &Value) -> Checked {
    let given = body.get("tools").is_some_and(|v| !v.is_null());
    let tools = items(body, "tools");
    if given && tools.is_empty() {
        let words = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return refuse("tools", Some("empty_array"), words.to_owned());
    }
    if tools.len() > 128 {
        return refuse(
            "tools",
            Some("array_above_max_length"),
            "Invalid 'tools': array too long.".to_owned(),
        );
    }
    let mut names = HashSet::new();
    for (i, tool) in tools.iter().enumerate() {
        names.insert(check_tool(i, tool)?);
    }
    for field in ["tool_choice", "parallel_tool_calls"] {
        if !given && body.get(field).is_some_and(|v| !v.is_null()) {
            let words =
                format!("Invalid value for '{field}': '{field}' is only allowed when 'tools' are specified.");
            return refuse(field, None, words);
        }
    }
    let forced = body.pointer("/tool_choice/function/name").and_then(Value::as_str);
    match forced.filter(|name| !names.contains(name)) {
        Some(name) => {
            refuse("tool_choice", None, format!("Tool choice '{name}' not found in 'tools' parameter."))
        }
        None => Ok(()),
    }
}

fn check_tool(i: usize, tool: &Value) -> Result<&str, Refusal> {
    if text(tool, "type") != "function" {
        let words = format!(
            "Invalid value: '{}'. Supported values are: 'function' and 'custom'.",
            text(tool, "type")
        );
        return refuse(&format!("tools[{i}].type"), Some("invalid_value"), words);
    }
    let function = tool.get("function").unwrap_or(&Value::Null);
    let name = text(function, "name");
    function_name(&format!("tools[{i}].function.name"), name)?;
    if let Some(field) = unknown(function, &["name", "description", "parameters", "strict"]) {
        let param = format!("tools[{i}].function.{field}");
        return refuse(&param, Some("unknown_parameter"), format!("Unknown parameter: '{param}'."));
    }
    let schema = function.get("parameters");
    if schema.is_some_and(|s| text(s, "type") != "object") {
        let words = format!(
            "Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."
        );
        return refuse(
            &format!("tools[{i}].function.parameters"),
            Some("invalid_function_parameters"),
            words,
        );
    }
    Ok(name)
}

fn function_name(param: &str, name: &str) -> Checked {
    if name.len() > 64 {
        let words = format!(
            "Invalid '{param}': string too long. Expected a string with maximum length 64, but got a string with length {} instead.",
            name.len()
        );
        return refuse(param, Some("string_above_max_length"), words);
    }
    if plain_name(name) {
        return Ok(());
    }
    let words = format!(
        "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
    );
    refuse(param, Some("invalid_value"), words)
}

fn messages(body: &Value, model: &str) -> Checked {
    let all = items(body, "messages");
    if all.is_empty() {
        let words = "Missing required parameter: 'messages'.";
        return refuse("messages", Some("missing_required_parameter"), words.to_owned());
    }
    let mut open: Vec<&str> = Vec::new();
    for (i, message) in all.iter().enumerate() {
        let role = text(message, "role");
        if role == "tool" {
            let id = text(message, "tool_call_id");
            let Some(at) = open.iter().position(|o| *o == id) else {
                let words = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                return refuse(&format!("messages.[{i}].role"), None, words.to_owned());
            };
            open.remove(at);
        } else {
            all_answered(&open)?;
        }
        message_fields(i, message, role, model)?;
        if role == "assistant" {
            open = items(message, "tool_calls").iter().map(|c| text(c, "id")).collect();
            calls(i, message)?;
        }
    }
    all_answered(&open)
}

fn all_answered(open: &[&str]) -> Checked {
    if open.is_empty() {
        return Ok(());
    }
    let words = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    );
    refuse("messages", None, words)
}

fn message_fields(i: usize, message: &Value, role: &str, model: &str) -> Checked {
    if !["system", "developer", "user", "assistant", "tool"].contains(&role) {
        let words = format!(
            "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
        );
        return refuse(&format!("messages[{i}].role"), Some("invalid_value"), words);
    }
    // Servers of other makers take reasoning back.
    let foreign = ["reasoning_content", "reasoning"];
    if let Some(field) = unknown(message, MESSAGE_FIELDS).filter(|f| is_openai(model) || !foreign.contains(f))
    {
        let param = format!("messages[{i}].{field}");
        return refuse(&param, Some("unknown_parameter"), format!("Unknown parameter: '{param}'."));
    }
    let silent = message.get("content").is_none_or(Value::is_null);
    if silent && (role != "assistant" || items(message, "tool_calls").is_empty()) {
        let words = "Invalid value for 'content': expected a string, got null.";
        return refuse(&format!("messages.[{i}].content"), None, words.to_owned());
    }
    for (j, part) in items(message, "content").iter().enumerate() {
        content_part(&format!("messages[{i}].content[{j}]"), role, part)?;
    }
    Ok(())
}

fn content_part(at: &str, role: &str, part: &Value) -> Checked {
    let kind = text(part, "type");
    let allowed: &[&str] = match role {
        "user" => &["text", "image_url", "input_audio", "file"],
        "assistant" => &["text", "refusal"],
        _ => &["text"],
    };
    if !allowed.contains(&kind) {
        let words = format!("Invalid value: '{kind}'. Supported values are: '{}'.", allowed.join("', '"));
        return refuse(at, Some("invalid_value"), words);
    }
    match unknown(part, &["type", "text", "image_url", "input_audio", "file", "refusal"]) {
        Some(field) => refuse(at, Some("unknown_parameter"), format!("Unknown parameter: '{at}.{field}'.")),
        None => Ok(()),
    }
}

fn calls(i: usize, message: &Value) -> Checked {
    for (j, call) in items(message, "tool_calls").iter().enumerate() {
        let at = format!("messages[{i}].tool_calls[{j}]");
        let id = text(call, "id");
        if id.is_empty() || id.len() > 40 {
            let words =
                format!("Invalid '{at}.id': expected a string of 1 to 40 characters, got {}.", id.len());
            return refuse(&at, Some("invalid_value"), words);
        }
        let function = call.get("function").unwrap_or(&Value::Null);
        function_name(&format!("{at}.function.name"), text(function, "name"))?;
        if !function.get("arguments").is_some_and(Value::is_string) {
            let words = format!(
                "Invalid type for '{at}.function.arguments': expected a string, but got an object instead."
            );
            return refuse(&at, Some("invalid_type"), words);
        }
    }
    Ok(())
}
