//! Whole Messages answers: decoded to neutral events, and encoded.

use super::{
    encoder::{UNSIGNED, invalid, wire},
    stream::{ContentBlock, whole_block},
    usage,
};
use crate::{
    Format, Usage,
    answer::{
        Context, args,
        encode::Ending,
        event::{Event, Stop},
        whole::Part,
    },
    error::{self, UpstreamError},
    json::{self, List, Obj, Str},
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    model: Str<'a>,
    #[serde(borrow)]
    content: List<ContentBlock<'a>>,
    #[serde(borrow)]
    stop_reason: Str<'a>,
    #[serde(borrow)]
    stop_sequence: Str<'a>,
    usage: Obj<Box<usage::Wire>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Hands out a body. An error is a body that is no JSON object; a body that is no message has no end.
pub(crate) fn decode(body: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), serde_json::Error> {
    let wire: Wire<'_> = json::parse(body)?;
    if let Some(error) = wire.error {
        on(Event::Error(error::inside(Format::Messages, error.get())));
        return Ok(());
    }
    if wire.kind.get() != "message" && wire.content.0.is_empty() {
        return Ok(());
    }
    on(Event::Start { id: wire.id.some(), model: wire.model.some() });
    let mut tools = 0;
    for block in &wire.content.0 {
        whole_block(block, &mut tools, on);
    }
    if let Some(wire) = &wire.usage.0 {
        let mut usage = Usage::default();
        wire.merge_into(&mut usage);
        on(Event::Usage(usage));
    }
    if let Some(reason) = wire.stop_reason.some() {
        let reason = Stop::from_anthropic(reason);
        on(Event::Stop { reason, sequence: wire.stop_sequence.some() });
    }
    on(Event::End);
    Ok(())
}

/// A Messages body. An error is a tool call that must not be run.
pub(crate) fn encode(
    context: &Context,
    parts: &[Part],
    ending: &Ending<'_>,
) -> Result<Vec<u8>, UpstreamError> {
    let mut out = Vec::with_capacity(1024);
    wire::message_head(context, &mut out);
    let start = out.len();
    for (at, part) in (1..).zip(parts) {
        let cut_off = ending.stop.truncated() && is_cut_off(part, at == parts.len());
        if !cut_off {
            if out.len() > start {
                out.push(b',');
            }
            write(part, &mut out)?;
        }
    }
    if out.len() == start {
        out.extend_from_slice(b"{\"type\":\"text\",\"text\":\"\"}"); // see the stream encoder's `finish`
    }
    out.extend_from_slice(b"],");
    wire::stop(ending, &mut out);
    out.extend_from_slice(b",\"usage\":");
    usage::write(&ending.usage, &mut out);
    out.push(b'}');
    Ok(out)
}

/// Whether truncation left a call without (all of) its arguments: it is left out. Of the last one nobody knows whether
/// arguments would have come.
fn is_cut_off(part: &Part, last: bool) -> bool {
    let Part::Tool { arguments, .. } = part else { return false };
    last && arguments.trim().is_empty() || args::whole(arguments).is_none()
}

/// Appends a block.
fn write(part: &Part, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
    match part {
        Part::Text(text) => field("{\"type\":\"text\",\"text\":", text, out),
        Part::Thinking { text, signature } => {
            field("{\"type\":\"thinking\",\"thinking\":", text, out);
            field(",\"signature\":", signature.as_deref().unwrap_or(UNSIGNED), out);
        }
        Part::Redacted(data) => field("{\"type\":\"redacted_thinking\",\"data\":", data, out),
        Part::Tool { id, name, arguments } => {
            let input = args::whole(arguments).ok_or_else(|| invalid(name))?;
            field("{\"type\":\"tool_use\",\"id\":", id, out);
            field(",\"name\":", name, out);
            out.extend_from_slice(b",\"input\":");
            out.extend_from_slice(input.as_bytes());
        }
    }
    out.push(b'}');
    Ok(())
}

fn field(before: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(before.as_bytes());
    json::string(text, out);
}
