//! The decoders by format: one more upstream format is one more arm here.

use super::{event::Event, sse::Frame};
use crate::{
    Format,
    providers::{anthropic, openai},
    raw::text::whole_surrogates,
};
use std::borrow::Cow;

/// Decodes a stream in one of the formats.
#[derive(Debug)]
pub(crate) enum Decoder {
    Messages(anthropic::stream::Decoder),
    Chat(openai::stream::Decoder),
}

// === impl Decoder ===

impl Decoder {
    /// `all_choices`: see [`openai::stream::Decoder::new`].
    pub(crate) fn new(format: Format, all_choices: bool) -> Self {
        match format {
            Format::Messages => Decoder::Messages(anthropic::stream::Decoder::default()),
            Format::Chat => Decoder::Chat(openai::stream::Decoder::new(all_choices)),
        }
    }

    /// Hands out what a frame says. An error is data that is no JSON object.
    pub(crate) fn decode(
        &mut self,
        frame: &Frame<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), serde_json::Error> {
        self.decode_strictly(frame, on).or_else(|error| match mended(frame.data.unwrap_or_default()) {
            Some(data) => self.decode_strictly(&Frame { data: Some(data.as_bytes()), ..*frame }, on),
            None => Err(error),
        })
    }

    fn decode_strictly(
        &mut self,
        frame: &Frame<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), serde_json::Error> {
        match self {
            Decoder::Messages(decoder) => decoder.decode(frame, on),
            Decoder::Chat(decoder) => decoder.decode(frame, on),
        }
    }

    /// Whether the last frame held nothing but usage (Chat: no choices).
    pub(crate) fn only_usage(&self) -> bool {
        match self {
            Decoder::Messages(_) => false,
            Decoder::Chat(decoder) => decoder.only_usage(),
        }
    }
}

/// Hands out what a whole body says. An error is a body that is no JSON object.
pub(crate) fn whole(
    format: Format,
    all_choices: bool,
    body: &[u8],
    on: &mut impl FnMut(Event<'_>),
) -> Result<(), serde_json::Error> {
    let mut strictly = |body: &[u8]| match format {
        Format::Messages => anthropic::answer::decode(body, on),
        Format::Chat => openai::answer::decode(body, all_choices, on),
    };
    strictly(body).or_else(|error| mended(body).map_or(Err(error), |body| strictly(body.as_bytes())))
}

/// JSON that could not be read, with every half of a character replaced, if it has one: servers that cut texts by UTF-16
/// units send such. Nothing was handed out of it before, so it can be tried again.
fn mended(json: &[u8]) -> Option<String> {
    match whole_surrogates(std::str::from_utf8(json).ok()?) {
        Cow::Owned(mended) => Some(mended),
        Cow::Borrowed(_) => None,
    }
}
