//! The task of the leader: what nobody wants is removed, what is wanted is written, and what became of it is told.

use super::{
    Runtime, apply,
    health::{Health, Healths, health},
    objects::objects,
    plan::{self, Found, Memory, ServerName, Troubles, Wanted, Write, kind},
};
use crate::{
    context::Context,
    kubernetes::World,
    leader::{Lead, WRITE},
};
use kube::Client;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tollgate_crds::stdio::child_name;
use tollgate_proto::Kind;

/// How often health is asked for, and what others changed or removed is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// The same, while nothing is wanted and nothing known is left over.
const REST: Duration = Duration::from_secs(60);
/// How long looking into one namespace may take.
const FIND: Duration = Duration::from_secs(15);

/// One term of the leader.
struct Runner {
    client: Client,
    lead: Lead,
    runtime: Runtime,
    /// The namespaces to look into; `None`: all.
    namespaces: Vec<Option<String>>,
    /// The world that `wanted` comes from.
    seen: Option<Arc<World>>,
    wanted: Wanted,
    /// Servers that cannot be read.
    unreadable: BTreeSet<ServerName>,
    memory: Memory,
    troubles: Troubles,
    /// What else failed in the last round, so that it is told once.
    failures: BTreeMap<String, String>,
    left: Left,
    healths: watch::Sender<Healths>,
}

/// Whether there may be objects that nobody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Where nobody could look.
    Unseen,
    Something,
}

/// Starts the task; it ends when the operator stops. The receiver tells the health of all servers while this replica leads.
pub fn start(context: Context) -> (JoinHandle<()>, watch::Receiver<Healths>) {
    let (sender, receiver) = watch::channel(Healths::new());
    (tokio::spawn(run(context, sender)), receiver)
}

async fn run(context: Context, healths: watch::Sender<Healths>) {
    let Some(image) = context.settings.dataplane_image.clone() else {
        tracing::info!("without --dataplane-image no stdio servers are run");
        return;
    };
    let mut lead = context.lead.clone();
    while let Some(Some(_)) = context.stop.run_until_cancelled(lead.wait()).await {
        // What an earlier term found may be long past.
        healths.send_replace(Healths::new());
        let runner = Runner::new(&context, image.clone(), healths.clone());
        if context.stop.run_until_cancelled(runner.run(context.world.clone())).await.is_none() {
            return;
        }
    }
}

// === impl Runner ===

impl Runner {
    fn new(context: &Context, dataplane_image: String, healths: watch::Sender<Healths>) -> Self {
        let namespaces = match context.settings.watch_namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        Runner {
            client: context.client.clone(),
            lead: context.lead.clone(),
            runtime: Runtime { dataplane_image, namespace: context.settings.namespace.clone() },
            namespaces,
            seen: None,
            wanted: Wanted::new(),
            unreadable: BTreeSet::new(),
            memory: Memory::default(),
            troubles: Troubles::default(),
            failures: BTreeMap::new(),
            left: Left::Something,
            healths,
        }
    }

