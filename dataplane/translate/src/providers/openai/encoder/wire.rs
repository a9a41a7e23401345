//! The pieces of Chat completions and chunks as bytes. Keys stand in the order in which OpenAI sends them.

use crate::{
    answer::{Context, event::Stop},
    json,
};

/// Appends a completion or a chunk up to the value of `choices`.
pub(in crate::providers::openai) fn completion_head(context: &Context, object: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    json::string(&format!("chatcmpl-{}", context.id), out);
    out.extend_from_slice(b",\"object\":");
    json::string(object, out);
    out.extend_from_slice(b",\"created\":");
    json::number(u64::try_from(context.created).unwrap_or(0), out);
    out.extend_from_slice(b",\"model\":");
    json::string(&context.model, out);
    out.extend_from_slice(b",\"choices\":");
}

/// A chunk up to the value of `delta`, and one up to that of `choices`.
pub(super) fn chunk_heads(context: &Context) -> (Vec<u8>, Vec<u8>) {
    let mut bare = Vec::new();
    completion_head(context, "chat.completion.chunk", &mut bare);
    let mut head = bare.clone();
    head.extend_from_slice(b"[{\"index\":0,\"delta\":");
    (head, bare)
}

/// A delta with one text.
pub(super) fn field(name: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    json::string(name, out);
    out.push(b':');
    json::string(text, out);
    out.push(b'}');
}

/// A delta that begins a tool call.
pub(super) fn tool_start(tool: usize, id: &str, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"tool_calls\":[{\"index\":");
    json::number(tool as u64, out);
    out.extend_from_slice(b",");
    tool_call(id, name, "", out);
    out.extend_from_slice(b"}]}");
}

/// Appends the fields of a tool call, without braces around them.
pub(in crate::providers::openai) fn tool_call(id: &str, name: &str, arguments: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"id\":");
    json::string(id, out);
    out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
    json::string(name, out);
    out.extend_from_slice(b",\"arguments\":");
    json::string(arguments, out);
    out.push(b'}');
}

/// A delta with more arguments.
pub(super) fn tool_arguments(tool: usize, piece: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"tool_calls\":[{\"index\":");
    json::number(tool as u64, out);
    out.extend_from_slice(b",\"function\":{\"arguments\":");
    json::string(piece, out);
    out.extend_from_slice(b"}}]}");
}

/// Appends a signed reasoning block, as OpenRouter and Bifrost carry it.
pub(in crate::providers::openai) fn reasoning_detail(index: u64, text: &str, proof: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"reasoning.text\",\"text\":");
    json::string(text, out);
    out.extend_from_slice(b",\"signature\":");
    json::string(proof, out);
    out.extend_from_slice(b",\"index\":");
    json::number(index, out);
    out.push(b'}');
}

/// Appends a reasoning block that only its provider can read.
pub(in crate::providers::openai) fn redacted_detail(index: u64, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"reasoning.encrypted\",\"data\":");
    json::string(data, out);
    out.extend_from_slice(b",\"index\":");
    json::number(index, out);
    out.push(b'}');
}

/// OpenAI's word for the end.
pub(in crate::providers::openai) fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::ToolUse => "tool_calls",
        Stop::MaxTokens | Stop::ContextWindow => "length",
        Stop::Refusal => "content_filter",
        Stop::EndTurn | Stop::StopSequence | Stop::PauseTurn | Stop::Other(_) => "stop",
    }
}
