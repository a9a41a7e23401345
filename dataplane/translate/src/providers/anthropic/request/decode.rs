//! Messages request → conversation.

use super::decode_blocks::{blocks, texts};
use crate::raw::{Kind, Value};
use crate::request::RequestError;
use crate::request::conversation::{
    Conversation, Effort, OutputFormat, Role, SystemBlock, Thinking, Tier, Tool, ToolChoice, Turn,
};
use crate::request::report::{Report, printable};

/// How the block begins in which Claude Code tells Anthropic who pays (CCP §attribution). It changes between requests, means
/// nothing elsewhere, and would defeat every other provider's prompt cache.
pub(super) const ATTRIBUTION: &str = "x-anthropic-billing-header:";

/// Reads the request. Fields that no other format has a word for are reported; harmless ones are left out in silence.
pub(crate) fn decode<'a>(body: Value<'a>, report: &mut Report) -> Result<Conversation<'a>, RequestError> {
    let mut conversation = Conversation::default();
    let mut has_messages = false;
    for (key, value) in body.fields().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "messages" => {
                conversation.turns = turns(value, report)?;
                has_messages = true;
            }
            "system" => conversation.system = system(value),
            "tools" => conversation.tools = tools(value, report),
            "tool_choice" => tool_choice(value, &mut conversation, report),
            "max_tokens" => conversation.cap = value.u64(),
            "stream" => conversation.stream = value.bool() == Some(true),
            "temperature" => conversation.sampling.temperature = number(value),
            "top_p" => conversation.sampling.top_p = number(value),
            "top_k" => conversation.sampling.top_k = number(value),
            "stop_sequences" => {
                conversation.sampling.stop = value.items().filter_map(Value::text).collect();
            }
            "thinking" => conversation.thinking = thinking(value),
            "output_config" => output_config(value, &mut conversation, report),
            "output_format" => conversation.output = output_format(value),
            "metadata" => conversation.user = value.get("user_id").and_then(Value::string),
            "service_tier" => conversation.tier = tier(value),
            "context_management" => context_management(value, report),
            // The model is the target's. The others steer Anthropic's own machinery and do not change what is asked.
            "model" | "cache_control" | "anthropic_version" | "anthropic_beta" | "betas" | "diagnostics" => {}
            other => report.unknown(other),
        }
    }
    if has_messages { Ok(conversation) } else { Err(RequestError("`messages` is missing".into())) }
}

fn number(value: Value<'_>) -> Option<Value<'_>> {
    (value.kind() == Kind::Number).then_some(value)
}

fn system(value: Value<'_>) -> Vec<SystemBlock<'_>> {
    let blocks = texts(value).filter(|(text, _)| !text.starts_with(ATTRIBUTION));
    blocks.map(|(text, cache)| SystemBlock { text, cache }).collect()
}

fn turns<'a>(value: Value<'a>, report: &mut Report) -> Result<Vec<Turn<'a>>, RequestError> {
    if value.kind() != Kind::Array {
        return Err(RequestError("`messages` must be an array".into()));
    }
    let mut turns = Vec::new();
    for (i, message) in value.items().enumerate() {
        let (mut role, mut content) = (None, None);
        for (key, field) in message.fields() {
            match key.as_ref() {
                "role" => role = field.string(),
                "content" => content = Some(field),
                _ => {}
            }
        }
        let role = match role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                return Err(RequestError(format!("`messages[{i}].role` must be user, assistant or system")));
            }
        };
        turns.push(Turn { role, blocks: content.map(|c| blocks(c, report)).unwrap_or_default() });
    }
    Ok(turns)
}

fn tools<'a>(value: Value<'a>, report: &mut Report) -> Vec<Tool<'a>> {
    value.items().filter_map(|entry| tool(entry, report)).collect()
}

fn tool<'a>(entry: Value<'a>, report: &mut Report) -> Option<Tool<'a>> {
    let (mut kind, mut name, mut strict) = (None, None, false);
    let (mut description, mut schema, mut cache) = (None, None, None);
    for (key, value) in entry.fields().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "type" => kind = value.string(),
            "name" => name = value.string(),
            "description" => description = value.text(),
            "input_schema" => schema = Some(value),
            "strict" => strict = value.bool() == Some(true),
            "cache_control" => cache = Some(value.raw()),
            _ => {}
        }
    }
    // Anything but a custom tool is run by Anthropic, or has a schema that only Claude knows.
    let custom = kind.as_deref().is_none_or(|kind| kind == "custom");
    match name {
        Some(name) if custom => Some(Tool { name, description, schema, strict, cache }),
        name => {
            let name = name.or(kind).unwrap_or_default();
            report.lost(
                format!("tools.{}", printable(&name)),
                "dropped: only Anthropic has this tool; choose a Claude model for it",
            );
            None
        }
    }
}

fn tool_choice<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report) {
    if value.get("disable_parallel_tool_use").and_then(Value::bool) == Some(true) {
        conversation.parallel_tools = Some(false);
    }
    conversation.tool_choice = match value.type_name().as_ref() {
        "auto" => Some(ToolChoice::Auto),
        "any" => Some(ToolChoice::Any),
        "none" => Some(ToolChoice::None),
        "tool" => value.get("name").and_then(Value::string).map(ToolChoice::Tool),
        other => {
            report.lost("tool_choice", format!("dropped: unknown type {}", printable(other)));
            None
        }
    };
}

fn thinking(value: Value<'_>) -> Option<Thinking> {
    match value.type_name().as_ref() {
        "disabled" => Some(Thinking::Disabled),
        "enabled" => {
            Some(value.get("budget_tokens").and_then(Value::u64).map_or(Thinking::Adaptive, Thinking::Budget))
        }
        _ => Some(Thinking::Adaptive),
    }
}

fn output_config<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report) {
    for (key, field) in value.fields().filter(|(_, field)| !field.is_null()) {
        match key.as_ref() {
            "effort" => {
                conversation.effort = field.string().and_then(|word| Effort::parse(&word));
                if conversation.effort.is_none() {
                    report.lost("output_config.effort", "dropped: unknown effort");
                }
            }
            "format" => conversation.output = output_format(field),
            other => report.unknown(&format!("output_config.{other}")),
        }
    }
}

fn output_format(value: Value<'_>) -> Option<OutputFormat<'_>> {
    let schema = value.get("schema").filter(|schema| schema.kind() == Kind::Object)?;
    Some(OutputFormat::Schema { name: value.get("name").and_then(Value::text), schema })
}

fn tier(value: Value<'_>) -> Option<Tier> {
    match value.string().as_deref() {
        Some("auto") => Some(Tier::Auto),
        Some("standard_only") => Some(Tier::Standard),
        _ => None,
    }
}

/// Clearing old thinking changes nothing where no thinking is sent; the other edits would have changed what the model sees.
fn context_management(value: Value<'_>, report: &mut Report) {
    let edits = value.get("edits").into_iter().flat_map(Value::items);
    if edits.map(Value::type_name).any(|kind| !kind.starts_with("clear_thinking")) {
        report.lost("context_management", "dropped: the whole context is sent");
    }
}
