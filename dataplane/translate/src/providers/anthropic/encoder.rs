//! The Messages stream encoder: it owns the block indices, keeps one block open at a time, and never closes a tool block
//! whose arguments are not a whole JSON object, because Claude Code runs closed ones.

pub(super) mod wire;

use crate::{
    Usage,
    answer::{
        Context,
        args::{self, Scan},
        broken,
        encode::Ending,
        event::Event,
        sse::MAX_EVENT,
    },
    error::UpstreamError,
};
use std::collections::VecDeque;

/// The signature of reasoning that came without one: a [carrier](crate::request) that carries nothing. The tag it begins with
/// says that no Anthropic upstream may see the block.
pub(crate) const UNSIGNED: &str = "gw1.unsigned";

/// The most bytes of tool arguments and waiting texts that are held at a time.
const HELD_CAP: usize = MAX_EVENT;

/// Encodes one stream.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    next_index: u64,
    open: Option<Open>,
    /// What waits until the open tool's arguments are whole. Empty while the open block is anything else.
    queue: VecDeque<Waiting>,
    tools: Vec<Tool>,
    held: usize,
}

/// The open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking { signed: bool },
    Tool(usize),
}

/// A block that could not be written yet.
#[derive(Debug)]
enum Waiting {
    Text(String),
    Thinking(String),
    Signature(String),
    Redacted(String),
    Tool(usize),
    /// The end of the block before.
    End,
}

#[derive(Debug)]
struct Tool {
    id: String,
    name: String,
    scan: Scan,
    /// The arguments so far; given back once the block is closed.
    arguments: String,
    /// How many bytes of them the client has.
    sent: usize,
    closed: bool,
}

// === impl Encoder ===

impl Encoder {
    pub(crate) fn start(&mut self, context: &Context, usage: Usage, out: &mut Vec<u8>) {
        wire::message_start(context, &usage, out);
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match event {
            Event::ToolStart { id, name, .. } => {
                self.tools.push(Tool::new(id, name));
                let tool = self.tools.len() - 1;
                if self.waits() { self.wait(Waiting::Tool(tool)) } else { self.open_tool(tool, out) }
            }
            Event::ToolArgs { tool, json } => self.arguments(*tool, json, out),
            Event::Ping => {
                wire::ping(out);
                Ok(())
            }
            event if self.waits() => match event {
                Event::Text(text) => self.wait(Waiting::Text((*text).to_owned())),
                Event::Thinking(text) => self.wait(Waiting::Thinking((*text).to_owned())),
                Event::Signature(proof) => self.wait(Waiting::Signature((*proof).to_owned())),
                Event::Redacted(data) => self.wait(Waiting::Redacted((*data).to_owned())),
                Event::BlockEnd if !self.queue.is_empty() => self.wait(Waiting::End),
                _ => Ok(()), // the end of a tool block that is not whole: the answer's end decides
            },
            event => self.write(event, out),
        }
    }

    /// Ends the message.
    pub(crate) fn finish(&mut self, ending: &Ending<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        let truncated = ending.stop.truncated();
        let mut cut_off = false;
        if let Some(Open::Tool(tool)) = self.open {
            let last = self.queue.is_empty();
            cut_off = truncated && (last && self.is_bare(tool) || !self.is_whole(tool));
            if !cut_off {
                self.settle(tool, out)?;
            }
        }
        // A block that was cut off stays open, and nothing can come after it; a call that has not begun is left out.
        while let Some(waiting) = self.queue.pop_front().filter(|_| !cut_off) {
            match waiting {
                Waiting::Tool(tool) if truncated && self.queue.is_empty() && self.is_bare(tool) => {}
                Waiting::Tool(tool) if self.is_whole(tool) => {
                    self.open_tool(tool, out)?;
                    self.settle(tool, out)?;
                }
                Waiting::Tool(tool) if !truncated => return Err(self.not_whole(tool)),
                Waiting::Tool(_) => {}
                waiting => self.write_waiting(&waiting, out)?,
            }
        }
        if !cut_off {
            self.close(out)?;
        }
        if self.next_index == 0 {
            // A refusal, or a cap that left no room for a word: clients take an empty list of blocks for a broken answer.
            self.open(Open::Text, out);
            self.close(out)?;
        }
        wire::message_end(ending, out);
        Ok(())
    }

