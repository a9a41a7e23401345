//! What is to be done, from what is wanted and what is there (pure).

use super::health::Health;
use crate::status::pace::Backoff;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Namespace and name of a server.
pub type ServerName = (String, String);

/// A hash of what an object says.
pub type Print = [u8; 32];

/// The objects that servers want. One that wants none is not in it.
pub type Wanted = BTreeMap<ServerName, Vec<Value>>;

/// The objects of ours that are there, by server and kind.
#[derive(Debug, Default)]
pub struct Found {
    /// Their prints.
    pub children: BTreeMap<ServerName, BTreeMap<String, Print>>,
    /// What the Deployments among them say of their pods.
    pub healths: BTreeMap<ServerName, Health>,
    /// Namespaces that could not be looked into; `None`: all of them.
    pub unseen: BTreeSet<Option<String>>,
}

/// What was written, and how the API server answered: what differs from that later was changed by somebody else.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<(ServerName, String), (Print, Print)>);

/// Servers whose objects could not be written: why, and when that is tried again.
#[derive(Debug, Default)]
pub struct Troubles(BTreeMap<ServerName, (String, Backoff)>);

/// What is to be done, in this order: an image that was withdrawn does not wait for anything.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects that nobody wants, by kind.
    pub remove: Vec<(ServerName, String)>,
    /// What is to be written for each server.
    pub write: Vec<(ServerName, Vec<Write>)>,
}

/// One object to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The whole object.
    pub object: Value,
    /// One of ours is there under this name: whoever changed it is overruled. What is not ours is not taken over.
    pub ours: bool,
}

/// What is to be done. What is there of servers that are `unreadable` stays as it is: nobody knows what they want.
pub fn plan(wanted: &Wanted, unreadable: &BTreeSet<ServerName>, found: &Found, memory: &Memory) -> Plan {
    let mut plan = Plan::default();
    for (server, children) in &found.children {
        if !wanted.contains_key(server) && !unreadable.contains(server) {
            plan.remove.extend(children.keys().map(|kind| (server.clone(), kind.clone())));
        }
    }
    for (server, objects) in wanted {
        if found.lacks(&server.0) {
            continue;
        }
        let there = found.children.get(server);
        let differing = objects.iter().filter_map(|object| {
            let kind = kind(object);
            let there = there.and_then(|children| children.get(kind));
            let same = there.is_some() && memory.says(server, kind) == there.map(|p| (print(object), *p));
            (!same).then(|| Write { object: object.clone(), ours: there.is_some() })
        });
        let writes: Vec<_> = differing.collect();
        if !writes.is_empty() {
            plan.write.push((server.clone(), writes));
        }
    }
    plan
}

/// The kind of an object.
pub fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// The print of a value.
pub fn print(value: &Value) -> Print {
    Sha256::digest(value.to_string()).into()
}

// === impl Found ===

impl Found {
    /// Whether it is not known what is in a namespace.
    pub fn lacks(&self, namespace: &str) -> bool {
        self.unseen.iter().any(|unseen| unseen.as_deref().is_none_or(|name| name == namespace))
    }
}

// === impl Memory ===

impl Memory {
    /// `object` of `server` was written; the API server's answer has the print `answer`.
    pub fn wrote(&mut self, server: &ServerName, object: &Value, answer: Print) {
        self.0.insert((server.clone(), kind(object).to_owned()), (print(object), answer));
    }

    /// Forgets servers that are neither wanted nor unreadable.
    pub fn keep(&mut self, wanted: &Wanted, unreadable: &BTreeSet<ServerName>) {
        self.0.retain(|(server, _), _| wanted.contains_key(server) || unreadable.contains(server));
    }

    fn says(&self, server: &ServerName, kind: &str) -> Option<(Print, Print)> {
        self.0.get(&(server.clone(), kind.to_owned())).copied()
    }
}

// === impl Troubles ===

impl Troubles {
    /// A server's objects could not be written; true when that is news.
    pub fn failed(&mut self, server: &ServerName, why: String, now: Instant) -> bool {
        let (known, backoff) = self.0.entry(server.clone()).or_default();
        backoff.failed(now);
        let is_news = *known != why;
        *known = why;
        is_news
    }

    /// They could be.
    pub fn written(&mut self, server: &ServerName) {
        self.0.remove(server);
    }

    /// Whether a server is left alone at `now`: it has failed, and waits for longer each time.
    pub fn waits(&self, server: &ServerName, now: Instant) -> bool {
        self.0.get(server).is_some_and(|(_, backoff)| backoff.wait(now).is_some())
    }

    /// Forgets all others.
    pub fn keep(&mut self, stays: impl Fn(&ServerName) -> bool) {
        self.0.retain(|server, _| stays(server));
    }

    /// Who has which.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerName, &str)> {
        self.0.iter().map(|(server, (why, _))| (server, why.as_str()))
    }
}
