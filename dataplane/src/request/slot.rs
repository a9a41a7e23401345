//! What costs no money counts as a request all the same (a tool call, a count of tokens): against the rates and the concurrency of the
//! caller's key and of all above it.

use crate::{
    error::GatewayError,
    gateway::Gateway,
    ledger::Held,
    money::{self, Levels},
    snapshot::KeyNode,
};
use std::{sync::Arc, time::Duration};
use tollgate_ledger::charge::Ask;
use uuid::Uuid;

/// A place among the requests under way; given back when it is dropped.
pub(crate) struct Slot {
    gateway: Arc<Gateway>,
    node: Arc<KeyNode>,
    held: Option<Held>,
}

/// Takes a place for a call that may last so long; `None` where nothing is limited.
pub(crate) async fn enter(
    gateway: &Arc<Gateway>,
    node: &Arc<KeyNode>,
    longest: Duration,
) -> Result<Option<Slot>, GatewayError> {
    let levels = levels(node);
    let unlimited =
        levels.iter().all(|level| level.requests_per_minute.is_none() && level.concurrent.is_none());
    if unlimited && gateway.ledger.shared().is_none() {
        return Ok(None);
    }
    let now = gateway.now();
    let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
    let expires = now.saturating_add(gateway.options.hold_ms).saturating_add(longest);
    let ask = Ask::free(Uuid::now_v7(), now, expires);
    let deny = money::deny_on_store_failure(node);
    match gateway.ledger.reserve(&levels, &ask, deny).await {
        Ok(held) => Ok(Some(Slot { gateway: gateway.clone(), node: node.clone(), held: Some(held) })),
        Err(refused) => Err(money::not_held(node, &refused)),
    }
}

/// The levels without their budgets: a call costs nothing.
fn levels(node: &KeyNode) -> Levels<'_> {
    let mut levels = money::all_levels(node);
    for level in &mut levels {
        level.budgets.clear();
        level.tokens_per_minute = None;
    }
    levels
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // The request stays counted; only its place is free again.
            self.gateway.ledger.cancel(&levels(&self.node), &held, self.gateway.now());
        }
    }
}
