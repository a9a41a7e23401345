//! Phase 6: the request in the upstream's format, and the reader of its answer.

use super::{Decoded, answer::Through, exchange::Exchange, plan::Candidate, reserve::Cap};
use crate::{error::GatewayError, model::route::Backend};
use bytes::Bytes;
use tollgate_translate::{
    Format, Provider,
    answer::{Context, Tap, Translator},
    head::{Splices, splice},
    request::{Target, ToolNames, translate},
};

/// A request in the upstream's format.
pub(super) struct Outgoing {
    pub(super) body: Bytes,
    /// Client and upstream speak the same format.
    pub(super) same: bool,
    names: ToolNames,
    strip_usage: bool,
}

/// Splices or translates the request for `candidate`. Notes degradations and a changed cap in the record.
pub(super) fn prepare(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    backend: &Backend,
    cap: Cap,
) -> Result<Outgoing, GatewayError> {
    let mut cap = cap;
    if decoded.head.output_cap.is_none() {
        // A cap that the client did not ask for must not be more than the model takes.
        cap.tokens = cap.tokens.map(|tokens| tokens.min(candidate.max_output.unwrap_or(u64::MAX)));
    }
    exchange.record.output_cap = cap.tokens.filter(|_| cap.changed);
    exchange.record.degradations = Vec::new();
    if candidate.format == exchange.format {
        return Ok(spliced(exchange.format, decoded, candidate, backend, cap));
    }
    let target = Target {
        format: candidate.format,
        provider: backend.provider,
        model: candidate.upstream_model(),
        output_cap: cap.tokens.or(candidate.max_output),
        strict: candidate.route().strict,
    };
    let translated = translate(exchange.format, decoded.body, &target)
        .map_err(|e| GatewayError::BadRequest(e.to_string()))?;
    exchange.record.degradations = translated.degradations;
    Ok(Outgoing { body: translated.body.into(), names: translated.names, same: false, strip_usage: false })
}

fn spliced(
    format: Format,
    decoded: &Decoded<'_>,
    candidate: &Candidate,
    backend: &Backend,
    cap: Cap,
) -> Outgoing {
    let head = decoded.head;
    let strip_usage = format == Format::Chat && head.stream && !head.include_usage;
    let model = candidate.upstream_model();
    let splices = Splices {
        model: (model != head.model).then_some(model),
        output_cap: cap.tokens.filter(|_| cap.changed),
        include_usage: strip_usage,
        // Servers that only imitate OpenAI know the older name of the cap.
        cap_field: (backend.provider == Provider::OpenAiCompatible).then_some("max_tokens"),
    };
    let asked = head.shadow_cap.is_some() || head.foreign_reasoning || strip_usage;
    let untouched = splices.model.is_none() && splices.output_cap.is_none() && !asked;
    let body = match untouched {
        true => decoded.body.clone(),
        false => splice(format, decoded.body, head, &splices).into(),
    };
    Outgoing { body, names: ToolNames::default(), same: true, strip_usage }
}

// === impl Outgoing ===

impl Outgoing {
    /// What reads the answer to this request.
    pub(super) fn reader(
        &self,
        exchange: &Exchange,
        decoded: &Decoded<'_>,
        candidate: &Candidate,
    ) -> Through {
        let (stream, keep) = (decoded.head.stream, exchange.record.request.is_some());
        if self.same {
            return Through::Tap(Box::new(Tap::new(exchange.format, stream, keep, self.strip_usage)));
        }
        let context = Context {
            upstream: candidate.format,
            client: exchange.format,
            model: decoded.head.model.clone(),
            names: self.names.clone(),
            id: exchange.id.simple().to_string(),
            created: exchange.at() / 1000,
            include_usage: decoded.head.include_usage,
            input_estimate: exchange.input_estimate,
        };
        Through::Translate(Box::new(Translator::new(context, stream, keep)))
    }
}
