//! Whole Chat answers: decoded to neutral events.

use super::stream::{Decoder, Wire};
use crate::answer::event::Event;

/// Hands out a body; `all_choices` as in [`Decoder::new`]. An error is a body that is no JSON object.
pub(crate) fn decode(
    body: &[u8],
    all_choices: bool,
    on: &mut impl FnMut(Event<'_>),
) -> Result<(), serde_json::Error> {
    let wire: Wire<'_> = serde_json::from_slice(body)?;
    let mut failed = false;
    Decoder::new(all_choices).completion(&wire, &mut |event| {
        failed |= matches!(event, Event::Error(_));
        on(event);
    });
    if !failed {
        on(Event::End);
    }
    Ok(())
}
