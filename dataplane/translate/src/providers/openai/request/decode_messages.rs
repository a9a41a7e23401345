//! The messages of a Chat request.

use crate::raw::{Kind, Text, Value};
use crate::request::RequestError;
use crate::request::arguments;
use crate::request::carrier;
use crate::request::conversation::{
    Block, Conversation, Media, MediaKind, Role, Source, SystemBlock, ToolResult, ToolUse, Turn,
};
use crate::request::report::{Report, printable};
use std::borrow::Cow;

/// The fields of a message that we know, found in one pass.
#[derive(Default)]
struct Message<'a> {
    role: Cow<'a, str>,
    content: Option<Value<'a>>,
    refusal: Option<Value<'a>>,
    tool_calls: Option<Value<'a>>,
    function_call: Option<Value<'a>>,
    tool_call_id: Option<Value<'a>>,
    reasoning_details: Option<Value<'a>>,
    cache: Option<&'a str>,
}

/// Reads the messages. Instructions before anything else become the system prompt, runs of tool messages one turn.
pub(super) fn messages<'a>(
    value: Value<'a>,
    conversation: &mut Conversation<'a>,
    report: &mut Report,
) -> Result<(), RequestError> {
    if value.kind() != Kind::Array {
        return Err(RequestError("`messages` must be an array".into()));
    }
    // Old clients have one unnamed call at a time: its id is made from its place.
    let mut legacy_id = String::new();
    for (i, message) in value.items().enumerate() {
        let message = Message::of(message);
        match message.role.as_ref() {
            "system" | "developer" => instructions(message, conversation, report),
            "user" => {
                let blocks = message.parts(report);
                conversation.turns.push(Turn { role: Role::User, blocks });
            }
            "assistant" => {
                if message.function_call.is_some() {
                    legacy_id = format!("call_{i}");
                }
                let blocks = assistant(&message, &legacy_id, report);
                conversation.turns.push(Turn { role: Role::Assistant, blocks });
            }
            "tool" | "function" => result(message, &legacy_id, conversation, report),
            other => {
                return Err(RequestError(format!("`messages[{i}].role` is unknown: {}", printable(other))));
            }
        }
    }
    Ok(())
}

fn instructions<'a>(message: Message<'a>, conversation: &mut Conversation<'a>, report: &mut Report) {
    let blocks = message.parts(report);
    if conversation.turns.is_empty() {
        let texts = blocks.into_iter().filter_map(|block| match block {
            Block::Text { text, cache } => Some(SystemBlock { text, cache }),
            _ => None,
        });
        conversation.system.extend(texts);
    } else {
        conversation.turns.push(Turn { role: Role::System, blocks });
    }
}

fn assistant<'a>(message: &Message<'a>, legacy_id: &str, report: &mut Report) -> Vec<Block<'a>> {
    let mut blocks: Vec<_> =
        message.reasoning_details.into_iter().flat_map(Value::items).filter_map(reasoning).collect();
    blocks.extend(message.parts(report));
    if let Some(text) = message.refusal.and_then(Value::text) {
        blocks.push(Block::Text { text, cache: None });
    }
    for call in message.tool_calls.into_iter().flat_map(Value::items) {
        let id = call.get("id").and_then(Value::string).unwrap_or_default();
        // Custom tools have a string as input, under a key of its own.
        let function = call.get("function").or_else(|| call.get("custom"));
        blocks.extend(function.map(|function| tool_use(id, function)));
    }
    let legacy = message.function_call.filter(|call| call.kind() == Kind::Object);
    blocks.extend(legacy.map(|call| tool_use(Cow::Owned(legacy_id.to_owned()), call)));
    blocks
}

fn tool_use<'a>(id: Cow<'a, str>, function: Value<'a>) -> Block<'a> {
    let input = match (function.get("arguments"), function.get("input")) {
        (Some(value), _) => match value.text() {
            Some(text) => arguments::from_text(text),
            None => arguments::object(Some(value)),
        },
        (None, Some(input)) => Cow::Owned(format!("{{\"input\":{}}}", input.raw())),
        (None, None) => Cow::Borrowed("{}"),
    };
    let name = function.get("name").and_then(Value::string).unwrap_or_default();
    Block::ToolUse(ToolUse { id, name, input })
}

