//! What the fuzz targets share: requests and streams through the translation, with what must always hold. The short form in
//! `make test` (dataplane/translate/tests/fuzz_seeds.rs) includes this file.

/// The strict checkers of both client grammars, as the tests use them.
#[path = "../../dataplane/translate/tests/support/grammar.rs"]
mod grammar;

use serde_json::Value;
use tollgate_translate::{
    Format, Provider,
    answer::{Context, Tap, Translator, sse::Decoder},
    error::{MESSAGE_CAP, render, understand},
    head::{Splices, peek, splice},
    request::{Target, ToolNames, count_tokens, translate},
};

/// A frame's name and data.
type Frame = (Vec<u8>, Option<Vec<u8>>);

/// Anything as an event stream: no cut loses a byte or changes a frame.
pub fn sse(bytes: &[u8], size: usize) {
    let (whole, raw) = frames(bytes, bytes.len());
    assert_eq!(raw, bytes, "bytes were lost");
    let with_data = |all: &[Frame]| all.iter().filter(|f| f.1.is_some()).cloned().collect::<Vec<_>>();
    assert_eq!(with_data(&frames(bytes, size).0), with_data(&whole));
}

fn frames(bytes: &[u8], size: usize) -> (Vec<Frame>, Vec<u8>) {
    let (mut decoder, mut frames, mut raw) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        decoder.feed(piece, |f| {
            frames.push((f.name.to_vec(), f.data.map(<[u8]>::to_vec)));
            raw.extend_from_slice(f.raw);
        });
    }
    decoder.end(|f| {
        frames.push((f.name.to_vec(), f.data.map(<[u8]>::to_vec)));
        raw.extend_from_slice(f.raw);
    });
    (frames, raw)
}

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
    let legal = match client {
        Format::Messages => grammar::messages(&whole),
        Format::Chat => grammar::chat(&whole, true),
    };
    legal.unwrap_or_else(|wrong| panic!("{wrong}\n{}", String::from_utf8_lossy(&whole)));
}

/// Anything as a whole answer, and as an error's body: what comes out is JSON in the client's shape, and never empty.
pub fn whole_answer(upstream: Format, client: Format, bytes: &[u8]) {
    let mut translator = Translator::new(context(upstream, client), false, true);
    let answer = translator.whole(bytes);
    assert_eq!(answer.is_ok(), translator.summary().complete);
    if let Ok(body) = answer {
        let body: Value = serde_json::from_slice(&body).expect("a whole answer is JSON");
        match client {
            Format::Messages => assert_ne!(body["content"].as_array().expect("content").len(), 0),
            Format::Chat => assert!(body["choices"][0]["finish_reason"].is_string()),
        }
    }
    let words = String::from_utf8_lossy(bytes);
    for status in [400, 401, 404, 429, 500] {
        let error = understand(upstream, status, &|_| Some(words.as_ref()), bytes);
        assert!(error.message.len() <= MESSAGE_CAP + "…".len());
        let body = render(client, error.kind, &error.message, "req");
        let body: Value = serde_json::from_slice(&body).expect("an error is JSON");
        assert_eq!(body["error"]["message"], error.message);
    }
}

fn context(upstream: Format, client: Format) -> Context {
    Context {
        upstream,
        client,
        model: "asked".to_owned(),
        names: ToolNames::default(),
        id: "1".to_owned(),
        created: 1,
        include_usage: true,
        input_estimate: 10,
    }
}

fn translated(upstream: Format, client: Format, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut translator = Translator::new(context(upstream, client), true, true);
    for piece in bytes.chunks(size) {
        translator.feed(piece, &mut out);
    }
    translator.end(&mut out);
    out
}

/// A tap passes every byte on; one that takes usage out sees the same and sends whole events only.
pub fn tap(format: Format, bytes: &[u8], size: usize) {
    for stream in [false, true] {
        let mut tap = Tap::new(format, stream, true, false);
        let mut strip = Tap::new(format, stream, true, true);
        for piece in bytes.chunks(size.max(1)) {
            assert!(tap.feed(piece).is_none(), "a plain tap changes nothing");
            strip.feed(piece);
        }
        tap.end();
        strip.end();
        assert_eq!(tap.summary(), strip.summary());
    }
}
