//! The request halves of the acceptance cases of translation.md §4, as golden pairs (`fixtures/<case>/in.json`, `out.json`) and by
//! words where a rule says more than one pair can.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read what it made must fail")]

use serde_json::{Value, json};
use tollgate_translate::Format;
use tollgate_translate::head::{Splices, peek, splice};
use tollgate_translate::request::{Target, Translated, count_tokens, translate};

#[path = "acceptance_requests/support.rs"]
mod support;
use support::{chat, claude, claude_code, compatible, first_turn, messages, openai, output};

/// Compares a translation with its golden pair. `BLESS=1` writes the pair anew: read the difference before you commit it.
fn golden(case: &str, from: Format, target: &Target<'_>) -> Translated {
    let dir = format!("{}/tests/fixtures/{case}", env!("CARGO_MANIFEST_DIR"));
    let input = std::fs::read(format!("{dir}/in.json")).unwrap();
    let translated = translate(from, &input, target).unwrap();
    let out: Value = serde_json::from_slice(&translated.body).unwrap();
    let path = format!("{dir}/out.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&out).unwrap() + "\n").unwrap();
    }
    let want: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(out, want, "{case}");
    translated
}

fn fields(translated: &Translated) -> Vec<&str> {
    translated.degradations.iter().map(|d| d.field.as_str()).collect()
}

#[test]
fn appendix_a_the_worked_turn() {
    let translated = golden("appendix_a", Format::Messages, &openai("gpt-5"));
    assert_eq!(translated.degradations, []);
}