/// Reasoning as our answers gave it; only with the signature it came with is it worth sending back.
fn reasoning(detail: Value<'_>) -> Option<Block<'_>> {
    let field = |name| detail.get(name).and_then(Value::text);
    match detail.type_name().as_ref() {
        "reasoning.text" => {
            let signature = field("signature").filter(carrier::is_native)?;
            Some(Block::Thinking { text: field("text").unwrap_or(Text::Raw("")), signature: Some(signature) })
        }
        "reasoning.encrypted" => {
            Some(Block::RedactedThinking { data: field("data").filter(carrier::is_native)? })
        }
        _ => None,
    }
}

/// Adds a result to the turn of results that is being collected.
fn result<'a>(
    message: Message<'a>,
    legacy_id: &str,
    conversation: &mut Conversation<'a>,
    report: &mut Report,
) {
    let id = match message.tool_call_id.and_then(Value::string) {
        Some(id) => id,
        None => Cow::Owned(legacy_id.to_owned()),
    };
    let block = Block::ToolResult(ToolResult { id, is_error: false, content: message.parts(report) });
    let collecting = |turn: &&mut Turn<'_>| matches!(turn.blocks.last(), Some(Block::ToolResult(_)));
    match conversation.turns.last_mut().filter(collecting) {
        Some(turn) => turn.blocks.push(block),
        None => conversation.turns.push(Turn { role: Role::User, blocks: vec![block] }),
    }
}

fn part<'a>(part: Value<'a>, report: &mut Report) -> Option<Block<'a>> {
    let cache = part.get("cache_control").filter(|value| value.kind() == Kind::Object).map(Value::raw);
    let kind = part.type_name();
    match kind.as_ref() {
        "text" | "refusal" => {
            let text = part.get(&kind).and_then(Value::text)?;
            Some(Block::Text { text, cache })
        }
        "image_url" => {
            let image = part.get("image_url")?;
            let url = image.text().or_else(|| image.get("url").and_then(Value::text))?;
            Some(Block::Media(Media { kind: MediaKind::Image, source: source(url), title: None, cache }))
        }
        "file" => file(part.get("file")?, cache, report),
        other => {
            report.lost(
                format!("messages.content.{}", printable(other)),
                "dropped: the target has no such content",
            );
            None
        }
    }
}

fn file<'a>(file: Value<'a>, cache: Option<&'a str>, report: &mut Report) -> Option<Block<'a>> {
    let title = file.get("filename").and_then(Value::text);
    match file.get("file_data").and_then(Value::text).map(source) {
        Some(source @ Source::Base64 { .. }) => {
            Some(Block::Media(Media { kind: MediaKind::Document, source, title, cache }))
        }
        _ => {
            report.lost(
                "messages.content.file.file_id",
                "replaced by a note: a file that is stored at OpenAI cannot be sent elsewhere",
            );
            Some(Block::text("[a file was attached here; it cannot be shown to this model]"))
        }
    }
}

/// An address, or the parts of a `data:` URL (`data:image/png;charset=x;base64,AAAA`).
fn source(url: Text<'_>) -> Source<'_> {
    if !url.starts_with("data:") {
        return Source::Url(url);
    }
    let inner: Cow<'_, str> = match url {
        Text::Raw(raw) if !raw.contains('\\') => Cow::Borrowed(raw),
        other => other.into_plain(),
    };
    let parse = |text: &str| -> Option<(usize, usize, usize)> {
        let comma = text.find(',')?;
        let head = text.get(5..comma)?;
        let end = head.find(';').unwrap_or(head.len());
        head.ends_with("base64").then_some((5, 5 + end, comma + 1))
    };
    match (parse(&inner), inner) {
        (Some((start, end, data)), Cow::Borrowed(text)) => Source::Base64 {
            media_type: media_type(text.get(start..end).unwrap_or_default()),
            data: Text::Raw(text.get(data..).unwrap_or_default()),
        },
        (Some((start, end, data)), Cow::Owned(text)) => Source::Base64 {
            media_type: Cow::Owned(media_type(text.get(start..end).unwrap_or_default()).into_owned()),
            data: Text::from(text.get(data..).unwrap_or_default().to_owned()),
        },
        (None, text) => Source::Url(Text::Plain(text)),
    }
}

/// `image/jpg` is what many clients write and Anthropic refuses.
fn media_type(name: &str) -> Cow<'_, str> {
    Cow::Borrowed(if name.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { name })
}

// === impl Message ===

impl<'a> Message<'a> {
    fn of(value: Value<'a>) -> Self {
        let mut message = Message::default();
        for (key, field) in value.fields().filter(|(_, field)| !field.is_null()) {
            match key.as_ref() {
                "role" => message.role = field.string().unwrap_or_default(),
                "content" => message.content = Some(field),
                "refusal" => message.refusal = Some(field),
                "tool_calls" => message.tool_calls = Some(field),
                "function_call" => message.function_call = Some(field),
                "tool_call_id" => message.tool_call_id = Some(field),
                "reasoning_details" => message.reasoning_details = Some(field),
                "cache_control" if field.kind() == Kind::Object => message.cache = Some(field.raw()),
                _ => {}
            }
        }
        message
    }

    /// The content as blocks: a string is one text.
    fn parts(&self, report: &mut Report) -> Vec<Block<'a>> {
        let Some(content) = self.content else { return Vec::new() };
        match content.text() {
            Some(text) => vec![Block::Text { text, cache: self.cache }],
            None => content.items().filter_map(|item| part(item, report)).collect(),
        }
    }
}
