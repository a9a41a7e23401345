use super::*;
use crate::Format::{self, Chat, Messages};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn read(format: Format, body: &str) -> Head {
    peek(format, body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"))
}

fn refused(format: Format, body: &str) -> String {
    peek(format, body.as_bytes()).expect_err(body).to_string()
}

fn spliced(format: Format, body: &str, splices: &Splices<'_>) -> String {
    String::from_utf8(splice(format, body.as_bytes(), &read(format, body), splices)).unwrap()
}

#[test]
fn finds_what_routing_needs() {
    let body = r#" {"model":"anthropic\/claude-\u006fpus[1m]","max_tokens": 32000 ,"stream":true,"tools":[{"a":[1]},{},{}],
        "thinking":{"type":"enabled","budget_tokens":4096},"metadata":{"user_id":"{\"session_id\":\"s\"}"},"x":[]}"#;
    let head = read(Messages, body);
    assert_eq!(head.model, "anthropic/claude-opus[1m]");
    assert_eq!(&body[head.model_span.clone()], r#""anthropic\/claude-\u006fpus[1m]""#);
    let cap = head.output_cap.unwrap();
    assert_eq!((cap.tokens, &body[cap.span]), (32000, "32000"));
    assert!(head.stream);
    assert_eq!((head.tools, head.thinking_budget, head.choices), (3, Some(4096), 1));
    assert_eq!(head.user.as_deref(), Some(r#"{"session_id":"s"}"#));
    assert_eq!(&body[..head.insert_at], " {");
}

#[test]
fn finds_what_routing_needs_in_chat() {
    let body = r#"{"max_tokens":9,"max_completion_tokens":7,"model":"m","n":3,"user":"u","safety_identifier":"s","functions":[{}],
        "stream":true,"stream_options":{"include_usage":true,"x":1}}"#;
    let head = read(Chat, body);
    assert_eq!(head.output_cap.as_ref().map(|c| c.tokens), Some(7));
    assert_eq!(head.shadow_cap.as_ref().map(|c| c.tokens), Some(9));
    assert_eq!((head.choices, head.tools, head.include_usage), (3, 1, true));
    assert_eq!(head.user.as_deref(), Some("s"));
}

#[test]
fn refuses_with_words_that_name_the_field() {
    for (body, words) in [
        ("", "not valid JSON: unexpected end"),
        ("[]", "must be a JSON object"),
        ("{}", "`model` is missing"),
        (r#"{"model":5}"#, "`model` must be a string"),
        (r#"{"model":" "}"#, "`model` is empty"),
        (r#"{"model":"a","mod\u0065l":"b"}"#, "`model` is in the request body twice"),
        (r#"{"model":"a","Model":"b"}"#, "write `model`"),
        (r#"{"model":"a","models":["b"]}"#, "`models` is not taken"),
        (r#"{"model":"a","Models":["b"]}"#, "`models` is not taken"),
        (r#"{"model":"a","max_toKens":1}"#, "write `max_tokens`"),
        (r#"{"model":"a","max_tokens":-1}"#, "`max_tokens` must be a whole number"),
        (r#"{"model":"a","max_tokens":1.5}"#, "not 1.5"),
        (r#"{"model":"a","max_tokens":99999999999999999999999}"#, "`max_tokens` must be a whole number"),
        (r#"{"model":"a","max_tokens":"1"}"#, "`max_tokens` must be a whole number"),
        (r#"{"model":"a","stream":"yes"}"#, "`stream` must be true or false"),
        (r#"{"model":"a"} x"#, "more than one value"),
        (r#"{"model":"a","x":[1}"#, "at byte 19"),
    ] {
        let error = refused(Messages, body);
        assert!(error.contains(words), "{body}: {error}");
    }
    assert!(refused(Chat, r#"{"model":"a","n":"2"}"#).contains("`n` must be"));
    let deep = format!("{{\"model\":\"a\",\"x\":{}{}}}", "[".repeat(128), "]".repeat(128));
    assert!(refused(Messages, &deep).contains("deeper than 128"));
}

#[test]
fn finds_what_makes_a_request_dearer() {
    let head = read(Chat, r#"{"model":"m","service_tier":"prior\u0069ty"}"#);
    assert_eq!(head.modes, [Box::from("priority")]);
    let body = r#"{"model":"m","speed":"fast","inference_geo":"us","service_tier":null,"tools":[
        {"type":"web_search_20250305","name":"web_search","max_uses":8},{"type":"web_search_20260209","name":"w"},
        {"name":"web_search","input_schema":{}},{"type":"custom","name":"web_search"}]}"#;
    let head = read(Messages, body);
    assert_eq!(head.modes, [Box::from("fast"), Box::from("us")]);
    assert_eq!((head.tools, head.web_searches), (4, 8 + 16), "the provider's own searches only");
    assert!(refused(Chat, r#"{"model":"m","Service_Tier":"priority"}"#).contains("write `service_tier`"));
    assert!(read(Messages, r#"{"model":"m"}"#).modes.is_empty());
}

#[test]
fn a_null_cap_is_no_cap_and_is_written_over() {
    let body = r#"{"model":"m","max_tokens":null}"#;
    assert_eq!(read(Chat, body).output_cap, None);
    let splices = Splices { output_cap: Some(5), ..Splices::default() };
    assert_eq!(spliced(Chat, body, &splices), r#"{"model":"m","max_tokens":5}"#);
}

#[test]
fn splices_model_cap_and_usage() {
    let body = "{ \"model\" : \"a/b\", \"messages\":[],\"stream\":true}";
    let splices = Splices { model: Some("b\"x"), output_cap: Some(7), include_usage: true, cap_field: None };
    assert_eq!(
        spliced(Chat, body, &splices),
        "{\"max_completion_tokens\":7,\"stream_options\":{\"include_usage\":true}, \"model\" : \"b\\\"x\", \"messages\":[],\"stream\":true}"
    );
    let splices = Splices { output_cap: Some(7), cap_field: Some("max_tokens"), ..Splices::default() };
    assert!(spliced(Chat, body, &splices).starts_with("{\"max_tokens\":7, \"model\""));
    assert_eq!(spliced(Chat, body, &Splices::default()), body);
    let body =
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}}"#;
    let splices = Splices { include_usage: true, ..Splices::default() };
    assert_eq!(
        spliced(Chat, body, &splices),
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#
    );
}

#[test]
fn usage_is_asked_of_streams_only() {
    let splices = Splices { include_usage: true, ..Splices::default() };
    for body in [r#"{"model":"m"}"#, r#"{"model":"m","stream":false,"stream_options":null}"#] {
        assert_eq!(spliced(Chat, body, &splices), body);
    }
    assert!(
        spliced(Chat, r#"{"model":"m","stream":true,"stream_options":null}"#, &splices)
            .ends_with(r#"{"include_usage":true}}"#)
    );
}

#[test]
fn a_second_cap_never_stands_above_the_one_that_counts() {
    let body = r#"{"model":"m","max_completion_tokens":10,"max_tokens":100000}"#;
    assert_eq!(
        spliced(Chat, body, &Splices::default()),
        r#"{"model":"m","max_completion_tokens":10,"max_tokens":10}"#
    );
    let splices = Splices { output_cap: Some(4), ..Splices::default() };
    assert_eq!(spliced(Chat, body, &splices), r#"{"model":"m","max_completion_tokens":4,"max_tokens":4}"#);
}

#[test]
fn foreign_reasoning_is_taken_out_and_all_else_stays() {
    let body = r#"{"model":"m","messages":[{"role":"assistant","content":[ {"type":"thinking","thinking":"a","signature":"gw1.abc"} , {"type":"text","text":"b"},{"type":"thinking","thinking":"","signature":"EqQB"}]},
        {"role":"assistant","content":[{"type":"redacted_thinking","data":"gw1.x"}]},{"role":"user","content":"gw1. \"signature\":\"\" "}]}"#;
    assert!(read(Messages, body).foreign_reasoning);
    assert_eq!(
        spliced(Messages, body, &Splices::default()),
        r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"thinking","thinking":"","signature":"EqQB"}]},
        {"role":"assistant","content":[{"type":"text","text":"(reasoning only)"}]},{"role":"user","content":"gw1. \"signature\":\"\" "}]}"#
    );
    let own = r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"EqQB"}]}]}"#;
    assert!(!read(Messages, own).foreign_reasoning);
}

#[test]
fn inline_images_are_not_counted_as_text() {
    let data = "iVBORw0K".repeat(100_000);
    let messages = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]}]});
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}]}]});
    for (format, body) in [(Messages, messages.to_string()), (Chat, chat.to_string())] {
        let head = read(format, &body);
        assert_eq!(head.images.count, 1, "{format:?}");
        assert!(head.images.bytes >= data.len());
        assert!(head.input_tokens_upper(body.len()) < 7_000);
        assert!(head.input_tokens_likely(body.len()) < 2_000);
    }
    let text = json!({"model": "m", "messages": [{"role": "user", "content": data}]}).to_string();
    assert_eq!(read(Messages, &text).images, Images::default());
}