#[test]
fn case_04_parallel_calls_stay_one_message() {
    // The turn that streamed as two interleaved calls comes back as two blocks, or from some clients as two turns.
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "Read", "input": {"p": id}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": id});
    let one = json!({"messages": [
        {"role": "assistant", "content": [call("a"), call("b")]}, {"role": "user", "content": [result("a"), result("b")]}]});
    let two = json!({"messages": [
        {"role": "assistant", "content": [call("a")]}, {"role": "assistant", "content": [call("b")]},
        {"role": "user", "content": [result("a")]}, {"role": "user", "content": [result("b")]}]});
    let one = output(&messages(&one, &openai("gpt-4.1")));
    assert_eq!(one["messages"][0]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(one["messages"][0]["content"], Value::Null);
    assert_eq!(
        (&one["messages"][1]["tool_call_id"], &one["messages"][2]["tool_call_id"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(output(&messages(&two, &openai("gpt-4.1"))), one);
}

#[test]
fn case_05_repeated_and_odd_call_ids_stay_pairs() {
    // Some servers number the calls of every turn anew, or use characters that Anthropic refuses.
    let turn = |id: &str, text: &str| {
        [
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]}),
            json!({"role": "tool", "tool_call_id": id, "content": text}),
        ]
    };
    let turns: Vec<_> = [turn("call_0", "1"), turn("call_0", "2"), turn("call:1|x", "3"), turn("", "4")]
        .into_iter()
        .flatten()
        .collect();
    let out = output(&chat(&json!({"messages": turns}), &claude("claude-sonnet-4-5")));
    let mut seen = std::collections::HashSet::new();
    for pair in out["messages"].as_array().unwrap().chunks(2) {
        let id = pair[0]["content"][0]["id"].as_str().unwrap();
        assert!(
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
            "{id}"
        );
        assert!(seen.insert(id), "{id} twice");
        assert_eq!(pair[1]["content"][0]["tool_use_id"], id);
        assert_eq!(pair[0]["content"][0]["input"], json!({}));
    }
    assert_eq!(out["messages"][0]["content"][0]["id"], "call_0");
}

#[test]
fn case_08_cut_off_and_broken_arguments_stay_usable() {
    let input = |arguments: &str| {
        let body = json!({"messages": [
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}]});
        output(&chat(&body, &claude("claude-sonnet-4-5")))["messages"][0]["content"][0]["input"].clone()
    };
    assert_eq!(input(""), json!({}));
    assert_eq!(input("null"), json!({}));
    assert_eq!(input(r#"{"a":1}"#), json!({"a": 1}));
    assert_eq!(input(r#""{\"a\":1}""#), json!({"a": 1}), "encoded twice");
    assert_eq!(input(r#"{"a":[1,{"b":"c"#), json!({"a": [1, {"b": "c"}]}), "cut off");
    assert_eq!(input(r#"{"a":"x\"#), json!({"a": "x"}), "cut off in an escape");
    assert_eq!(input("{'a':1}"), json!({"_raw": "{'a':1}"}));
    assert_eq!(input("[1]"), json!({"_raw": "[1]"}));
}

#[test]
fn case_09_an_interrupted_history_is_repaired() {
    let translated = golden("case_09_interrupted", Format::Messages, &openai("gpt-4.1"));
    assert_eq!(fields(&translated), ["messages.content.tool_result", "messages.content.tool_result"]);
    let body =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/case_09_interrupted/in.json"))
            .unwrap();
    let strict = Target { strict: true, ..openai("gpt-4.1") };
    assert!(translate(Format::Messages, &body, &strict).is_ok(), "a repair is no loss");
}

#[test]
fn case_13_signed_thinking_passes_byte_for_byte() {
    let body = br#"{ "model":"anthropic/claude-opus-4-6","max_tokens":10, "messages":[{"role":"assistant","content":[
        {"type":"thinking","thinking":"","signature":"EqQBCgIYAhIk"}, {"signature":"Er==","thinking":"a\u00e9","type":"thinking"},
        {"type":"redacted_thinking","data":"EmwKAhgB"},{"type":"tool_use","id":"toolu_1","name":"f","input":{ "b":1.0,"a":[ ] }}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1"}]}]}"#;
    let head = peek(Format::Messages, body).unwrap();
    let splices = Splices { model: Some("claude-opus-4-6"), ..Splices::default() };
    let out = String::from_utf8(splice(Format::Messages, body, &head, &splices)).unwrap();
    assert_eq!(out, std::str::from_utf8(body).unwrap().replace("anthropic/claude", "claude"));
    assert_eq!(translate(Format::Messages, body, &claude("claude-opus-4-6")).unwrap().body, out.as_bytes());
}

#[test]
fn case_13_signed_thinking_survives_a_chat_client() {
    let body = json!({"messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "a", "reasoning_content": "why", "reasoning_details": [
            {"type": "reasoning.text", "text": "why", "signature": "EqQB", "index": 0},
            {"type": "reasoning.encrypted", "data": "Emw"}, {"type": "reasoning.text", "text": "foreign", "signature": "gw1.e30"},
            {"type": "reasoning.text", "text": "unsigned"}]},
        {"role": "user", "content": "more"}]});
    let out = output(&chat(&body, &claude("claude-opus-4-6")));
    assert_eq!(
        out["messages"][1]["content"],
        json!([
        {"type": "thinking", "thinking": "why", "signature": "EqQB"}, {"type": "redacted_thinking", "data": "Emw"},
        {"type": "text", "text": "a"}])
    );
}

#[test]
fn case_14_foreign_reasoning_does_not_wedge_a_switch_of_models() {
    // From another provider to Claude, passed through.
    let history = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "gw1.eyJwIjoiT3BlbkFJIn0"}, {"type": "thinking", "thinking": "x", "signature": ""},
            {"type": "redacted_thinking", "data": "gw1.eyJwIjoiT3BlbkFJIn0"}, {"type": "text", "text": "hello"}]},
        {"role": "user", "content": "again"}]});
    let out = output(&messages(&history, &claude("claude-opus-4-6")));
    assert_eq!(out["messages"][1]["content"], json!([{"type": "text", "text": "hello"}]));
    // And from Claude to another provider: signatures mean nothing there.
    let signed = history.to_string().replace("gw1.", "EqQB");
    let out = translate(Format::Messages, signed.as_bytes(), &openai("gpt-5")).unwrap();
    assert_eq!(output(&out)["messages"][1], json!({"role": "assistant", "content": "hello"}));
    assert_eq!(out.degradations, []);
    // Models that lose their thread without their reasoning get theirs back, and nobody else's.
    let out = output(&messages(&history, &compatible("deepseek-reasoner")));
    assert_eq!(
        out["messages"][1],
        json!({"role": "assistant", "content": "hello", "reasoning_content": "hm\n\nx"})
    );
    let out = translate(Format::Messages, signed.as_bytes(), &compatible("deepseek-reasoner")).unwrap();
    assert_eq!(output(&out)["messages"][1]["reasoning_content"], "x");
}

#[test]
fn case_18_images_and_documents_in_tool_results_reach_the_model() {
    let translated = golden("case_18_images", Format::Messages, &openai("gpt-4o"));
    assert_eq!(translated.degradations, []);
    let translated = golden("case_18_images_compatible", Format::Messages, &compatible("llava"));
    assert_eq!(fields(&translated), ["messages.content.document"]);
}

