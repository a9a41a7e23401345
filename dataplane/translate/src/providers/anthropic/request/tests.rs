//! Chat → Messages: what the target's rules make of each option.

use super::models::{SamplingStyle, ThinkingStyle, claude};
use crate::request::{Target, Translated, translate};
use crate::{Format, Provider};
use serde_json::{Value, json};

fn send(model: &str, mut fields: Value) -> (Value, Vec<String>) {
    if fields.get("messages").is_none() {
        fields["messages"] = json!([{"role": "user", "content": "hi"}]);
    }
    let target = Target {
        format: Format::Messages,
        provider: Provider::Anthropic,
        model,
        output_cap: None,
        strict: false,
    };
    let Translated { body, degradations, .. } =
        translate(Format::Chat, fields.to_string().as_bytes(), &target).unwrap();
    (serde_json::from_slice(&body).unwrap(), degradations.into_iter().map(|d| d.field).collect())
}

#[test]
fn models_are_known_by_generation() {
    for (model, thinking, sampling) in [
        ("claude-3-5-sonnet-20241022", ThinkingStyle::None, SamplingStyle::Both),
        ("claude-3-7-sonnet-20250219", ThinkingStyle::Budget, SamplingStyle::Both),
        ("claude-sonnet-4-20250514", ThinkingStyle::Budget, SamplingStyle::Both),
        ("claude-opus-4-1-20250805", ThinkingStyle::Budget, SamplingStyle::One),
        ("anthropic.claude-haiku-4-5@20251001", ThinkingStyle::Budget, SamplingStyle::One),
        ("claude-opus-4.6", ThinkingStyle::Adaptive, SamplingStyle::One),
        ("claude-opus-4-7", ThinkingStyle::Adaptive, SamplingStyle::None),
        ("claude-sonnet-4-7", ThinkingStyle::Adaptive, SamplingStyle::One),
        ("claude-sonnet-5", ThinkingStyle::Adaptive, SamplingStyle::None),
        ("claude-opus-5-4", ThinkingStyle::Adaptive, SamplingStyle::None),
        ("claude-opus-5-5", ThinkingStyle::Always, SamplingStyle::None),
        ("claude-fable-5-1", ThinkingStyle::Always, SamplingStyle::None),
        ("some-deployment", ThinkingStyle::Adaptive, SamplingStyle::None),
    ] {
        let known = claude(model);
        assert_eq!((known.thinking, known.sampling), (thinking, sampling), "{model}");
    }
}

#[test]
fn effort_becomes_thinking_by_model() {
    let sent = |model: &str, effort: &str| {
        let (out, _) = send(model, json!({"reasoning_effort": effort, "max_completion_tokens": 11_024}));
        (out["thinking"].clone(), out["output_config"]["effort"].clone())
    };
    assert_eq!(sent("claude-opus-4-6", "high"), (json!({"type": "adaptive"}), json!("high")));
    assert_eq!(sent("claude-opus-4-6", "xhigh"), (json!({"type": "adaptive"}), json!("high")));
    assert_eq!(sent("claude-opus-4-7", "xhigh"), (json!({"type": "adaptive"}), json!("xhigh")));
    assert_eq!(sent("claude-opus-4-6", "minimal"), (json!({"type": "adaptive"}), json!("low")));
    assert_eq!(sent("claude-opus-4-6", "none"), (json!({"type": "disabled"}), Value::Null));
    assert_eq!(sent("claude-opus-5-5", "none"), (json!({"type": "adaptive"}), json!("low")));
    assert_eq!(
        sent("claude-sonnet-4-5", "medium"),
        (json!({"type": "enabled", "budget_tokens": 5_274}), Value::Null)
    );
    assert_eq!(sent("claude-3-haiku", "high"), (Value::Null, Value::Null));
}

