//! The acceptance cases of translation.md §3 that concern answers, by number, and what else clients rely on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read what it made must fail")]

#[path = "../support/grammar.rs"]
mod grammar;

use grammar::{Answer, Block};
use serde_json::{Value, json};
use tollgate_translate::{
    Format, Usage,
    answer::{Context, Tap, Translator},
    error::{Kind, UpstreamError, render, understand},
    request::ToolNames,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/streams/", $name, ".sse"))
    };
}

mod shapes;

fn context(upstream: Format) -> Context {
    let client = if upstream == Format::Chat { Format::Messages } else { Format::Chat };
    Context {
        upstream,
        client,
        model: "openai/gpt-5".into(),
        names: ToolNames::default(),
        id: "0192".into(),
        created: 1_700_000_000,
        include_usage: true,
        input_estimate: 777,
    }
}

/// The client's bytes of a whole stream.
fn bytes(context: Context, stream: &str) -> Vec<u8> {
    let mut translator = Translator::new(context, true, false);
    let mut out = Vec::new();
    translator.feed(stream.as_bytes(), &mut out);
    translator.end(&mut out);
    out
}

/// A Chat stream as a Messages client sees it.
#[track_caller]
fn to_messages(stream: &str) -> Answer {
    let out = bytes(context(Format::Chat), stream);
    grammar::messages(&out).unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&out)))
}

/// A Messages stream as a Chat client sees it.
#[track_caller]
fn to_chat(stream: &str) -> Answer {
    let out = bytes(context(Format::Messages), stream);
    grammar::chat(&out, true).unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&out)))
}

/// A Chat stream of these deltas of the first choice, with this finish (none when empty), usage and end.
fn chat(deltas: &[Value], finish: &str) -> String {
    let chunk = |delta: &Value, finish: Value| json!({"id": "c1", "model": "gpt-5", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let mut stream: String =
        deltas.iter().map(|delta| format!("data: {}\n\n", chunk(delta, Value::Null))).collect();
    if !finish.is_empty() {
        stream += &format!("data: {}\n\n", chunk(&json!({}), json!(finish)));
        stream += "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2}}\n\n";
        stream += "data: [DONE]\n\n";
    }
    stream
}

fn content(text: &str) -> Value {
    json!({"content": text})
}

fn call(index: usize, id: &str, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

fn more(index: usize, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
}

fn text(text: &str) -> Block {
    Block::Text(text.into())
}

fn tool(id: &str, name: &str, arguments: &str) -> Block {
    Block::Tool(id.into(), name.into(), arguments.into())
}

fn unsigned(thinking: &str) -> Block {
    Block::Thinking(thinking.into(), "gw1.unsigned".into())
}

/// (event name, data) of a Messages stream.
fn events(out: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(out).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (name, data) = block.split_once("\ndata: ").unwrap();
            (name.trim_start_matches("event: ").to_owned(), serde_json::from_str(data).unwrap())
        })
        .collect()
}

/// Translates a whole body.
fn whole(upstream: Format, body: &Value) -> Result<Value, UpstreamError> {
    let mut translator = Translator::new(context(upstream), false, false);
    let out = translator.whole(body.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&out).unwrap())
}

fn completion(message: Value, finish: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5-2025",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020, "prompt_tokens_details": {"cached_tokens": 900}}})
}

fn message(content: Value, stop: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 50, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 50, "output_tokens": 20}})
}

#[test]
fn case_01_text_then_tool_call_with_finish_stop() {
    let stream = chat(&[content("ok"), call(0, "call_1", "Read", "{\"a\":1}")], "stop");
    let answer = to_messages(&stream);
    assert_eq!(answer.blocks, [text("ok"), tool("call_1", "Read", "{\"a\":1}")]);
    assert_eq!(answer.stop.as_deref(), Some("tool_use"));

    let message = json!({"role": "assistant", "content": "ok", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "Read", "arguments": "{\"a\":1}"}}]});
    let body = whole(Format::Chat, &completion(message, "stop")).unwrap();
    assert_eq!(body["stop_reason"], "tool_use");
    assert_eq!(
        body["content"],
        json!([{"type": "text", "text": "ok"}, {"type": "tool_use", "id": "call_1", "name": "Read", "input": {"a": 1}}])
    );
}

