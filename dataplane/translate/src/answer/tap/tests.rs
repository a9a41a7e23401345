use super::*;
use crate::{
    Usage,
    answer::{Block, ToolCall},
    error::Kind,
};

const MESSAGES: &str = include_str!("../../../tests/fixtures/streams/messages_text.sse");
const TOOLS: &str = include_str!("../../../tests/fixtures/streams/messages_thinking_tools.sse");
const OVERLOADED: &str = include_str!("../../../tests/fixtures/streams/messages_overloaded_midway.sse");
const CHAT: &str = include_str!("../../../tests/fixtures/streams/chat_openai_text.sse");
const PARALLEL: &str = include_str!("../../../tests/fixtures/streams/chat_parallel_tools.sse");
const AZURE: &str = include_str!("../../../tests/fixtures/streams/chat_azure.sse");
const OPENROUTER_ERROR: &str = include_str!("../../../tests/fixtures/streams/chat_openrouter_error.sse");

/// The summary and the client's bytes of a stream in one piece.
fn tap(format: Format, text: &str, keep: bool) -> (Summary, String) {
    let mut tap = Tap::new(format, true, keep, false);
    assert_eq!(tap.feed(text.as_bytes()), None);
    let rest = String::from_utf8(tap.end()).unwrap();
    (tap.into_summary(), rest)
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
}

#[test]
fn a_messages_stream_is_summed_up() {
    let (summary, rest) = tap(Format::Messages, MESSAGES, true);
    assert_eq!(rest, "");
    let usage = Usage {
        input: 25,
        cache_read: 8000,
        cache_write: 1000,
        cache_write_1h: 200,
        output: 15,
        ..Usage::default()
    };
    let text = "Hello, \"world\"\n– ünï 🌍";
    assert_eq!(
        summary,
        Summary {
            id: Some("msg_01XFDUDYJgAACzvnptvVoYEL".into()),
            model: Some("claude-sonnet-4-5-20250929".into()),
            stop: Some("end_turn".into()),
            usage: Some(usage),
            output_bytes: text.len() as u64,
            content: vec![Block::Text(text.into())],
            tool_calls: vec![],
            error: None,
            complete: true,
        }
    );
}

#[test]
fn tool_calls_are_always_known_and_their_arguments_only_with_the_content() {
    let (summary, _) = tap(Format::Messages, TOOLS, true);
    assert_eq!(
        summary.tool_calls,
        [call("toolu_01", "Read", "{\"file_path\": \"a.txt\"}"), call("toolu_02", "mcp__db__now", "")]
    );
    assert_eq!(
        summary.content,
        [
            Block::Thinking("Let me look.".into()),
            Block::Text("Searching.".into()),
            Block::ToolCall(0),
            Block::ToolCall(1)
        ]
    );
    assert_eq!(summary.usage.unwrap().web_searches, 1);
    assert_eq!(summary.stop.as_deref(), Some("tool_use"));

    let (without, _) = tap(Format::Messages, TOOLS, false);
    assert_eq!(without.tool_calls, [call("toolu_01", "Read", ""), call("toolu_02", "mcp__db__now", "")]);
    assert!(without.content.is_empty());
    assert_eq!(without.output_bytes, summary.output_bytes);

    let (chat, _) = tap(Format::Chat, PARALLEL, true);
    assert_eq!(
        chat.tool_calls,
        [call("call_a", "Read", "{\"file_path\":\"a\"}"), call("call_b", "Grep", "{\"pattern\":\"b\"}")]
    );
}

#[test]
fn a_chat_stream_is_summed_up() {
    let (summary, rest) = tap(Format::Chat, CHAT, false);
    assert_eq!((rest.as_str(), summary.complete), ("", true));
    assert_eq!(summary.id.as_deref(), Some("chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"));
    assert_eq!(summary.model.as_deref(), Some("gpt-5-2025-08-07"));
    assert_eq!(summary.stop.as_deref(), Some("end_turn"));
    assert_eq!(summary.usage.unwrap(), Usage { input: 19, output: 10, ..Usage::default() });
    assert_eq!(summary.output_bytes, "Hello, \"you\" 🌍".len() as u64);
}

