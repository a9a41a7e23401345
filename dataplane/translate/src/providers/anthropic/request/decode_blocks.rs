//! Content of Messages: what is in blocks, and what becomes of the blocks that only Anthropic knows.

use crate::raw::{Kind, Text, Value};
use crate::request::arguments;
use crate::request::conversation::{Block, Media, MediaKind, Source, ToolResult, ToolUse};
use crate::request::report::{Report, printable};
use std::borrow::Cow;

/// The fields of a block that we know, found in one pass.
#[derive(Default)]
struct Fields<'a> {
    kind: Cow<'a, str>,
    text: Option<Value<'a>>,
    id: Option<Value<'a>>,
    name: Option<Value<'a>>,
    input: Option<Value<'a>>,
    content: Option<Value<'a>>,
    source: Option<Value<'a>>,
    thinking: Option<Value<'a>>,
    signature: Option<Value<'a>>,
    data: Option<Value<'a>>,
    title: Option<Value<'a>>,
    is_error: bool,
    cache: Option<&'a str>,
}

/// The blocks of a message's `content`: a string is one text.
pub(super) fn blocks<'a>(content: Value<'a>, report: &mut Report) -> Vec<Block<'a>> {
    if let Some(text) = content.text() {
        return vec![Block::Text { text, cache: None }];
    }
    let mut out = Vec::new();
    for block in content.items() {
        push(Fields::of(block), &mut out, report);
    }
    out
}

/// The texts of a string or of text blocks, with their `cache_control`.
pub(super) fn texts(content: Value<'_>) -> impl Iterator<Item = (Text<'_>, Option<&str>)> {
    let single = content.text().map(|text| (text, None));
    single.into_iter().chain(content.items().map(Fields::of).filter_map(|fields| {
        let text = fields.text.and_then(Value::text)?;
        (fields.kind == "text").then_some((text, fields.cache))
    }))
}

fn push<'a>(fields: Fields<'a>, out: &mut Vec<Block<'a>>, report: &mut Report) {
    match fields.kind.as_ref() {
        "text" => {
            if let Some(text) = fields.text.and_then(Value::text) {
                out.push(Block::Text { text, cache: fields.cache });
            }
        }
        "thinking" => out.push(Block::Thinking {
            text: text(fields.thinking),
            signature: fields.signature.and_then(Value::text),
        }),
        "redacted_thinking" => out.push(Block::RedactedThinking { data: text(fields.data) }),
        "tool_use" => out.push(Block::ToolUse(ToolUse {
            id: string(fields.id),
            name: string(fields.name),
            input: arguments::object(fields.input),
        })),
        "tool_result" => {
            let content = fields.content.map(|content| result_content(content, report)).unwrap_or_default();
            let is_error = fields.is_error;
            out.push(Block::ToolResult(ToolResult { id: string(fields.id), is_error, content }));
        }
        _ => push_content(fields, out, report),
    }
}

/// What may stand in a message and in a tool's result.
fn push_content<'a>(fields: Fields<'a>, out: &mut Vec<Block<'a>>, report: &mut Report) {
    match fields.kind.as_ref() {
        "image" => media(MediaKind::Image, &fields, out, report),
        "document" => document(&fields, out, report),
        "search_result" => out.push(Block::text(search_result(&fields))),
        "web_search_tool_result" => out.push(Block::text(web_search(&fields))),
        "compaction" => {
            out.extend(fields.content.map(|content| blocks(content, report)).into_iter().flatten())
        }
        "tool_reference" => {
            let name = fields.name.and_then(Value::string).unwrap_or_default();
            out.push(Block::text(format!("Tool loaded: {name}")));
        }
        // Half of a pair whose other half is flattened or reported.
        "server_tool_use" | "fallback" => {}
        other => report.lost(
            format!("messages.content.{}", printable(other)),
            "dropped: the target has no such content",
        ),
    }
}

fn result_content<'a>(content: Value<'a>, report: &mut Report) -> Vec<Block<'a>> {
    let mut out = blocks(content, report);
    out.retain(|block| matches!(block, Block::Text { .. } | Block::Media(_)));
    out
}

