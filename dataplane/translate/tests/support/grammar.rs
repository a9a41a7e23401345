//! Strict checkers of what clients are promised: the grammar of a Messages stream and of a Chat stream. They accept nothing
//! that an SDK could stumble over, and hand back the answer as a client would put it together.

use serde_json::Value;

/// An answer as a client sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) blocks: Vec<Block>,
    /// The last block was never closed: the answer was cut off inside a tool call.
    pub(crate) unclosed: bool,
    /// In the client's words; `None` when the stream ended in an error.
    pub(crate) stop: Option<String>,
    pub(crate) usage: Value,
    /// The error's type and message, when the stream ended in one.
    pub(crate) error: Option<(String, String)>,
    pub(crate) heartbeats: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Text(String),
    /// Text and signature.
    Thinking(String, String),
    Redacted(String),
    /// Id, name, arguments.
    Tool(String, String, String),
}

/// Splits a stream into (name, data) and insists on the exact framing that we promise.
fn events(stream: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut rest = std::str::from_utf8(stream).map_err(|e| e.to_string())?;
    let mut events = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix(": ping\n") {
            events.push((":".to_owned(), String::new()));
            rest = tail;
            continue;
        }
        let (block, tail) = rest.split_once("\n\n").ok_or_else(|| format!("no blank line after {rest:?}"))?;
        rest = tail;
        let (name, data) = match block.strip_prefix("event: ") {
            Some(named) => {
                named.split_once('\n').ok_or_else(|| format!("an event without data: {block:?}"))?
            }
            None => ("", block),
        };
        let data = data.strip_prefix("data: ").ok_or_else(|| format!("no data line in {block:?}"))?;
        if data.is_empty() || data.contains(['\n', '\r']) {
            return Err(format!("data must be one line: {block:?}"));
        }
        events.push((name.to_owned(), data.to_owned()));
    }
    Ok(events)
}

fn json(data: &str) -> Result<Value, String> {
    serde_json::from_str(data).map_err(|e| format!("{e} in {data}"))
}

fn text(value: &Value, pointer: &str) -> Result<String, String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("no string at {pointer} in {value}"))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object())
}

fn check_ids(blocks: &[Block]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    for block in blocks {
        if let Block::Tool(id, name, _) = block {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            ensure(!id.is_empty() && id.chars().all(legal), || format!("tool id {id:?}"))?;
            ensure(seen.insert(id), || format!("tool id {id:?} twice"))?;
            ensure(!name.is_empty(), || "a tool without a name".into())?;
        }
    }
    Ok(())
}

/// Checks a Messages stream.
pub(crate) fn messages(stream: &[u8]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    let (mut started, mut open, mut ended) = (false, false, false);
    let mut delta_seen = false;
    for (name, data) in events(stream)? {
        ensure(!ended, || format!("{name} after the end"))?;
        let event = json(&data)?;
        ensure(event["type"] == name.as_str(), || format!("event {name:?} says {data}"))?;
        ensure(started || matches!(name.as_str(), "message_start" | "error"), || {
            format!("{name} before message_start")
        })?;
        ensure(!delta_seen || matches!(name.as_str(), "message_stop" | "ping" | "error"), || {
            format!("{name} after message_delta")
        })?;
        match name.as_str() {
            "message_start" => {
                ensure(!std::mem::replace(&mut started, true), || "two message_start".into())?;
                check_message_start(&event["message"])?;
            }
            "ping" => answer.heartbeats += 1,
            "error" => {
                answer.error = Some((text(&event, "/error/type")?, text(&event, "/error/message")?));
                ended = true;
            }
            "content_block_start" => {
                ensure(!std::mem::replace(&mut open, true), || format!("a second open block: {data}"))?;
                ensure(event["index"] == answer.blocks.len(), || format!("index out of order: {data}"))?;
                answer.blocks.push(block_start(&event["content_block"])?);
            }
            "content_block_delta" => {
                ensure(open && event["index"] == answer.blocks.len() - 1, || {
                    format!("delta of no open block: {data}")
                })?;
                delta(answer.blocks.last_mut().ok_or("no block")?, &event["delta"])?;
            }
            "content_block_stop" => {
                ensure(open && event["index"] == answer.blocks.len() - 1, || {
                    format!("stop of no open block: {data}")
                })?;
                if let Some(Block::Tool(_, _, arguments)) = answer.blocks.last() {
                    ensure(arguments.is_empty() || is_object(arguments), || {
                        format!("closed with {arguments:?}")
                    })?;
                }
                open = false;
            }
            "message_delta" => {
                delta_seen = true;
                answer.stop = Some(text(&event, "/delta/stop_reason")?);
                ensure(event["delta"].get("stop_sequence").is_some(), || "no stop_sequence".into())?;
                check_usage(&event["usage"])?;
                answer.usage = event["usage"].clone();
            }
            "message_stop" => {
                ensure(delta_seen, || "message_stop without message_delta".into())?;
                ended = true;
            }
            other => return Err(format!("unknown event {other}")),
        }
    }
    ensure(ended, || "no end".into())?;
    answer.unclosed = open;
    if answer.error.is_some() {
        answer.stop = None;
    } else {
        check_messages_end(&answer)?;
    }
    check_ids(&answer.blocks)?;
    Ok(answer)
}