#[test]
fn case_02_a_leading_empty_text_makes_no_block() {
    let first = json!({"role": "assistant", "content": ""});
    let answer = to_messages(&chat(&[first, call(0, "call_1", "Read", "{}")], "tool_calls"));
    assert_eq!(answer.blocks, [tool("call_1", "Read", "{}")]);
}

#[test]
fn case_04_interleaved_parallel_calls_become_two_blocks() {
    let answer = to_messages(fixture!("chat_parallel_tools"));
    assert_eq!(
        answer.blocks,
        [tool("call_a", "Read", "{\"file_path\":\"a\"}"), tool("call_b", "Grep", "{\"pattern\":\"b\"}")]
    );
    // Text between the pieces of a call waits for it; a third call waits for the second.
    let stream = chat(
        &[
            call(0, "a", "A", "{"),
            call(1, "b", "B", ""),
            content("between"),
            call(2, "c", "C", "{\"c\":"),
            more(0, "}"),
            more(2, "1}"),
            more(1, "{\"b\":1}"),
        ],
        "tool_calls",
    );
    assert_eq!(
        to_messages(&stream).blocks,
        [tool("a", "A", "{}"), tool("b", "B", "{\"b\":1}"), text("between"), tool("c", "C", "{\"c\":1}")]
    );
}

#[test]
fn case_05_index_id_and_name_may_be_missing_null_or_reused() {
    let answer = to_messages(fixture!("chat_sloppy_tools"));
    assert_eq!(
        answer.blocks,
        [
            tool("x1", "first", "{\"a\":1}"),
            tool("x2", "second", "{\"b\":2}"),
            tool("x3", "third", "{\"c\":3}")
        ]
    );
    let nulls = json!({"tool_calls": [{"index": 0, "id": null, "type": null, "function": {"name": null, "arguments": "1}"}}]});
    let answer = to_messages(&chat(&[call(0, "call_1", "Read", "{\"a\":"), nulls], "tool_calls"));
    assert_eq!(answer.blocks, [tool("call_1", "Read", "{\"a\":1}")]);

    // Neither ids nor indices: each whole call with a name is one.
    let bare = |name: &str| json!({"tool_calls": [{"function": {"name": name, "arguments": "{}"}}]});
    let answer = to_messages(&chat(&[bare("A"), bare("A"), bare("B")], "tool_calls"));
    assert_eq!(
        answer.blocks,
        [tool("call_0192_0", "A", "{}"), tool("call_0192_1", "A", "{}"), tool("call_0192_2", "B", "{}")]
    );

    // One id for two calls, and one that Anthropic would refuse in the next turn.
    let answer = to_messages(&chat(
        &[call(0, "same", "A", "{}"), call(1, "same", "B", "{}"), call(2, "a:b|c", "C", "{}")],
        "tool_calls",
    ));
    assert!(
        matches!(answer.blocks.as_slice(), [Block::Tool(first, ..), Block::Tool(second, ..), Block::Tool(third, ..)]
        if first == "same" && second.starts_with("same_") && third.starts_with("a_b_c_")),
        "{answer:?}"
    );
}

#[test]
fn case_06_reasoning_ends_before_text_begins() {
    let out = bytes(context(Format::Chat), fixture!("chat_appendix_a"));
    assert_eq!(grammar::messages(&out).unwrap().blocks.first(), Some(&unsigned("hm")));
    assert_eq!(events(&out).iter().filter(|(name, _)| name == "message_start").count(), 1);

    let answer = to_messages(fixture!("chat_openrouter"));
    assert_eq!(answer.blocks, [unsigned("Think"), text("Yes.")]);
    assert_eq!(answer.usage["input_tokens"], 7);

    // Mistral's parts, and text between two thoughts.
    let parts = json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"type": "text", "text": "a"}]});
    let answer = to_messages(&chat(&[parts, json!({"reasoning_content": "hm"}), content("b")], "stop"));
    assert_eq!(answer.blocks, [unsigned("so"), text("a"), unsigned("hm"), text("b")]);
}

