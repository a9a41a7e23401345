//! Phase 5: the hold on all budgets and limits up the key's tree, atomically.

use super::{Decoded, exchange::Exchange, plan::Candidate};
use crate::{error::GatewayError, money, telemetry};
use tollgate_ledger::charge::{Ask, Decision};

/// What the pass-through or the translation writes as output cap; `None` leaves the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The cap in force.
    pub tokens: Option<u64>,
    /// Whether it differs from what the client sent.
    pub changed: bool,
}

/// Holds the worst case of the request over all candidates. Takes those out that have no price where one is needed.
pub fn reserve(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &mut Vec<Candidate>,
) -> Result<Cap, GatewayError> {
    money::drop_unpriced(&exchange.node, candidates)?;
    exchange.input_estimate = decoded.head.input_tokens_likely(decoded.body.len());
    hold(exchange, decoded, candidates)
}

/// Before the first of `candidates` is tried: a new hold where the one in force does not cover it, because other budgets count
/// for its model (a fallback), or because an attempt that may be billed has used the last one up. To the limits it is one
/// more request, as it is to the provider.
pub fn again(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &[Candidate],
) -> Result<Option<Cap>, GatewayError> {
    let (Some(next), Some(reserved)) = (candidates.first(), &exchange.reserved) else { return Ok(None) };
    if exchange.grant.is_some() && money::same_budgets(&exchange.node, reserved, &next.resolved.qualified) {
        return Ok(None);
    }
    exchange.release();
    hold(exchange, decoded, candidates).map(Some)
}

fn hold(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &[Candidate],
) -> Result<Cap, GatewayError> {
    let node = exchange.node.clone();
    let qualified = candidates.first().map(|c| c.resolved.qualified.clone()).unwrap_or_default();
    let levels = money::levels(&node, &qualified);
    exchange.reserved = Some(qualified.clone());
    let upper = decoded.head.input_tokens_upper(decoded.body.len());
    let hold = money::hold(&node, &levels, candidates, exchange.format, decoded.head, upper);
    let now = exchange.gateway.now();
    let ask = Ask {
        id: exchange.id,
        now,
        input_cost: hold.input_cost,
        output_price: hold.output_price,
        input_tokens: hold.input_tokens,
        rate_tokens: exchange.input_estimate,
        output_cap: hold.cap,
        output_floor: hold.floor,
        choices: decoded.head.choices,
        expires: now.saturating_add(exchange.gateway.options.hold_ms),
    };
    match exchange.gateway.ledger.reserve(&levels, &ask) {
        Decision::Refused(refusal) => {
            telemetry::refused(&refusal.reason);
            Err(money::refused(&node, &refusal))
        }
        Decision::Granted(grant) => {
            let sent = decoded.head.output_cap.as_ref().map(|c| c.tokens);
            let written = hold.writes.then_some(grant.output_cap);
            let tokens = written.filter(|cap| *cap > 0 || sent.is_some()).or(sent);
            exchange.grant = Some(grant);
            Ok(Cap { tokens, changed: tokens != sent })
        }
    }
}
