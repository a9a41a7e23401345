//! Carriers: opaque reasoning state of a provider (encrypted reasoning, signatures) on its way through a client that only
//! knows another format's fields (reference: translation.md §2.6).
//!
//! A carrier stands where Anthropic's signature would and begins with [`TAG`]; what follows is state of the provider that made
//! it. Chat has no such state, so its reasoning carries the bare tag and a word: enough to say that no Anthropic upstream may see it.

use crate::raw::{Text, Value};

/// What every carrier begins with.
pub(crate) const TAG: &str = "gw1.";

/// Whether a Messages content block is reasoning that Anthropic cannot read: tagged as another provider's, or unsigned.
pub(crate) fn is_foreign_block(block: Value<'_>) -> bool {
    let field = match block.type_name().as_ref() {
        "thinking" => "signature",
        "redacted_thinking" => "data",
        _ => return false,
    };
    !block.get(field).and_then(Value::text).is_some_and(|opaque| is_native(&opaque))
}

/// Whether a signature or redacted block is Anthropic's own.
pub(crate) fn is_native(opaque: &Text<'_>) -> bool {
    !opaque.is_empty() && !opaque.starts_with(TAG)
}
