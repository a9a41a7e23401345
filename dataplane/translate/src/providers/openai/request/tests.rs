//! Messages → Chat: what the target's rules make of each option.

use super::models::{BesideTools, family};
use crate::request::{Target, Translated, translate};
use crate::{Format, Provider};
use serde_json::{Value, json};

fn send(provider: Provider, model: &str, mut fields: Value) -> (Value, Vec<String>) {
    if fields.get("messages").is_none() {
        fields["messages"] = json!([{"role": "user", "content": "hi"}]);
    }
    let target = Target { format: Format::Chat, provider, model, output_cap: None, strict: false };
    let Translated { body, degradations, .. } =
        translate(Format::Messages, fields.to_string().as_bytes(), &target).unwrap();
    (serde_json::from_slice(&body).unwrap(), degradations.into_iter().map(|d| d.field).collect())
}

#[test]
fn families_are_known_by_name() {
    for (model, reasons, beside) in [
        ("gpt-4o-mini", false, BesideTools::Fine),
        ("gpt-5", true, BesideTools::Fine),
        ("openai/gpt-5-mini", true, BesideTools::Fine),
        ("GPT-5.4-2026-05-01", true, BesideTools::Omit),
        ("gpt-5.6", true, BesideTools::Off),
        ("gpt-5.10", true, BesideTools::Off),
        ("gpt-6-mini", true, BesideTools::Off),
        ("gpt-5-chat-latest", false, BesideTools::Fine),
        ("gpt-50", false, BesideTools::Fine),
        ("o3-mini", true, BesideTools::Fine),
        ("foo3", false, BesideTools::Fine),
        ("gpt-oss-120b", false, BesideTools::Fine),
        ("prod-o4-mini", true, BesideTools::Fine),
        ("", false, BesideTools::Fine),
    ] {
        let known = family(model);
        assert_eq!((known.fixed_sampling, known.beside_tools), (reasons, beside), "{model}");
    }
    assert_eq!(family("openai/gpt-oss-120b").efforts.len(), 3);
}

