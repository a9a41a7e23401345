//! What clients rely on beside the numbered cases: ends, errors, whole bodies.

use super::{grammar, *};

#[test]
fn empty_answers_are_errors_unless_they_were_cut_short_or_refused() {
    for finish in ["stop", "tool_calls"] {
        let answer = to_messages(&chat(&[json!({"role": "assistant", "content": ""})], finish));
        assert_eq!(answer.error.map(|(kind, _)| kind).as_deref(), Some("api_error"));
        let error = whole(Format::Chat, &completion(json!({"content": null}), finish)).unwrap_err();
        assert_eq!((error.kind, error.kind.status(Format::Messages)), (Kind::Api, 502));
    }
    assert!(whole(Format::Messages, &message(json!([]), "end_turn")).is_err());
    assert!(whole(Format::Chat, &json!({"id": "x", "choices": []})).is_err());
    let mut translator = Translator::new(context(Format::Chat), false, false);
    assert!(translator.whole(b"<html>busy</html>").is_err() && translator.summary().error.is_some());
    assert!(translator.whole(b"").is_err());

    for (finish, stop) in [("length", "max_tokens"), ("content_filter", "refusal")] {
        let answer = to_messages(&chat(&[], finish));
        assert_eq!((answer.blocks, answer.stop.as_deref()), (vec![text("")], Some(stop)));
        let body = whole(Format::Chat, &completion(json!({"content": ""}), finish)).unwrap();
        assert_eq!(
            (&body["stop_reason"], &body["content"]),
            (&json!(stop), &json!([{"type": "text", "text": ""}]))
        );
    }
}

#[test]
fn stop_reasons_have_the_clients_words() {
    for (finish, extra, stop) in [
        ("stop", json!(null), "end_turn"),
        ("stop", json!("END"), "stop_sequence"),
        ("eos", json!(null), "end_turn"),
        ("length", json!(null), "max_tokens"),
        ("content_filter", json!(null), "refusal"),
    ] {
        let mut body = completion(json!({"content": "x"}), finish);
        body["choices"][0]["stop_reason"] = extra.clone();
        let body = whole(Format::Chat, &body).unwrap();
        assert_eq!(
            (&body["stop_reason"], &body["stop_sequence"]),
            (&json!(stop), if stop == "stop_sequence" { &extra } else { &Value::Null })
        );
    }
    for (stop, finish) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("something_new", "stop"),
    ] {
        let body = whole(Format::Messages, &message(json!([{"type": "text", "text": "x"}]), stop)).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], finish, "{stop}");
    }
    let refusal = to_messages(&chat(&[json!({"refusal": "I can"}), json!({"refusal": "not."})], "stop"));
    assert_eq!((refusal.blocks, refusal.stop.as_deref()), (vec![text("I cannot.")], Some("refusal")));
}

#[test]
fn an_error_inside_a_stream_has_the_clients_shape() {
    let answer = to_messages(fixture!("chat_openrouter_error"));
    assert_eq!(answer.blocks, [text("Par")]);
    assert_eq!(answer.error, Some(("rate_limit_error".into(), "Provider returned error: slow down".into())));
    let answer = to_chat(fixture!("messages_overloaded_midway"));
    assert_eq!(answer.error, Some(("server_error".into(), "Overloaded".into())));

    let mut translator = Translator::new(context(Format::Chat), true, false);
    let mut out = Vec::new();
    translator.feed(
        b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: oops\n\n",
        &mut out,
    );
    assert!(
        grammar::messages(&out).unwrap().error.is_some(),
        "an event that cannot be read is not passed over"
    );
    let late = UpstreamError { kind: Kind::Timeout, message: "too late".into(), ..UpstreamError::default() };
    let length = out.len();
    translator.fail(late, &mut out);
    translator.heartbeat(&mut out);
    assert_eq!(out.len(), length, "one error, and nothing after it");
}

#[test]
fn whole_answers_carry_our_id_and_the_clients_model() {
    let body = whole(Format::Chat, &completion(json!({"content": "Hi"}), "stop")).unwrap();
    assert_eq!(
        body,
        json!({"id": "msg_0192", "type": "message", "role": "assistant", "model": "openai/gpt-5", "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 900, "output_tokens": 20}})
    );
    let body =
        whole(Format::Messages, &message(json!([{"type": "text", "text": "Hi"}]), "end_turn")).unwrap();
    assert_eq!(
        body,
        json!({"id": "chatcmpl-0192", "object": "chat.completion", "created": 1_700_000_000, "model": "openai/gpt-5",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020,
                "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 50}, "completion_tokens_details": {"reasoning_tokens": 0}}})
    );
    let mut translator = Translator::new(context(Format::Chat), false, true);
    translator.whole(completion(json!({"content": "Hi"}), "stop").to_string().as_bytes()).unwrap();
    let summary = translator.into_summary();
    assert_eq!((summary.id.as_deref(), summary.model.as_deref()), (Some("chatcmpl-1"), Some("gpt-5-2025")));
    assert_eq!((summary.stop.as_deref(), summary.complete), (Some("end_turn"), true));
    assert_eq!(summary.usage, Some(Usage { input: 100, cache_read: 900, output: 20, ..Usage::default() }));
}

#[test]
fn a_usage_chunk_comes_only_when_asked_for() {
    let out = bytes(Context { include_usage: false, ..context(Format::Messages) }, fixture!("messages_text"));
    assert!(!String::from_utf8_lossy(&out).contains("usage"));
    let answer = grammar::chat(&out, false).unwrap();
    assert_eq!(
        (answer.blocks, answer.stop.as_deref()),
        (vec![text("Hello, \"world\"\n– ünï 🌍")], Some("stop"))
    );
}

#[test]
fn half_characters_do_not_break_a_stream() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"a\\ud83d\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\\ude00b\"},\"finish_reason\":\"stop\"}]}\n\n";
    assert_eq!(to_messages(stream).blocks, [text("a\u{fffd}\u{fffd}b")]);
}