#[test]
fn a_thinking_budget_stays_below_the_cap() {
    for cap in [1, 1_024, 1_025, 1_100, 4_096, u64::MAX] {
        let (out, lost) = send("claude-sonnet-4-5", json!({"reasoning_effort": "high", "max_tokens": cap}));
        match out["thinking"]["budget_tokens"].as_u64() {
            Some(budget) => assert!((1_024..cap).contains(&budget), "{budget} of {cap}"),
            None => assert_eq!((cap <= 1_024, lost), (true, vec!["reasoning_effort".to_owned()])),
        }
    }
}

#[test]
fn thinking_is_off_in_a_tool_loop_that_began_without() {
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "x"}]);
    let fields = json!({"reasoning_effort": "high", "max_tokens": 9_000, "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]});
    assert!(send("claude-sonnet-4-5", fields.clone()).0.get("thinking").is_none());
    assert_eq!(send("claude-opus-4-6", fields).0["thinking"]["type"], "adaptive");
}

#[test]
fn sampling_follows_the_model() {
    let fields = json!({"temperature": 1.7, "top_p": 0.5, "stop": ["a", " \n"], "max_tokens": 5});
    let (out, lost) = send("claude-3-haiku", fields.clone());
    assert_eq!(
        (&out["temperature"], &out["top_p"], &out["stop_sequences"]),
        (&json!(1), &json!(0.5), &json!(["a"]))
    );
    assert_eq!(lost, ["temperature", "stop"]);
    let (out, lost) = send("claude-sonnet-4-5", fields.clone());
    assert_eq!((&out["temperature"], out.get("top_p")), (&json!(1), None));
    assert_eq!(lost, ["temperature", "top_p", "stop"]);
    let (out, lost) = send("claude-opus-4-7", fields);
    assert_eq!((out.get("temperature"), out.get("top_p")), (None, None));
    assert_eq!(lost, ["temperature", "top_p", "stop"]);
    let (out, lost) =
        send("claude-sonnet-4-5", json!({"temperature": 0, "reasoning_effort": "low", "max_tokens": 9_000}));
    assert_eq!((out.get("temperature"), lost), (None, vec!["temperature".to_owned()]));
    assert_eq!(send("claude-3-haiku", json!({"stop": "x"})).0["stop_sequences"], json!(["x"]));
}

#[test]
fn a_cap_is_always_sent() {
    assert_eq!(send("claude-3-haiku", json!({})).0["max_tokens"], 4096);
    assert_eq!(
        send("claude-3-haiku", json!({"max_tokens": 5, "max_completion_tokens": 7})).0["max_tokens"],
        7
    );
}

#[test]
fn output_shapes() {
    let schema = json!({"$schema": "x", "type": "object", "properties": {"a": {"type": "string", "minLength": 3},
        "b": {"type": "array", "items": {"type": "object", "properties": {"maximum": {"type": "integer", "maximum": 9}}}}}});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}}});
    let (out, lost) = send("claude-opus-4-6", format.clone());
    assert_eq!(
        out["output_config"]["format"],
        json!({"type": "json_schema", "schema": {"type": "object", "additionalProperties": false,
        "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "object", "additionalProperties": false,
            "properties": {"maximum": {"type": "integer"}}}}}}})
    );
    assert_eq!(lost, [""; 0]);
    let (out, lost) = send("claude-3-haiku", format);
    assert!(out["system"][0]["text"].as_str().unwrap().contains("minLength"));
    assert_eq!(lost, ["response_format"]);
    let (out, lost) = send("claude-opus-4-6", json!({"response_format": {"type": "json_object"}}));
    assert!(out["system"][0]["text"].as_str().unwrap().contains("JSON object"));
    assert_eq!(lost, ["response_format"]);
}

