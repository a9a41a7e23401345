//! Test objects, built step by step: `key("main").parent("team").allow(["openai/*"])`.

#![allow(missing_docs, clippy::unwrap_used, reason = "for tests only")]

use super::{
    Export, Globs, Key, ObjectId, Route,
    route::{Backend, Health, Retry, RouteModel, Timeouts},
};
use crate::snapshot::{KeyNode, Snapshot};
use std::{sync::Arc, time::Duration};
use tollgate_translate::Provider;

/// A key `default/name` with the token `name`, that may use nothing yet.
pub fn key(name: &str) -> Key {
    let mut key = Key::new(ObjectId::new("default", name));
    key.token_hashes.push(crate::request::identify::hash(name));
    key.models.allow = None;
    key
}

/// A route `default/name` with one backend that takes every model.
pub fn route(name: &str, provider: Provider) -> Route {
    Route {
        id: ObjectId::new("default", name),
        export: Export::Same,
        models: Vec::new(),
        backends: vec![backend("one", provider)],
        retry: Retry { attempts: 0, on_connect: true, on_rate_limited: true, on_server_error: true },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(5),
        },
        health: Health { consecutive_failures: 2, eject_for: Duration::from_secs(10) },
        fallbacks: Vec::new(),
        strict: false,
        reach: crate::client::Reach::Private,
        off: None,
    }
}

/// A backend at a port where nothing listens.
pub fn backend(name: &str, provider: Provider) -> Backend {
    Backend {
        name: name.to_owned(),
        models: Globs::default(),
        provider,
        endpoint: http::Uri::from_static("http://127.0.0.1:1"),
        region: None,
        credential: None,
        off: None,
        weight: 1,
        priority: 0,
    }
}

/// A snapshot of these objects, and the node of the first key.
pub fn world(keys: Vec<Key>, routes: Vec<Route>) -> (Snapshot, Arc<KeyNode>) {
    let first = keys[0].id.clone();
    let keys = keys.into_iter().map(Arc::new).collect();
    let snapshot = Snapshot::build(1, keys, routes.into_iter().map(Arc::new).collect(), Vec::new());
    let node = snapshot.key(&first).unwrap().clone();
    (snapshot, node)
}

// === impl Key ===

impl Key {
    pub fn parent(mut self, name: &str) -> Self {
        self.parent = Some(ObjectId::new("default", name));
        self
    }

    pub fn allow<const N: usize>(mut self, globs: [&str; N]) -> Self {
        self.models.allow = Some(Globs::new(globs));
        self
    }

    pub fn deny<const N: usize>(mut self, globs: [&str; N]) -> Self {
        self.models.deny = Globs::new(globs);
        self
    }

    pub fn alias(mut self, name: &str, target: &str) -> Self {
        self.models.aliases.insert(name.to_owned(), target.to_owned());
        self
    }

    pub fn default_route(mut self, name: &str) -> Self {
        self.default_route = Some(name.to_owned());
        self
    }
}

// === impl Route ===

impl Route {
    pub fn lists<const N: usize>(mut self, models: [&str; N]) -> Self {
        self.models = models
            .into_iter()
            .map(|name| RouteModel {
                name: name.to_owned(),
                pattern: Globs::new([name]),
                upstream_name: None,
                price: None,
                max_output: None,
                context: None,
            })
            .collect();
        self
    }

    pub fn backends(mut self, backends: Vec<Backend>) -> Self {
        self.backends = backends;
        self
    }

    pub fn in_namespace(mut self, namespace: &str, export: Export) -> Self {
        self.id = ObjectId::new(namespace, self.id.name());
        self.export = export;
        self
    }
}
