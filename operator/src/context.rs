//! What every part of a running operator is given.

use crate::{certificates::Certificates, kubernetes::World, leader::Lead, settings::Settings, xds::Nodes};
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
    /// Who leads: only then may this replica write.
    pub lead: Lead,
    /// The operator's certificate, and the authorities to trust.
    pub certificates: Certificates,
    /// Cancelled when the process is to end.
    pub stop: CancellationToken,
}

// === impl Context ===

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .field("leads", &self.lead.leads())
            .finish_non_exhaustive()
    }
}
