//! A conversation for eyes: Messages' and Chat's shapes as one. Pure.

use crate::records::{Conversation, Link};
use serde_json::Value;
use std::collections::HashMap;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `user`, `assistant`, `system`, `tool`.
    pub(crate) role: String,
    /// What it consists of.
    pub(crate) parts: Vec<Part>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its words, at most [`TEXT_MAX`] characters.
    pub(crate) text: String,
    /// The first words, when the text is long enough to be folded away.
    pub(crate) fold: Option<String>,
    /// How many characters the whole has, in words.
    pub(crate) size: String,
    /// How many characters the whole has.
    pub(crate) chars: usize,
}

/// The kinds of part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Plain text.
    Text,
    /// JSON, or what a program printed.
    Code,
    /// What a harness put into a user's message (`<system-reminder>`).
    Reminder,
    /// Reasoning.
    Thinking,
    /// A tool call: name, id, and the call's own record.
    Call {
        /// The tool's name.
        name: String,
        /// The call's id.
        id: String,
        /// Where the call's record is.
        record: Option<String>,
        /// The call failed.
        failed: bool,
    },
    /// A tool's result: of which call, and whether it is an error.
    Result {
        /// The call's id.
        id: String,
        /// It is an error.
        failed: bool,
    },
    /// An image, a file, or a part of a kind unknown here: its type.
    Other(String),
}

/// Characters of one part that a page shows; the API has the whole.
const TEXT_MAX: usize = 20_000;
/// Texts over this length, or over [`FOLD_LINES`], are folded.
const FOLD_CHARS: usize = 1_200;
const FOLD_LINES: usize = 24;

/// The system prompt's blocks.
pub(crate) fn system(said: &Conversation) -> Vec<Part> {
    let mut parts = Vec::new();
    said.system.iter().for_each(|block| content(block, &mut parts));
    parts
}

/// The request's messages.
pub(crate) fn messages(said: &Conversation) -> Vec<Message> {
    said.messages.iter().map(message).collect()
}

/// The answer, its calls linked to their records.
pub(crate) fn answer(said: &Conversation, links: &[Link]) -> Message {
    let mut parts = Vec::new();
    content(&said.answer, &mut parts);
    let links: HashMap<&str, &Link> = links.iter().map(|link| (link.id.as_str(), link)).collect();
    for part in &mut parts {
        let Kind::Call { id, record, failed, .. } = &mut part.kind else { continue };
        if let Some(link) = links.get(id.as_str()) {
            (*record, *failed) = (link.record.map(|r| r.to_string()), link.failed);
        }
    }
    Message { role: "assistant".into(), parts }
}

/// A tool call's arguments.
pub(crate) fn arguments(value: &Value) -> Part {
    Part::new(Kind::Code, pretty(value))
}

/// A tool call's result: its texts as they are, then what else it carries.
pub(crate) fn result(value: &Value) -> Vec<Part> {
    let Some(blocks) = value.get("content").and_then(Value::as_array) else {
        return vec![Part::new(Kind::Code, pretty(value))];
    };
    let part = |block: &Value| match text_of(block, "text") {
        Some(text) => Part::new(Kind::Code, text.to_owned()),
        None => Part::new(Kind::Other(text_of(block, "type").unwrap_or("?").to_owned()), pretty(block)),
    };
    let mut parts: Vec<Part> = blocks.iter().map(part).collect();
    if let Some(structured) = value.get("structuredContent") {
        parts.push(Part::new(Kind::Other("structured content".to_owned()), pretty(structured)));
    }
    parts
}

