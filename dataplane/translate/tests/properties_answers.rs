//! Properties of answers: no split of the bytes matters, whatever an upstream sends gives a legal client stream, a tap changes
//! nothing, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read what it made must fail")]

mod support {
    pub(crate) mod grammar;
}

use proptest::prelude::*;
use serde_json::{Value, json};
use support::grammar::{self, Answer, Block};
use tollgate_translate::{
    Format,
    answer::{Context, Summary, Tap, Translator},
    request::ToolNames,
};

const CHAT: [&str; 7] = [
    include_str!("fixtures/streams/chat_appendix_a.sse"),
    include_str!("fixtures/streams/chat_openai_text.sse"),
    include_str!("fixtures/streams/chat_parallel_tools.sse"),
    include_str!("fixtures/streams/chat_azure.sse"),
    include_str!("fixtures/streams/chat_openrouter.sse"),
    include_str!("fixtures/streams/chat_openrouter_error.sse"),
    include_str!("fixtures/streams/chat_sloppy_tools.sse"),
];

const MESSAGES: [&str; 3] = [
    include_str!("fixtures/streams/messages_text.sse"),
    include_str!("fixtures/streams/messages_thinking_tools.sse"),
    include_str!("fixtures/streams/messages_overloaded_midway.sse"),
];

fn context(upstream: Format) -> Context {
    Context {
        upstream,
        client: if upstream == Format::Chat { Format::Messages } else { Format::Chat },
        model: "m".into(),
        names: ToolNames::default(),
        id: "1".into(),
        created: 1,
        include_usage: true,
        input_estimate: 1,
    }
}

fn translate(upstream: Format, pieces: &[&[u8]]) -> (Vec<u8>, Summary) {
    let mut translator = Translator::new(context(upstream), true, true);
    let mut out = Vec::new();
    for piece in pieces {
        translator.feed(piece, &mut out);
    }
    translator.end(&mut out);
    (out, translator.into_summary())
}

/// What the client gets, and what was seen.
fn tap(format: Format, pieces: &[&[u8]], strip: bool) -> (Vec<u8>, Summary) {
    let mut tap = Tap::new(format, true, true, strip);
    let mut out = Vec::new();
    for piece in pieces {
        match tap.feed(piece) {
            None => out.extend_from_slice(piece),
            Some(bytes) => {
                assert!(strip, "bytes are only changed where that was asked for");
                out.extend_from_slice(&bytes);
            }
        }
    }
    out.extend_from_slice(&tap.end());
    (out, tap.into_summary())
}

fn check(upstream: Format, out: &[u8]) -> Result<Answer, String> {
    match upstream {
        Format::Chat => grammar::messages(out),
        Format::Messages => grammar::chat(out, true),
    }
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

fn recorded() -> impl Strategy<Value = (Format, &'static str)> {
    prop_oneof![
        prop::sample::select(&CHAT[..]).prop_map(|text| (Format::Chat, text)),
        prop::sample::select(&MESSAGES[..]).prop_map(|text| (Format::Messages, text)),
    ]
}

/// A JSON value that may stand anywhere.
fn junk() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"type": "text", "text": "t"}, 7, null])),
    ]
    .boxed()
}

/// Mostly `usual`, sometimes anything.
fn mostly(usual: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![9 => usual, 1 => junk()].boxed()
}

fn one_of(values: &[Value]) -> impl Strategy<Value = Value> + use<> {
    prop::sample::select(values.to_vec())
}

fn arguments() -> impl Strategy<Value = Value> {
    let pieces =
        ["", "{", "}", "{}", "{\"a\":", "1}", "\"x\"", "[", " ", "null", "\"{}\"", "\n", "{\"a\":1}"];
    one_of(&pieces.map(Value::from))
}

