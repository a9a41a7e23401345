//! The OpenAI Chat Completions shape.

use super::{
    Reply, State, UsageSpec,
    check::Refusal,
    ids, messages,
    route::{Answer, Asked, Turn},
};
use crate::http::Step;
use serde_json::{Value, json};

/// What the end of the conversation says: the results after the last assistant message, else the last user message.
pub(super) fn last_turn(body: &Value) -> Turn {
    let mut turn = Turn::default();
    let Some(messages) = body.get("messages").and_then(Value::as_array) else { return turn };
    let role = |m: &Value| m.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    for message in messages.iter().rev().take_while(|m| role(m) != "assistant") {
        if role(message) == "tool" {
            turn.results.insert(0, content_text(message));
        }
    }
    if let Some(message) = messages.iter().rev().find(|m| role(m) == "user") {
        turn.text = content_text(message);
    }
    turn
}

fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let text = |p: &Value| p.get("text").and_then(Value::as_str).map(str::to_owned);
            let own = |t: &String| !t.starts_with("<system-reminder>");
            parts.iter().filter_map(text).filter(own).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// The answer, whole or streamed.
pub(super) fn answer(state: &State, asked: &Asked<'_>, reply: &Reply) -> Answer {
    let mut text = reply.text.clone();
    let cap = ["max_completion_tokens", "max_tokens"].iter().find_map(|k| asked.body.get(*k)?.as_u64());
    let mut usage = reply.usage.unwrap_or_else(|| estimate(state, asked, output_tokens(reply)));
    let cut = reply.usage.is_none() && cap.is_some_and(|cap| usage.output > cap);
    if let (true, Some(cap)) = (cut, cap) {
        let keep = usize::try_from(cap.saturating_mul(4)).unwrap_or(usize::MAX);
        text = text.map(|t| t.chars().take(keep).collect());
        usage.output = cap;
    }
    let natural = match (cut, reply.tools.is_empty()) {
        (true, _) => "length",
        (false, true) => "stop",
        (false, false) => "tool_calls",
    };
    let said = Said {
        id: ids::fresh("chatcmpl-"),
        model: snapshot(asked.model),
        thinking: reply.thinking.clone(),
        text,
        calls: calls(reply),
        stop: reply.stop.clone().unwrap_or_else(|| natural.to_owned()),
        usage: (!reply.no_usage).then_some(usage),
        deltas: reply.deltas,
    };
    let mut answer = if asked.stream {
        let wants =
            asked.body.pointer("/stream_options/include_usage").and_then(Value::as_bool) == Some(true);
        Answer::stream(200, "text/event-stream; charset=utf-8", said.chunks(wants))
    } else {
        Answer::json(200, &said.whole())
    };
    answer.headers.extend(rate_headers());
    answer
}

/// An answer without a question, for benchmarks.
pub(super) fn canned(reply: &Reply, usage: UsageSpec, stream: bool) -> Vec<Step> {
    let said = Said {
        id: ids::fresh("chatcmpl-"),
        model: snapshot("gpt-5"),
        thinking: None,
        text: reply.text.clone(),
        calls: Vec::new(),
        stop: "stop".to_owned(),
        usage: Some(usage),
        deltas: reply.deltas,
    };
    if stream { said.chunks(true) } else { vec![Step::Send(said.whole().to_string().into())] }
}

/// An error body.
pub(super) fn error(refusal: &Refusal) -> Value {
    json!({"error": {
        "message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code,
    }})
}

/// The list of models.
pub(super) fn models() -> Value {
    let model =
        |id: &&str| json!({"id": id, "object": "model", "created": 1_754_524_800, "owned_by": "openai"});
    let data: Vec<Value> = ["gpt-5", "gpt-5-mini", "gpt-4o", "gpt-4.1"].iter().map(model).collect();
    json!({"object": "list", "data": data})
}

fn rate_headers() -> Vec<(String, String)> {
    let of = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    vec![
        ("x-request-id".to_owned(), ids::fresh("req_")),
        of("openai-version", "2020-10-01"),
        of("openai-processing-ms", "12"),
        of("x-ratelimit-limit-requests", "10000"),
        of("x-ratelimit-remaining-requests", "9999"),
    ]
}

fn snapshot(model: &str) -> String {
    match model {
        "gpt-5" | "gpt-5-mini" => format!("{model}-2025-08-07"),
        "gpt-4o" => "gpt-4o-2024-08-06".to_owned(),
        "gpt-4.1" => "gpt-4.1-2025-04-14".to_owned(),
        other => other.to_owned(),
    }
}