/// Names of the tools that the request offers.
pub(crate) fn tool_names(said: &Conversation) -> Vec<String> {
    let tools = said.tools.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |tool: &Value| {
        let name =
            tool.get("name").or_else(|| tool.get("function")?.get("name")).or_else(|| tool.get("type"));
        name.and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    tools.iter().map(name).collect()
}

/// A JSON value as indented text; a string as it is.
pub(crate) fn pretty(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

fn message(value: &Value) -> Message {
    let role = text_of(value, "role").unwrap_or("?").to_owned();
    let mut parts = Vec::new();
    if let Some(thinking) = text_of(value, "reasoning_content") {
        parts.push(Part::new(Kind::Thinking, thinking.to_owned()));
    }
    let said = value.get("content").unwrap_or(&Value::Null);
    if role == "tool" {
        let id = text_of(value, "tool_call_id").unwrap_or("").to_owned();
        parts.push(Part::new(Kind::Result { id, failed: false }, flat(said)));
    } else {
        content(said, &mut parts);
    }
    for call in value.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function").unwrap_or(&Value::Null);
        let arguments = text_of(function, "arguments").unwrap_or("");
        let input =
            serde_json::from_str::<Value>(arguments).map_or_else(|_| arguments.to_owned(), |v| pretty(&v));
        parts.push(Part::new(call_kind(text_of(function, "name"), text_of(call, "id")), input));
    }
    Message { role, parts }
}

/// A `content` value: a string, one block, or an array of blocks.
fn content(value: &Value, parts: &mut Vec<Part>) {
    match value {
        Value::Null => {}
        Value::String(text) => parts.push(Part::text(text)),
        Value::Array(blocks) => blocks.iter().for_each(|block| content(block, parts)),
        block => parts.push(part(block)),
    }
}

fn part(block: &Value) -> Part {
    let kind = text_of(block, "type").unwrap_or("?");
    match kind {
        "text" | "input_text" | "output_text" => Part::text(text_of(block, "text").unwrap_or("")),
        "refusal" => Part::text(text_of(block, "refusal").unwrap_or("")),
        "thinking" => Part::new(Kind::Thinking, text_of(block, "thinking").unwrap_or("").to_owned()),
        "redacted_thinking" => Part::new(Kind::Thinking, "(encrypted by the provider)".to_owned()),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let input = block.get("input").map(pretty).unwrap_or_default();
            Part::new(call_kind(text_of(block, "name"), text_of(block, "id")), input)
        }
        _ if kind.ends_with("tool_result") => {
            let id = text_of(block, "tool_use_id").unwrap_or("").to_owned();
            let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            Part::new(Kind::Result { id, failed }, flat(block.get("content").unwrap_or(&Value::Null)))
        }
        other => Part::new(Kind::Other(other.to_owned()), pretty(block)),
    }
}

fn call_kind(name: Option<&str>, id: Option<&str>) -> Kind {
    let own = |text: Option<&str>| text.unwrap_or("?").to_owned();
    Kind::Call { name: own(name), id: own(id), record: None, failed: false }
}

/// The text of a tool's result: texts one after the other, anything else as JSON.
fn flat(value: &Value) -> String {
    let Value::Array(blocks) = value else { return pretty(value) };
    let text = |block: &Value| text_of(block, "text").map_or_else(|| pretty(block), str::to_owned);
    blocks.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// `1 character`, `12,345 characters`.
pub(crate) fn characters(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} character{plural}", super::format::grouped(count as u64))
}

fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

// === impl Part ===

impl Part {
    fn text(text: &str) -> Self {
        let trimmed = text.trim();
        let reminder = trimmed.starts_with("<system-reminder>") && trimmed.ends_with("</system-reminder>");
        Part::new(if reminder { Kind::Reminder } else { Kind::Text }, text.to_owned())
    }

    fn new(kind: Kind, mut text: String) -> Self {
        let chars = text.chars().count();
        if let Some((at, _)) = text.char_indices().nth(TEXT_MAX) {
            text.truncate(at);
            text.push_str("…\n[the rest is in the JSON view]");
        }
        let always = matches!(kind, Kind::Reminder | Kind::Thinking | Kind::Other(_));
        let long = chars > FOLD_CHARS || text.lines().nth(FOLD_LINES).is_some();
        let fold = (long || always && chars > 200).then(|| {
            let words = text.split_whitespace().flat_map(|word| [word, " "]);
            words.collect::<String>().chars().take(140).collect()
        });
        Part { kind, text, fold, size: characters(chars), chars }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_shapes_read_alike() {
        let messages_shape = message(&json!({"role": "assistant", "content": [
            {"type": "text", "text": "I look"},
            {"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a"}}]}));
        let chat_shape = message(&json!({"role": "assistant", "content": "I look", "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "Read", "arguments": "{\"path\":\"a\"}"}}]}));
        assert_eq!(messages_shape, chat_shape);
        assert_eq!(messages_shape.parts[1].text, "{\n  \"path\": \"a\"\n}");
        let result = message(&json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [{"type": "text", "text": "no"}]}]}));
        assert_eq!(result.parts[0].kind, Kind::Result { id: "t1".into(), failed: true });
        assert_eq!(
            message(&json!({"role": "tool", "tool_call_id": "t1", "content": "no"})).parts[0].text,
            "no"
        );
    }

    #[test]
    fn nothing_odd_breaks_it() {
        for odd in [
            json!(null),
            json!(3),
            json!({"role": 3, "content": {"type": 4}}),
            json!([[["x"]]]),
            json!({"content": [null, {}]}),
        ] {
            let said = Conversation {
                messages: vec![odd.clone()],
                system: vec![odd.clone()],
                tools: Some(odd.clone()),
                answer: odd,
                ..Conversation::default()
            };
            messages(&said);
            system(&said);
            result(&said.answer);
            answer(&said, &[]);
            tool_names(&said);
        }
    }

    #[test]
    fn long_texts_fold_and_end() {
        let part = Part::text(&"wörter ".repeat(5_000));
        assert!(part.fold.is_some() && part.text.chars().count() < TEXT_MAX + 60 && part.chars == 35_000);
        assert!(Part::text("short").fold.is_none());
        assert_eq!(Part::text("<system-reminder>x</system-reminder>").kind, Kind::Reminder);
    }
}
