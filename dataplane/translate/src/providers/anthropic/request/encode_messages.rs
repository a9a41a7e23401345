//! The turns of a conversation as Messages: roles alternate, results lead, no text is empty.

use crate::raw::{Array, Object, Text};
use crate::request::carrier::is_native;
use crate::request::conversation::{Block, Conversation, Media, MediaKind, Role, Source, ToolResult, Turn};
use crate::request::names::Names;
use crate::request::report::{Field, Report};

/// Writes the array of messages. Turns of one role that follow one another become one message.
pub(super) fn messages(
    conversation: &Conversation<'_>,
    names: &Names,
    out: &mut Vec<u8>,
    report: &mut Report,
) {
    // A turn that says nothing would stand between two of the other role, which then would not be one message.
    let turns: Vec<_> = conversation.turns.iter().filter(|turn| turn.blocks.iter().any(is_sent)).collect();
    let mut list = Array::new(out);
    let mut groups = turns.chunk_by(|a, b| is_assistant(a) == is_assistant(b)).peekable();
    while let Some(group) = groups.next() {
        message(group, groups.peek().is_none(), names, &mut list, report);
    }
    list.end();
}

fn is_assistant(turn: &Turn<'_>) -> bool {
    turn.role == Role::Assistant
}

fn is_sent(block: &Block<'_>) -> bool {
    match block {
        Block::Text { text, .. } => !text.is_blank(),
        Block::Thinking { signature, .. } => signature.as_ref().is_some_and(is_native),
        Block::RedactedThinking { data } => is_native(data),
        _ => true,
    }
}

/// One message of a group of turns. The text of a last one that is the assistant's must not end in white space.
fn message(group: &[&Turn<'_>], is_last: bool, names: &Names, list: &mut Array<'_>, report: &mut Report) {
    let mut message = list.object();
    let assistant = group.iter().any(|turn| is_assistant(turn));
    let prefill = assistant && is_last;
    message.str("role", if assistant { "assistant" } else { "user" });
    let mut content = message.array("content");
    let blocks: Vec<_> =
        group.iter().flat_map(|turn| turn.blocks.iter().map(|block| (turn.role, block))).collect();
    let last = blocks.iter().rposition(|(_, block)| is_sent(block));
    for (i, (role, block)) in blocks.iter().enumerate().filter(|(_, (_, block))| is_sent(block)) {
        match block {
            Block::Text { text, .. } if prefill && Some(i) == last => {
                text_block(&Text::from(text.plain().trim_end().to_owned()), None, &mut content);
            }
            Block::Text { text, cache } if *role == Role::System => {
                report.lost_field(Field::MidSystem, "sent as the user's words, marked as instructions");
                let marked = format!("<system>\n{}\n</system>", text.plain());
                text_block(&Text::from(marked), *cache, &mut content);
            }
            Block::Text { text, cache } => text_block(text, *cache, &mut content),
            Block::Media(media) => media_block(media, &mut content),
            other => tool_or_thinking(other, names, &mut content),
        }
    }
    content.end();
    message.end();
}

fn tool_or_thinking(block: &Block<'_>, names: &Names, content: &mut Array<'_>) {
    let mut out = content.object();
    match block {
        Block::Thinking { text, signature } => {
            out.str("type", "thinking").text("thinking", text);
            out.text("signature", signature.as_ref().unwrap_or(&Text::Raw("")));
        }
        Block::RedactedThinking { data } => drop(out.str("type", "redacted_thinking").text("data", data)),
        Block::ToolUse(call) => {
            out.str("type", "tool_use").str("id", &call.id);
            out.str("name", names.wire(&call.name)).raw("input", &call.input);
        }
        Block::ToolResult(result) => tool_result(result, &mut out),
        Block::Text { .. } | Block::Media(_) => {}
    }
    out.end();
}

fn tool_result(result: &ToolResult<'_>, out: &mut Object<'_>) {
    out.str("type", "tool_result").str("tool_use_id", &result.id);
    let mut content = out.array("content");
    for part in result.content.iter().filter(|part| is_sent(part)) {
        match part {
            Block::Text { text, cache } => text_block(text, *cache, &mut content),
            Block::Media(media) => media_block(media, &mut content),
            _ => {}
        }
    }
    if content.is_empty() {
        text_block(&Text::from("(no output)"), None, &mut content);
    }
    content.end();
    if result.is_error {
        out.bool("is_error", true);
    }
}

fn text_block(text: &Text<'_>, cache: Option<&str>, content: &mut Array<'_>) {
    let mut block = content.object();
    block.str("type", "text").text("text", text);
    if let Some(cache) = cache {
        block.raw("cache_control", cache);
    }
    block.end();
}

fn media_block(media: &Media<'_>, content: &mut Array<'_>) {
    let mut block = content.object();
    block.str("type", if media.kind == MediaKind::Image { "image" } else { "document" });
    let mut source = block.object("source");
    match &media.source {
        Source::Base64 { media_type, data } => {
            source.str("type", "base64").str("media_type", media_type).text("data", data);
        }
        Source::Url(url) => drop(source.str("type", "url").text("url", url)),
    }
    source.end();
    if let Some(title) = media.title.as_ref().filter(|_| media.kind == MediaKind::Document) {
        block.text("title", title);
    }
    if let Some(cache) = media.cache {
        block.raw("cache_control", cache);
    }
    block.end();
}
