//! The Anthropic Messages shape.

use super::{
    Reply, State, UsageSpec,
    check::Refusal,
    ids,
    route::{Answer, Asked, Turn},
};
use crate::http::Step;
use serde_json::{Value, json};

/// What the last user message says.
pub(super) fn last_turn(body: &Value) -> Turn {
    let messages = body.get("messages").and_then(Value::as_array);
    let last = messages.and_then(|all| all.iter().rev().find(|m| m.get("role").is_some_and(|r| r == "user")));
    let mut turn = Turn::default();
    match last.and_then(|m| m.get("content")) {
        Some(Value::String(text)) => turn.text = text.clone(),
        Some(Value::Array(blocks)) => blocks.iter().for_each(|block| read_block(block, &mut turn)),
        _ => {}
    }
    turn
}

fn read_block(block: &Value, turn: &mut Turn) {
    let text = |v: &Value| v.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    match block.get("type").and_then(Value::as_str) {
        Some("text") => {
            let text = text(block);
            if !text.starts_with("<system-reminder>") {
                turn.text.push_str(&text);
                turn.text.push('\n');
            }
        }
        Some("tool_result") => turn.results.push(match block.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                parts.iter().map(|p| part_text(p, &text(p))).collect::<Vec<_>>().join("\n")
            }
            _ => "(nothing)".to_owned(),
        }),
        _ => {}
    }
}

fn part_text(part: &Value, text: &str) -> String {
    match part.get("type").and_then(Value::as_str) {
        Some("text") => text.to_owned(),
        Some(other) => format!("(a block of type {other})"),
        None => String::new(),
    }
}

/// The answer, whole or streamed.
pub(super) fn answer(state: &State, asked: &Asked<'_>, reply: &Reply) -> Answer {
    let mut blocks = blocks(reply);
    let out: usize = blocks.iter().map(block_size).sum();
    let usage = reply.usage.unwrap_or_else(|| estimate(state, asked, ids::tokens(out).max(1)));
    let cap = asked.body.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let (cut, usage) = cut_to(&mut blocks, usage, cap, reply.usage.is_some());
    let natural = match (cut, reply.tools.is_empty()) {
        (true, _) => "max_tokens",
        (false, true) => "end_turn",
        (false, false) => "tool_use",
    };
    let stop = reply.stop.as_deref().unwrap_or(natural);
    let id = ids::fresh("msg_01");
    let usage = (!reply.no_usage).then_some(usage);
    let mut answer = if asked.stream {
        let events = events(&id, &snapshot(asked.model), &blocks, stop, usage, reply.deltas);
        Answer::stream(200, "text/event-stream; charset=utf-8", events)
    } else {
        Answer::json(200, &whole(&id, &snapshot(asked.model), &blocks, stop, usage))
    };
    answer.headers.extend(rate_headers());
    answer
}

/// An answer without a question, for benchmarks.
pub(super) fn canned(reply: &Reply, usage: UsageSpec, stream: bool) -> Vec<Step> {
    let (id, model, blocks) = (ids::fresh("msg_01"), "claude-sonnet-4-5-20250929", blocks(reply));
    if stream {
        return events(&id, model, &blocks, "end_turn", Some(usage), reply.deltas);
    }
    vec![Step::Send(whole(&id, model, &blocks, "end_turn", Some(usage)).to_string().into())]
}

/// The answer of `count_tokens`.
pub(super) fn count(asked: &Asked<'_>) -> Answer {
    Answer::json(200, &json!({"input_tokens": ids::tokens(asked.size)}))
}

/// An error body.
pub(super) fn error(refusal: &Refusal) -> Value {
    json!({
        "type": "error",
        "error": {"type": refusal.kind, "message": refusal.message},
        "request_id": ids::fresh("req_011"),
    })
}

/// The list of models.
pub(super) fn models() -> Value {
    let model = |(id, name): (&str, &str)| json!({"type": "model", "id": id, "display_name": name, "created_at": "2025-09-29T00:00:00Z"});
    let list = [
        ("claude-opus-4-5-20251101", "Claude Opus 4.5"),
        ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"),
        ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
    ];
    let data: Vec<Value> = list.into_iter().map(model).collect();
    json!({"data": data, "has_more": false, "first_id": list[0].0, "last_id": list[2].0})
}

fn rate_headers() -> Vec<(String, String)> {
    let of = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    vec![
        ("request-id".to_owned(), ids::fresh("req_011")),
        of("anthropic-organization-id", "0f4ce000-0000-4000-8000-000000000000"),
        of("anthropic-ratelimit-requests-limit", "4000"),
        of("anthropic-ratelimit-requests-remaining", "3999"),
        of("anthropic-ratelimit-tokens-limit", "2000000"),
        of("anthropic-ratelimit-tokens-remaining", "1990000"),
    ]
}

fn snapshot(model: &str) -> String {
    match model {
        "claude-sonnet-4-5" => "claude-sonnet-4-5-20250929".to_owned(),
        "claude-haiku-4-5" => "claude-haiku-4-5-20251001".to_owned(),
        "claude-opus-4-5" => "claude-opus-4-5-20251101".to_owned(),
        other => other.to_owned(),
    }
}

fn blocks(reply: &Reply) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(text) = &reply.thinking {
        blocks.push(json!({"type": "thinking", "thinking": text, "signature": ids::sign(text)}));
    }
    if let Some(text) = &reply.text {
        blocks.push(json!({"type": "text", "text": text}));
    }
    for call in &reply.tools {
        let id = call.id.clone().unwrap_or_else(|| ids::fresh("toolu_01"));
        blocks.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": call.input}));
    }
    blocks
}

