//! What holds of every request translation, whatever the client sends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read what it made must fail")]

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_translate::request::{Target, count_tokens, translate};
use tollgate_translate::{Format, Provider};

const TARGETS: [(Format, Provider, &str); 7] = [
    (Format::Chat, Provider::OpenAi, "gpt-5"),
    (Format::Chat, Provider::OpenAi, "gpt-4.1"),
    (Format::Chat, Provider::AzureOpenAi, "gpt-5.6"),
    (Format::Chat, Provider::OpenAiCompatible, "deepseek-chat"),
    (Format::Messages, Provider::Anthropic, "claude-opus-4-6"),
    (Format::Messages, Provider::Anthropic, "claude-sonnet-4-5"),
    (Format::Messages, Provider::Anthropic, "claude-3-haiku"),
];

fn target(at: usize, strict: bool) -> Target<'static> {
    let (format, provider, model) = TARGETS[at % TARGETS.len()];
    Target { format, provider, model, output_cap: None, strict }
}

/// Words that mean something somewhere in a request.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "",
        " ",
        "a",
        "b",
        "f",
        "user",
        "assistant",
        "system",
        "developer",
        "tool",
        "function",
        "text",
        "image",
        "document",
        "base64",
        "url",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "image_url",
        "file",
        "auto",
        "any",
        "required",
        "none",
        "enabled",
        "adaptive",
        "disabled",
        "high",
        "max",
        "json_schema",
        "json_object",
        "object",
        "array",
        "gw1.x",
        "data:image/png;base64,AAAA",
        "data:,",
        "{\"a\":",
        "{}",
        "web_search_20250305",
        "allowed_tools",
        "custom",
    ];
    prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Keys of requests, messages, blocks, tools and schemas.
fn key() -> impl Strategy<Value = String> {
    let keys = [
        "role",
        "content",
        "type",
        "text",
        "id",
        "tool_use_id",
        "tool_call_id",
        "name",
        "input",
        "tool_calls",
        "function",
        "arguments",
        "function_call",
        "source",
        "media_type",
        "data",
        "url",
        "image_url",
        "file",
        "file_data",
        "signature",
        "thinking",
        "is_error",
        "cache_control",
        "input_schema",
        "parameters",
        "properties",
        "required",
        "anyOf",
        "$schema",
        "$ref",
        "$defs",
        "items",
        "effort",
        "format",
        "schema",
        "budget_tokens",
        "edits",
        "mode",
        "tools",
        "title",
        "reasoning_details",
    ];
    prop_oneof![8 => prop::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Requests of garbage under the right keys.
fn garbage() -> impl Strategy<Value = Value> {
    let keys = [
        "messages",
        "system",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "thinking",
        "output_config",
        "response_format",
        "reasoning_effort",
        "stop",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "metadata",
        "user",
        "context_management",
        "max_tokens",
        "stream",
        "service_tier",
        "parallel_tool_calls",
        "x",
    ];
    let field = (prop::sample::select(keys.to_vec()), anything());
    (prop::collection::vec(field, 0..8), prop::collection::vec(anything(), 0..4)).prop_map(
        |(fields, messages)| {
            let mut body = json!({"model": "m", "messages": messages});
            for (key, value) in fields {
                body[key] = value;
            }
            body
        },
    )
}

/// One turn of a history whose calls and results may or may not match.
fn turn(format: Format) -> impl Strategy<Value = Value> {
    let id = || prop::sample::select(&["a", "b", "c", "", "x:y"][..]);
    let chat = prop_oneof![
        word().prop_map(|text| json!({"role": "user", "content": text})),
        word().prop_map(|text| json!({"role": "system", "content": text})),
        prop::collection::vec(id(), 0..4).prop_map(|ids| {
            let call = |id| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
            json!({"role": "assistant", "content": "", "tool_calls": ids.into_iter().map(call).collect::<Vec<_>>()})
        }),
        (id(), word()).prop_map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text})),
    ];
    let block = prop_oneof![
        word().prop_map(|text| json!({"type": "text", "text": text})),
        id().prop_map(|id| json!({"type": "tool_use", "id": id, "name": "f.g", "input": {"a": 1}})),
        (id(), word())
            .prop_map(|(id, text)| json!({"type": "tool_result", "tool_use_id": id, "content": text})),
        Just(
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}})
        ),
        Just(json!({"type": "thinking", "thinking": "t", "signature": "s"})),
    ];
    let role = prop::sample::select(&["user", "assistant", "system"][..]);
    let messages = (role, prop::collection::vec(block, 0..5))
        .prop_map(|(role, content)| json!({"role": role, "content": content}));
    if format == Format::Chat { chat.boxed() } else { messages.boxed() }
}