    /// Whether the open block is a tool's that cannot be closed yet.
    fn waits(&self) -> bool {
        matches!(self.open, Some(Open::Tool(tool)) if self.tools.get(tool).is_some_and(|tool| !tool.scan.complete_object()))
    }

    fn wait(&mut self, waiting: Waiting) -> Result<(), UpstreamError> {
        match (self.queue.back_mut(), &waiting) {
            (Some(Waiting::Text(open)), Waiting::Text(text))
            | (Some(Waiting::Thinking(open)), Waiting::Thinking(text)) => open.push_str(text),
            _ => {
                self.hold(waiting.len() + size_of::<Waiting>())?;
                self.queue.push_back(waiting);
                return Ok(());
            }
        }
        self.hold(waiting.len())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), UpstreamError> {
        self.held += bytes;
        if self.held <= HELD_CAP {
            return Ok(());
        }
        Err(broken(format!("the upstream's tool calls have more than {HELD_CAP} bytes of arguments")))
    }

    /// Writes an event other than a tool's; no tool is in the way.
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match event {
            Event::Text(text) => {
                self.ensure(Open::Text, out)?;
                wire::delta(self.index(), wire::TEXT, text, out);
            }
            Event::Thinking(text) => {
                self.ensure(Open::Thinking { signed: false }, out)?;
                wire::delta(self.index(), wire::THINKING, text, out);
            }
            Event::Signature(proof) => {
                self.ensure(Open::Thinking { signed: false }, out)?;
                wire::delta(self.index(), wire::SIGNATURE, proof, out);
                self.open = Some(Open::Thinking { signed: true });
            }
            Event::Redacted(data) => {
                self.close(out)?;
                wire::redacted(self.next_index, data, out);
                self.next_index += 1;
            }
            Event::BlockEnd => self.close(out)?,
            _ => {}
        }
        Ok(())
    }

    fn write_waiting(&mut self, waiting: &Waiting, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match waiting {
            Waiting::Text(text) => self.write(&Event::Text(text), out),
            Waiting::Thinking(text) => self.write(&Event::Thinking(text), out),
            Waiting::Signature(proof) => self.write(&Event::Signature(proof), out),
            Waiting::Redacted(data) => self.write(&Event::Redacted(data), out),
            Waiting::Tool(tool) => self.open_tool(*tool, out),
            Waiting::End => self.close(out),
        }
    }

    /// The index of the open block.
    fn index(&self) -> u64 {
        self.next_index.saturating_sub(1)
    }

    /// Makes sure that a block of this kind is open.
    fn ensure(&mut self, kind: Open, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        if self.open != Some(kind) {
            self.close(out)?;
            self.open(kind, out);
        }
        Ok(())
    }

    fn open(&mut self, kind: Open, out: &mut Vec<u8>) {
        match kind {
            Open::Text => wire::text_start(self.next_index, out),
            Open::Thinking { .. } => wire::thinking_start(self.next_index, out),
            Open::Tool(tool) => {
                if let Some(tool) = self.tools.get(tool) {
                    wire::tool_start(self.next_index, &tool.id, &tool.name, out);
                }
            }
        }
        self.next_index += 1;
        self.open = Some(kind);
    }

    /// Closes the open block, a tool's too if it is whole.
    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match self.open {
            None => return Ok(()),
            Some(Open::Text | Open::Thinking { signed: true }) => {}
            Some(Open::Thinking { signed: false }) => {
                wire::delta(self.index(), wire::SIGNATURE, UNSIGNED, out)
            }
            Some(Open::Tool(tool)) => return self.settle(tool, out),
        }
        wire::block_stop(self.index(), out);
        self.open = None;
        Ok(())
    }

    fn open_tool(&mut self, tool: usize, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        self.close(out)?;
        self.open(Open::Tool(tool), out);
        self.send(tool, out);
        Ok(())
    }

    /// Sends what the client lacks of the open tool's arguments, as soon as they look like an object.
    fn send(&mut self, tool: usize, out: &mut Vec<u8>) {
        let index = self.index();
        let Some(tool) = self.tools.get_mut(tool).filter(|tool| tool.scan.is_object()) else { return };
        if let Some(rest) = tool.arguments.get(tool.sent..).filter(|rest| !rest.is_empty()) {
            wire::delta(index, wire::ARGUMENTS, rest, out);
            tool.sent = tool.arguments.len();
        }
    }

    fn arguments(&mut self, at: usize, json: &str, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        let Some(tool) = self.tools.get_mut(at) else { return Ok(()) };
        if tool.closed {
            let blank = json.trim().is_empty();
            return if blank { Ok(()) } else { Err(invalid(&tool.name)) };
        }
        let piece = tool.scan.feed(json);
        tool.arguments.push_str(&piece);
        let bytes = piece.len();
        self.hold(bytes)?;
        if self.open != Some(Open::Tool(at)) {
            return Ok(());
        }
        self.send(at, out);
        if !self.queue.is_empty() && !self.waits() { self.drain(out) } else { Ok(()) }
    }

    /// The open tool is whole: what waited for it is written, up to the next tool that is not.
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        while !self.waits() {
            let Some(waiting) = self.queue.pop_front() else { break };
            self.held = self.held.saturating_sub(waiting.len() + size_of::<Waiting>());
            self.write_waiting(&waiting, out)?;
        }
        Ok(())
    }

    fn is_whole(&self, tool: usize) -> bool {
        self.tools.get(tool).is_some_and(|tool| args::whole(&tool.arguments).is_some())
    }

    /// No arguments have come: where the answer was truncated right here, nobody knows whether they would have.
    fn is_bare(&self, tool: usize) -> bool {
        self.tools.get(tool).is_some_and(|tool| tool.scan.is_empty())
    }

    fn not_whole(&self, tool: usize) -> UpstreamError {
        invalid(self.tools.get(tool).map_or("", |tool| &tool.name))
    }

    /// Closes the open tool's block. An error is arguments that are no object and cannot be made one.
    fn settle(&mut self, at: usize, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        let index = self.index();
        let Some(tool) = self.tools.get_mut(at) else { return Ok(()) };
        match args::whole(&tool.arguments) {
            None => return Err(invalid(&tool.name)),
            // Anthropic itself sends one empty piece for a call without arguments.
            Some(_) if tool.scan.is_empty() => wire::delta(index, wire::ARGUMENTS, "", out),
            Some(whole) if tool.sent == 0 => wire::delta(index, wire::ARGUMENTS, &whole, out),
            Some(_) => {}
        }
        tool.closed = true;
        self.held = self.held.saturating_sub(tool.arguments.len());
        tool.arguments = String::new();
        wire::block_stop(index, out);
        self.open = None;
        Ok(())
    }
}

/// The answer cannot be passed on: with these arguments a client would run something else than the model meant.
pub(super) fn invalid(tool: &str) -> UpstreamError {
    broken(format!("the upstream's call of tool `{tool}` has arguments that are not a JSON object"))
}

// === impl Waiting ===

impl Waiting {
    fn len(&self) -> usize {
        match self {
            Waiting::Text(text)
            | Waiting::Thinking(text)
            | Waiting::Signature(text)
            | Waiting::Redacted(text) => text.len(),
            Waiting::Tool(_) | Waiting::End => 0,
        }
    }
}

// === impl Tool ===

impl Tool {
    fn new(id: &str, name: &str) -> Self {
        Tool {
            id: id.to_owned(),
            name: name.to_owned(),
            scan: Scan::default(),
            arguments: String::new(),
            sent: 0,
            closed: false,
        }
    }
}