#[test]
fn images_by_address_are_held_for() {
    let messages = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x/y"}}]}]}"#;
    let chat = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y"}}]}]}"#;
    for (format, body) in [(Messages, messages), (Chat, chat)] {
        assert_eq!(read(format, body).images, Images { count: 0, bytes: 0, others: 1 });
        assert!(read(format, body).input_tokens_upper(body.len()) > 5_000);
    }
    let text = json!({"model": "m", "messages": [{"role": "user", "content": messages}]}).to_string();
    assert_eq!(read(Messages, &text).images.others, 0);
}

/// Bodies with the fields that are read, in any order, amid others.
fn bodies() -> impl Strategy<Value = (Format, String)> {
    let field = prop_oneof![
        any::<String>().prop_map(|s| ("metadata".to_owned(), json!({ "user_id": s }))),
        (0u64..1 << 40).prop_map(|n| ("max_tokens".to_owned(), json!(n))),
        (0u64..1 << 40).prop_map(|n| ("max_completion_tokens".to_owned(), json!(n))),
        any::<bool>().prop_map(|b| ("stream".to_owned(), json!(b))),
        any::<Option<bool>>()
            .prop_map(|b| ("stream_options".to_owned(), json!({"include_usage": b, "o": 1}))),
        any::<String>().prop_map(|s| ("messages".to_owned(), json!([{"role": "user", "content": s}]))),
        ("[a-z]{3,6}_x", any::<i64>()).prop_map(|(k, n)| (k, json!([n, null, {"k": "\u{1}"}]))),
    ];
    let model = any::<String>().prop_filter("a name", |s| !s.trim().is_empty());
    (any::<bool>(), model, prop::collection::vec(field, 0..8), any::<bool>(), any::<prop::sample::Index>())
        .prop_map(|(chat, model, mut fields, spaced, at)| {
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields.dedup_by(|a, b| a.0 == b.0);
            fields.insert(at.index(fields.len() + 1), ("model".to_owned(), json!(model)));
            let sep = if spaced { " :\n " } else { ":" };
            let members: Vec<_> = fields.iter().map(|(k, v)| format!("{}{sep}{v}", json!(k))).collect();
            (if chat { Chat } else { Messages }, format!("{{{}}}", members.join(",")))
        })
}

