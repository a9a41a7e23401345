//! All resources at once: what did not change keeps its place in memory, what does not convert is refused alone.

use super::{Invalid, route::route, server::server};
use crate::{
    model::{Key, Route, SealingKeys, Server, TokenIssuer},
    snapshot::Snapshot,
};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::Arc};
use tollgate_proto::{ResourceId, Resources, v1};

/// The configuration in force, kept to be compared with the next one: a key that did not change stays the same object
/// (with what it remembers), and a resource that is refused stays as it last was.
#[derive(Debug, Default)]
pub struct Model {
    generation: u64,
    keys: Table<v1::VirtualKey, Key>,
    routes: Table<v1::ProviderRoute, Route>,
    servers: Table<v1::McpServer, Server>,
    issuers: Table<v1::TokenIssuer, TokenIssuer>,
    sealing: Table<v1::SealingKeys, SealingKeys>,
}

/// A resource that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub resource: ResourceId,
    /// Why.
    pub invalid: Invalid,
    /// Whether an earlier version of it stays in force.
    pub kept: bool,
}

/// What was made from what: by resource, the wire message with the secrets it used, and the model.
type Table<W, M> = HashMap<ResourceId, Entry<W, M>>;

/// The SHA-256 of a secret that a resource uses; `None` while it does not exist.
type SecretHash = Option<[u8; 32]>;

#[derive(Debug)]
struct Entry<W, M> {
    wire: W,
    secrets: Vec<SecretHash>,
    model: Arc<M>,
}

// === impl Model ===

impl Model {
    /// Puts `resources` in force: the new snapshot, and what was refused.
    pub fn apply(&mut self, resources: &Resources) -> (Snapshot, Vec<Refused>) {
        self.generation += 1;
        let mut refused = Vec::new();
        let keys = resources.keys().map(|w| (w, Vec::new()));
        update(&mut self.keys, keys, &mut refused, |w| Key::try_from(w));
        let routes = resources.routes().map(|w| (w, route_secrets(w, resources)));
        update(&mut self.routes, routes, &mut refused, |w| route(w, resources));
        let servers = resources.servers().map(|w| (w, server_secrets(w, resources)));
        update(&mut self.servers, servers, &mut refused, |w| server(w, resources));
        let issuers = resources.token_issuers().map(|w| (w, Vec::new()));
        update(&mut self.issuers, issuers, &mut refused, |w| TokenIssuer::try_from(w));
        let sealing = resources.sealing().map(|w| (w, Vec::new()));
        update(&mut self.sealing, sealing, &mut refused, |w| SealingKeys::try_from(w));
        let mut snapshot =
            Snapshot::build(self.generation, models(&self.keys), models(&self.routes), models(&self.servers));
        snapshot.token_issuers = models(&self.issuers);
        snapshot.sealing = self.sealing();
        (snapshot, refused)
    }

    /// The sealing keys; of several the first by name, so that all gateways agree.
    fn sealing(&self) -> Option<Arc<SealingKeys>> {
        self.sealing.iter().min_by_key(|(id, _)| *id).map(|(_, entry)| entry.model.clone())
    }

    /// How many keys, routes and servers are in force.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.keys.len(), self.routes.len(), self.servers.len())
    }
}

/// A message that says which resource it is.
trait Wire: Clone + PartialEq {
    fn id(&self) -> ResourceId;
}

macro_rules! wire {
    ($($message:ident),*) => {$(
        impl Wire for v1::$message {
            fn id(&self) -> ResourceId {
                ResourceId::new(tollgate_proto::Kind::$message, &self.namespace, &self.name)
            }
        }
    )*};
}

wire!(VirtualKey, ProviderRoute, McpServer);

macro_rules! global_wire {
    ($($message:ident),*) => {$(
        impl Wire for v1::$message {
            fn id(&self) -> ResourceId {
                ResourceId { kind: tollgate_proto::Kind::$message, name: self.name.clone() }
            }
        }
    )*};
}

global_wire!(TokenIssuer, SealingKeys);

/// Brings a table up to date: drops what is gone, keeps what is equal, converts the rest.
fn update<'a, W: Wire + 'a, M>(
    table: &mut Table<W, M>,
    wires: impl Iterator<Item = (&'a W, Vec<SecretHash>)>,
    refused: &mut Vec<Refused>,
    convert: impl Fn(&W) -> Result<M, Invalid>,
) {
    let mut old = std::mem::take(table);
    for (wire, secrets) in wires {
        let resource = wire.id();
        let before = old.remove(&resource);
        let entry = match before {
            Some(entry) if entry.wire == *wire && entry.secrets == secrets => Some(entry),
            before => match convert(wire) {
                Ok(model) => Some(Entry { wire: wire.clone(), secrets, model: Arc::new(model) }),
                Err(invalid) => {
                    refused.push(Refused { resource: resource.clone(), invalid, kept: before.is_some() });
                    before
                }
            },
        };
        if let Some(entry) = entry {
            table.insert(resource, entry);
        }
    }
}

fn models<W, M>(table: &Table<W, M>) -> Vec<Arc<M>> {
    table.values().map(|e| e.model.clone()).collect()
}

fn route_secrets(wire: &v1::ProviderRoute, resources: &Resources) -> Vec<SecretHash> {
    wire.backends.iter().map(|b| entry(&wire.namespace, b.credentials.as_ref(), resources)).collect()
}

fn server_secrets(wire: &v1::McpServer, resources: &Resources) -> Vec<SecretHash> {
    let secret_ref = wire.auth.as_ref().and_then(|a| a.secret_ref.as_ref());
    vec![entry(&wire.namespace, secret_ref, resources)]
}

fn entry(namespace: &str, secret_ref: Option<&v1::SecretRef>, resources: &Resources) -> SecretHash {
    let v1::SecretRef { name, key } = secret_ref?;
    resources.secret(namespace, name, key).map(|bytes| Sha256::digest(bytes).into())
}
