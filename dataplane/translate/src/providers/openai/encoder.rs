//! The Chat stream encoder.

mod wire;

use crate::answer::{Context, encode::Ending, event::Event, sse};

pub(super) use wire::{completion_head, finish_reason, reasoning_detail, redacted_detail, tool_call};

/// Encodes one stream.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// A chunk up to the value of `delta`.
    head: Vec<u8>,
    /// A chunk without choices, up to their (empty) list.
    bare_head: Vec<u8>,
    include_usage: bool,
    /// Whether each tool call has arguments, by ordinal.
    tools: Vec<bool>,
    /// The reasoning of the open block, to be sent once more together with its signature.
    thinking: String,
    /// How many reasoning blocks have been sent whole.
    details: u64,
}

/// The most bytes of reasoning that are kept for [`Encoder::thinking`].
const THINKING_CAP: usize = 4 << 20;

// === impl Encoder ===

impl Encoder {
    pub(crate) fn new(context: &Context) -> Self {
        let (head, bare_head) = wire::chunk_heads(context);
        Encoder {
            head,
            bare_head,
            include_usage: context.include_usage,
            tools: Vec::new(),
            thinking: String::new(),
            details: 0,
        }
    }

    pub(crate) fn start(&mut self, out: &mut Vec<u8>) {
        self.chunk(out, |out| out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}"));
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Text(text) => self.chunk(out, |out| wire::field("content", text, out)),
            Event::Thinking(text) => {
                if self.thinking.len() + text.len() <= THINKING_CAP {
                    self.thinking.push_str(text);
                }
                self.chunk(out, |out| wire::field("reasoning_content", text, out));
            }
            Event::Signature(proof) => {
                let text = std::mem::take(&mut self.thinking);
                self.detail(out, |index, out| wire::reasoning_detail(index, &text, proof, out));
            }
            Event::Redacted(data) => self.detail(out, |index, out| wire::redacted_detail(index, data, out)),
            Event::BlockEnd => self.thinking.clear(),
            Event::ToolStart { tool, id, name } => {
                self.tools.push(false);
                self.chunk(out, |out| wire::tool_start(*tool, id, name, out));
            }
            Event::ToolArgs { tool, json } => {
                if let Some(has_arguments) = self.tools.get_mut(*tool) {
                    *has_arguments = true;
                    self.chunk(out, |out| wire::tool_arguments(*tool, json, out));
                }
            }
            Event::Ping => out.extend_from_slice(crate::answer::heartbeat(crate::Format::Chat)),
            _ => {}
        }
    }

    pub(crate) fn finish(&mut self, ending: &Ending<'_>, out: &mut Vec<u8>) {
        // Anthropic calls a tool without arguments with no arguments; clients of this API parse `arguments` as JSON.
        let bare: Vec<usize> =
            (0..).zip(&self.tools).filter(|(_, has)| !**has).map(|(tool, _)| tool).collect();
        for tool in bare.into_iter().filter(|_| !ending.stop.truncated()) {
            self.chunk(out, |out| wire::tool_arguments(tool, "{}", out));
        }
        self.write(out, wire::finish_reason(&ending.stop), |out| out.extend_from_slice(b"{}"));
        if self.include_usage {
            sse::data(out);
            out.extend_from_slice(&self.bare_head);
            out.extend_from_slice(b"[],\"usage\":");
            super::usage::write(&ending.usage, out);
            out.push(b'}');
            sse::finish(out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn detail(&mut self, out: &mut Vec<u8>, write: impl FnOnce(u64, &mut Vec<u8>)) {
        let index = self.details;
        self.details += 1;
        self.chunk(out, |out| {
            out.extend_from_slice(b"{\"reasoning_details\":[");
            write(index, out);
            out.extend_from_slice(b"]}");
        });
    }

    fn chunk(&self, out: &mut Vec<u8>, delta: impl FnOnce(&mut Vec<u8>)) {
        self.write(out, "", delta);
    }

    /// Writes a chunk; an empty `finish` is null.
    fn write(&self, out: &mut Vec<u8>, finish: &str, delta: impl FnOnce(&mut Vec<u8>)) {
        sse::data(out);
        out.extend_from_slice(&self.head);
        delta(out);
        out.extend_from_slice(b",\"finish_reason\":");
        if finish.is_empty() {
            out.extend_from_slice(b"null}]");
        } else {
            crate::json::string(finish, out);
            out.extend_from_slice(b"}]");
        }
        // By the API every chunk but the last has a null here when usage was asked for.
        out.extend_from_slice(if self.include_usage { b",\"usage\":null}" } else { b"}" });
        sse::finish(out);
    }
}
