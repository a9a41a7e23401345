//! What users see with kubectl: statuses, written by the leader only.
//!
//! ```text
//! watch<Arc<World>> --\
//! gateways' reports ---> [ Planner: what stands there, what should ] -> Patch -> server-side apply -> API server
//! pods of servers ----/
//! clock --------------/                                            `-> News -> Events
//! ```
//! A status is written when it says something else than what stands there, times aside: a new leader that finds everything as
//! it should be writes nothing. What the gateways have to say of a change is waited for a moment, so that a change is one
//! write. Amounts are written on steps of 1 %, at most once a minute a key, and ten a second in all; a budget that becomes used
//! up is written at once.
//!
//! # Layout
//! - [`plan`]: what is to be written, of all objects; [`subject`]: what one status is made of
//! - [`conditions`]: `Programmed` and `Ready`; [`fleet`]: what the gateways say together
//! - `key`, `route`, `server`: one kind each; `amount`: money and tokens as they are shown
//! - [`news`]: what is told as Events; [`pace`]: rates and backoffs

mod amount;
pub mod conditions;
pub mod fleet;
mod key;
pub mod news;
pub mod pace;
pub mod plan;
mod route;
mod server;
pub mod subject;

#[cfg(test)]
mod tests;

use crate::{
    events::Teller,
    kubernetes::World,
    leader::{Term, WRITE},
    stdio::health::Healths,
    telemetry,
    xds::Nodes,
};
use fleet::{Fleet, SETTLE};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch as KubePatch, PatchParams},
};
use pace::{Backoff, Bucket};
use plan::{Patch, Plan, Planner};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use subject::{Now, Urgency};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tollgate_crds::{
    annotations::OPERATOR,
    api::{GROUP, McpServer, ProviderRoute, VERSION, VirtualKey},
};
use tollgate_proto::Kind;

/// How much the writer may write.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Conditions a second, and at once.
    pub conditions: (u32, u32),
    /// Amounts and health a second.
    pub amounts: (u32, u32),
}

/// Where it comes from what statuses say.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The user's objects, and what the compiler says of them.
    pub world: watch::Receiver<Arc<World>>,
    /// What gateways say.
    pub nodes: Arc<Nodes>,
    /// What became of the servers that the leader runs.
    pub stdio: watch::Receiver<Healths>,
}

/// The task of one term.
struct Writer {
    client: Client,
    term: Term,
    teller: Teller,
    planner: Planner,
    urgent: Bucket,
    later: Bucket,
    /// By namespace: a webhook or a policy of one must not keep the others waiting.
    backoffs: HashMap<String, Backoff>,
}

/// What came of a write.
enum Outcome {
    Written,
    /// This object's alone.
    Failed,
    /// The API server's, or of something that it asks in the object's namespace.
    Unavailable,
    /// The Lease is not held any more.
    Over,
}

/// The longest time between two looks: budgets' windows end and keys expire without an event.
const IDLE: Duration = Duration::from_secs(5);
/// The shortest time between two looks.
const GATHER: Duration = Duration::from_millis(50);
/// A look may take this part of the time: one of so many.
const SHARE: u32 = 5;
/// The most writes between two looks.
const BATCH: usize = 50;

impl Options {
    /// The usual rates.
    pub const USUAL: Options = Options { conditions: (50, 50), amounts: (10, 10) };

    /// What conditions are taken from, and what amounts are.
    fn buckets(self) -> (Bucket, Bucket) {
        let bucket = |(rate, burst)| Bucket::new(rate, burst);
        (bucket(self.conditions), bucket(self.amounts))
    }
}

/// Writes statuses until `term` ends.
pub async fn run(client: Client, options: Options, term: Term, teller: Teller, sources: Sources) {
    let (urgent, later) = options.buckets();
    let writer = Writer {
        client,
        term: term.clone(),
        teller,
        planner: Planner::default(),
        urgent,
        later,
        backoffs: HashMap::new(),
    };
    tokio::select! {
        () = term.ended() => {}
        () = writer.run(sources) => {}
    }
}

// === impl Writer ===