#[test]
fn what_messages_has_no_word_for_is_reported() {
    let (_, lost) = send(
        "claude-3-haiku",
        json!({"n": 2, "logit_bias": {"1": 2}, "seed": 1, "frequency_penalty": 0.5,
        "logprobs": true, "prediction": {}, "service_tier": "flex"}),
    );
    let mut lost = lost;
    lost.sort();
    assert_eq!(
        lost,
        ["frequency_penalty", "logit_bias", "logprobs", "n", "prediction", "seed", "service_tier"]
    );
    let (out, lost) = send(
        "claude-3-haiku",
        json!({"n": 1, "logit_bias": {}, "frequency_penalty": 0, "logprobs": false, "store": true,
        "metadata": {"a": "b"}, "prompt_cache_key": "k", "modalities": ["text"], "seed": null, "user": "u-1", "service_tier": "default",
        "stream": true, "stream_options": {"include_usage": true}}),
    );
    assert_eq!(lost, [""; 0]);
    assert_eq!(
        (&out["metadata"]["user_id"], &out["service_tier"], &out["stream"]),
        (&json!("u-1"), &json!("standard_only"), &json!(true))
    );
}

#[test]
fn tools_of_all_ages() {
    let function = |name: &str| json!({"name": name, "description": "d", "parameters": {"type": "object", "properties": {}}});
    let (out, lost) =
        send("claude-3-haiku", json!({"functions": [function("f")], "function_call": {"name": "f"}}));
    assert_eq!(
        out["tools"][0],
        json!({"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}})
    );
    assert_eq!((&out["tool_choice"], lost.len()), (&json!({"type": "tool", "name": "f"}), 0));
    let tools = json!([{"type": "function", "function": function("f")}, {"type": "function", "function": function("g")},
        {"type": "custom", "custom": {"name": "c"}}]);
    let (out, lost) = send(
        "claude-3-haiku",
        json!({"tools": tools, "parallel_tool_calls": false, "tool_choice": {"type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}}}),
    );
    assert_eq!(out["tools"].as_array().unwrap().len(), 1);
    assert_eq!(out["tools"][0]["name"], "g");
    assert_eq!(out["tool_choice"], json!({"type": "any", "disable_parallel_tool_use": true}));
    assert_eq!(lost, ["tools.c"]);
}

#[test]
fn calls_of_old_clients_become_pairs() {
    let (out, _) = send(
        "claude-3-haiku",
        json!({"messages": [
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\":1}"}},
        {"role": "function", "name": "f", "content": "one"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}},
        {"role": "function", "name": "f", "content": "two"}]}),
    );
    let id =
        |message: usize, key: &str| out["messages"][message]["content"][0][key].as_str().unwrap().to_owned();
    assert_eq!(id(0, "id"), id(1, "tool_use_id"));
    assert_eq!(id(2, "id"), id(3, "tool_use_id"));
    assert_ne!(id(0, "id"), id(2, "id"));
}

#[test]
fn parts_of_a_message() {
    let (out, lost) = send(
        "claude-3-haiku",
        json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]}),
    );
    assert_eq!(
        out["messages"][0]["content"],
        json!([
        {"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": "a.pdf"},
        {"type": "text", "text": "[a file was attached here; it cannot be shown to this model]"}])
    );
    assert_eq!(lost, ["messages.content.file.file_id", "messages.content.input_audio"]);
}

#[test]
fn bad_messages_are_named() {
    let target = Target {
        format: Format::Messages,
        provider: Provider::Anthropic,
        model: "m",
        output_cap: None,
        strict: false,
    };
    for (from, body, words) in [
        (Format::Chat, json!({}), "`messages` is missing"),
        (Format::Chat, json!({"messages": "hi"}), "`messages` must be an array"),
        (
            Format::Chat,
            json!({"messages": [{"role": "user"}, {"role": "bot"}]}),
            "`messages[1].role` is unknown: bot",
        ),
        (
            Format::Messages,
            json!({"messages": [{"role": "bot"}]}),
            "`messages[0].role` must be user, assistant or system",
        ),
    ] {
        let format = if from == Format::Chat { Format::Messages } else { Format::Chat };
        let target = Target { format, ..target.clone() };
        let error = translate(from, body.to_string().as_bytes(), &target).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
