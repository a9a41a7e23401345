//! The turns of a conversation as Chat messages.

use super::encode::Context;
use crate::raw::{Array, Object, Text, write};
use crate::request::carrier;
use crate::request::conversation::{
    Block, Conversation, Media, MediaKind, Role, Source, ToolResult, ToolUse, Turn,
};
use crate::request::report::{Field, Report};

/// Writes the array of messages.
pub(super) fn messages(
    conversation: &Conversation<'_>,
    context: &Context<'_>,
    out: &mut Vec<u8>,
    report: &mut Report,
) {
    let mut list = Array::new(out);
    instructions(conversation.system.iter().map(|block| &block.text), context, &mut list);
    for turn in &conversation.turns {
        match turn.role {
            Role::User => user(turn, context, &mut list, report),
            Role::Assistant => assistant(turn, context, &mut list, report),
            Role::System => instructions(turn.blocks.iter().filter_map(text_of), context, &mut list),
        }
    }
    list.end();
}

fn text_of<'b, 'a>(block: &'b Block<'a>) -> Option<&'b Text<'a>> {
    match block {
        Block::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// One message of instructions; none when there is nothing to say.
fn instructions<'b, 'a: 'b>(
    texts: impl Iterator<Item = &'b Text<'a>>,
    context: &Context<'_>,
    list: &mut Array<'_>,
) {
    let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
    if texts.is_empty() {
        return;
    }
    let role = if context.server.developer && context.family.fixed_sampling { "developer" } else { "system" };
    let mut message = list.object();
    message.str("role", role);
    joined(message.key("content"), &texts, "\\n\\n");
    message.end();
}

/// Several texts as one string; `between` is already escaped.
fn joined(out: &mut Vec<u8>, texts: &[&Text<'_>], between: &str) {
    out.push(b'"');
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(between.as_bytes());
        }
        write::inner(out, text);
    }
    out.push(b'"');
}

/// Tool results first, each a message of its own; then what else the turn says, led by the images of the results (a tool
/// message can hold text only).
fn user(turn: &Turn<'_>, context: &Context<'_>, list: &mut Array<'_>, report: &mut Report) {
    let mut parts: Vec<&Block<'_>> = Vec::new();
    for block in &turn.blocks {
        if let Block::ToolResult(result) = block {
            tool_message(result, list);
            parts.extend(result.content.iter().filter(|part| matches!(part, Block::Media(_))));
        }
    }
    let said = turn.blocks.iter().filter(|block| match block {
        Block::Text { text, .. } => !text.is_empty(),
        Block::Media(_) => true,
        _ => false,
    });
    parts.extend(said);
    if parts.is_empty() {
        return;
    }
    let mut message = list.object();
    message.str("role", "user");
    let texts: Vec<_> = parts.iter().filter_map(|part| text_of(part)).collect();
    let as_string = texts.len() == parts.len() && (texts.len() == 1 || !context.server.text_parts);
    if as_string {
        joined(message.key("content"), &texts, "\\n\\n");
    } else {
        let mut content = message.array("content");
        for part in parts {
            content_part(part, context, &mut content, report);
        }
        content.end();
    }
    message.end();
}

fn tool_message(result: &ToolResult<'_>, list: &mut Array<'_>) {
    let mut message = list.object();
    message.str("role", "tool").str("tool_call_id", &result.id);
    let image = Text::from("[image attached in the next user message]");
    let document = Text::from("[document attached in the next user message]");
    let texts: Vec<_> = result
        .content
        .iter()
        .filter_map(|part| match part {
            Block::Text { text, .. } if !text.is_empty() => Some(text),
            Block::Media(media) if media.kind == MediaKind::Image => Some(&image),
            Block::Media(_) => Some(&document),
            _ => None,
        })
        .collect();
    let out = message.key("content");
    out.push(b'"');
    if result.is_error {
        out.extend_from_slice(b"Error: ");
    }
    if texts.is_empty() {
        out.extend_from_slice(b"(no output)");
    }
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\\n");
        }
        write::inner(out, text);
    }
    out.push(b'"');
    message.end();
}

fn content_part(part: &Block<'_>, context: &Context<'_>, content: &mut Array<'_>, report: &mut Report) {
    match part {
        Block::Text { text, .. } => text_part(text, content),
        Block::Media(media) => media_part(media, context, content, report),
        _ => {}
    }
}

