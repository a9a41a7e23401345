//! What every part of a running operator is given.

use crate::{kubernetes::World, settings::Settings, xds::Nodes};
use std::{fmt, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What every part is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// What the operator was told at its start.
    pub settings: Arc<Settings>,
    /// The user's objects and what became of them. Not `synced` before all watches have had their first list.
    pub world: watch::Receiver<Arc<World>>,
    /// The gateways that report to this replica.
    pub nodes: Arc<Nodes>,
    /// Whether this replica holds the Lease: only then may it write.
    pub leader: watch::Receiver<bool>,
    /// Cancelled when the process is to end.
    pub stop: CancellationToken,
}

// === impl Context ===

impl Context {
    /// Waits until this replica holds the Lease; false when it is to end instead.
    pub async fn lead(&self) -> bool {
        let mut leader = self.leader.clone();
        tokio::select! {
            held = leader.wait_for(|leads| *leads) => held.is_ok(),
            () = self.stop.cancelled() => false,
        }
    }

    /// Whether this replica holds the Lease now.
    pub fn leads(&self) -> bool {
        *self.leader.borrow()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .field("leads", &self.leads())
            .finish_non_exhaustive()
    }
}
