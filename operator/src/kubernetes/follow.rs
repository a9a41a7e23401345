//! The task around the index: what watches saw goes in, what is published comes out.

use super::{
    index::{Index, Observed, Source, Watched},
    reads::Reads,
    secrets::Read,
    watches,
    world::{ObjectName, World},
};
use crate::telemetry::metrics;
use kube::Client;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, Interval, interval, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tollgate_crds::{
    compile::Input,
    conditions::{ACCEPTED, Truth},
};
use tollgate_proto::{Kind, Resource, Resources};

/// What comes of the watches.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The cluster as it is; not `synced` at first.
    pub world: watch::Receiver<Arc<World>>,
    /// Its resources; empty until the world is synced.
    pub resources: watch::Receiver<Arc<Resources>>,
    /// What is still waited for, in words; empty when everything was seen.
    pub waiting: watch::Receiver<String>,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Event {
    Restart(Source),
    Apply(Source, Observed),
    Delete(Watched, ObjectName),
    Complete(Source),
}

/// The task's state.
struct Follow {
    index: Index,
    events: mpsc::Receiver<Event>,
    reads: Reads,
    pushed: watch::Receiver<Option<Vec<Resource>>>,
    /// When Secrets that could not be read are tried again.
    again: Option<Instant>,
    /// Until when what is known is held back for a Secret that was not looked for yet.
    hold: Option<Instant>,
    /// When Secrets that the operator may not read are tried again: its rights may have been widened.
    refused: Interval,
    world: watch::Sender<Arc<World>>,
    resources: watch::Sender<Arc<Resources>>,
    waiting: watch::Sender<String>,
}

/// How long there must be no further change before what there is is compiled: `kubectl apply` of a folder is many.
const QUIET: Duration = Duration::from_millis(10);
/// What never becomes quiet is compiled after this long all the same.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a change waits for a Secret that it names and that cannot be read.
const HOLD: Duration = Duration::from_secs(5);
/// The wait before what could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The wait before what the operator may not read is tried again.
const REFUSED: Duration = Duration::from_secs(60);

/// Follows these namespaces (none: all) until `stop`. `pushed` are resources that come from no object; while they are not
/// known, nothing is published.
pub fn start(
    client: Client,
    namespaces: &[String],
    input: Input,
    pushed: watch::Receiver<Option<Vec<Resource>>>,
    stop: CancellationToken,
) -> Feed {
    let sources = watches::sources(namespaces);
    let (sender, events) = mpsc::channel(1024);
    let mut tasks = JoinSet::new();
    for source in &sources {
        tasks.spawn(watches::watch(&client, source.clone(), sender.clone()));
    }
    let (world, world_receiver) = watch::channel(Arc::default());
    let (resources, resources_receiver) = watch::channel(Arc::default());
    let (waiting, waiting_receiver) = watch::channel("the API server".to_owned());
    let follow = Follow {
        index: Index::new(input, sources),
        events,
        reads: Reads::new(client),
        pushed,
        again: None,
        hold: None,
        refused: interval(REFUSED),
        world,
        resources,
        waiting,
    };
    tokio::spawn(async move {
        stop.run_until_cancelled(follow.run()).await;
        tasks.shutdown().await;
    });
    Feed { world: world_receiver, resources: resources_receiver, waiting: waiting_receiver }
}

// === impl Follow ===

impl Follow {
    async fn run(mut self) {
        self.push();
        while self.step(None).await {
            let end = Instant::now() + PATIENCE;
            loop {
                let quiet = (Instant::now() + QUIET).min(end);
                if !self.step(Some(quiet)).await || Instant::now() >= end {
                    break;
                }
            }
            self.settle();
        }
    }

    fn push(&mut self) {
        if let Some(resources) = self.pushed.borrow_and_update().clone() {
            self.index.push(resources);
        }
    }

