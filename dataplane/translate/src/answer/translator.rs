//! The one state machine between upstream and client (reference: translation.md §2.13).

use super::{
    Context, Summary,
    collect::{Collector, broken, closed_early},
    decode::{self, Decoder},
    encode::{self, Encoder, Ending},
    event::{Event, MAX_TOOLS, Stop},
    sse, tool_id,
    whole::Whole,
};
use crate::{Usage, error::UpstreamError};

/// The longest name of a tool, in bytes: no API allows more than 128.
const NAME_CAP: usize = 1024;

/// Translates an answer between formats: a stream piece by piece, or a whole body.
#[derive(Debug)]
pub struct Translator {
    sse: sse::Decoder,
    decoder: Decoder,
    machine: Machine,
}

/// What stands between the decoder and the encoder.
#[derive(Debug)]
struct Machine {
    context: Context,
    collector: Collector,
    encoder: Encoder,
    started: bool,
    /// The upstream has said something: the client may see the stream begin.
    heard: bool,
}

// === impl Translator ===

impl Translator {
    /// A translator for one answer.
    pub fn new(context: Context, _stream: bool, keep_content: bool) -> Self {
        Translator {
            sse: sse::Decoder::default(),
            decoder: Decoder::new(context.upstream, false),
            machine: Machine {
                encoder: Encoder::new(&context),
                collector: Collector::new(keep_content),
                context,
                started: false,
                heard: false,
            },
        }
    }

    /// Takes the next piece of an upstream stream and appends what the client gets to `out` (whole events only).
    ///
    /// While `out` stays empty the client has not been promised a stream: an error that is the first thing the upstream
    /// says ([`Summary::error`] after the first bytes in `out`) can still be answered with its HTTP status.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Translator { sse, decoder, machine } = self;
        sse.feed(piece, |frame| machine.frame(decoder, &frame, out));
    }

    /// The upstream's stream ended: appends the client's proper end, or its error event.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.close(None, out);
    }

    /// The connection broke or a deadline passed: appends the client's terminal error event; an answer that was whole
    /// before that gets its proper end instead.
    pub fn fail(&mut self, error: UpstreamError, out: &mut Vec<u8>) {
        self.close(Some(error), out);
    }

    /// Appends a heartbeat in the client's format (`event: ping` for Messages, an SSE comment for Chat).
    pub fn heartbeat(&mut self, out: &mut Vec<u8>) {
        if !self.machine.collector.over() {
            self.machine.start(out);
            out.extend_from_slice(encode::heartbeat(self.machine.context.client));
        }
    }

    /// Translates a whole body. An error is a 502 (empty or malformed upstream answer), never an empty 200.
    pub fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        let machine = &mut self.machine;
        let mut whole = Whole::default();
        let mut result = Ok(());
        let read = decode::whole(machine.context.upstream, false, body, &mut |event| {
            if result.is_ok() {
                result = admit(&machine.context, &mut machine.collector, event, &mut |event| {
                    whole.see(event);
                    Ok(())
                });
            }
        });
        let malformed = |_| broken("the upstream's answer is not the JSON that its API promises");
        let answer = read
            .map_err(malformed)
            .and(result)
            .and_then(|()| machine.ending().and_then(|ending| whole.encode(&machine.context, &ending)));
        match &answer {
            Ok(_) => machine.collector.finish(),
            Err(error) => machine.collector.fail(error.clone()),
        }
        answer
    }

    /// What is known so far.
    pub fn summary(&self) -> &Summary {
        &self.machine.collector.summary
    }

    /// The last word.
    pub fn into_summary(self) -> Summary {
        self.machine.collector.summary
    }

    fn close(&mut self, error: Option<UpstreamError>, out: &mut Vec<u8>) {
        let Translator { sse, decoder, machine } = self;
        sse.end(|frame| machine.last_frame(decoder, &frame, out));
        if machine.collector.over() {
            return;
        }
        match machine.collector.stop_reason() {
            Some(_) => machine.finish(out),
            None => machine.fail(error.unwrap_or_else(closed_early), out),
        }
    }
}

// === impl Machine ===

