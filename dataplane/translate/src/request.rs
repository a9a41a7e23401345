//! Request translation between formats, by way of one neutral conversation.
//!
//! # Layout
//! - [`translate`]: decode, repair, name, encode
//! - `conversation`: the neutral form; `providers/*/request.rs` have a decoder and an encoder each
//! - `pairing`, `arguments`, `names`, `schema`: what histories and tools need to be legal elsewhere
//! - `carrier`: opaque reasoning state on its way through a client
//! - `report`: degradations
//! - `estimate`: token estimates, [`count_tokens`]

pub(crate) mod arguments;
pub(crate) mod carrier;
pub(crate) mod conversation;
mod estimate;
pub(crate) mod names;
mod pairing;
pub(crate) mod report;
pub(crate) mod schema;

pub use estimate::{count_tokens, estimate_input_tokens, estimate_input_tokens_upper};

use crate::head::{Splices, peek, splice};
use crate::providers::{anthropic, openai};
use crate::raw::{Kind, Value, scan};
use crate::{Format, Provider};
use report::Report;

/// Where a translated request goes.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The upstream's wire format.
    pub format: Format,
    /// The kind of provider: picks the capability table.
    pub provider: Provider,
    /// The model's name at the upstream.
    pub model: &'a str,
    /// The output cap to send (already lowered by the ledger where needed); `None` sends the client's own, if it has one, and
    /// 4096 where the target's format demands a cap.
    pub output_cap: Option<u64>,
    /// True: a field that the target cannot express is an error instead of a degradation.
    pub strict: bool,
}

/// A translated request.
#[derive(Debug, Clone)]
pub struct Translated {
    /// The body for the upstream. Deterministic: equal requests give equal bytes (prompt caches depend on it).
    pub body: Vec<u8>,
    /// Names of tools as the upstream sees them, to be undone in the answer.
    pub names: ToolNames,
    /// What the target could not express, for the record and the `x-tollgate-degraded` header.
    pub degradations: Vec<Degradation>,
}

/// One thing that was left out or weakened, e.g. `field: "top_k", what: "dropped: not in the Chat API"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degradation {
    /// The client's field, as a path. ASCII letters, digits and `._-?` only.
    pub field: String,
    /// What happened to it.
    pub what: String,
}

/// Tool names that had to be shortened or cleaned for the upstream, with the way back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolNames {
    /// (name at the upstream, the client's name); only where they differ.
    pub renamed: Vec<(String, String)>,
}

/// A request that cannot be translated: a 400 with these words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RequestError(pub String);

/// What the target's format demands of names and ids.
struct Limits {
    tool_name: usize,
    call_id: usize,
}

// === impl ToolNames ===

impl ToolNames {
    /// The client's name of a tool that the upstream called `wire`.
    pub fn original<'a>(&'a self, wire: &'a str) -> &'a str {
        self.renamed.iter().find(|(w, _)| w == wire).map_or(wire, |(_, name)| name)
    }
}

/// Translates a request body from the client's format to the target's. The same format in and out is the pass-through's splices.
pub fn translate(from: Format, body: &[u8], target: &Target<'_>) -> Result<Translated, RequestError> {
    if from == target.format {
        return pass(from, body, target);
    }
    let (text, index) = scan::document_with_index(body).map_err(|fault| RequestError(fault.to_string()))?;
    let root = Value::new(text).with_index(&index);
    if root.kind() != Kind::Object {
        return Err(RequestError("the request body must be a JSON object".into()));
    }
    let mut report = Report::new(from, target.strict);
    let mut conversation = match from {
        Format::Messages => anthropic::request::decode(root, &mut report)?,
        Format::Chat => openai::request::decode(root, &mut report)?,
    };
    let limits = limits(target);
    pairing::repair(&mut conversation, limits.call_id, &mut report);
    let names = names::shorten(&conversation, limits.tool_name);
    let body = match target.format {
        Format::Messages => {
            anthropic::request::encode(&conversation, target, &names, body.len(), &mut report)
        }
        Format::Chat => openai::request::encode(&conversation, target, &names, body.len(), &mut report),
    };
    Ok(Translated { body, names: names.into_tool_names(), degradations: report.finish()? })
}

fn limits(target: &Target<'_>) -> Limits {
    match target.format {
        Format::Messages => Limits { tool_name: 128, call_id: 64 },
        Format::Chat => Limits { tool_name: 64, call_id: openai::request::server(target.provider).id_max },
    }
}

fn pass(format: Format, body: &[u8], target: &Target<'_>) -> Result<Translated, RequestError> {
    let head = peek(format, body).map_err(|bad| RequestError(bad.0))?;
    let cap_field = (format == Format::Chat).then(|| openai::request::server(target.provider).cap_field);
    let splices =
        Splices { model: Some(target.model), output_cap: target.output_cap, include_usage: false, cap_field };
    let body = splice(format, body, &head, &splices);
    Ok(Translated { body, names: ToolNames::default(), degradations: Vec::new() })
}