fn text_part(text: &Text<'_>, content: &mut Array<'_>) {
    let mut part = content.object();
    part.str("type", "text").text("text", text);
    part.end();
}

fn media_part(media: &Media<'_>, context: &Context<'_>, content: &mut Array<'_>, report: &mut Report) {
    match (media.kind, &media.source) {
        (MediaKind::Image, source) => {
            let mut part = content.object();
            part.str("type", "image_url");
            let mut image = part.object("image_url");
            url(image.key("url"), source);
            image.end();
            part.end();
        }
        (MediaKind::Document, source @ Source::Base64 { .. }) if context.server.files => {
            let mut part = content.object();
            part.str("type", "file");
            let mut file = part.object("file");
            let name = media.title.as_ref().filter(|title| !title.is_empty());
            file.text("filename", name.unwrap_or(&Text::from("document.pdf")));
            url(file.key("file_data"), source);
            file.end();
            part.end();
        }
        (MediaKind::Document, source) => {
            report.lost_field(Field::Document, "replaced by a note: this server takes no such documents");
            let where_it_is = match source {
                Source::Url(url) => format!(" at {}", url.plain()),
                Source::Base64 { .. } => String::new(),
            };
            let note =
                format!("[a document{where_it_is} was attached here; it cannot be shown to this model]");
            text_part(&Text::from(note), content);
        }
    }
}

/// The URL of a source: its own, or a `data:` URL.
fn url(out: &mut Vec<u8>, source: &Source<'_>) {
    out.push(b'"');
    match source {
        Source::Url(url) => write::inner(out, url),
        Source::Base64 { media_type, data } => {
            out.extend_from_slice(b"data:");
            write::escape(out, media_type);
            out.extend_from_slice(b";base64,");
            write::inner(out, data);
        }
    }
    out.push(b'"');
}

fn assistant(turn: &Turn<'_>, context: &Context<'_>, list: &mut Array<'_>, report: &mut Report) {
    let has_text = turn.blocks.iter().filter_map(text_of).any(|text| !text.is_empty());
    let calls: Vec<_> = turn
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::ToolUse(call) => Some(call),
            _ => None,
        })
        .collect();
    if turn.blocks.iter().any(|block| matches!(block, Block::Media(_))) {
        report.lost_field(Field::Media, "dropped: an assistant message in Chat is text only");
    }
    if !has_text && calls.is_empty() {
        return;
    }
    let mut message = list.object();
    message.str("role", "assistant");
    if has_text {
        said(&turn.blocks, message.key("content"));
    } else {
        message.raw("content", "null");
    }
    if context.family.replay_reasoning {
        reasoning(&turn.blocks, &mut message);
    }
    if !calls.is_empty() {
        tool_calls(&calls, context, &mut message);
    }
    message.end();
}

/// The visible text: adjacent blocks belong together (citations split a text), separated ones are paragraphs.
fn said(blocks: &[Block<'_>], out: &mut Vec<u8>) {
    out.push(b'"');
    let (mut any, mut gap) = (false, false);
    for block in blocks {
        match block {
            Block::Text { text, .. } if !text.is_empty() => {
                if any && gap {
                    out.extend_from_slice(b"\\n\\n");
                }
                write::inner(out, text);
                (any, gap) = (true, false);
            }
            _ => gap = true,
        }
    }
    out.push(b'"');
}

/// Reasoning that a server of this kind gave earlier (unsigned, or tagged by us), for models that want it back.
fn reasoning(blocks: &[Block<'_>], message: &mut Object<'_>) {
    let texts: Vec<_> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Thinking { text, signature } if !text.is_empty() => {
                (!signature.as_ref().is_some_and(carrier::is_native)).then_some(text)
            }
            _ => None,
        })
        .collect();
    if !texts.is_empty() {
        joined(message.key("reasoning_content"), &texts, "\\n\\n");
    }
}

fn tool_calls(calls: &[&ToolUse<'_>], context: &Context<'_>, message: &mut Object<'_>) {
    let mut list = message.array("tool_calls");
    for call in calls {
        let mut entry = list.object();
        entry.str("id", &call.id).str("type", "function");
        let mut function = entry.object("function");
        function.str("name", context.names.wire(&call.name)).str("arguments", &call.input);
        function.end();
        entry.end();
    }
    list.end();
}
