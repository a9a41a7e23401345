//! Whole Chat answers: decoded to neutral events, and encoded.

use super::{
    encoder,
    stream::{Decoder, Wire},
    usage,
};
use crate::{
    answer::{Context, encode::Ending, event::Event, whole::Part},
    json,
};

/// Hands out a body; `all_choices` as in [`Decoder::new`]. An error is a body that is no JSON object; a body without choices has
/// no end.
pub(crate) fn decode(
    body: &[u8],
    all_choices: bool,
    on: &mut impl FnMut(Event<'_>),
) -> Result<(), serde_json::Error> {
    let wire: Wire<'_> = json::parse(body)?;
    let mut failed = false;
    Decoder::new(all_choices).completion(&wire, &mut |event| {
        failed |= matches!(event, Event::Error(_));
        on(event);
    });
    if !failed && wire.has_choices() {
        on(Event::End);
    }
    Ok(())
}

/// A Chat completion.
pub(crate) fn encode(context: &Context, parts: &[Part], ending: &Ending<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    encoder::completion_head(context, "chat.completion", &mut out);
    out.extend_from_slice(b"[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    let text = joined(parts, |part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    match text {
        Some(text) => json::string(&text, &mut out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"refusal\":null");
    reasoning(parts, &mut out);
    tool_calls(parts, &mut out);
    out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
    json::string(encoder::finish_reason(&ending.stop), &mut out);
    out.extend_from_slice(b"}],\"usage\":");
    usage::write(&ending.usage, &mut out);
    out.push(b'}');
    out
}

/// The texts that `pick` finds, as one; `None` when there is none.
fn joined<'a>(parts: &'a [Part], pick: impl Fn(&'a Part) -> Option<&'a str>) -> Option<String> {
    let texts = parts.iter().filter_map(pick);
    texts.fold(None, |all: Option<String>, text| Some(all.unwrap_or_default() + text))
}

fn reasoning(parts: &[Part], out: &mut Vec<u8>) {
    let thinking = joined(parts, |part| match part {
        Part::Thinking { text, .. } => Some(text.as_str()),
        _ => None,
    });
    if let Some(text) = thinking.filter(|text| !text.is_empty()) {
        out.extend_from_slice(b",\"reasoning_content\":");
        json::string(&text, out);
    }
    let mut details = Vec::new();
    for (index, part) in (0..).zip(parts.iter().filter(|part| is_detail(part))) {
        separate(index, &mut details);
        match part {
            Part::Thinking { text, signature } => {
                encoder::reasoning_detail(
                    index,
                    text,
                    signature.as_deref().unwrap_or_default(),
                    &mut details,
                );
            }
            Part::Redacted(data) => encoder::redacted_detail(index, data, &mut details),
            Part::Text(_) | Part::Tool { .. } => {}
        }
    }
    list("reasoning_details", &details, out);
}

/// Reasoning that can be sent back to its provider.
fn is_detail(part: &Part) -> bool {
    matches!(part, Part::Thinking { signature: Some(_), .. } | Part::Redacted(_))
}

fn tool_calls(parts: &[Part], out: &mut Vec<u8>) {
    let mut calls = Vec::new();
    let tools = parts.iter().filter_map(|part| match part {
        Part::Tool { id, name, arguments } => Some((id, name, arguments)),
        _ => None,
    });
    for (index, (id, name, arguments)) in (0..).zip(tools) {
        separate(index, &mut calls);
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        calls.push(b'{');
        encoder::tool_call(id, name, arguments, &mut calls);
        calls.push(b'}');
    }
    list("tool_calls", &calls, out);
}

fn separate(index: u64, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// Appends a list, unless it is empty.
fn list(name: &str, items: &[u8], out: &mut Vec<u8>) {
    if !items.is_empty() {
        out.push(b',');
        json::string(name, out);
        out.extend_from_slice(b":[");
        out.extend_from_slice(items);
        out.push(b']');
    }
}