#[test]
fn usage_is_taken_out_of_a_chat_stream_and_nothing_else_is() {
    for (name, text) in [("openai", CHAT), ("azure", AZURE), ("tools", PARALLEL)] {
        let usage_at = text.find("\"usage\":{").unwrap();
        let start = text[..usage_at].rfind("\n\n").unwrap() + 2;
        let end = usage_at + text[usage_at..].find("\n\n").unwrap() + 2;
        let expected = format!("{}{}", &text[..start], &text[end..]);
        for size in [1, 2, 7, 100, 1000, text.len()] {
            let mut tap = Tap::new(Format::Chat, true, false, true);
            let mut sent = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                match tap.feed(piece) {
                    None => sent.extend_from_slice(piece),
                    Some(bytes) => sent.extend_from_slice(&bytes),
                }
                assert!(tap.at_boundary(), "only whole events are sent");
            }
            sent.extend_from_slice(&tap.end());
            assert_eq!(String::from_utf8(sent).unwrap(), expected, "{name} in pieces of {size}");
            assert!(tap.summary().usage.is_some());
        }
    }
}

#[test]
fn a_stream_that_stops_early_ends_in_an_error_that_a_parser_finds() {
    for (format, text, mark) in [
        (
            Format::Messages,
            MESSAGES,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
        ),
        (Format::Chat, CHAT, "data: {\"error\":{\"message\":"),
    ] {
        let finish =
            text.find("\"stop_reason\":\"end_turn\"").or(text.find("\"finish_reason\":\"stop\"")).unwrap();
        let last_before_finish = text[..finish].rfind("\n\n").unwrap() + 2;
        for cut in 0..last_before_finish {
            let (before, _) = text.as_bytes().split_at(cut);
            for strip in [false, true] {
                let mut tap = Tap::new(format, true, false, strip);
                let mut sent = tap.feed(before).unwrap_or_else(|| before.to_vec());
                sent.extend_from_slice(&tap.end());
                let sent = String::from_utf8_lossy(&sent).into_owned();
                let last = sent.trim_end_matches('\n').rsplit("\n\n").next().unwrap();
                assert!(last.contains(mark), "cut at {cut}, strip {strip}: {last:?}");
                assert!(!tap.summary().complete && tap.summary().error.is_some());
                assert_eq!(tap.end(), b"", "one error only");
            }
        }
    }
}

#[test]
fn a_stream_that_lacks_only_its_last_line_is_complete() {
    let without_stop = MESSAGES.split("event: message_stop").next().unwrap();
    let (summary, rest) = tap(Format::Messages, without_stop, false);
    assert!(summary.complete);
    assert_eq!(rest, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");

    let (summary, rest) = tap(Format::Messages, MESSAGES.trim_end(), false);
    assert_eq!((summary.complete, rest.as_str()), (true, "\n\n"));

    let without_done = CHAT.split("data: [DONE]").next().unwrap();
    let (summary, rest) = tap(Format::Chat, without_done, false);
    assert_eq!((summary.complete, rest.as_str()), (true, ""));
}

#[test]
fn an_error_of_the_upstream_is_the_streams_end() {
    let (summary, rest) = tap(Format::Messages, OVERLOADED, false);
    assert_eq!((rest.as_str(), summary.complete), ("", false));
    let error = summary.error.unwrap();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Overloaded, "Overloaded"));

    let (summary, rest) = tap(Format::Chat, OPENROUTER_ERROR, false);
    assert_eq!((rest.as_str(), summary.complete), ("", false));
    let error = summary.error.unwrap();
    assert_eq!((error.kind, error.message.as_str()), (Kind::RateLimit, "Provider returned error: slow down"));
}