#[test]
fn people_and_sessions_become_pseudonyms() {
    let sent = |user: &str| {
        let (out, _) = send(Provider::OpenAi, "gpt-4.1", json!({"metadata": {"user_id": user}}));
        (out.get("safety_identifier").cloned(), out.get("prompt_cache_key").cloned())
    };
    let code = sent(r#"{"device_id":"d","account_uuid":"","session_id":"s"}"#);
    assert_eq!(code, sent(r#"{"session_id":"s","device_id":"d"}"#));
    assert!(code.0.as_ref().unwrap().as_str().unwrap().len() == 32 && code.1.is_some());
    assert_eq!(sent(r#"{"session_id":"s"}"#), (None, code.1.clone()));
    assert_eq!(sent("user_d_account__session_s").1, code.1);
    let person = sent("someone@example.com");
    assert!(person.1.is_none() && !person.0.unwrap().to_string().contains("someone"));
    let (out, _) = send(Provider::OpenAiCompatible, "m", json!({"metadata": {"user_id": "u"}}));
    assert_eq!(out.as_object().unwrap().len(), 2);
}

#[test]
fn output_format_is_strict_only_where_openai_would_take_it() {
    let sent = |schema: Value| {
        let (out, _) = send(
            Provider::OpenAi,
            "gpt-4.1",
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        );
        assert_eq!(out["response_format"]["json_schema"]["schema"], schema);
        out["response_format"]["json_schema"]["strict"].as_bool().unwrap()
    };
    let closed = |required: Value| json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": required, "additionalProperties": false});
    assert!(sent(closed(json!(["a"]))));
    assert!(!sent(closed(json!([]))));
    assert!(!sent(json!({"type": "object", "properties": {}})));
    let nested = json!({"type": "object", "properties": {"o": {"type": "object", "properties": {"b": {}}}}, "required": ["o"], "additionalProperties": false});
    assert!(!sent(nested));
}

#[test]
fn schemas_stay_as_they_are_where_that_is_possible() {
    let target = |provider| Target {
        format: Format::Chat,
        provider,
        model: "gpt-4.1",
        output_cap: None,
        strict: false,
    };
    let body =
        |schema: &str| format!(r#"{{"messages":[],"tools":[{{"name":"f","input_schema":{schema}}}]}}"#);
    let sent = |provider, schema: &str| {
        let out = translate(Format::Messages, body(schema).as_bytes(), &target(provider)).unwrap();
        let text = String::from_utf8(out.body).unwrap();
        let at = text.find("\"parameters\":").unwrap() + 13;
        text[at..text.len() - 4].to_owned()
    };
    let whole =
        r#"{ "properties": {"b":{"const":1.0e2}, "a":{"type":["string","null"]}},  "type" : "object" }"#;
    assert_eq!(sent(Provider::OpenAi, whole), whole);
    assert_eq!(
        sent(Provider::OpenAi, r#"{"$schema":"x","type":"object","properties":{ "z" : {} },"required":[ ]}"#),
        r#"{"type":"object","properties":{ "z" : {} },"required":[ ]}"#
    );
    for (schema, want) in [
        ("{}", r#"{"type":"object","properties":{}}"#),
        ("null", r#"{"type":"object","properties":{}}"#),
        ("true", r#"{"type":"object","properties":{}}"#),
        (r#"{"$schema":"x"}"#, r#"{"type":"object","properties":{}}"#),
        (r#"{"type":"object"}"#, r#"{"properties":{},"type":"object"}"#),
        (r#"{"type":"string","x":1}"#, r#"{"type":"object","properties":{},"x":1}"#),
    ] {
        assert_eq!(sent(Provider::OpenAiCompatible, schema), want, "{schema}");
    }
}

#[test]
fn schemas_that_openai_refuses_are_made_whole() {
    let sent = |schema: Value| {
        let (out, _) =
            send(Provider::OpenAi, "gpt-4.1", json!({"tools": [{"name": "f", "input_schema": schema}]}));
        out["tools"][0]["function"]["parameters"].clone()
    };
    assert_eq!(
        sent(json!({"type": "object", "properties": {"a": {"type": "array"}}})),
        json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}}})
    );
    assert_eq!(
        sent(
            json!({"anyOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {}}}]})
        ),
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}})
    );
    assert_eq!(
        sent(
            json!({"type": "object", "properties": {"c": {}}, "required": ["c"], "allOf": [{"properties": {"a": {}}, "required": ["a"]}]})
        ),
        json!({"type": "object", "properties": {"a": {}, "c": {}}, "required": ["c", "a"]})
    );
    assert_eq!(
        sent(
            json!({"$ref": "#/$defs/In", "$defs": {"In": {"type": "object", "properties": {"a": {}}, "required": ["a"]}}})
        )["properties"],
        json!({"a": {}})
    );
}

#[test]
fn blocks_that_only_anthropic_knows_become_text_or_are_reported() {
    let (out, lost) = send(
        Provider::OpenAi,
        "gpt-4.1",
        json!({"messages": [
        {"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "title": "T", "url": "https://t", "encrypted_content": "E"}]},
            {"type": "text", "text": "As "}, {"type": "text", "text": "found.", "citations": []},
            {"type": "mcp_tool_use", "id": "m"}]},
        {"role": "user", "content": [
            {"type": "search_result", "title": "S", "source": "https://s", "content": [{"type": "text", "text": "body"}]},
            {"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}),
    );
    assert_eq!(out["messages"][0]["content"], "Web search results:\n- T (https://t)\n\nAs found.");
    assert_eq!(out["messages"][1]["content"][0]["text"], "S\nhttps://s\nbody");
    assert_eq!(
        out["messages"][1]["content"][1]["text"],
        "[an image was attached here; it cannot be shown to this model]"
    );
    assert_eq!(lost, ["messages.content.mcp_tool_use", "messages.content.image.source"]);
}

#[test]
fn halves_of_emoji_do_not_spoil_the_body() {
    let body = br#"{"messages":[{"role":"user","content":"cut \ud83d"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":"\ud83d"}}]}],
        "tools":[{"name":"f","description":"\udc00","input_schema":{"type":"object","properties":{},"title":"\ud83d"}}]}"#;
    let target = Target {
        format: Format::Chat,
        provider: Provider::OpenAi,
        model: "gpt-4.1",
        output_cap: None,
        strict: false,
    };
    let out: Value =
        serde_json::from_slice(&translate(Format::Messages, body, &target).unwrap().body).unwrap();
    assert_eq!(out["messages"][0]["content"], "cut \u{fffd}");
}

#[test]
fn at_most_four_stops() {
    let (out, lost) = send(Provider::OpenAi, "gpt-4.1", json!({"stop_sequences": ["a", "b", "c", "d", "e"]}));
    assert_eq!((out["stop"].as_array().unwrap().len(), lost), (4, vec!["stop_sequences".to_owned()]));
}

#[test]
fn the_gateways_cap_wins_over_the_clients() {
    let target = Target {
        format: Format::Chat,
        provider: Provider::OpenAi,
        model: "gpt-4.1",
        output_cap: Some(5),
        strict: false,
    };
    let out = translate(Format::Messages, br#"{"max_tokens":9,"messages":[]}"#, &target).unwrap();
    assert!(String::from_utf8(out.body).unwrap().contains("\"max_completion_tokens\":5,"));
}
