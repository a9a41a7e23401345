//! Chat request → conversation.

use super::decode_messages::messages;
use crate::raw::{Kind, Value};
use crate::request::RequestError;
use crate::request::conversation::{Conversation, Effort, OutputFormat, Tier, Tool, ToolChoice};
use crate::request::report::{Report, printable};
use std::borrow::Cow;

/// Reads the request. Fields that no other format has a word for are reported, unless they say what is so anyway.
pub(crate) fn decode<'a>(body: Value<'a>, report: &mut Report) -> Result<Conversation<'a>, RequestError> {
    let mut conversation = Conversation::default();
    let mut has_messages = false;
    let (mut completion_cap, mut safety_identifier) = (None, None);
    for (key, value) in body.fields().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "messages" => {
                messages(value, &mut conversation, report)?;
                has_messages = true;
            }
            "tools" => conversation.tools.extend(value.items().filter_map(|entry| tool(entry, report))),
            "functions" => conversation.tools.extend(value.items().filter_map(function)),
            "tool_choice" | "function_call" => tool_choice(value, &mut conversation, report),
            "parallel_tool_calls" => conversation.parallel_tools = value.bool(),
            "max_tokens" => conversation.cap = value.u64(),
            "max_completion_tokens" => completion_cap = value.u64(),
            "safety_identifier" => safety_identifier = value.string(),
            "user" => conversation.user = value.string(),
            _ => option(&key, value, &mut conversation, report),
        }
    }
    conversation.cap = completion_cap.or(conversation.cap);
    conversation.user = safety_identifier.or(conversation.user);
    choose_among_allowed(&mut conversation);
    if has_messages { Ok(conversation) } else { Err(RequestError("`messages` is missing".into())) }
}

/// Fields that say how to answer.
fn option<'a>(key: &str, value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report) {
    match key {
        "stream" => conversation.stream = value.bool() == Some(true),
        "temperature" if value.kind() == Kind::Number => conversation.sampling.temperature = Some(value),
        "top_p" if value.kind() == Kind::Number => conversation.sampling.top_p = Some(value),
        "top_k" if value.kind() == Kind::Number => conversation.sampling.top_k = Some(value),
        "stop" => {
            conversation.sampling.stop =
                value.text().into_iter().chain(value.items().filter_map(Value::text)).collect();
        }
        "reasoning_effort" => effort(value, conversation, report),
        "reasoning" => {
            if let Some(value) = value.get("effort") {
                effort(value, conversation, report);
            }
        }
        "response_format" => conversation.output = response_format(value, report),
        "service_tier" => {
            conversation.tier = match value.string().as_deref() {
                Some("auto") => Some(Tier::Auto),
                Some("default") => Some(Tier::Standard),
                _ => {
                    report.unknown(key);
                    None
                }
            }
        }
        _ if means_nothing(key, value) => {}
        _ => report.unknown(key),
    }
}

/// Fields that are the gateway's or the provider's own business, or that ask for what happens anyway.
fn means_nothing(key: &str, value: Value<'_>) -> bool {
    match key {
        "model"
        | "stream_options"
        | "store"
        | "metadata"
        | "prompt_cache_key"
        | "prompt_cache_retention"
        | "prompt_cache_options" => true,
        "n" => value.u64() == Some(1),
        "frequency_penalty" | "presence_penalty" => value.f64() == Some(0.0),
        "logprobs" => value.bool() == Some(false),
        "modalities" => value.items().all(|item| item.raw() == "\"text\""),
        "logit_bias" => value.fields().next().is_none(),
        "verbosity" => value.raw() == "\"medium\"",
        _ => false,
    }
}

fn effort(value: Value<'_>, conversation: &mut Conversation<'_>, report: &mut Report) {
    conversation.effort = value.string().and_then(|word| Effort::parse(&word));
    if conversation.effort.is_none() {
        report.lost("reasoning_effort", "dropped: unknown effort");
    }
}

fn response_format<'a>(value: Value<'a>, report: &mut Report) -> Option<OutputFormat<'a>> {
    match value.type_name().as_ref() {
        "json_object" => Some(OutputFormat::Json),
        "json_schema" => {
            let inner = value.get("json_schema")?;
            let schema = inner.get("schema").filter(|schema| schema.kind() == Kind::Object)?;
            Some(OutputFormat::Schema { name: inner.get("name").and_then(Value::text), schema })
        }
        "text" => None,
        other => {
            report.lost("response_format", format!("dropped: unknown type {}", printable(other)));
            None
        }
    }
}

fn tool<'a>(entry: Value<'a>, report: &mut Report) -> Option<Tool<'a>> {
    let kind = entry.type_name();
    if let Some(tool) = entry.get("function").filter(|_| kind == "function").and_then(function) {
        return Some(Tool { cache: entry.get("cache_control").map(Value::raw).or(tool.cache), ..tool });
    }
    let name = entry.get(&kind).and_then(|inner| inner.get("name")).and_then(Value::string).unwrap_or(kind);
    report.lost(
        format!("tools.{}", printable(&name)),
        "dropped: only function tools can be sent to this model",
    );
    None
}

fn function(value: Value<'_>) -> Option<Tool<'_>> {
    let mut name = None;
    let (mut description, mut schema, mut strict, mut cache) = (None, None, false, None);
    for (key, field) in value.fields().filter(|(_, field)| !field.is_null()) {
        match key.as_ref() {
            "name" => name = field.string(),
            "description" => description = field.text(),
            "parameters" => schema = Some(field),
            "strict" => strict = field.bool() == Some(true),
            "cache_control" => cache = Some(field.raw()),
            _ => {}
        }
    }
    Some(Tool { name: name?, description, schema, strict, cache })
}

fn tool_choice<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report) {
    let named = |value: Value<'a>| value.get("name").and_then(Value::string);
    conversation.tool_choice = match value.string().as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("required") => Some(ToolChoice::Any),
        Some("none") => Some(ToolChoice::None),
        Some(other) => {
            report.lost("tool_choice", format!("dropped: unknown choice {}", printable(other)));
            None
        }
        None => match value.type_name().as_ref() {
            "allowed_tools" => allowed_tools(value.get("allowed_tools").unwrap_or(value), conversation),
            // `function_call` of old clients has the name at the top.
            _ => value.get("function").and_then(named).or_else(|| named(value)).map(ToolChoice::Tool),
        },
    };
}

/// Notes the allowed subset as a choice; [`choose_among_allowed`] takes the other tools out once all are known.
fn allowed_tools<'a>(value: Value<'a>, conversation: &mut Conversation<'a>) -> Option<ToolChoice<'a>> {
    let name = |item: Value<'a>| item.get("function").unwrap_or(item).get("name").and_then(Value::string);
    conversation.allowed =
        Some(value.get("tools").into_iter().flat_map(Value::items).filter_map(name).collect());
    let required = value.get("mode").and_then(Value::string).as_deref() == Some("required");
    Some(if required { ToolChoice::Any } else { ToolChoice::Auto })
}

fn choose_among_allowed(conversation: &mut Conversation<'_>) {
    if let Some(allowed) = conversation.allowed.take() {
        let allowed: std::collections::HashSet<Cow<'_, str>> = allowed.into_iter().collect();
        conversation.tools.retain(|tool| allowed.contains(&tool.name));
    }
}
