//! Whole Messages answers: decoded to neutral events.

use super::{
    stream::{ContentBlock, whole_block},
    usage,
};
use crate::{
    Format, Usage,
    answer::event::{Event, Stop},
    error,
    json::{List, Obj, Str},
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
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
    usage: Obj<usage::Wire>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Hands out a body. An error is a body that is no JSON object.
pub(crate) fn decode(body: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), serde_json::Error> {
    let wire: Wire<'_> = serde_json::from_slice(body)?;
    if let Some(error) = wire.error {
        on(Event::Error(error::inside(Format::Messages, error.get())));
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
