//! Carriers: opaque reasoning state of a provider (encrypted reasoning, signatures) on its way through a client that only
//! knows another format's fields (reference: translation.md §2.6).
//!
//! A carrier is `gw1.` + base64url of `{"p":provider,"m":model,"id":…,"enc":…}`. Reasoning that came without any state
//! has an empty `enc`: the tag alone says that no Anthropic upstream may see the block.

use crate::raw::{Object, Value};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// What every carrier begins with.
pub(crate) const TAG: &str = "gw1.";

/// Opaque state and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Carrier {
    /// [`Provider::as_str`](crate::Provider::as_str) of the provider that made it.
    pub(crate) provider: String,
    /// The model that made it.
    pub(crate) model: String,
    /// The upstream's id of the reasoning item, where it has one.
    pub(crate) id: String,
    /// The state.
    pub(crate) state: String,
}

/// Whether a Messages content block is reasoning that Anthropic cannot read: tagged as another provider's, or unsigned.
pub(crate) fn is_foreign_block(block: Value<'_>) -> bool {
    let field = match block.type_name().as_ref() {
        "thinking" => "signature",
        "redacted_thinking" => "data",
        _ => return false,
    };
    match block.get(field).and_then(Value::text) {
        Some(opaque) => opaque.is_empty() || opaque.starts_with(TAG),
        None => true,
    }
}

// === impl Carrier ===

impl Carrier {
    /// The text that goes into `thinking.signature` or `redacted_thinking.data`.
    pub(crate) fn encode(&self) -> String {
        let mut json = Vec::with_capacity(self.state.len() + 64);
        let mut object = Object::new(&mut json);
        object.str("p", &self.provider).str("m", &self.model);
        if !self.id.is_empty() {
            object.str("id", &self.id);
        }
        object.str("enc", &self.state);
        object.end();
        let mut text = String::from(TAG);
        BASE64_URL_SAFE_NO_PAD.encode_string(json, &mut text);
        text
    }

    /// Reads a carrier; `None` when `text` is not one of ours.
    pub(crate) fn decode(text: &str) -> Option<Carrier> {
        let json = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(TAG)?).ok()?;
        let value = Value::new(crate::raw::scan::document(&json).ok()?);
        let field = |name| value.get(name).and_then(Value::string).unwrap_or_default().into_owned();
        Some(Carrier { provider: field("p"), model: field("m"), id: field("id"), state: field("enc") })
    }
}
