//! A whole answer between its decoder and its encoder.

use super::{Context, encode::Ending, event::Event};
use crate::{
    Format,
    error::UpstreamError,
    providers::{anthropic, openai},
};

/// The blocks of an answer, in order.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) parts: Vec<Part>,
    /// Where each tool call stands in `parts`.
    tools: Vec<usize>,
    block_ended: bool,
}

/// A block of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
    Tool { id: String, name: String, arguments: String },
}

// === impl Whole ===

impl Whole {
    /// Takes an event.
    pub(crate) fn see(&mut self, event: &Event<'_>) {
        let last = if self.block_ended { None } else { self.parts.last_mut() };
        match (event, last) {
            (Event::Text(text), Some(Part::Text(open))) => open.push_str(text),
            (Event::Thinking(text), Some(Part::Thinking { text: open, signature: None })) => {
                open.push_str(text);
            }
            (Event::Signature(proof), Some(Part::Thinking { signature: signature @ None, .. })) => {
                *signature = Some((*proof).to_owned());
            }
            (Event::Text(text), _) => self.push(Part::Text((*text).to_owned())),
            (Event::Thinking(text), _) => {
                self.push(Part::Thinking { text: (*text).to_owned(), signature: None });
            }
            (Event::Signature(proof), _) => {
                self.push(Part::Thinking { text: String::new(), signature: Some((*proof).to_owned()) });
            }
            (Event::Redacted(data), _) => self.push(Part::Redacted((*data).to_owned())),
            (Event::ToolStart { id, name, .. }, _) => {
                self.tools.push(self.parts.len());
                let (id, name) = ((*id).to_owned(), (*name).to_owned());
                self.push(Part::Tool { id, name, arguments: String::new() });
            }
            (Event::ToolArgs { tool, json }, _) => self.arguments(*tool, json),
            (Event::BlockEnd, _) => self.block_ended = true,
            _ => {}
        }
    }

    /// The body for the client.
    pub(crate) fn encode(&self, context: &Context, ending: &Ending<'_>) -> Result<Vec<u8>, UpstreamError> {
        match context.client {
            Format::Messages => anthropic::answer::encode(context, &self.parts, ending),
            Format::Chat => Ok(openai::answer::encode(context, &self.parts, ending)),
        }
    }

    fn push(&mut self, part: Part) {
        self.block_ended = false;
        self.parts.push(part);
    }

    fn arguments(&mut self, tool: usize, json: &str) {
        let at = self.tools.get(tool).copied();
        if let Some(Part::Tool { arguments, .. }) = at.and_then(|at| self.parts.get_mut(at)) {
            arguments.push_str(json);
        }
    }
}
