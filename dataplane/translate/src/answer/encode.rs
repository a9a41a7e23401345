//! The stream encoders by format: one more client format is one more arm here.

use super::{
    Context,
    event::{Event, Stop},
};
use crate::{
    Format, Usage,
    error::{UpstreamError, render_event},
    providers::{anthropic, openai},
};

/// Encodes a stream in one of the formats.
#[derive(Debug)]
pub(crate) enum Encoder {
    Messages(anthropic::encoder::Encoder),
    Chat(openai::encoder::Encoder),
}

/// How an answer ends.
#[derive(Debug, Clone)]
pub(crate) struct Ending<'a> {
    /// In agreement with the content.
    pub(crate) stop: Stop,
    pub(crate) sequence: Option<&'a str>,
    /// The upstream's, or an estimate.
    pub(crate) usage: Usage,
}

// === impl Encoder ===

impl Encoder {
    pub(crate) fn new(context: &Context) -> Self {
        match context.client {
            Format::Messages => Encoder::Messages(anthropic::encoder::Encoder::default()),
            Format::Chat => Encoder::Chat(openai::encoder::Encoder::new(context)),
        }
    }

    /// Writes what opens the stream, once.
    pub(crate) fn start(&mut self, context: &Context, usage: Usage, out: &mut Vec<u8>) {
        match self {
            Encoder::Messages(encoder) => encoder.start(context, usage, out),
            Encoder::Chat(encoder) => encoder.start(out),
        }
    }

    /// Writes what an event means to the client. An error is content that the client must not see as whole.
    pub(crate) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match self {
            Encoder::Messages(encoder) => encoder.event(event, out),
            Encoder::Chat(encoder) => {
                encoder.event(event, out);
                Ok(())
            }
        }
    }

    /// Writes the proper end. An error, as in [`Encoder::event`], leaves the end unwritten.
    pub(crate) fn finish(&mut self, ending: &Ending<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match self {
            Encoder::Messages(encoder) => encoder.finish(ending, out),
            Encoder::Chat(encoder) => {
                encoder.finish(ending, out);
                Ok(())
            }
        }
    }
}

/// A sign of life that may stand between any two events of a stream.
///
/// In Chat it is a comment line without a blank line after it: a blank line makes some clients (openai-go) see an event
/// without data, and fail on it.
pub fn heartbeat(format: Format) -> &'static [u8] {
    match format {
        Format::Messages => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        Format::Chat => b": ping\n",
    }
}

/// Ends a stream in error.
pub(crate) fn fail(format: Format, error: &UpstreamError, out: &mut Vec<u8>) {
    render_event(format, error.kind, &error.message, out);
}
