//! The task of the leader: what is wanted is written, what is not is removed, and what became of it is asked for.

use super::{
    Runtime, apply,
    health::{self, Healths},
    objects::objects,
};
use crate::{context::Context, kubernetes::World, leader::WRITE};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// How often health is asked for, and what others removed is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// How long one round may take: a leader that lost its Lease must not write for long.
const ROUND: Duration = Duration::from_secs(30);

/// What was written last, by server: the hash of its objects.
type Written = BTreeMap<(String, String), [u8; 32]>;

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
    let runtime = Runtime { dataplane_image: image, namespace: context.settings.namespace.clone() };
    let mut world = context.world.clone();
    let mut lead = context.lead.clone();
    while let Some(Some(_)) = context.stop.run_until_cancelled(lead.wait()).await {
        let mut written = Written::new();
        // What an earlier term found may be long past.
        healths.send_replace(Healths::new());
        while context.lead.leads() && !context.stop.is_cancelled() {
            let now = world.borrow_and_update().clone();
            if now.synced {
                let round = round(&context, &runtime, &now, &mut written);
                match tokio::time::timeout(ROUND, round).await {
                    Ok(Ok(found)) => drop(healths.send_if_modified(|old| {
                        let changed = *old != found;
                        *old = found;
                        changed
                    })),
                    Ok(Err(error)) => tracing::warn!(%error, "stdio servers cannot be brought up to date"),
                    Err(_) => tracing::warn!("stdio servers are not up to date within {ROUND:?}"),
                }
            }
            let changed = tokio::time::timeout(LOOK, world.changed());
            match context.stop.run_until_cancelled(changed).await {
                Some(Ok(Ok(())) | Err(_)) => {}
                Some(Ok(Err(_))) | None => return,
            }
        }
    }
}

async fn round(
    context: &Context,
    runtime: &Runtime,
    world: &World,
    written: &mut Written,
) -> kube::Result<Healths> {
    let wanted = wanted(world);
    written.retain(|name, _| wanted.contains(name));
    let mut healths = Healths::new();
    for namespace in namespaces(context) {
        healths.extend(health::ask(&context.client, namespace.as_deref()).await?);
    }
    for name in &wanted {
        let Some(server) = world.servers.get(name) else { continue };
        let objects = objects(server, runtime);
        let hash: [u8; 32] = Sha256::digest(serde_json::to_vec(&objects).unwrap_or_default()).into();
        // Somebody removed it, or it is another one now.
        if written.get(name) == Some(&hash) && healths.contains_key(name) {
            continue;
        }
        for object in &objects {
            // A write that began while this replica led ends before another one leads.
            let Some(_permit) = context.lead.permit() else { return Ok(healths) };
            within(apply::write(&context.client, object)).await?;
        }
        tracing::info!(namespace = %name.0, server = %name.1, "a stdio server's objects are written");
        written.insert(name.clone(), hash);
    }
    for namespace in namespaces(context) {
        if let Some(_permit) = context.lead.permit() {
            let removed =
                within(apply::remove_others(&context.client, namespace.as_deref(), &wanted)).await?;
            if removed > 0 {
                tracing::info!(servers = removed, "objects of stdio servers that nobody wants are removed");
            }
        }
    }
    Ok(healths)
}

/// A write, within the time that a leader's writes may take.
async fn within<T>(write: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(WRITE, write).await {
        Ok(written) => written,
        Err(_) => Err(kube::Error::Service(format!("no answer within {WRITE:?}").into())),
    }
}

/// The servers that are to run: accepted ones with `spec.stdio`. One whose Secret is missing runs as well: its pod waits for it.
fn wanted(world: &World) -> BTreeSet<(String, String)> {
    let accepted = world
        .compiled
        .statuses
        .iter()
        .filter(|s| s.kind == tollgate_proto::Kind::McpServer && s.is_accepted());
    accepted
        .map(|s| (s.namespace.clone(), s.name.clone()))
        .filter(|name| {
            world
                .servers
                .get(name)
                .is_some_and(|s| s.spec.stdio.is_some() && s.metadata.deletion_timestamp.is_none())
        })
        .collect()
}

/// The namespaces to look at; `None`: all.
fn namespaces(context: &Context) -> Vec<Option<String>> {
    match context.settings.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
}
