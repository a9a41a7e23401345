//! What only the leader does, and what the others do for it.
//!
//! ```text
//! leads:  a term --> [ status ]  [ tokens ]   each asks for a Permit before each write, and ends with the term
//! does not: this replica's gateways --> [ passing ] --> the leader's Reports service
//! ```

use crate::{
    events,
    kubernetes::World,
    leader::Lead,
    passing::{self, Passing},
    status,
    stdio::health::Healths,
    tokens,
    xds::Nodes,
};
use kube::Client;
use std::sync::Arc;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// What a leader needs.
#[derive(Clone)]
pub struct Options {
    /// The API server.
    pub client: Client,
    /// The own pod.
    pub pod: String,
    /// The user's objects and what became of them.
    pub world: watch::Receiver<Arc<World>>,
    /// The gateways that report to this replica.
    pub nodes: Arc<Nodes>,
    /// What became of the servers that the leader runs.
    pub stdio: watch::Receiver<Healths>,
    /// Who leads.
    pub lead: Lead,
    /// How a replica that does not lead reaches the one that does; `None`: there is only one.
    pub passing: Option<Passing>,
    /// Cancelled when the process is to end.
    pub stop: CancellationToken,
}

/// Begins: statuses, Events and tokens while this replica leads; while another one does, it is passed the reports of this
/// replica's gateways. Ends with `stop`. Must be called once, within a runtime.
pub fn start(options: Options) -> JoinHandle<()> {
    tokio::spawn(async move {
        let stop = options.stop.clone();
        let mut tasks = JoinSet::new();
        if let Some(passing) = options.passing.clone() {
            tasks.spawn(passing::run(options.lead.clone(), options.nodes.clone(), passing));
        }
        tasks.spawn(terms(options));
        stop.cancelled().await;
        // What is under way holds its permit; the Lease is released after it.
        tasks.shutdown().await;
    })
}

/// One term after the other.
async fn terms(options: Options) {
    let Options { client, pod, world, nodes, stdio, mut lead, .. } = options;
    let teller = events::start(client.clone(), &pod, lead.clone());
    while let Some(term) = lead.wait().await {
        let mut tasks = JoinSet::new();
        let sources = status::Sources { world: world.clone(), nodes: nodes.clone(), stdio: stdio.clone() };
        tasks.spawn(status::run(
            client.clone(),
            status::Options::USUAL,
            term.clone(),
            teller.clone(),
            sources,
        ));
        tasks.spawn(tokens::run(client.clone(), term.clone(), teller.clone(), world.clone()));
        term.ended().await;
        tasks.shutdown().await;
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("pod", &self.pod)
            .field("leads", &self.lead.leads())
            .finish_non_exhaustive()
    }
}
