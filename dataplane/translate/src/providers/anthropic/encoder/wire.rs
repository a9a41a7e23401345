//! The events of a Messages stream as bytes. Keys stand in the order in which Anthropic sends them.

use crate::{
    Usage,
    answer::{Context, encode::Ending, sse},
    json,
    providers::anthropic::usage,
};

/// A kind of delta: up to its text.
pub(super) const TEXT: &str = "{\"type\":\"text_delta\",\"text\":";
pub(super) const THINKING: &str = "{\"type\":\"thinking_delta\",\"thinking\":";
pub(super) const SIGNATURE: &str = "{\"type\":\"signature_delta\",\"signature\":";
pub(super) const ARGUMENTS: &str = "{\"type\":\"input_json_delta\",\"partial_json\":";

/// Appends what stands before `content` in a message, whole or not.
pub(in crate::providers::anthropic) fn message_head(context: &Context, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    json::string(&format!("msg_{}", context.id), out);
    out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    json::string(&context.model, out);
    out.extend_from_slice(b",\"content\":[");
}

pub(super) fn message_start(context: &Context, known: &Usage, out: &mut Vec<u8>) {
    sse::named("message_start", out);
    out.extend_from_slice(b"{\"type\":\"message_start\",\"message\":");
    message_head(context, out);
    out.extend_from_slice(b"],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    usage::write(known, out);
    out.extend_from_slice(b"}}");
    sse::finish(out);
}

pub(super) fn text_start(index: u64, out: &mut Vec<u8>) {
    block_start(index, out);
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":\"\"}}");
    sse::finish(out);
}

pub(super) fn thinking_start(index: u64, out: &mut Vec<u8>) {
    block_start(index, out);
    out.extend_from_slice(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}");
    sse::finish(out);
}

pub(super) fn tool_start(index: u64, id: &str, name: &str, out: &mut Vec<u8>) {
    block_start(index, out);
    out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":");
    json::string(id, out);
    out.extend_from_slice(b",\"name\":");
    json::string(name, out);
    out.extend_from_slice(b",\"input\":{}}}");
    sse::finish(out);
}

/// A whole block: such reasoning comes in one piece.
pub(super) fn redacted(index: u64, data: &str, out: &mut Vec<u8>) {
    block_start(index, out);
    out.extend_from_slice(b"{\"type\":\"redacted_thinking\",\"data\":");
    json::string(data, out);
    out.extend_from_slice(b"}}");
    sse::finish(out);
    block_stop(index, out);
}

fn block_start(index: u64, out: &mut Vec<u8>) {
    sse::named("content_block_start", out);
    out.extend_from_slice(b"{\"type\":\"content_block_start\",\"index\":");
    json::number(index, out);
    out.extend_from_slice(b",\"content_block\":");
}

pub(super) fn delta(index: u64, kind: &str, text: &str, out: &mut Vec<u8>) {
    sse::named("content_block_delta", out);
    out.extend_from_slice(b"{\"type\":\"content_block_delta\",\"index\":");
    json::number(index, out);
    out.extend_from_slice(b",\"delta\":");
    out.extend_from_slice(kind.as_bytes());
    json::string(text, out);
    out.extend_from_slice(b"}}");
    sse::finish(out);
}

pub(super) fn block_stop(index: u64, out: &mut Vec<u8>) {
    sse::named("content_block_stop", out);
    out.extend_from_slice(b"{\"type\":\"content_block_stop\",\"index\":");
    json::number(index, out);
    out.push(b'}');
    sse::finish(out);
}

pub(super) fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(crate::answer::heartbeat(crate::Format::Messages));
}

/// Appends `"stop_reason":…,"stop_sequence":…`.
pub(in crate::providers::anthropic) fn stop(ending: &Ending<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"stop_reason\":");
    json::string(ending.stop.as_str(), out);
    out.extend_from_slice(b",\"stop_sequence\":");
    match ending.sequence {
        Some(sequence) => json::string(sequence, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// The last two events.
pub(super) fn message_end(ending: &Ending<'_>, out: &mut Vec<u8>) {
    sse::named("message_delta", out);
    out.extend_from_slice(b"{\"type\":\"message_delta\",\"delta\":{");
    stop(ending, out);
    out.extend_from_slice(b"},\"usage\":");
    usage::write(&ending.usage, out);
    out.push(b'}');
    sse::finish(out);
    sse::named("message_stop", out);
    out.extend_from_slice(b"{\"type\":\"message_stop\"}");
    sse::finish(out);
}