#[test]
fn case_19_errors_and_empty_results_are_said_in_words() {
    golden("case_19_results", Format::Messages, &openai("gpt-4.1"));
    golden("case_19_results_chat", Format::Chat, &claude("claude-sonnet-4-5"));
}

#[test]
fn case_21_long_and_odd_names_are_shortened_everywhere_and_undone() {
    let long = format!("mcp__{}", "server_name__".repeat(7));
    let other = format!("{}X", &long[..long.len() - 1]);
    let body = json!({
        "tools": [{"name": long}, {"name": other}, {"name": "a.b/c"}, {"name": "plain"}],
        "tool_choice": {"type": "tool", "name": other},
        "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": long, "input": {}}]}]});
    let translated = messages(&body, &openai("gpt-4.1"));
    let out = output(&translated);
    let names: Vec<_> = out["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    for name in &names {
        assert!(
            name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
            "{name}"
        );
    }
    assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    assert_eq!(names[0][..55], long[..55]);
    assert_eq!(names[3], "plain");
    assert_eq!(out["tool_choice"]["function"]["name"], names[1]);
    assert_eq!(out["messages"][0]["tool_calls"][0]["function"]["name"], names[0]);
    let undone: Vec<_> = names.iter().map(|name| translated.names.original(name)).collect();
    assert_eq!(undone, [&long, &other, "a.b/c", "plain"]);
    // On a later turn, among other tools, the names are the same.
    let later =
        messages(&json!({"tools": [{"name": "new"}, {"name": other}], "messages": []}), &openai("gpt-4.1"));
    assert_eq!(output(&later)["tools"][1]["function"]["name"], names[1]);
}

#[test]
fn case_21_a_shortened_name_never_hits_another_tool() {
    let odd = "a.b";
    let first = output(&messages(&json!({"tools": [{"name": odd}], "messages": []}), &openai("gpt-4.1")));
    let wire = first["tools"][0]["function"]["name"].as_str().unwrap();
    let body = json!({"tools": [{"name": wire}, {"name": odd}], "messages": []});
    let translated = messages(&body, &openai("gpt-4.1"));
    let out = output(&translated);
    assert_eq!(out["tools"][0]["function"]["name"], wire);
    assert_ne!(out["tools"][1]["function"]["name"], wire);
    assert_eq!(translated.names.original(wire), wire);
}

#[test]
fn case_22_instructions_stay_in_place_and_billing_goes() {
    golden("case_22_mid_system", Format::Messages, &openai("gpt-5"));
    golden("case_22_mid_system_chat", Format::Chat, &claude("claude-sonnet-4-5"));
    let billing = claude_code("gpt-5", &first_turn());
    assert!(
        !String::from_utf8(messages(&billing, &openai("gpt-5")).body)
            .unwrap()
            .contains("x-anthropic-billing")
    );
    // Untouched for Anthropic.
    let passed = messages(&billing, &claude("claude-opus-4-6"));
    assert_eq!(output(&passed)["system"], billing["system"]);
    assert_eq!(output(&passed)["messages"], billing["messages"]);
}

#[test]
fn case_22_three_turns_share_their_prefix() {
    let mut turns = first_turn();
    let mut bodies: Vec<Vec<Value>> = Vec::new();
    for i in 0..3 {
        let body = claude_code("gpt-5", &turns);
        bodies.push(output(&messages(&body, &openai("gpt-5")))["messages"].as_array().unwrap().clone());
        // The next turn: cache_control moves on, the billing text changes.
        let list = turns.as_array_mut().unwrap();
        for message in list.iter_mut() {
            for block in message["content"].as_array_mut().into_iter().flatten() {
                block.as_object_mut().unwrap().remove("cache_control");
            }
        }
        let id = format!("toolu_{i}");
        list.push(json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "gw1.x"},
            {"type": "tool_use", "id": id, "name": "Read", "input": {"file_path": "x"}}]}));
        list.push(
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "text",
            "cache_control": {"type": "ephemeral"}}]}),
        );
    }
    for pair in bodies.windows(2) {
        assert_eq!(pair[0], pair[1][..pair[0].len()]);
    }
}