fn chat_event() -> BoxedStrategy<String> {
    let index = mostly(one_of(&[json!(0), json!(1), json!(2), Value::Null]));
    let id = mostly(one_of(&[json!("a"), json!("b"), json!(""), Value::Null, json!("?:")]));
    let name = mostly(one_of(&[json!("A"), json!("B"), json!(""), Value::Null]));
    let call = (index, id, name, mostly(arguments())).prop_map(|(index, id, name, arguments)| {
        json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]})
    });
    let text = |key: &'static str| {
        mostly("\\PC{0,5}".prop_map(Value::from)).prop_map(move |text| json!({key: text}))
    };
    let delta = prop_oneof![
        4 => call,
        2 => text("content"),
        2 => text("reasoning_content"),
        1 => text("refusal"),
        1 => text("reasoning"),
        1 => Just(json!({"role": "assistant", "content": ""})),
        1 => junk(),
    ];
    let choice = prop_oneof![8 => Just(json!(0)), 1 => Just(json!(1)), 1 => junk()];
    let chunk = (delta, choice)
        .prop_map(|(delta, choice)| json!({"id": "c", "choices": [{"index": choice, "delta": delta}]}));
    let finish = mostly(one_of(&["stop", "tool_calls", "length", "content_filter"].map(Value::from)))
        .prop_map(|finish| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
    let usage = [(); 4].map(|()| mostly((0..2000u64).prop_map(Value::from)));
    let usage = usage.prop_map(|[prompt, completion, cached, written]| {
        json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written}}})
    });
    prop_oneof![
        20 => chunk.prop_map(data),
        3 => finish.prop_map(data),
        3 => usage.prop_map(data),
        1 => junk().prop_map(|error| data(json!({"error": error}))),
        1 => junk().prop_map(data),
        2 => Just("data: [DONE]\n\n".to_owned()),
        1 => Just(": comment\n\n".to_owned()),
        1 => Just("data: {\"choices\"\n\n".to_owned()),
    ]
    .boxed()
}

fn messages_event() -> BoxedStrategy<String> {
    let index = || mostly((0..3u64).prop_map(Value::from));
    let text = || mostly("\\PC{0,5}".prop_map(Value::from));
    let block = prop_oneof![
        2 => text().prop_map(|text| json!({"type": "text", "text": text})),
        2 => text().prop_map(|text| json!({"type": "thinking", "thinking": text, "signature": ""})),
        1 => text().prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
        4 => (text(), text(), junk()).prop_map(|(id, name, input)| json!({"type": "tool_use", "id": id, "name": name, "input": input})),
        1 => Just(json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        1 => junk(),
    ];
    let delta = prop_oneof![
        2 => text().prop_map(|text| json!({"type": "text_delta", "text": text})),
        2 => text().prop_map(|text| json!({"type": "thinking_delta", "thinking": text})),
        1 => text().prop_map(|text| json!({"type": "signature_delta", "signature": text})),
        4 => mostly(arguments()).prop_map(|json| json!({"type": "input_json_delta", "partial_json": json})),
        1 => junk(),
    ];
    let stops = ["end_turn", "tool_use", "max_tokens", "refusal", "stop_sequence", "new"].map(Value::from);
    let usage =
        || {
            mostly(any::<u64>().prop_map(
                |n| json!({"input_tokens": n, "output_tokens": n / 2, "cache_read_input_tokens": n}),
            ))
        };
    let event = prop_oneof![
        1 => usage().prop_map(|usage| json!({"type": "message_start", "message": {"id": "m", "model": "x", "usage": usage}})),
        5 => (index(), block).prop_map(|(index, block)| json!({"type": "content_block_start", "index": index, "content_block": block})),
        8 => (index(), delta).prop_map(|(index, delta)| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        4 => index().prop_map(|index| json!({"type": "content_block_stop", "index": index})),
        2 => (mostly(one_of(&stops)), usage()).prop_map(|(stop, usage)| json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage})),
        1 => Just(json!({"type": "message_stop"})),
        1 => Just(json!({"type": "ping"})),
        1 => junk().prop_map(|error| json!({"type": "error", "error": error})),
        1 => junk(),
    ];
    prop_oneof![30 => event.prop_map(data), 1 => Just("event: ping\n\n".to_owned()), 1 => Just("data: {\n\n".to_owned())]
    .boxed()
}