proptest! {
    #[test]
    fn never_panics(format in prop_oneof![Just(Chat), Just(Messages)], body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(head) = peek(format, &body) {
            splice(format, &body, &head, &Splices { model: Some("x"), output_cap: Some(1), include_usage: true, cap_field: None });
        }
    }

    #[test]
    fn an_empty_splice_changes_nothing((format, body) in bodies()) {
        let head = peek(format, body.as_bytes()).unwrap();
        prop_assume!(head.shadow_cap.is_none());
        prop_assert_eq!(splice(format, body.as_bytes(), &head, &Splices::default()), body.as_bytes());
    }

    #[test]
    fn only_the_spliced_fields_change((format, body) in bodies(), model in any::<String>(), cap in any::<u64>()) {
        let head = peek(format, body.as_bytes()).unwrap();
        let before: Json = serde_json::from_str(&body).unwrap();
        prop_assert_eq!(before["model"].as_str(), Some(head.model.as_str()));
        let splices = Splices { model: Some(&model), output_cap: Some(cap), include_usage: true, cap_field: None };
        let out = splice(format, body.as_bytes(), &head, &splices);
        let after: Json = serde_json::from_slice(&out).unwrap();
        let mut want = before.clone();
        want["model"] = json!(model);
        let field = match format {
            Messages => "max_tokens",
            Chat if before.get("max_completion_tokens").is_none() && before.get("max_tokens").is_some() => "max_tokens",
            Chat => "max_completion_tokens",
        };
        want[field] = json!(cap);
        if let Some(shadow) = &head.shadow_cap {
            want["max_tokens"] = json!(shadow.tokens.min(cap));
        }
        if format == Chat && head.stream && !head.include_usage {
            want["stream_options"]["include_usage"] = json!(true);
        }
        prop_assert_eq!(after, want);
        // The bytes after the last splice and before the first are the client's.
        let first = [head.model_span.start, head.insert_at].into_iter().min().unwrap();
        prop_assert_eq!(&out[..first], &body.as_bytes()[..first]);
        let untouched = memchr::memmem::find(body.as_bytes(), b"\"messages\"");
        if let Some(at) = untouched {
            let len = serde_json::to_string(&before["messages"]).unwrap().len();
            let piece = &body.as_bytes()[at..(at + len).min(body.len())];
            prop_assert!(memchr::memmem::find(&out, piece).is_some());
        }
    }
}
