//! The Messages stream decoder: server-sent events to neutral events.

use super::usage;
use crate::{
    Format, Usage,
    answer::{
        event::{Event, Stop},
        sse,
    },
    error,
    json::{self, Num, Obj, Str},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Decodes one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    usage: Usage,
    /// The upstream's index of the open block, and what it is.
    open: Option<(u64, Block)>,
    tools: usize,
}

/// What the open block is.
#[derive(Debug, Clone, Copy)]
enum Block {
    Text,
    Thinking,
    Tool {
        tool: usize,
        /// The arguments stood in the block's start already.
        whole: bool,
    },
    /// Something that only Anthropic's own clients understand (server tools and their results).
    Foreign,
}

/// Any event of the stream. What most events lack is boxed: the parser moves these structs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    message: Obj<Box<Message<'a>>>,
    index: Num,
    #[serde(borrow)]
    content_block: Obj<Box<ContentBlock<'a>>>,
    #[serde(borrow)]
    delta: Obj<Delta<'a>>,
    usage: Obj<Box<usage::Wire>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    model: Str<'a>,
    usage: Obj<Box<usage::Wire>>,
}

/// A content block, as it starts in a stream or stands in a whole body.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ContentBlock<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) thinking: Str<'a>,
    #[serde(borrow)]
    pub(super) signature: Str<'a>,
    #[serde(borrow)]
    pub(super) data: Str<'a>,
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Str<'a>,
    #[serde(borrow)]
    thinking: Str<'a>,
    #[serde(borrow)]
    signature: Str<'a>,
    #[serde(borrow)]
    partial_json: Str<'a>,
    #[serde(borrow)]
    stop_reason: Str<'a>,
    #[serde(borrow)]
    stop_sequence: Str<'a>,
}

// === impl Decoder ===

impl Decoder {
    /// Decodes one frame. An error is data that is no JSON object.
    pub fn decode(
        &mut self,
        frame: &sse::Frame<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), serde_json::Error> {
        let Some(data) = frame.data.filter(|data| !data.is_empty()) else { return Ok(()) };
        let wire: Wire<'_> = json::parse(data)?;
        let kind = wire.kind.some().unwrap_or_else(|| std::str::from_utf8(frame.name).unwrap_or_default());
        match kind {
            "content_block_delta" => self.delta(&wire, on),
            "content_block_start" => self.block_start(&wire, on),
            "content_block_stop" => self.block_stop(&wire, on),
            "message_start" => self.start(&wire, on),
            "message_delta" => self.message_delta(&wire, on),
            "message_stop" => on(Event::End),
            "ping" => on(Event::Ping),
            "error" => {
                let body = wire.error.map_or("{}", RawValue::get);
                on(Event::Error(error::inside(Format::Messages, body)));
            }
            _ => {} // the API may add events, and says that clients must pass over them
        }
        Ok(())
    }

    fn start(&mut self, wire: &Wire<'_>, on: &mut impl FnMut(Event<'_>)) {
        let Some(message) = &wire.message.0 else { return };
        on(Event::Start { id: message.id.some(), model: message.model.some() });
        self.usage(&message.usage, on);
    }

    fn usage(&mut self, usage: &Obj<Box<usage::Wire>>, on: &mut impl FnMut(Event<'_>)) {
        if let Some(usage) = &usage.0 {
            usage.merge_into(&mut self.usage);
            on(Event::Usage(self.usage));
        }
    }

    fn block_start(&mut self, wire: &Wire<'_>, on: &mut impl FnMut(Event<'_>)) {
        let Some(block) = &wire.content_block.0 else { return };
        if self.open.take().is_some() {
            on(Event::BlockEnd);
        }
        let kind = block_kind(block, &mut self.tools, on);
        self.open = Some((wire.index.get(), kind));
    }

    fn delta(&mut self, wire: &Wire<'_>, on: &mut impl FnMut(Event<'_>)) {
        let (Some((index, block)), Some(delta)) = (self.open, &wire.delta.0) else { return };
        if wire.index.0.is_some_and(|of| of != index) {
            return; // a delta of a block that is not open is nobody's
        }
        match block {
            Block::Text => some(&delta.text, Event::Text, on),
            Block::Thinking => {
                some(&delta.thinking, Event::Thinking, on);
                some(&delta.signature, Event::Signature, on);
            }
            Block::Tool { tool, whole: false } => {
                some(&delta.partial_json, |json| Event::ToolArgs { tool, json }, on);
            }
            Block::Tool { whole: true, .. } | Block::Foreign => {}
        }
    }

    fn block_stop(&mut self, wire: &Wire<'_>, on: &mut impl FnMut(Event<'_>)) {
        if self.open.is_some_and(|(index, _)| wire.index.0.is_none_or(|of| of == index)) {
            self.open = None;
            on(Event::BlockEnd);
        }
    }

    fn message_delta(&mut self, wire: &Wire<'_>, on: &mut impl FnMut(Event<'_>)) {
        self.usage(&wire.usage, on);
        if let Some(delta) = &wire.delta.0
            && let Some(reason) = delta.stop_reason.some()
        {
            let reason = Stop::from_anthropic(reason);
            on(Event::Stop { reason, sequence: delta.stop_sequence.some() });
        }
    }
}

/// Hands out what stands in a block itself, and says what the block is.
fn block_kind(block: &ContentBlock<'_>, tools: &mut usize, on: &mut impl FnMut(Event<'_>)) -> Block {
    match block.kind.get() {
        "text" => {
            some(&block.text, Event::Text, on);
            Block::Text
        }
        "thinking" => {
            some(&block.thinking, Event::Thinking, on);
            some(&block.signature, Event::Signature, on);
            Block::Thinking
        }
        "redacted_thinking" => {
            some(&block.data, Event::Redacted, on);
            Block::Foreign
        }
        "tool_use" if block.name.some().is_some() => {
            let tool = *tools;
            *tools += 1;
            on(Event::ToolStart { tool, id: block.id.get(), name: block.name.get() });
            let input = block.input.map(RawValue::get).filter(|input| !is_empty_object(input));
            if let Some(json) = input {
                on(Event::ToolArgs { tool, json });
            }
            Block::Tool { tool, whole: input.is_some() }
        }
        _ => Block::Foreign,
    }
}

/// Hands out a block of a whole body.
pub(super) fn whole_block(block: &ContentBlock<'_>, tools: &mut usize, on: &mut impl FnMut(Event<'_>)) {
    block_kind(block, tools, on);
    on(Event::BlockEnd);
}

/// `{}`, or nothing at all: the arguments come as deltas, or there are none.
fn is_empty_object(json: &str) -> bool {
    json == "null" || json.chars().filter(|c| !c.is_ascii_whitespace()).eq("{}".chars())
}

/// Hands out a text that is not empty.
fn some<'a>(text: &'a Str<'_>, event: impl FnOnce(&'a str) -> Event<'a>, on: &mut impl FnMut(Event<'_>)) {
    if let Some(text) = text.some() {
        on(event(text));
    }
}