fn history() -> impl Strategy<Value = (Format, Value)> {
    let of = |format| {
        prop::collection::vec(turn(format), 0..10)
            .prop_map(move |turns| (format, json!({"model": "m", "messages": turns})))
    };
    prop_oneof![of(Format::Chat), of(Format::Messages)]
}

fn ids(list: &[Value], key: &str) -> Vec<String> {
    list.iter().filter_map(|item| item[key].as_str()).map(str::to_owned).collect()
}

/// Calls are answered at once, once each, by nothing else; ids are unique and legal.
fn check_pairs(format: Format, messages: &[Value]) {
    let mut seen = std::collections::HashSet::new();
    let mut rest = messages;
    while let Some((message, tail)) = rest.split_first() {
        rest = tail;
        let (mut calls, mut results) = match format {
            Format::Chat => {
                assert_ne!(message["role"], "tool", "an orphan");
                let calls = ids(message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice), "id");
                let run = tail.iter().take_while(|next| next["role"] == "tool").count();
                let (results, after) = tail.split_at(run);
                rest = after;
                (calls, ids(results, "tool_call_id"))
            }
            Format::Messages => {
                let calls = ids(message["content"].as_array().unwrap(), "id");
                let next =
                    tail.first().and_then(|next| next["content"].as_array()).map_or(&[][..], Vec::as_slice);
                let lead: Vec<_> =
                    next.iter().take_while(|block| block["type"] == "tool_result").cloned().collect();
                assert!(
                    next.iter().skip(lead.len()).all(|block| block["type"] != "tool_result"),
                    "results lead"
                );
                (calls, ids(&lead, "tool_use_id"))
            }
        };
        for id in &calls {
            assert!(seen.insert(id.clone()), "{id} twice");
            assert!(
                (1..=64).contains(&id.len())
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
                "{id}"
            );
        }
        calls.sort();
        results.sort();
        assert_eq!(calls, results);
    }
}

fn check_messages_rules(messages: &[Value]) {
    for pair in messages.windows(2) {
        assert_ne!(pair[0]["role"], pair[1]["role"], "roles alternate");
    }
    for block in messages.iter().flat_map(|message| message["content"].as_array().unwrap()) {
        assert!(block["text"].as_str().is_none_or(|text| !text.trim().is_empty()), "an empty text");
    }
    assert!(messages.iter().all(|message| !message["content"].as_array().unwrap().is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_json_gives_valid_json_or_an_error(body in garbage(), at in 0usize..14, strict in any::<bool>()) {
        let text = body.to_string();
        let target = target(at, strict);
        for from in [Format::Messages, Format::Chat] {
            let first = translate(from, text.as_bytes(), &target);
            let second = translate(from, text.as_bytes(), &target);
            match (first, second) {
                (Ok(first), Ok(second)) => {
                    prop_assert_eq!(&first.body, &second.body, "equal requests give equal bytes");
                    let out: Value = serde_json::from_slice(&first.body).unwrap();
                    prop_assert_eq!(&out["model"], target.model);
                    prop_assert!(first.degradations.len() <= 32);
                    if from != target.format {
                        check_pairs(target.format, out["messages"].as_array().unwrap());
                    }
                }
                (first, second) => prop_assert_eq!(first.err(), second.err()),
            }
            count_tokens(from, text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..7) {
        for from in [Format::Messages, Format::Chat] {
            prop_assert!(translate(from, &body, &target(at, false)).is_err());
            prop_assert!(count_tokens(from, &body).is_err());
        }
    }

    #[test]
    fn any_history_comes_out_legal((from, body) in history(), at in 0usize..7) {
        let target = target(at, false);
        prop_assume!(from != target.format);
        let translated = translate(from, body.to_string().as_bytes(), &target).unwrap();
        let out: Value = serde_json::from_slice(&translated.body).unwrap();
        let messages = out["messages"].as_array().unwrap();
        check_pairs(target.format, messages);
        if target.format == Format::Messages {
            check_messages_rules(messages);
        }
    }

    #[test]
    fn more_text_is_never_fewer_tokens(text in any::<String>(), more in any::<String>()) {
        let count = |text: &str| {
            let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
            count_tokens(Format::Messages, body.as_bytes()).unwrap()
        };
        prop_assert!(count(&(text.clone() + &more)) >= count(&text));
    }
}