#[test]
fn case_07_message_start_is_complete() {
    for stream in [fixture!("chat_openai_text"), fixture!("chat_azure"), fixture!("chat_openrouter")] {
        let out = bytes(context(Format::Chat), stream);
        let (name, first) = events(&out).remove(0);
        assert_eq!(name, "message_start");
        assert_eq!(
            first["message"],
            json!({"id": "msg_0192", "type": "message", "role": "assistant", "model": "openai/gpt-5", "content": [],
                "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 777, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}})
        );
    }
}

#[test]
fn case_08_truncation_inside_a_tool_call() {
    let answer = to_messages(&chat(&[content("ok"), call(0, "call_1", "Write", "{\"text\":\"lo")], "length"));
    assert_eq!(answer.stop.as_deref(), Some("max_tokens"));
    assert!(answer.unclosed, "a closed block would be run");
    // A call that waits behind it is left out.
    let stream = chat(&[call(0, "call_1", "Write", "{\"a"), call(1, "call_2", "Read", "{}")], "length");
    let answer = to_messages(&stream);
    assert_eq!((answer.blocks.len(), answer.unclosed), (1, true));
    // Cut off right after its name: nobody knows whether arguments would have come. A call before it had none.
    let answer = to_messages(&chat(&[call(0, "call_1", "Write", "")], "length"));
    assert_eq!((answer.blocks.len(), answer.unclosed), (1, true));
    let answer = to_messages(&chat(&[call(0, "a", "Now", ""), call(1, "b", "Write", "")], "length"));
    assert_eq!((answer.blocks, answer.unclosed), (vec![tool("a", "Now", "")], false));
    let bare = json!([{"id": "a", "function": {"name": "Now", "arguments": ""}}, {"id": "b", "function": {"name": "Write", "arguments": ""}}]);
    let body = whole(Format::Chat, &completion(json!({"tool_calls": bare}), "length")).unwrap();
    assert_eq!(body["content"], json!([{"type": "tool_use", "id": "a", "name": "Now", "input": {}}]));
    // Nothing but a call without a beginning: still no empty answer.
    let held = json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a"}}]});
    assert_eq!(to_messages(&chat(&[held], "length")).blocks, [text("")]);

    let calls = json!([{"id": "call_1", "type": "function", "function": {"name": "Write", "arguments": "{\"text\":\"lo"}}]);
    let body =
        whole(Format::Chat, &completion(json!({"content": "ok", "tool_calls": calls}), "length")).unwrap();
    assert_eq!(
        (&body["stop_reason"], &body["content"]),
        (&json!("max_tokens"), &json!([{"type": "text", "text": "ok"}]))
    );

    // The other way round the client gets the pieces, and `length`.
    let cut = fixture!("messages_thinking_tools")
        .replace("\\\"a.txt\\\"}", "\\\"a.t")
        .replace("\"tool_use\",\"stop_seq", "\"max_tokens\",\"stop_seq");
    assert_eq!(to_chat(&cut).stop.as_deref(), Some("length"));
}

#[test]
fn case_08_arguments_that_are_no_object_are_an_error_unless_they_can_only_mean_one_thing() {
    for bad in ["{\"a\":", "[1]", "7", "{\"a\":1}{\"b\":2}", "{a:1}", "tool"] {
        let answer = to_messages(&chat(&[content("x"), call(0, "c", "Run", bad)], "tool_calls"));
        assert_eq!(answer.error.as_ref().map(|(kind, _)| kind.as_str()), Some("api_error"), "{bad}");
        assert!(answer.error.unwrap().1.contains("`Run`"));
        let calls = json!([{"id": "c", "type": "function", "function": {"name": "Run", "arguments": bad}}]);
        let error = whole(Format::Chat, &completion(json!({"tool_calls": calls}), "stop")).unwrap_err();
        assert_eq!(error.kind, Kind::Api, "{bad}");
    }
    for (odd, meant) in [
        ("", "{}"),
        ("  ", "{}"),
        ("null", "{}"),
        ("\"{\\\"a\\\": 1}\"", "{\"a\": 1}"),
        ("{\"a\":\"two\nlines\"}", "{\"a\":\"two\\nlines\"}"),
    ] {
        let answer = to_messages(&chat(&[call(0, "c", "Run", odd)], "tool_calls"));
        let [Block::Tool(_, _, arguments)] = answer.blocks.as_slice() else { panic!("{answer:?}") };
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        assert_eq!(arguments, meant, "{odd:?}");
        let calls = json!([{"id": "c", "type": "function", "function": {"name": "Run", "arguments": odd}}]);
        let body = whole(Format::Chat, &completion(json!({"tool_calls": calls}), "stop")).unwrap();
        assert_eq!(body["content"][0]["input"], serde_json::from_str::<Value>(meant).unwrap(), "{odd:?}");
    }
    // An object instead of a string, as some servers send.
    let object = json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "Run", "arguments": {"a": [1, 2]}}}]});
    assert_eq!(to_messages(&chat(&[object], "stop")).blocks, [tool("c", "Run", "{\"a\":[1,2]}")]);
}