impl Writer {
    async fn run(mut self, sources: Sources) {
        let Sources { mut world, nodes, stdio } = sources;
        let (mut reports, started) = (nodes.changes(), Instant::now());
        loop {
            let state = world.borrow_and_update().clone();
            reports.mark_unchanged();
            let mut again = IDLE;
            if state.synced {
                let looked = Instant::now();
                let settled = started.elapsed() >= SETTLE;
                let fleet = Fleet::new(nodes.all(), settled);
                // A change of these is seen at the next look: within a few seconds.
                let fleet = fleet.with_pods(stdio.borrow().clone());
                let now = Now::read();
                let plan = self.planner.look(&state, &fleet, now);
                let took = looked.elapsed();
                again = plan.again.unwrap_or(IDLE).min(self.carry_out(plan, &state, &fleet, now).await);
                sleep(GATHER.max(took * SHARE)).await;
            }
            tokio::select! {
                changed = world.changed() => if changed.is_err() { return },
                // Nodes live as long as this task.
                _ = reports.changed() => {}
                () = sleep(again.min(IDLE)) => {}
            }
        }
    }

    /// Writes what may be written now; returns when to go on.
    async fn carry_out(&mut self, plan: Plan<'_>, world: &World, fleet: &Fleet, looked: Now) -> Duration {
        for (object, news) in plan.news {
            self.teller.tell(&object, news);
        }
        let mut again = IDLE;
        for (count, (urgency, compiled)) in plan.due.into_iter().enumerate() {
            let now = Instant::now();
            let namespace = &compiled.namespace;
            if let Some(wait) = self.backoffs.get(namespace).and_then(|backoff| backoff.wait(now)) {
                again = again.min(wait);
                continue;
            }
            let bucket = if urgency == Urgency::Later { &mut self.later } else { &mut self.urgent };
            if let Err(wait) = bucket.take(now) {
                again = again.min(wait);
                continue;
            }
            let Some(patch) = self.planner.patch(world, compiled, fleet, looked) else { continue };
            let outcome = self.write(&patch).await;
            let how = if matches!(outcome, Outcome::Written) { "written" } else { "failed" };
            telemetry::metrics().status_written(patch.id.kind.as_str(), how);
            match outcome {
                Outcome::Written => drop(self.backoffs.remove(namespace)),
                Outcome::Failed => {
                    self.planner.failed(&patch.id, Instant::now());
                    again = again.min(GATHER);
                }
                Outcome::Unavailable => {
                    self.planner.failed(&patch.id, Instant::now());
                    let backoff = self.backoffs.entry(namespace.clone()).or_default();
                    backoff.failed(Instant::now());
                    again = again.min(backoff.wait(Instant::now()).unwrap_or(GATHER));
                }
                Outcome::Over => return IDLE,
            }
            if count >= BATCH {
                return Duration::ZERO;
            }
        }
        again
    }

    async fn write(&mut self, patch: &Patch) -> Outcome {
        let Some(permit) = self.term.permit() else { return Outcome::Over };
        let (namespace, name) = patch.id.name.split_once('/').unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource(patch.id.kind));
        let params = PatchParams::apply(OPERATOR).force();
        let body = KubePatch::Apply(&patch.body);
        let answer = timeout(WRITE, api.patch_status(name, &params, &body)).await;
        drop(permit);
        match answer {
            Ok(Ok(object)) => {
                let outcome = serde_json::to_value(object).ok().and_then(|o| plan::outcome(patch.id.kind, o));
                self.planner.written(patch, outcome, Instant::now());
                tracing::debug!(object = %patch.id, "a status is written");
                for news in &patch.news {
                    self.teller.tell(&patch.base, news.clone());
                }
                Outcome::Written
            }
            // Gone, or changed since it was looked at: the watch brings it.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Outcome::Failed,
            Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
                tracing::warn!(object = %patch.id, error = %status.message, "a status cannot be written");
                Outcome::Failed
            }
            Ok(Err(error)) => {
                tracing::warn!(object = %patch.id, %error, "a status could not be written; it is tried again");
                Outcome::Unavailable
            }
            Err(_) => {
                tracing::warn!(object = %patch.id, "the API server did not take a status in time; it is tried again");
                Outcome::Unavailable
            }
        }
    }
}

/// Where the API server has a kind.
fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::ProviderRoute => ApiResource::erase::<ProviderRoute>(&()),
        Kind::McpServer => ApiResource::erase::<McpServer>(&()),
        Kind::VirtualKey => ApiResource::erase::<VirtualKey>(&()),
        other => ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: other.to_string(),
            plural: format!("{}s", other.to_string().to_lowercase()),
        },
    }
}