fn block_size(block: &Value) -> usize {
    let text = |k: &str| block.get(k).and_then(Value::as_str).map_or(0, str::len);
    text("text") + text("thinking") + block.get("input").map_or(0, |i| i.to_string().len() + 40)
}

/// Cuts a text that is over the output cap, as a provider does. Scripted usage stays as it is.
fn cut_to(blocks: &mut [Value], mut usage: UsageSpec, cap: u64, scripted: bool) -> (bool, UsageSpec) {
    if scripted || usage.output <= cap {
        return (false, usage);
    }
    usage.output = cap;
    for block in blocks.iter_mut() {
        let Some(text) = block.get("text").and_then(Value::as_str) else { continue };
        let keep = usize::try_from(cap.saturating_mul(4)).unwrap_or(usize::MAX);
        let short: String = text.chars().take(keep).collect();
        *block = json!({"type": "text", "text": short});
    }
    (true, usage)
}

/// Usage from the bytes. A request with cache marks writes its tools and system prompt to the cache the first time and
/// reads them afterwards.
fn estimate(state: &State, asked: &Asked<'_>, output: u64) -> UsageSpec {
    let part = |k: &str| asked.body.get(k).map(Value::to_string).unwrap_or_default();
    let prefix = format!("{}{}{}", asked.model, part("tools"), part("system"));
    let all = ids::tokens(asked.size);
    let mut usage = UsageSpec { input: all, output, ..UsageSpec::default() };
    if asked.body.to_string().contains("\"cache_control\"") {
        let cached = ids::tokens(prefix.len()).min(all.saturating_sub(1));
        usage.input = all - cached;
        if state.cache_hit(ids::hash(prefix.as_bytes())) {
            usage.cache_read = cached;
        } else {
            usage.cache_write = cached;
        }
    }
    usage
}

fn usage_json(usage: UsageSpec) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "service_tier": "standard",
    })
}

fn whole(id: &str, model: &str, blocks: &[Value], stop: &str, usage: Option<UsageSpec>) -> Value {
    let mut message = json!({
        "model": model, "id": id, "type": "message", "role": "assistant", "content": blocks,
        "stop_reason": stop, "stop_sequence": null,
    });
    if let (Some(usage), Some(object)) = (usage, message.as_object_mut()) {
        object.insert("usage".to_owned(), usage_json(usage));
    }
    message
}

fn events(
    id: &str,
    model: &str,
    blocks: &[Value],
    stop: &str,
    usage: Option<UsageSpec>,
    deltas: Option<usize>,
) -> Vec<Step> {
    let mut out = Vec::new();
    let start = usage.map(|u| usage_json(UsageSpec { output: 1, ..u }));
    let start = start.unwrap_or_else(|| json!({"input_tokens": 0, "output_tokens": 0}));
    out.push(event(&json!({"type": "message_start", "message": {
        "model": model, "id": id, "type": "message", "role": "assistant", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": start,
    }})));
    for (index, block) in blocks.iter().enumerate() {
        block_events(index, block, deltas, &mut out);
        if index == 0 {
            out.insert(2.min(out.len()), event(&json!({"type": "ping"})));
        }
    }
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}});
    if let Some(object) = last.as_object_mut() {
        let usage = usage.map_or_else(
            || json!({"output_tokens": 0}),
            |u| {
                json!({
                    "input_tokens": u.input,
                    "cache_creation_input_tokens": u.cache_write + u.cache_write_1h,
                    "cache_read_input_tokens": u.cache_read,
                    "output_tokens": u.output,
                })
            },
        );
        object.insert("usage".to_owned(), usage);
    }
    out.push(event(&last));
    out.push(event(&json!({"type": "message_stop"})));
    out
}

fn block_events(index: usize, block: &Value, deltas: Option<usize>, out: &mut Vec<Step>) {
    let text = |k: &str| block.get(k).and_then(Value::as_str).unwrap_or_default();
    let mut send = |v: Value| out.push(event(&v));
    let delta = |d: Value| json!({"type": "content_block_delta", "index": index, "delta": d});
    let start = |b: Value| json!({"type": "content_block_start", "index": index, "content_block": b});
    match text("type") {
        "thinking" => {
            send(start(json!({"type": "thinking", "thinking": "", "signature": ""})));
            for piece in pieces(text("thinking"), deltas) {
                send(delta(json!({"type": "thinking_delta", "thinking": piece})));
            }
            send(delta(json!({"type": "signature_delta", "signature": text("signature")})));
        }
        "tool_use" => {
            send(start(json!({"type": "tool_use", "id": text("id"), "name": text("name"), "input": {}})));
            send(delta(json!({"type": "input_json_delta", "partial_json": ""})));
            let input = block.get("input").map(Value::to_string).unwrap_or_default();
            if input != "{}" {
                for piece in pieces(&input, deltas) {
                    send(delta(json!({"type": "input_json_delta", "partial_json": piece})));
                }
            }
        }
        _ => {
            send(start(json!({"type": "text", "text": ""})));
            for piece in pieces(text("text"), deltas) {
                send(delta(json!({"type": "text_delta", "text": piece})));
            }
        }
    }
    send(json!({"type": "content_block_stop", "index": index}));
}

/// Cuts a text into `count` pieces, or into pieces of about 24 characters.
pub(super) fn pieces(text: &str, count: Option<usize>) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let size = count.map_or(24, |n| chars.len().div_ceil(n.max(1))).max(1);
    chars.chunks(size).map(|c| c.iter().collect()).collect()
}

fn event(value: &Value) -> Step {
    let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
    Step::Send(format!("event: {name}\ndata: {value}\n\n").into())
}