#[test]
fn case_09_an_upstream_that_dies_ends_in_an_error() {
    let answer = to_messages(&chat(&[content("Par"), content("tial")], ""));
    assert_eq!(answer.blocks, [text("Partial")]);
    assert_eq!(answer.error.unwrap().0, "api_error");
    let start = fixture!("messages_text").split("event: message_delta").next().unwrap();
    for stream in [start, start.trim_end(), &start[..start.len() - 20]] {
        let answer = to_chat(stream);
        assert!(answer.error.is_some() && answer.stop.is_none(), "no finish, no [DONE]");
    }
    // In a pass-through too.
    let mut tap = Tap::new(Format::Messages, true, false, false);
    tap.feed(start.as_bytes());
    let sent = [start.as_bytes(), &tap.end()].concat();
    assert!(
        String::from_utf8_lossy(&sent)
            .contains("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"")
    );
    // What only lacks its last line is whole.
    let (almost, _) = fixture!("chat_appendix_a").split_once("data: [DONE]").unwrap();
    assert_eq!(to_messages(almost).stop.as_deref(), Some("tool_use"));
    assert_eq!(to_messages(fixture!("chat_appendix_a").trim_end()).stop.as_deref(), Some("tool_use"));
}

#[test]
fn case_10_an_error_instead_of_an_answer_keeps_its_meaning() {
    let none = |_: &str| None;
    let body = br#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let error = understand(Format::Chat, 429, &|name| (name == "retry-after").then_some("7"), body);
    assert_eq!((error.kind, error.retry_after), (Kind::RateLimit, Some(7)));
    let rendered: Value =
        serde_json::from_slice(&render(Format::Messages, error.kind, &error.message, "req_1")).unwrap();
    assert_eq!(
        rendered,
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Rate limit reached"}, "request_id": "req_1"})
    );
    let overloaded = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let error = understand(Format::Messages, 529, &none, overloaded);
    assert_eq!((error.kind.status(Format::Messages), error.kind.status(Format::Chat)), (529, 503));

    // An error that is the first thing inside a stream: the client has not been promised a stream yet.
    let mut translator = Translator::new(context(Format::Chat), true, false);
    let mut out = Vec::new();
    translator.feed(b": OPENROUTER PROCESSING\n\n", &mut out);
    assert!(out.is_empty());
    translator.feed(b"data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n", &mut out);
    assert_eq!(translator.summary().error.as_ref().map(|error| error.kind), Some(Kind::Overloaded));
    assert_eq!(grammar::messages(&out).unwrap().error, Some(("overloaded_error".into(), "busy".into())));
}

#[test]
fn case_11_usage_after_the_finish_reaches_the_one_message_delta() {
    let out = bytes(context(Format::Chat), fixture!("chat_openai_text"));
    let deltas: Vec<_> = events(&out).into_iter().filter(|(name, _)| name == "message_delta").collect();
    assert_eq!(deltas.len(), 1);
    assert_eq!(deltas[0].1["usage"]["input_tokens"], 19);
    assert_eq!(deltas[0].1["usage"]["output_tokens"], 10);
    // On the finish chunk, too; and none at all is estimated, while the summary does not claim to know.
    assert_eq!(to_messages(fixture!("chat_openrouter")).usage["output_tokens"], 4);
    let (without, _) = fixture!("chat_openai_text").rsplit_once("data: {").unwrap();
    let mut translator = Translator::new(context(Format::Chat), true, false);
    let mut out = Vec::new();
    translator.feed(without.as_bytes(), &mut out);
    translator.end(&mut out);
    let usage = grammar::messages(&out).unwrap().usage;
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(777), &json!(5)));
    assert_eq!((translator.summary().usage, translator.summary().output_bytes), (None, 17));
}