fn data(event: Value) -> String {
    format!("data: {event}\n\n")
}

fn stream() -> impl Strategy<Value = (Format, String)> {
    let events =
        |event: BoxedStrategy<String>| prop::collection::vec(event, 0..25).prop_map(|events| events.concat());
    prop_oneof![
        events(chat_event()).prop_map(|text| (Format::Chat, text)),
        events(messages_event()).prop_map(|text| (Format::Messages, text)),
    ]
}

/// One step of an answer that a correct server would send.
#[derive(Debug, Clone)]
enum Step {
    Text(String),
    Thinking(String),
    /// The next piece of this call.
    Call(usize),
}

/// A legal Chat stream: texts, and calls whose arguments come in pieces, mixed at random. With it the texts that it holds
/// and the calls' arguments, in the order of their starts.
fn legal_chat() -> impl Strategy<Value = (String, String, String, Vec<String>)> {
    let call = prop::collection::vec(("[a-z]{1,4}", "\\PC{0,8}"), 0..3).prop_map(|fields| {
        Value::Object(fields.into_iter().map(|(key, value)| (key, Value::from(value))).collect()).to_string()
    });
    let step = prop_oneof![
        "\\PC{1,6}".prop_map(Step::Text),
        "\\PC{1,6}".prop_map(Step::Thinking),
        (0..4usize).prop_map(Step::Call),
        (0..4usize).prop_map(Step::Call),
    ];
    (prop::collection::vec(call, 0..4), prop::collection::vec(step, 1..40), 1..9usize).prop_map(build_chat)
}

