//! Notices that the ledger was restored. Records do not know everything of it: which keys it refused, and which resets were
//! carried out, the gateways that run tell it again.

use crate::gateway::Gateway;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::MissedTickBehavior};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Counts restores while this gateway runs, for as long as anybody listens.
pub(super) async fn watch(gateway: Arc<Gateway>, times: watch::Sender<u64>) {
    let Some(shared) = gateway.ledger.shared() else { return };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    while !times.is_closed() {
        ticks.tick().await;
        let Ok(last) = shared.store().restored().await else { continue };
        if last.is_some() && known.as_ref().is_some_and(|known| *known != last) {
            tracing::info!(
                "the ledger was restored: it is told again which keys are refused, and which resets were asked for"
            );
            times.send_modify(|times| *times += 1);
        }
        known = Some(last);
    }
}
