//! What the fuzz targets share: requests and streams through the translation, with what must always hold.

use serde_json::Value;
use tollgate_translate::{
    Format, Provider,
    answer::{Context, Tap, Translator},
    head::{Splices, peek, splice},
    request::{Target, ToolNames, count_tokens, translate},
};

/// Anything as a request body: it is refused, or it is spliced and translated into JSON that is read again.
pub fn request(from: Format, body: &[u8]) {
    let head = peek(from, body);
    if let Ok(head) = &head {
        let splices = Splices {
            model: Some("other-model"),
            output_cap: Some(1_000),
            include_usage: true,
            cap_field: None,
        };
        let spliced = splice(from, body, head, &splices);
        let again = peek(from, &spliced).expect("a spliced body is read again");
        assert_eq!(again.model, "other-model");
        assert_eq!(again.output_cap.expect("the cap was written").tokens, 1_000);
        assert_eq!(again.stream, head.stream);
    }
    let (format, provider) = match from {
        Format::Messages => (Format::Chat, Provider::OpenAi),
        Format::Chat => (Format::Messages, Provider::Anthropic),
    };
    for strict in [false, true] {
        let target = Target { format, provider, model: "gpt-5", output_cap: Some(500), strict };
        let Ok(translated) = translate(from, body, &target) else { continue };
        let value: Value = serde_json::from_slice(&translated.body).expect("a translated body is JSON");
        assert_eq!(value["model"], "gpt-5");
        let same = translate(from, body, &target).expect("it was translated before");
        assert_eq!(same.body, translated.body, "translation is deterministic");
        // They go into a header.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-?[]".contains(c);
        assert!(
            translated.degradations.iter().all(|d| d.field.chars().all(plain)),
            "{:?}",
            translated.degradations
        );
    }
    if let Ok(count) = count_tokens(from, body) {
        assert!(count > 0);
    }
}

/// Anything as an upstream's stream, in two ways to cut it: the client gets the same, and a legal stream.
pub fn answer(upstream: Format, client: Format, bytes: &[u8], cut: usize) {
    let whole = translated(upstream, client, bytes, bytes.len().max(1));
    let cut = translated(upstream, client, bytes, cut.max(1));
    assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&cut), "another cut, another stream");
    match client {
        Format::Messages => legal_messages(&whole),
        Format::Chat => legal_chat(&whole),
    }
}

fn translated(upstream: Format, client: Format, bytes: &[u8], size: usize) -> Vec<u8> {
    let context = Context {
        upstream,
        client,
        model: "asked".to_owned(),
        names: ToolNames::default(),
        id: "1".to_owned(),
        created: 1,
        include_usage: true,
        input_estimate: 10,
    };
    let mut out = Vec::new();
    let mut translator = Translator::new(context, true, true);
    for piece in bytes.chunks(size) {
        translator.feed(piece, &mut out);
    }
    translator.end(&mut out);
    out
}

/// A tap passes every byte on.
pub fn tap(format: Format, bytes: &[u8], size: usize) {
    for stream in [false, true] {
        let mut tap = Tap::new(format, stream, true, false);
        for piece in bytes.chunks(size.max(1)) {
            assert!(tap.feed(piece).is_none(), "a plain tap changes nothing");
        }
        tap.end();
    }
}

fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("a stream is UTF-8");
    let data = text.split('\n').filter_map(|line| line.strip_prefix("data: "));
    data.filter(|d| *d != "[DONE]").map(|d| serde_json::from_str(d).expect("an event is JSON")).collect()
}

/// Starts once; blocks in order, one open at a time; ends once, by a stop or by an error.
fn legal_messages(bytes: &[u8]) {
    let (mut open, mut next, mut ended) = (None, 0, false);
    for (i, event) in events(bytes).iter().enumerate() {
        let kind = event["type"].as_str().expect("an event has a type");
        assert!(!ended, "{kind} after the end");
        match kind {
            "message_start" => assert_eq!(i, 0, "a second message_start"),
            "content_block_start" => {
                assert!(open.is_none(), "two open blocks");
                assert_eq!(event["index"], next);
                open = Some(next);
                next += 1;
            }
            "content_block_delta" => assert_eq!(Some(event["index"].as_i64().expect("an index")), open),
            "content_block_stop" => assert_eq!(Some(event["index"].as_i64().expect("an index")), open.take()),
            "message_delta" => assert!(open.is_none(), "message_delta inside a block"),
            "message_stop" | "error" => ended = true,
            "ping" => {}
            other => panic!("unknown event {other}"),
        }
    }
    assert!(ended, "the stream has no end: {}", String::from_utf8_lossy(bytes));
}

/// Ends by `[DONE]`, or by an error without it.
fn legal_chat(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let all = events(bytes);
    let failed = all.iter().any(|e| e.get("error").is_some());
    assert_ne!(failed, text.trim_end().ends_with("data: [DONE]"), "exactly one end: {text}");
    assert!(text.matches("data: [DONE]").count() <= 1);
}