fn build_chat(
    (calls, steps, size): (Vec<String>, Vec<Step>, usize),
) -> (String, String, String, Vec<String>) {
    let (mut text, mut thinking, mut stream) = (String::new(), String::new(), String::new());
    let mut rests: Vec<Vec<char>> = calls.iter().map(|call| call.chars().rev().collect()).collect();
    let mut order: Vec<usize> = Vec::new();
    let mut push = |delta: Value| {
        stream += &data(
            json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]}),
        )
    };
    push(json!({"role": "assistant", "content": ""}));
    let all = (0..calls.len()).flat_map(|call| std::iter::repeat_n(Step::Call(call), 100));
    for step in steps.into_iter().chain(all) {
        match step {
            Step::Text(piece) => {
                push(json!({"content": piece}));
                text += &piece;
            }
            Step::Thinking(piece) => {
                push(json!({"reasoning_content": piece}));
                thinking += &piece;
            }
            Step::Call(call) if call < calls.len() => match order.iter().position(|known| *known == call) {
                None => {
                    push(
                        json!({"tool_calls": [{"index": order.len(), "id": format!("id{call}"), "type": "function", "function": {"name": format!("T{call}"), "arguments": ""}}]}),
                    );
                    order.push(call);
                }
                Some(index) => {
                    let rest = &mut rests[call];
                    let piece: String =
                        rest.split_off(rest.len().saturating_sub(size)).into_iter().rev().collect();
                    if !piece.is_empty() {
                        push(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}));
                    }
                }
            },
            Step::Call(_) => {}
        }
    }
    let finish = if order.is_empty() { "stop" } else { "tool_calls" };
    stream += &data(json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
    stream += "data: [DONE]\n\n";
    let arguments = order.iter().map(|call| calls[*call].clone()).collect();
    (stream, text, thinking, arguments)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_split_of_a_recorded_stream_matters((format, text) in recorded(), at in cuts()) {
        let bytes = text.as_bytes();
        let pieces = cut(bytes, &at);
        prop_assert_eq!(translate(format, &pieces), translate(format, &[bytes]));
        for strip in [false, true] {
            prop_assert_eq!(tap(format, &pieces, strip), tap(format, &[bytes], strip));
        }
        prop_assert_eq!(tap(format, &pieces, false).0, bytes);
    }

    #[test]
    fn no_split_of_any_stream_matters((format, text) in stream(), at in cuts()) {
        let pieces = cut(text.as_bytes(), &at);
        let (out, summary) = translate(format, &pieces);
        let (whole, whole_summary) = translate(format, &[text.as_bytes()]);
        prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(whole).unwrap());
        prop_assert_eq!(summary, whole_summary);
        prop_assert_eq!(tap(format, &pieces, true), tap(format, &[text.as_bytes()], true));
    }

    #[test]
    fn any_upstream_stream_gives_a_legal_client_stream((format, text) in stream()) {
        let (out, summary) = translate(format, &[text.as_bytes()]);
        let answer = check(format, &out);
        prop_assert!(answer.is_ok(), "{}\n{}\n{}", answer.unwrap_err(), text, String::from_utf8_lossy(&out));
        let answer = answer.unwrap();
        prop_assert_eq!(summary.complete, answer.error.is_none());
        prop_assert_eq!(summary.complete, summary.error.is_none());
    }

    #[test]
    fn any_cut_of_any_stream_gives_a_legal_client_stream((format, text) in recorded(), at in any::<prop::sample::Index>()) {
        let (before, _) = text.as_bytes().split_at(at.index(text.len() + 1));
        let (out, _) = translate(format, &[before]);
        let answer = check(format, &out);
        prop_assert!(answer.is_ok(), "{}\n{}", answer.unwrap_err(), String::from_utf8_lossy(&out));
    }

    #[test]
    fn a_tap_never_changes_bytes((format, text) in stream(), at in cuts()) {
        let (out, summary) = tap(format, &cut(text.as_bytes(), &at), false);
        prop_assert!(out.starts_with(text.as_bytes()));
        prop_assert!(out.len() == text.len() || !text.is_empty() || summary.error.is_some());
    }

    #[test]
    fn nothing_of_a_legal_answer_is_lost((stream, text, thinking, arguments) in legal_chat()) {
        prop_assume!(!(text.is_empty() && thinking.is_empty() && arguments.is_empty()));
        let (out, summary) = translate(Format::Chat, &[stream.as_bytes()]);
        let answer = grammar::messages(&out).unwrap();
        prop_assert_eq!(&answer.error, &None, "{}", stream);
        let (mut texts, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        for block in &answer.blocks {
            match block {
                Block::Text(piece) => texts += piece,
                Block::Thinking(piece, _) => thoughts += piece,
                Block::Tool(_, _, piece) => calls.push(piece.clone()),
                Block::Redacted(_) => {}
            }
        }
        prop_assert_eq!(&texts, &text);
        prop_assert_eq!(&thoughts, &thinking);
        prop_assert_eq!(&calls, &arguments);
        // A tap sees the same.
        prop_assert_eq!(tap(Format::Chat, &[stream.as_bytes()], false), (stream.clone().into_bytes(), summary));
    }

    #[test]
    fn usage_keeps_its_totals(prompt in any::<u32>(), cached in any::<u32>(), written in any::<u32>(), completion in any::<u32>()) {
        let chunk = json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written}}});
        let (_, summary) = tap(Format::Chat, &[data(chunk).as_bytes()], false);
        let usage = summary.usage.unwrap();
        prop_assert_eq!(usage.total_input(), u64::from(prompt));
        prop_assert_eq!(usage.output, u64::from(completion));
        prop_assert_eq!(usage.cache_read, u64::from(cached.min(prompt)));

        let start = json!({"type": "message_start", "message": {"usage": {"input_tokens": prompt, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written, "output_tokens": 1}}});
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": completion}});
        let stream = data(start) + &data(end) + &data(json!({"type": "message_stop"}));
        let (out, summary) = translate(Format::Messages, &[stream.as_bytes()]);
        let total = u64::from(prompt) + u64::from(cached) + u64::from(written);
        prop_assert_eq!(summary.usage.unwrap().total_input(), total);
        let usage = grammar::chat(&out, true).unwrap().usage;
        prop_assert_eq!(usage["prompt_tokens"].as_u64(), Some(total));
        prop_assert_eq!(usage["total_tokens"].as_u64(), Some(total + u64::from(completion)));
    }
}
