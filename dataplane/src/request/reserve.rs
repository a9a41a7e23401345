//! Phase 5: the hold on all budgets and limits up the key's tree, atomically.

use super::{Decoded, exchange::Exchange, plan::Candidate};
use crate::{error::GatewayError, ledger::Refused, money, telemetry};
use tollgate_ledger::charge::Ask;

/// What the pass-through or the translation writes as output cap; `None` leaves the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The cap in force.
    pub tokens: Option<u64>,
    /// Whether it differs from what the client sent.
    pub changed: bool,
}

/// Holds the worst case of the request over all candidates. Takes those out that have no price where one is needed.
pub async fn reserve(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &mut Vec<Candidate>,
) -> Result<Cap, GatewayError> {
    money::drop_unpriced(&exchange.node, candidates)?;
    exchange.input_estimate = decoded.head.input_tokens_likely(decoded.body.len());
    hold(exchange, decoded, candidates).await
}

/// Before the first of `candidates` is tried: a new hold where the one in force does not cover it, because other budgets count
/// for its model (a fallback), or because an attempt that may be billed has used the last one up. To the limits it is one
/// more request, as it is to the provider.
pub async fn again(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &[Candidate],
) -> Result<Option<Cap>, GatewayError> {
    let (Some(next), Some(reserved)) = (candidates.first(), &exchange.reserved) else { return Ok(None) };
    if exchange.held.is_some() && money::same_budgets(&exchange.node, reserved, &next.resolved.qualified) {
        return Ok(None);
    }
    exchange.release();
    hold(exchange, decoded, candidates).await.map(Some)
}

async fn hold(
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
        id: exchange.next_hold(),
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
    let gateway = exchange.gateway.clone();
    let deny = money::deny_on_store_failure(&node);
    match gateway.ledger.reserve(&levels, &ask, deny).await {
        Err(refused) => {
            match &refused {
                Refused::Limit(refusal) => telemetry::refused(&refusal.reason),
                Refused::Away => telemetry::refused_without_store(),
                Refused::Revoked { .. } | Refused::Unusable(_) => {}
            }
            Err(money::not_held(&node, &refused))
        }
        Ok(held) => {
            let sent = decoded.head.output_cap.as_ref().map(|c| c.tokens);
            let written = hold.writes.then_some(held.grant.output_cap);
            let tokens = written.filter(|cap| *cap > 0 || sent.is_some()).or(sent);
            exchange.hold(held);
            Ok(Cap { tokens, changed: tokens != sent })
        }
    }
}