#[test]
fn case_24_reasoning_models_get_only_what_they_take() {
    let body = json!({"max_tokens": 1000, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["x"],
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}, "tools": [{"name": "f"}], "messages": []});
    let translated = messages(&body, &openai("gpt-5-mini"));
    let out = output(&translated);
    for gone in ["temperature", "top_p", "top_k", "stop", "max_tokens"] {
        assert!(out.get(gone).is_none(), "{gone}");
    }
    assert_eq!((&out["max_completion_tokens"], &out["reasoning_effort"]), (&json!(1000), &json!("high")));
    assert_eq!(
        fields(&translated),
        ["output_config.effort", "temperature", "top_p", "top_k", "stop_sequences"]
    );
    // A model that does not reason takes the others.
    let translated = messages(&body, &openai("gpt-4.1"));
    let out = output(&translated);
    assert_eq!((&out["temperature"], &out["top_p"], &out["stop"]), (&json!(0.5), &json!(0.9), &json!(["x"])));
    assert!(out.get("reasoning_effort").is_none());
    assert_eq!(fields(&translated), ["output_config.effort", "top_k"]);
    let out = output(&messages(&body, &compatible("mistral-large")));
    assert_eq!(out["max_tokens"], 1000);
}

#[test]
fn case_24_effort_by_model() {
    let sent = |model: &str, fields: Value| {
        let mut body = json!({"messages": [], "max_tokens": 9});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        output(&messages(&body, &openai(model)))
            .get("reasoning_effort")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let effort = |word: &str| json!({"output_config": {"effort": word}});
    let budget = |n: u64| json!({"thinking": {"type": "enabled", "budget_tokens": n}});
    let disabled = json!({"thinking": {"type": "disabled"}});
    let tools = json!({"output_config": {"effort": "high"}, "tools": [{"name": "f"}]});
    for (model, fields, want) in [
        ("gpt-5", json!({}), None),
        ("gpt-5", json!({"thinking": {"type": "adaptive"}}), Some("medium")),
        ("gpt-5", effort("max"), Some("high")),
        ("gpt-5.2", effort("max"), Some("xhigh")),
        ("gpt-5.2", effort("low"), Some("low")),
        ("gpt-5-pro", effort("low"), Some("high")),
        ("o3", budget(31_999), Some("high")),
        ("o3", budget(2_048), Some("medium")),
        ("o3", budget(1_024), Some("low")),
        ("gpt-5", disabled.clone(), Some("minimal")),
        ("gpt-5.1-2026-01-01", disabled.clone(), Some("none")),
        ("o4-mini", disabled.clone(), None),
        ("gpt-5.4", tools.clone(), None),
        ("gpt-5.6", tools.clone(), Some("none")),
        ("gpt-5.6", effort("high"), Some("high")),
        ("gpt-5-chat-latest", effort("high"), None),
        ("team-gpt-5-eu", effort("low"), Some("low")),
        ("gpt-4o", effort("low"), None),
    ] {
        assert_eq!(sent(model, fields.clone()).as_deref(), want, "{model} {fields}");
    }
}

#[test]
fn case_25_a_full_claude_code_body_leaves_no_foreign_field() {
    let mut body = claude_code("openai/gpt-5", &first_turn());
    body["cache_control"] = json!({"type": "ephemeral"});
    body["system"][1]["cache_control"]["scope"] = json!("global");
    body["tools"][0]["defer_loading"] = json!(true);
    body["tools"][1]["eager_input_streaming"] = json!(true);
    body["tools"][2]["cache_control"] = json!({"type": "ephemeral", "ttl": "1h"});
    let translated = messages(&body, &openai("gpt-5"));
    assert_eq!(translated.degradations, []);
    let out = output(&translated);
    let mut keys: Vec<_> = out.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "max_completion_tokens",
            "messages",
            "model",
            "prompt_cache_key",
            "reasoning_effort",
            "safety_identifier",
            "stream",
            "stream_options",
            "tools"
        ]
    );
    let text = String::from_utf8(translated.body).unwrap();
    for foreign in [
        "cache_control",
        "defer_loading",
        "eager_input",
        "scope",
        "context_management",
        "input_schema",
        "$schema",
    ] {
        assert!(!text.contains(foreign), "{foreign}");
    }
    assert!(!text.contains("device_id") && !text.contains("\"d0"), "the user is not named");
    assert_eq!(out["tools"].as_array().unwrap().len(), 24);
    assert_eq!(
        out["messages"][2],
        json!({"role": "developer", "content": "The user's working directory is /work."})
    );
    // Imitations of OpenAI get none of its own fields.
    let out = output(&messages(&body, &compatible("qwen3")));
    let mut keys: Vec<_> = out.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["max_tokens", "messages", "model", "stream", "stream_options", "tools"]);
    assert_eq!(out["messages"][0]["role"], "system");
}