fn check_message_start(message: &Value) -> Result<(), String> {
    let expected = message["type"] == "message"
        && message["role"] == "assistant"
        && message["content"] == Value::Array(vec![])
        && message["stop_reason"].is_null()
        && message.get("stop_sequence").is_some_and(Value::is_null)
        && message["id"].as_str().is_some_and(|id| id.starts_with("msg_"))
        && message["model"].is_string();
    ensure(expected, || format!("message_start with {message}"))?;
    check_usage(&message["usage"])
}

fn check_usage(usage: &Value) -> Result<(), String> {
    for key in ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"] {
        ensure(usage[key].is_u64(), || format!("usage without {key}: {usage}"))?;
    }
    Ok(())
}

fn check_messages_end(answer: &Answer) -> Result<(), String> {
    let stop = answer.stop.as_deref().unwrap_or_default();
    let truncated = matches!(stop, "max_tokens" | "model_context_window_exceeded");
    let tools = answer.blocks.iter().any(|block| matches!(block, Block::Tool(..)));
    ensure(!answer.blocks.is_empty(), || "an empty answer".into())?;
    ensure(!answer.unclosed || truncated && matches!(answer.blocks.last(), Some(Block::Tool(..))), || {
        format!("a block left open at {stop}")
    })?;
    ensure(stop != "end_turn" || !tools, || "tools, yet end_turn".into())?;
    ensure(stop != "tool_use" || tools, || "tool_use without a tool".into())
}

fn block_start(block: &Value) -> Result<Block, String> {
    let empty =
        |pointer| text(block, pointer).and_then(|text| ensure(text.is_empty(), || format!("{block}")));
    match text(block, "/type")?.as_str() {
        "text" => empty("/text").map(|()| Block::Text(String::new())),
        "thinking" => {
            empty("/thinking")?;
            empty("/signature")?;
            Ok(Block::Thinking(String::new(), String::new()))
        }
        "redacted_thinking" => Ok(Block::Redacted(text(block, "/data")?)),
        "tool_use" => {
            ensure(block["input"] == serde_json::json!({}), || format!("input in the start: {block}"))?;
            Ok(Block::Tool(text(block, "/id")?, text(block, "/name")?, String::new()))
        }
        other => Err(format!("unknown block {other}")),
    }
}

fn delta(block: &mut Block, delta: &Value) -> Result<(), String> {
    let kind = text(delta, "/type")?;
    match (block, kind.as_str()) {
        (Block::Text(open), "text_delta") => open.push_str(&text(delta, "/text")?),
        (Block::Thinking(open, signature), "thinking_delta") => {
            ensure(signature.is_empty(), || "thinking after its signature".into())?;
            open.push_str(&text(delta, "/thinking")?);
        }
        (Block::Thinking(_, signature), "signature_delta") => {
            ensure(signature.is_empty(), || "two signatures".into())?;
            *signature = text(delta, "/signature")?;
        }
        (Block::Tool(_, _, arguments), "input_json_delta") => {
            arguments.push_str(&text(delta, "/partial_json")?)
        }
        (block, kind) => return Err(format!("{kind} in {block:?}")),
    }
    Ok(())
}

/// Checks a Chat stream.
pub(crate) fn chat(stream: &[u8], include_usage: bool) -> Result<Answer, String> {
    let mut answer = Answer::default();
    let mut head: Option<[Value; 4]> = None;
    let (mut ended, mut usage_seen) = (false, false);
    for (name, data) in events(stream)? {
        if name == ":" {
            answer.heartbeats += 1;
            continue;
        }
        ensure(name.is_empty() && !ended, || format!("{name} {data} out of place"))?;
        if data == "[DONE]" {
            ensure(answer.stop.is_some() && usage_seen == include_usage, || "[DONE] too early".into())?;
            ended = true;
            continue;
        }
        let chunk = json(&data)?;
        if chunk.get("error").is_some() {
            answer.error = Some((text(&chunk, "/error/type")?, text(&chunk, "/error/message")?));
            answer.stop = None;
            ended = true;
            continue;
        }
        ensure(chunk["object"] == "chat.completion.chunk", || data.clone())?;
        let this = ["id", "model", "created", "object"].map(|key| chunk[key].clone());
        let choices = chunk["choices"].as_array().ok_or("no choices")?;
        match &head {
            Some(head) => ensure(*head == this, || format!("id, model or time changed: {data}"))?,
            None => {
                ensure(chunk["choices"][0]["delta"]["role"] == "assistant", || {
                    format!("no role first: {data}")
                })?;
                head = Some(this);
            }
        }
        if choices.is_empty() {
            ensure(answer.stop.is_some() && !usage_seen && include_usage, || {
                format!("usage out of place: {data}")
            })?;
            usage_seen = true;
            answer.usage = chunk["usage"].clone();
            check_chat_usage(&answer.usage)?;
            continue;
        }
        ensure(choices.len() == 1 && answer.stop.is_none(), || format!("a chunk after the finish: {data}"))?;
        ensure(chunk.get("usage").is_none_or(Value::is_null), || format!("usage too early: {data}"))?;
        chat_delta(&mut answer.blocks, &choices[0]["delta"])?;
        answer.stop = choices[0]["finish_reason"].as_str().map(str::to_owned);
    }
    ensure(ended, || "no end".into())?;
    if answer.error.is_none() {
        check_chat_end(&answer)?;
    }
    check_ids(&answer.blocks)?;
    Ok(answer)
}