impl Machine {
    fn frame(&mut self, decoder: &mut Decoder, frame: &sse::Frame<'_>, out: &mut Vec<u8>) {
        if self.collector.over() {
            return;
        }
        if frame.oversize {
            self.fail(broken(format!("the upstream sent an event above {} bytes", sse::MAX_EVENT)), out);
            return;
        }
        if let Err(error) = decoder.decode(frame, &mut |event| self.event(event, out)) {
            // To pass over it could lose a part of the answer, or of a tool's arguments.
            self.fail(broken(format!("the upstream sent an event that cannot be read: {error}")), out);
        }
        if self.heard && !self.collector.over() {
            self.start(out);
        }
    }

    /// The frame that the end of the stream cut off: it counts if it can be read.
    fn last_frame(&mut self, decoder: &mut Decoder, frame: &sse::Frame<'_>, out: &mut Vec<u8>) {
        if !self.collector.over() && !frame.oversize {
            decoder.decode(frame, &mut |event| self.event(event, out)).unwrap_or_default();
        }
    }

    fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        if self.collector.over() {
            return;
        }
        match event {
            Event::End => self.finish(out),
            Event::Error(error) => self.fail(error, out), // without a start: it may be the first thing that is said
            // What a start says is known to the client by other means, and usage comes at the end.
            Event::Start { .. } | Event::Usage(_) | Event::Aside(_) => {
                self.heard = true;
                self.collector.see(&event);
            }
            event => {
                self.start(out);
                let encoder = &mut self.encoder;
                let result =
                    admit(&self.context, &mut self.collector, event, &mut |event| encoder.event(event, out));
                if let Err(error) = result {
                    self.fail(error, out);
                }
            }
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            let estimate = Usage { input: self.context.input_estimate, ..Usage::default() };
            let usage = self.collector.summary.usage.unwrap_or(estimate);
            self.encoder.start(&self.context, usage, out);
        }
    }

    /// How the answer ends. An error is an answer without content.
    fn ending(&self) -> Result<Ending<'_>, UpstreamError> {
        let stop = self.collector.stop_reason().unwrap_or(Stop::EndTurn).agreeing(self.collector.has_tools());
        if !self.collector.has_content() && stop.needs_content() {
            return Err(broken("the upstream's answer is empty"));
        }
        let usage = self.collector.summary.usage.unwrap_or_else(|| self.estimate());
        Ok(Ending { stop, sequence: self.collector.stop_sequence(), usage })
    }

    /// Usage for the client where the upstream gave none, from what was asked and produced. The summary's stays empty.
    fn estimate(&self) -> Usage {
        const BYTES_PER_TOKEN: u64 = 4;
        let output = self.collector.summary.output_bytes.div_ceil(BYTES_PER_TOKEN);
        Usage { input: self.context.input_estimate, output, ..Usage::default() }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self.ending().map(|ending| (ending.stop, ending.sequence.map(str::to_owned), ending.usage)) {
            Ok((stop, sequence, usage)) => {
                self.start(out);
                let ending = Ending { stop, sequence: sequence.as_deref(), usage };
                match self.encoder.finish(&ending, out) {
                    Ok(()) => self.collector.finish(),
                    Err(error) => self.fail(error, out),
                }
            }
            Err(error) => self.fail(error, out),
        }
    }

    fn fail(&mut self, error: UpstreamError, out: &mut Vec<u8>) {
        encode::fail(self.context.client, &error, out);
        self.collector.fail(error);
    }
}

/// Lets an event in: tool calls get the id and the name that the client shall see.
fn admit(
    context: &Context,
    collector: &mut Collector,
    event: Event<'_>,
    on: &mut dyn FnMut(&Event<'_>) -> Result<(), UpstreamError>,
) -> Result<(), UpstreamError> {
    let Event::ToolStart { tool, id, name } = event else {
        if let Event::Error(error) = event {
            return Err(error);
        }
        collector.see(&event);
        return on(&event);
    };
    if tool >= MAX_TOOLS {
        return Err(broken(format!("the upstream's answer has more than {MAX_TOOLS} tool calls")));
    }
    if name.is_empty() {
        return Err(broken("the upstream's answer has a tool call without a name"));
    }
    if name.len() > NAME_CAP {
        return Err(broken(format!(
            "the upstream's answer has a tool call with a name above {NAME_CAP} bytes"
        )));
    }
    let taken = |id: &str| collector.summary.tool_calls.iter().any(|call| call.id == id);
    let id = tool_id::for_client(id, &context.id, tool, taken);
    let event = Event::ToolStart { tool, id: &id, name: context.names.original(name) };
    collector.see(&event);
    on(&event)
}