#[test]
fn case_12_cached_tokens_are_exclusive_here_and_inclusive_there() {
    let usage = to_messages(fixture!("chat_parallel_tools")).usage;
    assert_eq!(
        usage,
        json!({"input_tokens": 50, "cache_creation_input_tokens": 50, "cache_read_input_tokens": 900, "output_tokens": 60})
    );
    let usage = to_chat(fixture!("messages_thinking_tools")).usage;
    assert_eq!((&usage["prompt_tokens"], &usage["total_tokens"]), (&json!(1000), &json!(1089)));
    assert_eq!(usage["prompt_tokens_details"], json!({"cached_tokens": 900, "cache_write_tokens": 50}));

    for (wire, expected) in [
        (
            json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 900}}),
            (0, 10, 0, 1),
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8}}),
            (0, 8, 2, 1),
        ),
        (json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 4}), (6, 4, 0, 1)),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": null, "completion_tokens_details": null}),
            (10, 0, 0, 1),
        ),
        // xAI counts reasoning beside the completion.
        (
            json!({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 41, "completion_tokens_details": {"reasoning_tokens": 30}}),
            (10, 0, 0, 31),
        ),
    ] {
        let mut body = completion(json!({"content": "x"}), "stop");
        body["usage"] = wire.clone();
        let mut translator = Translator::new(context(Format::Chat), false, false);
        translator.whole(body.to_string().as_bytes()).unwrap();
        let usage = translator.summary().usage.unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.cache_write, usage.output), expected, "{wire}");
    }
}

#[test]
fn case_13_signed_thinking_passes_unchanged_and_survives_a_translation() {
    let stream = fixture!("messages_thinking_tools");
    let mut tap = Tap::new(Format::Messages, true, true, false);
    assert_eq!((tap.feed(stream.as_bytes()), tap.end()), (None, vec![]));
    let proof = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=";
    assert_eq!(
        to_chat(stream).blocks,
        [
            Block::Thinking("Let me look.".into(), proof.into()),
            Block::Redacted("EmwKAhgBEgy3va3pzix/LafPsn4a".into()),
            text("Searching."),
            tool("toolu_01", "Read", "{\"file_path\": \"a.txt\"}"),
            tool("toolu_02", "mcp__db__now", "{}"),
        ]
    );
    let blocks = json!([{"type": "thinking", "thinking": "", "signature": proof}, {"type": "redacted_thinking", "data": "xyz"}, {"type": "text", "text": "a"}, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "text", "text": "b"}, {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}]);
    let body = whole(Format::Messages, &message(blocks, "tool_use")).unwrap();
    assert_eq!(
        body["choices"][0],
        json!({"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "ab", "refusal": null,
            "reasoning_details": [{"type": "reasoning.text", "text": "", "signature": proof, "index": 0}, {"type": "reasoning.encrypted", "data": "xyz", "index": 1}],
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "Read", "arguments": "{}"}}]}})
    );
}

#[test]
fn case_14_reasoning_without_a_signature_is_marked_as_ours() {
    let answer = to_messages(&chat(&[json!({"reasoning_content": "hm"}), content("x")], "stop"));
    assert_eq!(answer.blocks[0], Block::Thinking("hm".into(), "gw1.unsigned".into()));
    let body = whole(Format::Chat, &completion(json!({"reasoning": "hm", "content": "x"}), "stop")).unwrap();
    assert_eq!(
        body["content"][0],
        json!({"type": "thinking", "thinking": "hm", "signature": "gw1.unsigned"})
    );
}

#[test]
fn case_21_tools_have_the_clients_names_again() {
    let long = format!("mcp__server__{}", "x".repeat(90));
    let names = ToolNames { renamed: vec![("mcp__server__xxx_1a2b3c4d".into(), long.clone())] };
    let deltas = [call(0, "c1", "mcp__server__xxx_1a2b3c4d", "{}"), call(1, "c2", "Read", "{}")];
    let mut translator = Translator::new(Context { names, ..context(Format::Chat) }, true, false);
    let mut out = Vec::new();
    translator.feed(chat(&deltas, "tool_calls").as_bytes(), &mut out);
    assert_eq!(grammar::messages(&out).unwrap().blocks, [tool("c1", &long, "{}"), tool("c2", "Read", "{}")]);
    assert_eq!(translator.summary().tool_calls[0].name, long);
}