fn media<'a>(kind: MediaKind, fields: &Fields<'a>, out: &mut Vec<Block<'a>>, report: &mut Report) {
    let title = fields.title.and_then(Value::text);
    match fields.source.and_then(source) {
        Some(source) => out.push(Block::Media(Media { kind, source, title, cache: fields.cache })),
        None => {
            let what = if kind == MediaKind::Image { "image" } else { "document" };
            report.lost(
                format!("messages.content.{what}.source"),
                "replaced by a note: a file that is stored at Anthropic cannot be sent elsewhere",
            );
            out.push(Block::text(format!("[an {what} was attached here; it cannot be shown to this model]")));
        }
    }
}

fn source(value: Value<'_>) -> Option<Source<'_>> {
    let field = |name| value.get(name).and_then(Value::text);
    match value.type_name().as_ref() {
        "base64" => {
            Some(Source::Base64 { media_type: field("media_type")?.into_plain(), data: field("data")? })
        }
        "url" => Some(Source::Url(field("url")?)),
        _ => None,
    }
}

/// Text documents and documents made of blocks are flattened; PDFs and URLs stay documents.
fn document<'a>(fields: &Fields<'a>, out: &mut Vec<Block<'a>>, report: &mut Report) {
    let Some(source) = fields.source else { return };
    let kind = source.type_name();
    if kind != "text" && kind != "content" {
        return media(MediaKind::Document, fields, out, report);
    }
    if let Some(title) = fields.title.and_then(Value::text).filter(|title| !title.is_empty()) {
        out.push(Block::Text { text: title, cache: None });
    }
    if kind == "text" {
        out.extend(source.get("data").and_then(Value::text).map(|text| Block::Text { text, cache: None }));
    } else if let Some(content) = source.get("content") {
        out.extend(result_content(content, report));
    }
}

fn search_result(fields: &Fields<'_>) -> String {
    let plain = |value: Option<Value<'_>>| value.and_then(Value::string).unwrap_or_default().into_owned();
    let mut text = format!("{}\n{}", plain(fields.title), plain(fields.source));
    for (part, _) in fields.content.into_iter().flat_map(texts) {
        text.push('\n');
        text.push_str(&part.plain());
    }
    text
}

/// The hits of a web search that Anthropic ran: their contents are encrypted, titles and addresses are not.
fn web_search(fields: &Fields<'_>) -> String {
    let mut text = String::from("Web search results:");
    for hit in fields.content.into_iter().flat_map(Value::items) {
        let field = |name| hit.get(name).and_then(Value::string).unwrap_or_default();
        text.push_str(&format!("\n- {} ({})", field("title"), field("url")));
    }
    text.push_str("\n\n");
    text
}

fn text(value: Option<Value<'_>>) -> Text<'_> {
    value.and_then(Value::text).unwrap_or(Text::Raw(""))
}

fn string(value: Option<Value<'_>>) -> Cow<'_, str> {
    value.and_then(Value::string).unwrap_or_default()
}

// === impl Fields ===

impl<'a> Fields<'a> {
    fn of(block: Value<'a>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in block.fields() {
            match key.as_ref() {
                "type" => fields.kind = value.string().unwrap_or_default(),
                "text" => fields.text = Some(value),
                "id" | "tool_use_id" => fields.id = Some(value),
                "name" | "tool_name" => fields.name = Some(value),
                "input" => fields.input = Some(value),
                "content" if value.kind() != Kind::Null => fields.content = Some(value),
                "source" => fields.source = Some(value),
                "thinking" => fields.thinking = Some(value),
                "signature" => fields.signature = Some(value),
                "data" => fields.data = Some(value),
                "title" => fields.title = Some(value),
                "is_error" => fields.is_error = value.bool() == Some(true),
                "cache_control" if value.kind() == Kind::Object => fields.cache = Some(value.raw()),
                _ => {}
            }
        }
        fields
    }
}