#[test]
fn a_failure_is_written_once_and_not_after_the_end() {
    let error =
        UpstreamError { kind: Kind::Timeout, message: "no byte for 300 s".into(), ..Default::default() };
    let mut open = Tap::new(Format::Messages, true, false, false);
    open.feed(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    let sent = String::from_utf8(open.fail(error.clone())).unwrap();
    assert!(sent.contains("timeout_error") && sent.contains("no byte for 300 s"), "{sent}");
    assert_eq!(open.fail(error.clone()), b"");
    assert_eq!(open.summary().error.as_ref(), Some(&error));

    let mut done = Tap::new(Format::Messages, true, false, false);
    done.feed(MESSAGES.as_bytes());
    assert_eq!(done.fail(error), b"");
    assert!(done.summary().complete && done.summary().error.is_none());
}

#[test]
fn tool_calls_of_every_choice_are_suggestions() {
    let text = concat!(
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"B\",\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"abc\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"de\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    let (summary, _) = tap(Format::Chat, text, true);
    assert_eq!(summary.tool_calls, [call("b", "B", "{}")]);
    assert_eq!(summary.output_bytes, 7);
}

#[test]
fn whole_bodies_are_read_at_their_end() {
    let message = br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"toolu_1","name":"Read","input":{"a": 1}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":9}}"#;
    let mut tap = Tap::new(Format::Messages, false, true, false);
    for piece in message.chunks(10) {
        assert_eq!(tap.feed(piece), None);
        assert!(!tap.at_boundary());
    }
    assert_eq!(tap.summary(), &Summary::default());
    assert_eq!(tap.end(), b"");
    let summary = tap.into_summary();
    assert_eq!(summary.usage, Some(Usage { input: 3, output: 9, ..Usage::default() }));
    assert_eq!(summary.tool_calls, [call("toolu_1", "Read", "{\"a\": 1}")]);
    assert_eq!((summary.stop.as_deref(), summary.complete), (Some("tool_use"), true));

    let completion = br#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-5","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}"#;
    let mut tap = Tap::new(Format::Chat, false, true, false);
    tap.feed(completion);
    tap.end();
    let summary = tap.into_summary();
    assert_eq!(summary.stop.as_deref(), Some("max_tokens"));
    assert_eq!(summary.content, [Block::Text("Hi".into())]);

    let mut cut = Tap::new(Format::Chat, false, true, false);
    cut.feed(&completion[..50]);
    assert_eq!(cut.end(), b"");
    assert!(!cut.summary().complete && cut.summary().error.is_some());
}

#[test]
fn usage_only_grows() {
    let start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"cache_creation_input_tokens\":5,\"cache_creation\":{\"ephemeral_1h_input_tokens\":3,\"ephemeral_5m_input_tokens\":2},\"output_tokens\":1}}}\n\n";
    let delta = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":0,\"cache_creation_input_tokens\":6,\"output_tokens\":7}}\n\n";
    let mut tap = Tap::new(Format::Messages, true, false, false);
    tap.feed(format!("{start}{delta}").as_bytes());
    let expected = Usage { input: 9, cache_write: 3, cache_write_1h: 3, output: 7, ..Usage::default() };
    assert_eq!(tap.summary().usage, Some(expected));
}

#[test]
fn a_body_that_is_no_answer_is_not_complete() {
    for body in ["", "{}", "[]", "7", "<html>", "{\"id\":\"x\",\"choices\":[]}", "{\"type\":\"pong\"}"] {
        for format in [Format::Messages, Format::Chat] {
            let mut tap = Tap::new(format, false, false, false);
            tap.feed(body.as_bytes());
            tap.end();
            assert!(!tap.summary().complete && tap.summary().error.is_some(), "{body:?} in {format:?}");
        }
    }
    let mut tap = Tap::new(Format::Chat, false, false, false);
    tap.feed(br#"{"error":{"message":"busy","code":503}}"#);
    tap.end();
    assert_eq!(tap.summary().error.as_ref().map(|error| error.kind), Some(Kind::Overloaded));
    let mut tap = Tap::new(Format::Messages, false, false, false);
    tap.feed(br#"{"type":"message","content":[],"stop_reason":"end_turn"}"#);
    tap.end();
    assert!(tap.summary().complete, "an upstream's empty message is an answer, if a short one");
}

#[test]
fn what_cannot_be_read_passes() {
    let garbage = "data: not json\n\nevent: content_block_delta\ndata: [1]\n\ndata: {\"type\":7}\n\n";
    let mut tap = Tap::new(Format::Messages, true, true, false);
    assert_eq!(tap.feed(garbage.as_bytes()), None);
    assert_eq!(tap.summary(), &Summary::default());
}

#[test]
fn content_is_capped() {
    let piece = "x".repeat(1 << 20);
    let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
    let mut tap = Tap::new(Format::Chat, true, true, false);
    for _ in 0..6 {
        tap.feed(event.as_bytes());
    }
    let [Block::Text(kept)] = tap.summary().content.as_slice() else { panic!("one block") };
    assert!(kept.len() <= crate::answer::CONTENT_CAP && kept.len() > 4_000_000);
    assert_eq!(tap.summary().output_bytes, 6 << 20);
}