#[test]
fn case_27_a_context_overflow_says_what_claude_code_acts_on() {
    for (status, body, words) in [
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            "prompt is too long: 130001 tokens > 128000 maximum",
        ),
        (
            400,
            r#"{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
            "prompt is too long: Your input exceeds the context window of this model. Please adjust your input and try again.",
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"The input token count (1048600) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
            "prompt is too long: 1048600 tokens > 1048576 maximum",
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the messages, 500 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","param":null,"code":400}"#,
            "prompt is too long: 4500 tokens > 4096 maximum",
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the messages, 4000 in the completion).","code":"context_length_exceeded"}}"#,
            "input length and `max_tokens` exceed context limit: 5000 + 4000 > 8192, decrease input length or `max_tokens` and try again",
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":8192}}"#,
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            400,
            r#"{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_error"}"#,
            "prompt is too long: 40000 tokens > 32768 maximum",
        ),
        (
            400,
            r#"{"message":"Input is too long for requested model."}"#,
            "prompt is too long: Input is too long for requested model.",
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            "prompt is too long: 210000 tokens > 200000 maximum",
        ),
        (
            400,
            r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length or `max_tokens` and try again"}}"#,
            "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length or `max_tokens` and try again",
        ),
    ] {
        let error = understand(Format::Chat, status, &|_| None, body.as_bytes());
        assert_eq!((error.kind, error.message.as_str()), (Kind::InvalidRequest, words));
    }
    let rendered: Value = serde_json::from_slice(&render(
        Format::Chat,
        Kind::InvalidRequest,
        "prompt is too long: 2 tokens > 1 maximum",
        "",
    ))
    .unwrap();
    assert_eq!(rendered["error"]["code"], "context_length_exceeded");
}

#[test]
fn case_28_heartbeats_stand_between_events() {
    let stream = fixture!("chat_appendix_a").as_bytes();
    for cut in 0..stream.len() {
        let (before, after) = stream.split_at(cut);
        let mut translator = Translator::new(context(Format::Chat), true, false);
        let mut out = Vec::new();
        translator.feed(before, &mut out);
        let done = translator.summary().complete;
        translator.heartbeat(&mut out);
        translator.feed(after, &mut out);
        translator.end(&mut out);
        let answer = grammar::messages(&out).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        assert_eq!((answer.blocks.len(), answer.heartbeats), (3, usize::from(!done)));
    }
    let mut translator = Translator::new(context(Format::Messages), true, false);
    let mut out = Vec::new();
    translator.heartbeat(&mut out);
    translator.feed(fixture!("messages_text").as_bytes(), &mut out);
    translator.heartbeat(&mut out);
    assert_eq!(grammar::chat(&out, true).unwrap().heartbeats, 2, "ours and the upstream's ping");
}

#[test]
fn appendix_a_reaches_the_client_event_by_event() {
    let out = bytes(context(Format::Chat), fixture!("chat_appendix_a"));
    let seen: Vec<(String, Value)> = events(&out);
    let block = |index: u64, block: Value| {
        (
            "content_block_start".to_owned(),
            json!({"type": "content_block_start", "index": index, "content_block": block}),
        )
    };
    let delta = |index: u64, delta: Value| {
        (
            "content_block_delta".to_owned(),
            json!({"type": "content_block_delta", "index": index, "delta": delta}),
        )
    };
    let stop =
        |index: u64| ("content_block_stop".to_owned(), json!({"type": "content_block_stop", "index": index}));
    let expected = [
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "gw1.unsigned"})),
        stop(0),
        block(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "Ok."})),
        stop(1),
        block(2, json!({"type": "tool_use", "id": "call_9", "name": "Read", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"file_path\":\"c\"}"})),
        stop(2),
        (
            "message_delta".to_owned(),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"input_tokens": 100, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 0, "output_tokens": 20,
                "output_tokens_details": {"thinking_tokens": 5}}}),
        ),
        ("message_stop".to_owned(), json!({"type": "message_stop"})),
    ];
    assert_eq!(seen[0].0, "message_start");
    assert_eq!(&seen[1..], &expected);
}
