//! Phase 5: the hold on all budgets and limits up the key's tree, atomically.

use super::{Decoded, exchange::Exchange, plan::Candidate};
use crate::{error::GatewayError, money};
use tollgate_ledger::charge::{Ask, Decision};

/// What the pass-through or the translation writes as output cap; `None` leaves the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The cap in force.
    pub tokens: Option<u64>,
    /// Whether it differs from what the client sent.
    pub changed: bool,
}

/// Holds the worst case of the request. Notes a changed cap in the record.
pub fn reserve(
    exchange: &mut Exchange,
    decoded: &Decoded<'_>,
    candidates: &[Candidate],
) -> Result<Cap, GatewayError> {
    let node = exchange.node.clone();
    let qualified = exchange.record.model.clone().unwrap_or_default();
    let levels = money::levels(&node, &qualified);
    let input_tokens = decoded.head.input_tokens_upper(decoded.body.len());
    exchange.input_estimate = decoded.head.input_tokens_likely(decoded.body.len());
    let hold = money::hold(&node, &levels, candidates, decoded.head, input_tokens)?;
    let ask = Ask {
        id: exchange.id,
        now: exchange.at(),
        input_cost: hold.input_cost,
        output_price: hold.output_price,
        input_tokens,
        rate_tokens: exchange.input_estimate,
        output_cap: hold.cap,
        output_floor: hold.floor,
        choices: decoded.head.choices,
        expires: exchange.at().saturating_add(exchange.gateway.options.hold_ms),
    };
    match exchange.gateway.ledger.reserve(&levels, &ask) {
        Decision::Refused(refusal) => Err(money::refused(&node, &refusal)),
        Decision::Granted(grant) => {
            let sent = decoded.head.output_cap.as_ref().map(|c| c.tokens);
            let cap = (grant.output_cap > 0 || sent.is_some()).then_some(grant.output_cap);
            let changed = cap != sent;
            exchange.record.output_cap = cap.filter(|_| changed);
            exchange.grant = Some(grant);
            Ok(Cap { tokens: cap, changed })
        }
    }
}
