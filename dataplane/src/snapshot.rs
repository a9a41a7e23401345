//! The immutable whole of the configuration: one snapshot behind one atomic pointer. A request loads it once.

use crate::model::{Key, ObjectId, Route, SealingKeys, Server, TokenIssuer, key::Logging};
use std::{collections::HashMap, sync::Arc};
use tollgate_proto::names::{self, MAX_DEPTH};

/// All configuration in force at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each change; shown in `/readyz` and logs.
    pub generation: u64,
    /// It has every key there is: one that is not in it was deleted, and is not merely none of this gateway's business.
    pub whole: bool,
    /// Its keys are what was in force before this start; the operator has not said yet which of them there still are.
    pub remembered: bool,
    /// Whose ServiceAccount tokens are credentials; none in standalone mode.
    pub token_issuers: Vec<Arc<TokenIssuer>>,
    /// What all gateways of an installation seal with; none in standalone mode, where the gateway has its own key.
    pub sealing: Option<Arc<SealingKeys>>,
    keys: HashMap<ObjectId, Arc<KeyNode>>,
    by_token: HashMap<[u8; 32], Arc<KeyNode>>,
    by_service_account: HashMap<ObjectId, Arc<KeyNode>>,
    anonymous: Option<Arc<KeyNode>>,
    routes: HashMap<String, Vec<Arc<Route>>>,
    servers: HashMap<String, Vec<Arc<Server>>>,
}

/// A key with its path to the root and what it can see.
#[derive(Debug)]
pub struct KeyNode {
    /// The key itself first, its root last. Never empty.
    pub path: Vec<Arc<Key>>,
    /// Why it denies everything: a missing parent, a cycle.
    pub denied: Option<String>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Builds a snapshot. Never fails: a key whose parent is missing denies, with the reason.
    pub fn build(
        generation: u64,
        keys: Vec<Arc<Key>>,
        routes: Vec<Arc<Route>>,
        servers: Vec<Arc<Server>>,
    ) -> Self {
        let index: HashMap<ObjectId, Arc<Key>> = keys.iter().map(|k| (k.id.clone(), k.clone())).collect();
        let mut out = Snapshot { generation, whole: true, ..Snapshot::default() };
        for key in &keys {
            let node = Arc::new(KeyNode::resolve(key, &index));
            for hash in &key.token_hashes {
                out.by_token.insert(*hash, node.clone());
            }
            for account in &key.service_accounts {
                out.by_service_account.insert(account.clone(), node.clone());
            }
            if key.anonymous && out.anonymous.as_ref().is_none_or(|a| a.id() > &key.id) {
                out.anonymous = Some(node.clone());
            }
            out.keys.insert(key.id.clone(), node);
        }
        for route in routes {
            out.routes.entry(route.id.name().to_owned()).or_default().push(route);
        }
        for server in servers {
            out.servers.entry(server.id.name().to_owned()).or_default().push(server);
        }
        out
    }

    /// The key whose token has this SHA-256.
    pub fn key_by_token(&self, hash: &[u8; 32]) -> Option<&Arc<KeyNode>> {
        self.by_token.get(hash)
    }

    /// The key of the workloads that run as this ServiceAccount.
    pub fn key_by_service_account(&self, account: &ObjectId) -> Option<&Arc<KeyNode>> {
        self.by_service_account.get(account)
    }

    /// The key of callers without a known credential.
    pub fn anonymous(&self) -> Option<&Arc<KeyNode>> {
        self.anonymous.as_ref()
    }

    /// A key by identity.
    pub fn key(&self, id: &ObjectId) -> Option<&Arc<KeyNode>> {
        self.keys.get(id)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyNode>> {
        self.keys.values()
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values().flatten()
    }

    /// The route `name` as seen from `namespace`: its own first, then those exported to it.
    pub fn route(&self, namespace: &str, name: &str) -> Option<&Arc<Route>> {
        names::meant(self.routes.get(name)?, namespace, |r| (r.id.namespace(), r.export.reaches(namespace)))
    }

    /// The routes seen from `namespace`, one a name.
    pub fn visible_routes<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Route>> {
        self.routes.keys().filter_map(move |name| self.route(namespace, name))
    }

    /// All MCP servers.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values().flatten()
    }

    /// The MCP server `name` as seen from `namespace`.
    pub fn server(&self, namespace: &str, name: &str) -> Option<&Arc<Server>> {
        names::meant(self.servers.get(name)?, namespace, |s| (s.id.namespace(), s.export.reaches(namespace)))
    }
}

// === impl KeyNode ===

impl KeyNode {
    fn resolve(key: &Arc<Key>, index: &HashMap<ObjectId, Arc<Key>>) -> Self {
        let mut path = vec![key.clone()];
        let mut denied = key.denied.clone();
        let mut parent = key.parent.clone();
        while let Some(id) = parent.take() {
            if path.iter().any(|k| k.id == id) || path.len() >= MAX_DEPTH {
                denied.get_or_insert(format!("the parents of key {} form a cycle or are too deep", key.id));
                break;
            }
            match index.get(&id) {
                Some(next) => {
                    parent = next.parent.clone();
                    path.push(next.clone());
                }
                None => {
                    denied.get_or_insert(format!("parent {id} of key {} does not exist", key.id));
                }
            }
        }
        KeyNode { path, denied }
    }

    /// The key's identity.
    pub fn id(&self) -> &ObjectId {
        &self.path[0].id
    }

    /// The key itself.
    pub fn key(&self) -> &Key {
        &self.path[0]
    }

    /// What is kept of content: the least, and for the shortest time, along the path to the root.
    pub fn logging(&self) -> Logging {
        let least = |a: Logging, b: Logging| Logging {
            content: a.content.min(b.content),
            retention: a.retention.min(b.retention),
        };
        self.path.iter().map(|k| k.logging).fold(self.path[0].logging, least)
    }
}