#[test]
fn case_25_what_is_lost_is_reported_or_refused() {
    let mut body = claude_code("m", &first_turn());
    body["mcp_servers"] = json!([{"url": "https://example.com"}]);
    body["context_management"]["edits"][0]["type"] = json!("compact_20260112");
    body["future\nfield"] = json!(1);
    let translated = messages(&body, &openai("gpt-5"));
    assert_eq!(fields(&translated), ["context_management", "future?field", "mcp_servers"]);
    let strict = Target { strict: true, ..openai("gpt-5") };
    let error = translate(Format::Messages, body.to_string().as_bytes(), &strict).unwrap_err().to_string();
    assert!(error.contains("`context_management` cannot be sent"), "{error}");
    let plain = claude_code("m", &first_turn());
    assert!(
        translate(Format::Messages, plain.to_string().as_bytes(), &strict).is_ok(),
        "Claude Code works on a strict route"
    );
}

#[test]
fn case_26_no_choice_of_a_tool_that_is_not_sent() {
    let search = json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "tool_choice": {"type": "tool", "name": "web_search"}, "messages": [{"role": "user", "content": "search"}]});
    let translated = messages(&search, &openai("gpt-5"));
    let out = output(&translated);
    assert!(out.get("tools").is_none() && out.get("tool_choice").is_none());
    assert_eq!(fields(&translated), ["tools.web_search", "tool_choice"]);
    let body =
        json!({"tools": [{"name": "f"}], "tool_choice": {"type": "tool", "name": "g"}, "messages": []});
    assert!(output(&messages(&body, &openai("gpt-5"))).get("tool_choice").is_none());
}

#[test]
fn case_26_choices_both_ways() {
    for (anthropic, chat_choice) in [
        (json!({"type": "auto"}), json!("auto")),
        (json!({"type": "any"}), json!("required")),
        (json!({"type": "none"}), json!("none")),
        (json!({"type": "tool", "name": "f"}), json!({"type": "function", "function": {"name": "f"}})),
    ] {
        let body = json!({"tools": [{"name": "f"}], "tool_choice": anthropic, "messages": []});
        assert_eq!(output(&messages(&body, &openai("gpt-4.1")))["tool_choice"], chat_choice);
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let body = json!({"tools": tools, "tool_choice": chat_choice, "messages": []});
        assert_eq!(output(&chat(&body, &claude("claude-sonnet-4-5")))["tool_choice"], anthropic);
    }
    let body = json!({"tools": [{"name": "f"}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}, "messages": []});
    assert_eq!(output(&messages(&body, &openai("gpt-4.1")))["parallel_tool_calls"], false);
}

#[test]
fn case_26_a_forced_choice_gives_way_to_thinking() {
    let body = json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required",
        "reasoning_effort": "high", "messages": []});
    let translated = chat(&body, &claude("claude-opus-4-6"));
    assert_eq!(output(&translated)["tool_choice"], json!({"type": "auto"}));
    assert_eq!(fields(&translated), ["tool_choice"]);
    let body = json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required", "messages": []});
    assert_eq!(output(&chat(&body, &claude("claude-opus-5-5")))["tool_choice"], json!({"type": "auto"}));
}

#[test]
fn case_30_tokens_are_counted_of_everything_and_grow_with_it() {
    let count = |body: &Value| count_tokens(Format::Messages, body.to_string().as_bytes()).unwrap();
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    let mut last = count(&body);
    assert!((5..40).contains(&last), "{last}");
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA".repeat(50_000)}});
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA".repeat(9_000)}});
    for more in [
        json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "let me see", "signature": "x".repeat(1000)}]}),
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"path": "/a/b"}}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "found it"}]}]}),
        json!({"role": "user", "content": [image]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [pdf]}]}),
    ] {
        body["messages"].as_array_mut().unwrap().push(more.clone());
        let now = count(&body);
        assert!(now > last && now < last + 8_000, "{last} → {now}: {more}");
        last = now;
    }
    body["tools"] = json!([{"name": "f", "description": "d", "input_schema": {"type": "object"}}]);
    assert!(count(&body) > last + 300);
    let claude_code = count(&claude_code("m", &first_turn()));
    assert!((18_000..30_000).contains(&claude_code), "{claude_code}");
    let chat = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    assert!(count_tokens(Format::Chat, chat.to_string().as_bytes()).unwrap() > 1_500);
    assert!(count_tokens(Format::Chat, b"[]").is_err());
}