fn check_chat_usage(usage: &Value) -> Result<(), String> {
    let number = |key: &str| usage[key].as_u64().ok_or_else(|| format!("no {key} in {usage}"));
    let (prompt, completion) = (number("prompt_tokens")?, number("completion_tokens")?);
    ensure(number("total_tokens")? == prompt.saturating_add(completion), || format!("total of {usage}"))?;
    ensure(usage["prompt_tokens_details"]["cached_tokens"].as_u64() <= Some(prompt), || format!("{usage}"))
}

fn check_chat_end(answer: &Answer) -> Result<(), String> {
    let stop = answer.stop.as_deref().unwrap_or_default();
    let tools = answer.blocks.iter().any(|block| matches!(block, Block::Tool(..)));
    ensure(matches!(stop, "stop" | "length" | "tool_calls" | "content_filter"), || {
        format!("finish {stop:?}")
    })?;
    ensure(stop != "tool_calls" || tools, || "tool_calls without a call".into())?;
    for block in &answer.blocks {
        if let Block::Tool(_, _, arguments) = block {
            ensure(!arguments.is_empty() || stop == "length", || "a call without arguments".into())?;
        }
    }
    Ok(())
}

fn chat_delta(blocks: &mut Vec<Block>, delta: &Value) -> Result<(), String> {
    let fields = delta.as_object().ok_or("no delta")?;
    for (key, value) in fields {
        match key.as_str() {
            "role" => ensure(value == "assistant" && blocks.is_empty(), || format!("role in {delta}"))?,
            "content" => push_text(blocks, value.as_str().ok_or("content")?),
            "reasoning_content" => push_thinking(blocks, value.as_str().ok_or("reasoning")?),
            "reasoning_details" => push_detail(blocks, &value[0])?,
            "tool_calls" => push_call(blocks, &value[0])?,
            other => return Err(format!("unknown field {other}")),
        }
    }
    Ok(())
}

fn push_text(blocks: &mut Vec<Block>, text: &str) {
    match blocks.last_mut() {
        _ if text.is_empty() => {}
        Some(Block::Text(open)) => open.push_str(text),
        _ => blocks.push(Block::Text(text.to_owned())),
    }
}

fn push_thinking(blocks: &mut Vec<Block>, text: &str) {
    match blocks.last_mut() {
        Some(Block::Thinking(open, signature)) if signature.is_empty() => open.push_str(text),
        _ => blocks.push(Block::Thinking(text.to_owned(), String::new())),
    }
}

fn push_detail(blocks: &mut Vec<Block>, detail: &Value) -> Result<(), String> {
    if detail["type"] == "reasoning.encrypted" {
        blocks.push(Block::Redacted(text(detail, "/data")?));
        return Ok(());
    }
    let (whole, proof) = (text(detail, "/text")?, text(detail, "/signature")?);
    match blocks.last_mut() {
        Some(Block::Thinking(open, signature)) if signature.is_empty() && open.ends_with(&whole) => {
            *signature = proof
        }
        _ => blocks.push(Block::Thinking(whole, proof)),
    }
    Ok(())
}

fn push_call(blocks: &mut Vec<Block>, call: &Value) -> Result<(), String> {
    let index = call["index"].as_u64().ok_or("no index")? as usize;
    let mut tools: Vec<&mut Block> =
        blocks.iter_mut().filter(|block| matches!(block, Block::Tool(..))).collect();
    let arguments = text(call, "/function/arguments")?;
    if call.get("id").is_some() {
        ensure(index == tools.len() && call["type"] == "function", || format!("start of {call}"))?;
        blocks.push(Block::Tool(text(call, "/id")?, text(call, "/function/name")?, arguments));
        return Ok(());
    }
    match tools.get_mut(index) {
        Some(Block::Tool(_, _, open)) => open.push_str(&arguments),
        _ => return Err(format!("arguments of no call: {call}")),
    }
    Ok(())
}
