//! Gathers a [`Summary`] from neutral events.

use super::{
    Block, CONTENT_CAP, Summary, ToolCall,
    event::{Event, MAX_TOOLS, Stop},
};
use crate::error::{Kind, UpstreamError};

/// The most bytes that the ids and names of all tool calls, and each other name, may take in a summary.
const NAMES_CAP: usize = 1 << 20;

/// What a block of content costs beside its text, against [`CONTENT_CAP`].
const BLOCK_COST: usize = 64;

/// Watches an answer's events.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    pub(crate) summary: Summary,
    stop: Option<Stop>,
    sequence: Option<String>,
    keep_content: bool,
    /// Bytes of content kept.
    kept: usize,
    /// Bytes of tool ids and names kept.
    names: usize,
    /// The next piece of text begins a block of its own.
    block_ended: bool,
    has_tools: bool,
    /// Something that a client can be shown has come.
    has_content: bool,
    /// The proper end has come, or an error: what follows does not count.
    over: bool,
}

// === impl Collector ===

impl Collector {
    pub(crate) fn new(keep_content: bool) -> Self {
        Collector { keep_content, ..Collector::default() }
    }

    /// Takes one event.
    pub(crate) fn see(&mut self, event: &Event<'_>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, model } => {
                keep_name(&mut self.summary.id, *id);
                keep_name(&mut self.summary.model, *model);
            }
            Event::Usage(usage) => self.summary.usage = Some(*usage),
            Event::Text(text) => self.text(text, false),
            Event::Thinking(text) => self.text(text, true),
            Event::Redacted(_) => self.has_content = true,
            Event::ToolStart { id, name, .. } => self.tool(id, name),
            Event::ToolArgs { tool, json } => self.arguments(*tool, json),
            Event::BlockEnd => self.block_ended = true,
            Event::Aside(bytes) => self.summary.output_bytes += bytes,
            Event::Stop { reason, sequence } => self.stop(reason, *sequence),
            Event::Signature(_) | Event::Ping => {}
            Event::Error(error) => self.fail(error.clone()),
            Event::End => self.finish(),
        }
    }

    /// The upstream's reason for the end, in agreement with the content; `None` while it has not given one.
    pub(crate) fn stop_reason(&self) -> Option<Stop> {
        self.stop.clone().map(|stop| stop.agreeing(self.has_tools))
    }

    /// The stop sequence that was met.
    pub(crate) fn stop_sequence(&self) -> Option<&str> {
        self.sequence.as_deref()
    }

    pub(crate) fn has_tools(&self) -> bool {
        self.has_tools
    }

    pub(crate) fn has_content(&self) -> bool {
        self.has_content
    }

    /// Whether nothing more is to come: an end or an error was seen.
    pub(crate) fn over(&self) -> bool {
        self.over
    }

    /// The answer is complete.
    pub(crate) fn finish(&mut self) {
        self.over = true;
        self.summary.complete = true;
        let stop = self.stop.take().unwrap_or(Stop::EndTurn).agreeing(self.has_tools);
        self.summary.stop = Some(stop.as_str().to_owned());
        self.stop = Some(stop);
    }

    /// The answer broke. The first error stays.
    pub(crate) fn fail(&mut self, error: UpstreamError) {
        self.over = true;
        self.summary.complete = false;
        self.summary.error.get_or_insert(error);
    }

    fn stop(&mut self, reason: &Stop, sequence: Option<&str>) {
        let stop = reason.clone().agreeing(self.has_tools);
        self.summary.stop = Some(stop.as_str().to_owned());
        self.stop = Some(reason.clone());
        keep_name(&mut self.sequence, sequence);
    }

    fn text(&mut self, text: &str, thinking: bool) {
        if text.is_empty() {
            return;
        }
        self.has_content = true;
        self.summary.output_bytes += text.len() as u64;
        let block_ended = std::mem::take(&mut self.block_ended);
        let Some(text) = self.room_for(text) else { return };
        match (self.summary.content.last_mut(), thinking) {
            (Some(Block::Text(open)), false) | (Some(Block::Thinking(open)), true) if !block_ended => {
                open.push_str(text);
            }
            (_, thinking) => {
                self.kept += BLOCK_COST;
                let block = if thinking { Block::Thinking } else { Block::Text };
                self.summary.content.push(block(text.to_owned()));
            }
        }
    }

    fn tool(&mut self, id: &str, name: &str) {
        self.has_tools = true;
        self.has_content = true;
        self.block_ended = true;
        let calls = &mut self.summary.tool_calls;
        self.names += id.len() + name.len();
        if calls.len() >= MAX_TOOLS || self.names > NAMES_CAP {
            return;
        }
        if self.keep_content {
            self.summary.content.push(Block::ToolCall(calls.len()));
        }
        calls.push(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: String::new() });
    }

    fn arguments(&mut self, tool: usize, json: &str) {
        self.summary.output_bytes += json.len() as u64;
        let Some(json) = self.room_for(json) else { return };
        if let Some(call) = self.summary.tool_calls.get_mut(tool) {
            call.arguments.push_str(json);
        }
    }

    /// As much of `text` as may still be kept, when content is kept at all.
    fn room_for<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        if !self.keep_content {
            return None;
        }
        let room = text.floor_char_boundary(CONTENT_CAP.saturating_sub(self.kept));
        let text = text.get(..room).filter(|text| !text.is_empty())?;
        self.kept += text.len();
        Some(text)
    }
}

/// Keeps a name, unless it is absurdly long.
fn keep_name(slot: &mut Option<String>, name: Option<&str>) {
    if let Some(name) = name.filter(|name| !name.is_empty() && name.len() <= NAMES_CAP) {
        *slot = Some(name.to_owned());
    }
}

/// The error of a stream that ended before its end.
pub(crate) fn closed_early() -> UpstreamError {
    broken("the upstream closed the stream before the answer was complete")
}

/// An upstream's answer that cannot be passed on: 502.
pub(crate) fn broken(message: impl Into<String>) -> UpstreamError {
    UpstreamError { kind: Kind::Api, message: message.into(), ..UpstreamError::default() }
}