fn output_tokens(reply: &Reply) -> u64 {
    let texts = reply.text.as_deref().map_or(0, str::len) + reply.thinking.as_deref().map_or(0, str::len);
    let calls: usize = reply.tools.iter().map(|t| t.input.to_string().len() + 40).sum();
    ids::tokens(texts + calls).max(1)
}

/// Usage from the bytes. OpenAI caches prompts of 1,024 tokens and more by itself, in steps of 128.
fn estimate(state: &State, asked: &Asked<'_>, output: u64) -> UsageSpec {
    let all = ids::tokens(asked.size);
    let tools = asked.body.get("tools").map(Value::to_string).unwrap_or_default();
    let prefix = ids::tokens(tools.len()) / 128 * 128;
    let hit = prefix >= 1024 && state.cache_hit(ids::hash(format!("chat{}{tools}", asked.model).as_bytes()));
    let cache_read = if hit { prefix } else { 0 };
    UsageSpec { input: all.saturating_sub(cache_read), cache_read, output, ..UsageSpec::default() }
}

fn calls(reply: &Reply) -> Vec<Value> {
    let call = |t: &super::ToolCall| {
        let id = t.id.clone().unwrap_or_else(|| ids::fresh("call_"));
        json!({"id": id, "type": "function", "function": {"name": t.name, "arguments": t.input.to_string()}})
    };
    reply.tools.iter().map(call).collect()
}

fn usage_json(u: UsageSpec) -> Value {
    let prompt = u.input + u.cache_read + u.cache_write;
    json!({
        "prompt_tokens": prompt, "completion_tokens": u.output, "total_tokens": prompt + u.output,
        "prompt_tokens_details": {"cached_tokens": u.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": u.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

/// What is said, before it has a wire shape.
struct Said {
    id: String,
    model: String,
    thinking: Option<String>,
    text: Option<String>,
    calls: Vec<Value>,
    stop: String,
    usage: Option<UsageSpec>,
    deltas: Option<usize>,
}

// === impl Said ===

impl Said {
    fn whole(&self) -> Value {
        let mut message =
            json!({"role": "assistant", "content": self.text, "refusal": null, "annotations": []});
        if let Some(object) = message.as_object_mut() {
            if !self.calls.is_empty() {
                object.insert("tool_calls".to_owned(), Value::Array(self.calls.clone()));
            }
            if let Some(thinking) = &self.thinking {
                object.insert("reasoning_content".to_owned(), json!(thinking));
            }
        }
        let mut answer = json!({
            "id": self.id, "object": "chat.completion", "created": ids::now(), "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": self.stop}],
            "service_tier": "default", "system_fingerprint": null,
        });
        if let (Some(usage), Some(object)) = (self.usage, answer.as_object_mut()) {
            object.insert("usage".to_owned(), usage_json(usage));
        }
        answer
    }

    fn chunks(&self, wants_usage: bool) -> Vec<Step> {
        let mut out = Vec::new();
        let mut delta = |d: Value| out.push(self.chunk(&json!([choice(&d, None)]), wants_usage, None));
        delta(json!({"role": "assistant", "content": "", "refusal": null}));
        for piece in messages::pieces(self.thinking.as_deref().unwrap_or_default(), self.deltas) {
            delta(json!({"reasoning_content": piece}));
        }
        for piece in messages::pieces(self.text.as_deref().unwrap_or_default(), self.deltas) {
            delta(json!({"content": piece}));
        }
        for (index, call) in self.calls.iter().enumerate() {
            let text = |p: &str| call.pointer(p).and_then(Value::as_str).unwrap_or_default();
            let function = json!({"name": text("/function/name"), "arguments": ""});
            delta(
                json!({"tool_calls": [{"index": index, "id": text("/id"), "type": "function", "function": function}]}),
            );
            for piece in messages::pieces(text("/function/arguments"), self.deltas) {
                delta(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}));
            }
        }
        out.push(self.chunk(&json!([choice(&json!({}), Some(&self.stop))]), wants_usage, None));
        if let (true, Some(usage)) = (wants_usage, self.usage) {
            out.push(self.chunk(&json!([]), wants_usage, Some(usage)));
        }
        out.push(Step::Send("data: [DONE]\n\n".into()));
        out
    }

    fn chunk(&self, choices: &Value, wants_usage: bool, usage: Option<UsageSpec>) -> Step {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": ids::now(), "model": self.model,
            "service_tier": "default", "system_fingerprint": null, "choices": choices,
        });
        if let (true, Some(object)) = (wants_usage, chunk.as_object_mut()) {
            object.insert("usage".to_owned(), usage.map_or(Value::Null, usage_json));
        }
        Step::Send(format!("data: {chunk}\n\n").into())
    }
}

fn choice(delta: &Value, stop: Option<&str>) -> Value {
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": stop})
}
