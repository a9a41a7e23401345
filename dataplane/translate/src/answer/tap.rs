//! Watching an answer that passes through unchanged.

#[cfg(test)]
mod tests;

use super::{
    Summary,
    collect::{Collector, broken, closed_early},
    decode::{self, Decoder},
    sse,
};
use crate::{
    Format,
    error::{UpstreamError, render_event},
};

/// The most bytes of a whole body that a tap looks into; a longer one passes unread.
pub const WHOLE_CAP: usize = 64 << 20;

/// Watches a pass-through answer. Feed it the bytes that go to the client, in any pieces.
#[derive(Debug)]
pub struct Tap {
    format: Format,
    collector: Collector,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Stream { sse: sse::Decoder, decoder: Decoder, strip_usage: bool },
    Whole { body: Vec<u8>, too_long: bool },
}

// === impl Tap ===

impl Tap {
    /// A tap for an SSE stream (`stream`) or a whole JSON body in `format`.
    /// `strip_usage`: a Chat stream whose usage the gateway asked for on its own: [`Tap::feed`] then copies all but that chunk.
    pub fn new(format: Format, stream: bool, keep_content: bool, strip_usage: bool) -> Self {
        let mode = if stream {
            let strip_usage = strip_usage && format == Format::Chat;
            Mode::Stream { sse: sse::Decoder::default(), decoder: Decoder::new(format, true), strip_usage }
        } else {
            Mode::Whole { body: Vec::new(), too_long: false }
        };
        Tap { format, collector: Collector::new(keep_content), mode }
    }

    /// Looks at the next piece. Returns `None` when the client gets exactly `piece` (always, without `strip_usage`),
    /// or the bytes to send in its place.
    pub fn feed(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        match &mut self.mode {
            Mode::Stream { sse, decoder, strip_usage: true } => {
                return strip(sse, decoder, &mut self.collector, piece);
            }
            Mode::Stream { sse, decoder, .. } => {
                sse.feed(piece, |frame| {
                    look(decoder, &mut self.collector, &frame);
                });
            }
            Mode::Whole { body, too_long } => {
                *too_long |= body.len() + piece.len() > WHOLE_CAP;
                if *too_long {
                    *body = Vec::new();
                } else {
                    body.extend_from_slice(piece);
                }
            }
        }
        None
    }

    /// The upstream's body ended. Returns bytes still to be sent (an `error` event in the client's format when the stream
    /// stopped before its end; nothing when it was complete).
    pub fn end(&mut self) -> Vec<u8> {
        self.close(None)
    }

    /// The upstream's connection broke or a deadline passed: returns the terminal error event to send. An answer that was
    /// whole before that gets its proper end instead.
    pub fn fail(&mut self, error: UpstreamError) -> Vec<u8> {
        self.close(Some(error))
    }

    /// Whether the stream stands between two events, so that a heartbeat may be written. Never inside a whole body.
    pub fn at_boundary(&self) -> bool {
        match &self.mode {
            // What is pending has not been sent.
            Mode::Stream { sse, strip_usage: true, .. } => sse.at_boundary() || !sse.pending().is_empty(),
            Mode::Stream { sse, .. } => sse.at_boundary(),
            Mode::Whole { .. } => false,
        }
    }

    /// What is known so far.
    pub fn summary(&self) -> &Summary {
        &self.collector.summary
    }

    /// The last word.
    pub fn into_summary(self) -> Summary {
        self.collector.summary
    }

    fn close(&mut self, error: Option<UpstreamError>) -> Vec<u8> {
        match &mut self.mode {
            Mode::Stream { .. } => self.close_stream(error),
            Mode::Whole { body, too_long } => {
                let body = std::mem::take(body);
                close_whole(self.format, &body, *too_long, &mut self.collector, error);
                Vec::new()
            }
        }
    }

    /// Writes what the client still lacks.
    fn close_stream(&mut self, error: Option<UpstreamError>) -> Vec<u8> {
        let Mode::Stream { sse, decoder, strip_usage } = &mut self.mode else { return Vec::new() };
        let mut out = Vec::new();
        let closing = sse.closing();
        let held_back = *strip_usage && !sse.pending().is_empty();
        let mut last_is_whole = false;
        sse.end(|frame| {
            let whole = look(decoder, &mut self.collector, &frame) && frame.data.is_some();
            last_is_whole = whole && !(*strip_usage && decoder.only_usage());
            if held_back && last_is_whole {
                out.extend_from_slice(frame.raw);
            }
        });
        let close = |out: &mut Vec<u8>| {
            if last_is_whole || !held_back {
                out.extend_from_slice(closing);
            }
        };
        if self.collector.over() {
            if last_is_whole {
                close(&mut out);
            }
        } else if self.collector.stop_reason().is_some() {
            if self.format == Format::Messages {
                close(&mut out);
                out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
            } else if last_is_whole {
                close(&mut out);
            }
            self.collector.finish();
        } else {
            let error = error.unwrap_or_else(closed_early);
            close(&mut out);
            render_event(self.format, error.kind, &error.message, &mut out);
            self.collector.fail(error);
        }
        out
    }
}

/// Lets the collector see a frame; false when its data cannot be read, which in a pass-through is the client's to judge.
fn look(decoder: &mut Decoder, collector: &mut Collector, frame: &sse::Frame<'_>) -> bool {
    decoder.decode(frame, &mut |event| collector.see(&event)).is_ok()
}

/// Feeds a piece and leaves out frames that hold only usage. An event is sent once it is whole.
fn strip(
    sse: &mut sse::Decoder,
    decoder: &mut Decoder,
    collector: &mut Collector,
    piece: &[u8],
) -> Option<Vec<u8>> {
    let nothing_held = sse.at_boundary();
    let mut stripped = false;
    let mut out = Vec::with_capacity(sse.pending().len() + piece.len());
    sse.feed(piece, |frame| {
        look(decoder, collector, &frame);
        if frame.data.is_some() && decoder.only_usage() {
            stripped = true;
        } else {
            out.extend_from_slice(frame.raw);
        }
    });
    (!nothing_held || stripped || !sse.at_boundary()).then_some(out)
}

/// Reads a whole body at its end.
fn close_whole(
    format: Format,
    body: &[u8],
    too_long: bool,
    collector: &mut Collector,
    error: Option<UpstreamError>,
) {
    if collector.over() {
        return;
    }
    let read = decode::whole(format, true, body, &mut |event| collector.see(&event));
    if let Some(error) = error {
        collector.fail(error);
    } else if too_long {
        collector.finish();
    } else if read.is_err() || !collector.over() {
        collector.fail(broken("the upstream's answer is not the JSON that its API promises"));
    }
}