    /// Takes what comes next, until a time at most; false when nothing did.
    async fn step(&mut self, until: Option<Instant>) -> bool {
        let next = async {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => take(&mut self.index, event),
                    None => pending().await,
                },
                (name, read) = self.reads.next() => {
                    if matches!(read, Read::Failed(_)) {
                        self.again.get_or_insert_with(|| Instant::now() + AGAIN);
                    }
                    self.index.read(&name, read);
                }
                changed = self.pushed.changed() => match changed {
                    Ok(()) => self.push(),
                    Err(_) => pending().await,
                },
                () = at(self.again) => self.again = None,
                () = at(self.hold.filter(|end| *end > Instant::now())) => {}
                _ = self.refused.tick() => self.index.retry_refused(),
            }
        };
        match until {
            Some(until) => timeout_at(until, next).await.is_ok(),
            None => {
                next.await;
                true
            }
        }
    }

    /// Reads what is needed, and publishes when nothing is waited for.
    fn settle(&mut self) {
        self.index.settle();
        if self.again.is_none() {
            self.reads.add(self.index.take_due());
        }
        self.tell();
        let complete = self.index.incomplete().next().is_none() && self.pushed.borrow().is_some();
        if self.index.is_changed() && complete && !self.is_held() {
            self.publish();
        }
    }

    /// Whether a Secret that was not looked for yet holds the rest back: always at first, later for a while.
    fn is_held(&mut self) -> bool {
        if !self.index.is_unknown() {
            self.hold = None;
            return false;
        }
        let end = *self.hold.get_or_insert_with(|| Instant::now() + HOLD);
        !self.world.borrow().synced || Instant::now() < end
    }

    fn publish(&mut self) {
        let before = self.world.borrow().compiled.clone();
        let started = Instant::now();
        let world = blocking(|| self.index.world());
        let took = started.elapsed();
        if !Arc::ptr_eq(&before, &world.compiled) {
            let statuses = &world.compiled.statuses;
            let refused = statuses.iter().filter(|status| !status.is_accepted()).count();
            let (keys, routes, servers) = (world.keys.len(), world.routes.len(), world.servers.len());
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(keys, routes, servers, refused, took_ms, "the cluster's objects are compiled");
            measure(&world);
            if before.resources != world.compiled.resources || !self.world.borrow().synced {
                self.resources.send_replace(Arc::new(world.compiled.resources.clone()));
            }
        }
        self.world.send_replace(Arc::new(world));
    }

    /// Says what is waited for.
    fn tell(&self) {
        let incomplete: Vec<_> = self.index.incomplete().map(ToString::to_string).collect();
        let words = match self.index.failure() {
            _ if !incomplete.is_empty() => format!("the first list of {}", incomplete.join(", ")),
            _ if self.pushed.borrow().is_none() => "sealing keys and the cluster's token issuer".to_owned(),
            Some(failure) if self.index.is_unknown() => format!("Secrets that cannot be read: {failure}"),
            None if self.index.is_unknown() && !self.world.borrow().synced => "Secrets".to_owned(),
            _ => String::new(),
        };
        self.waiting.send_if_modified(|told| {
            let differs = *told != words;
            *told = words;
            differs
        });
    }
}

fn take(index: &mut Index, event: Event) {
    match event {
        Event::Restart(source) => index.restart(&source),
        Event::Apply(source, observed) => index.apply(&source, observed),
        Event::Delete(watched, name) => index.delete(watched, &name),
        Event::Complete(source) => index.complete(&source),
    }
}

/// Tells how many objects there are, and how many of them count.
fn measure(world: &World) {
    for kind in [Kind::VirtualKey, Kind::ProviderRoute, Kind::McpServer] {
        let of_kind = || world.compiled.statuses.iter().filter(|status| status.kind == kind);
        let accepted = of_kind().filter(|status| status.is_accepted()).count();
        let all = of_kind().count();
        metrics().objects(kind.as_str(), all);
        for (status, count) in [(Truth::True, accepted), (Truth::False, all - accepted)] {
            metrics().condition(kind.as_str(), ACCEPTED, status.as_str(), count);
        }
    }
}

/// Runs what may take long: where the runtime can, it moves its other tasks away from this thread meanwhile.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
