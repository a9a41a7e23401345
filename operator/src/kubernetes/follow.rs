//! The task around the index: what watches saw goes in, what is published comes out.

use super::{
    index::Index,
    observed::{Observed, Source, Watched},
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
    time::{Instant, sleep_until, timeout_at},
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
    /// The API server does not allow the watch.
    Refuse(Source),
}

/// The task's state.
struct Follow {
    index: Index,
    events: mpsc::Receiver<Event>,
    reads: Reads,
    pushed: watch::Receiver<Option<Vec<Resource>>>,
    /// When there is something to do, though nothing happens.
    next: Option<Instant>,
    world: watch::Sender<Arc<World>>,
    resources: watch::Sender<Arc<Resources>>,
    waiting: watch::Sender<String>,
}

/// How long there must be no further change before what there is is compiled: `kubectl apply` of a folder is many.
const QUIET: Duration = Duration::from_millis(10);
/// What never becomes quiet is compiled after this long all the same.
const PATIENCE: Duration = Duration::from_millis(200);

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
        next: None,
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
                (name, read) = self.reads.next() => self.take_read(&name, read),
                changed = self.pushed.changed() => match changed {
                    Ok(()) => self.push(),
                    Err(_) => pending().await,
                },
                () = at(self.next) => self.next = None,
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

    /// Takes what came of reading a Secret. Why it could not be read is told once.
    fn take_read(&mut self, name: &ObjectName, read: Read) {
        if let Read::Failed(words) | Read::Refused(words) = &read
            && self.index.trouble(name) != Some(words.as_str())
        {
            let (namespace, secret) = name;
            tracing::warn!(namespace, secret, error = words, "a Secret cannot be read and is tried again");
        }
        self.index.read(name, read, now());
    }

    /// Reads what is needed, and publishes when nothing is waited for.
    fn settle(&mut self) {
        let now = now();
        for source in self.index.vanish(now) {
            tracing::warn!(
                watch = %source,
                "the API server allows no such watch: it counts as empty. Is the namespace there, and the operator's Role in it?"
            );
        }
        metrics().watches_refused(self.index.refused().count());
        self.index.settle(now);
        let listed = self.index.incomplete().next().is_none();
        // Not before every first list is there: many can then be read at once, and none twice because the list of Secrets
        // names it after it was read.
        if listed {
            self.reads.add(self.index.take_due(now));
        }
        self.next = self.index.next(now).map(Instant::from_std);
        self.tell();
        let complete = listed && self.pushed.borrow().is_some();
        // At first everything waits for every Secret, later an object for its own.
        let first = !self.world.borrow().synced;
        if self.index.is_changed() && complete && !(first && self.index.is_unknown()) {
            self.publish();
        }
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
        Event::Refuse(source) => index.refuse(&source),
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

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