    /// A round at once when something else is wanted, and now and then while anything is; until the term ends.
    async fn run(mut self, mut world: watch::Receiver<Arc<World>>) {
        let mut next = Instant::now();
        while self.lead.leads() {
            let now = world.borrow_and_update().clone();
            let changed = now.synced && self.want(&now);
            if changed || Instant::now() >= next {
                if self.seen.is_some() && (changed || self.left != Left::Nothing || !self.wanted.is_empty()) {
                    self.round().await;
                }
                next = Instant::now() + self.pause();
            }
            if let Ok(Err(_)) = timeout_at(next, world.changed()).await {
                return;
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.wanted.is_empty() && self.left == Left::Unseen { REST } else { LOOK }
    }

    /// Takes what is wanted now; true when it is something else than before. The world changes with every status that is
    /// written; most of that says nothing of servers.
    fn want(&mut self, world: &Arc<World>) -> bool {
        let is_same = |seen: &Arc<World>| {
            Arc::ptr_eq(&seen.servers, &world.servers) && Arc::ptr_eq(&seen.compiled, &world.compiled)
        };
        self.unreadable = unreadable(world);
        if self.seen.as_ref().is_some_and(is_same) {
            return false;
        }
        self.seen = Some(world.clone());
        let wanted = wanted(world, &self.runtime);
        let differs = self.wanted != wanted;
        // What failed may be right now.
        self.troubles.keep(|server| self.wanted.get(server) == wanted.get(server));
        self.wanted = wanted;
        differs
    }

    /// Looks, removes, writes and tells. What fails for one server or one namespace is told, and the others go on.
    async fn round(&mut self) {
        let mut failures = BTreeMap::new();
        let mut found = self.look(&mut failures).await;
        self.memory.keep(&self.wanted, &self.unreadable);
        let plan = plan::plan(&self.wanted, &self.unreadable, &found, &self.memory);
        self.left = match (plan.remove.is_empty(), found.unseen.is_empty()) {
            (false, _) => Left::Something,
            (true, false) => Left::Unseen,
            (true, true) => Left::Nothing,
        };
        for (server, kind) in &plan.remove {
            let Some(_permit) = self.lead.permit() else { return };
            let (namespace, name) = server;
            match within(apply::remove(&self.client, server, kind)).await {
                Ok(()) => tracing::info!(namespace, server = name, kind, "nobody wants it: removed"),
                Err(error) => {
                    let what = format!("{kind} {} of {namespace} cannot be removed", child_name(name));
                    failures.insert(what, error.to_string());
                }
            }
        }
        self.troubles.keep(|server| plan.write.iter().any(|(differs, _)| differs == server));
        for (server, writes) in plan.write {
            if !self.troubles.waits(&server, std::time::Instant::now()) {
                self.attempt(&server, writes, &mut found).await;
            }
        }
        for (what, error) in failures.iter().filter(|(what, error)| self.failures.get(*what) != Some(error)) {
            tracing::warn!(error, "{what}");
        }
        self.failures = failures;
        self.tell(found);
    }

    async fn look(&self, failures: &mut BTreeMap<String, String>) -> Found {
        let mut found = Found::default();
        for namespace in &self.namespaces {
            let looked = timeout(FIND, apply::find(&self.client, namespace.as_deref(), &mut found)).await;
            let error = match looked {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {FIND:?}"),
            };
            let place = namespace.as_deref().unwrap_or("all namespaces");
            failures.insert(format!("objects of stdio servers cannot be looked for in {place}"), error);
            found.unseen.insert(namespace.clone());
        }
        found
    }

    async fn attempt(&mut self, server: &ServerName, writes: Vec<Write>, found: &mut Found) {
        let Err(trouble) = self.write(server, writes, found).await else {
            return self.troubles.written(server);
        };
        if self.troubles.failed(server, trouble.clone(), std::time::Instant::now()) {
            tracing::warn!(namespace = %server.0, server = %server.1, trouble, "a stdio server is not as it should be");
        }
    }

    /// Writes a server's objects; the Deployment last: nothing runs before it is clear who may call it.
    async fn write(
        &mut self,
        server: &ServerName,
        writes: Vec<Write>,
        found: &mut Found,
    ) -> Result<(), String> {
        for Write { object, ours } in writes.iter().rev() {
            // A write that began while this replica led ends before another one leads.
            let Some(_permit) = self.lead.permit() else { return Ok(()) };
            let written = within(apply::write(&self.client, object, *ours)).await;
            let written = written.map_err(|error| trouble(server, object, *ours, &error))?;
            self.memory.wrote(server, object, apply::print_of(&written));
            if kind(object) == apply::DEPLOYMENT
                && let Some(deployment) = apply::deployment(&written)
            {
                found.healths.insert(server.clone(), health(&deployment));
            }
        }
        tracing::info!(namespace = %server.0, server = %server.1, "a stdio server's objects are written");
        Ok(())
    }

    fn tell(&self, found: Found) {
        // What is in a namespace that could not be looked into is as it was, as far as anybody knows.
        let before = self.healths.borrow().clone().into_iter().filter(|(server, _)| found.lacks(&server.0));
        let mut healths: Healths = before.chain(found.healths.clone()).collect();
        for (server, trouble) in self.troubles.iter() {
            healths.insert(server.clone(), Health { ready: false, message: trouble.to_owned() });
        }
        healths.retain(|server, _| self.wanted.contains_key(server));
        self.healths.send_if_modified(|told| {
            let differs = *told != healths;
            *told = healths;
            differs
        });
    }
}

/// Why an object could not be written, for people.
fn trouble(server: &ServerName, object: &Value, ours: bool, error: &kube::Error) -> String {
    let (kind, name) = (kind(object), child_name(&server.1));
    match error {
        kube::Error::Api(status) if status.code == 409 && !ours => format!(
            "{kind} {name} is there already and was not made for this server: delete it, or give the server another name"
        ),
        kube::Error::Api(status) => format!("{kind} {name} cannot be written: {}", status.message),
        other => format!("{kind} {name} cannot be written: {other}"),
    }
}

/// A write, within the time that a leader's writes may take.
async fn within<T>(write: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match timeout(WRITE, write).await {
        Ok(written) => written,
        Err(_) => Err(kube::Error::Service(format!("no answer within {WRITE:?}").into())),
    }
}

/// The servers that cannot be read: what they want is not known.
fn unreadable(world: &World) -> BTreeSet<ServerName> {
    let servers = world.unreadable.keys().filter(|id| id.kind == Kind::McpServer);
    let name = |id: &tollgate_proto::ResourceId| {
        id.name.split_once('/').map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
    };
    servers.filter_map(name).collect()
}

/// What is to be there: the objects of accepted servers with `spec.stdio`. One whose Secret is missing runs as well: its pod
/// waits for it.
fn wanted(world: &World, runtime: &Runtime) -> Wanted {
    let statuses = world.compiled.statuses.iter();
    let accepted = statuses.filter(|s| s.kind == Kind::McpServer && s.is_accepted());
    let names = accepted.map(|s| (s.namespace.clone(), s.name.clone()));
    let of = |name: ServerName| {
        let server = world.servers.get(&name)?;
        let objects = match server.metadata.deletion_timestamp {
            None => objects(server, runtime),
            Some(_) => Vec::new(),
        };
        (!objects.is_empty()).then_some((name, objects))
    };
    names.filter_map(of).collect()
}
