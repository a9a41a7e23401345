//! The state of one client's stream: a pure machine of requests in and responses out.
//!
//! For each type: what the client holds (only what it has acknowledged), what it has rejected, and the one response that
//! waits for its answer. Between types the order of [`Kind::ALL`] is kept, so that what refers to another resource comes
//! after it, and is removed before it.

use super::{
    diff::{self, Diff, Limits, Versions},
    publish::{Published, Table},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tollgate_proto::{
    Kind,
    discovery::v1::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ErrorDetail, Resource},
};

/// One client's stream.
#[derive(Debug, Default)]
pub struct Stream {
    limits: Limits,
    subscriptions: BTreeMap<String, Subscription>,
    nonce: u64,
}

/// What a request was.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The first of its type; the number of resources that the client still holds.
    Subscribed(usize),
    /// Everything of a response is in force.
    Ack,
    /// These resources of a response were rejected.
    Nack(Vec<Rejected>),
    /// An answer to something that does not wait for one.
    Stale,
}

/// A resource that the client rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// `namespace/name`.
    pub name: String,
    /// The version that was rejected.
    pub version: String,
    /// Why.
    pub error: String,
}

/// The client asks for more types than there will ever be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_TYPES} types on one stream")]
pub struct TooManyTypes;

/// The most types of a stream.
const MAX_TYPES: usize = 32;

/// The subscription to one type.
#[derive(Debug, Default)]
struct Subscription {
    /// `None`: a type that only newer versions know. It is answered as one that has no resources, so that a client that is
    /// newer than this operator becomes ready.
    kind: Option<Kind>,
    held: Versions,
    refused: Versions,
    waiting: Option<Waiting>,
    answered: bool,
}

/// A response that waits for its answer.
#[derive(Debug)]
struct Waiting {
    nonce: String,
    sent: Versions,
    removed: Vec<Arc<str>>,
}

/// An entry of a NACK's list.
#[derive(serde::Deserialize)]
struct Reason {
    name: String,
    #[serde(default)]
    error: String,
}

// === impl Stream ===

impl Stream {
    /// A stream whose responses have these sizes.
    pub fn new(limits: Limits) -> Self {
        Stream { limits, ..Stream::default() }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// When the client subscribes to too many types.
    pub fn hear(&mut self, request: DeltaDiscoveryRequest) -> Result<Heard, TooManyTypes> {
        if let Some(subscription) = self.subscriptions.get_mut(&request.type_url) {
            return Ok(subscription.answer(&request.response_nonce, request.error_detail));
        }
        if !request.response_nonce.is_empty() {
            return Ok(Heard::Stale);
        }
        if self.subscriptions.len() >= MAX_TYPES {
            return Err(TooManyTypes);
        }
        let held: Versions =
            request.initial_resource_versions.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        let heard = Heard::Subscribed(held.len());
        let kind = Kind::of_type_url(&request.type_url);
        let subscription = Subscription { kind, held, ..Subscription::default() };
        self.subscriptions.insert(request.type_url, subscription);
        Ok(heard)
    }

    /// Whether a response waits for its answer.
    pub fn is_waiting(&self) -> bool {
        self.subscriptions.values().any(|s| s.waiting.is_some())
    }

    /// Whether there is any subscription.
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// The next response that leads to `want`; `None` when nothing can be sent before the client says something or `want`
    /// changes.
    pub fn next(&mut self, want: &Published) -> Option<DeltaDiscoveryResponse> {
        self.next_change(want).or_else(|| self.next_removal(want)).or_else(|| self.next_empty(want))
    }

    /// Changes, in the order of kinds: a kind's come when all those of the kinds before it have been sent.
    fn next_change(&mut self, want: &Published) -> Option<DeltaDiscoveryResponse> {
        for kind in Kind::ALL {
            let Some(subscription) = self.subscriptions.get(&kind.type_url()) else { continue };
            let diff = subscription.changed(want.table(kind), self.limits);
            match diff.changed.is_empty() {
                true => {}
                false if subscription.waiting.is_some() => return None,
                false => return Some(self.respond(kind.type_url(), diff, want)),
            }
        }
        None
    }

    /// Removals, in the opposite order, when no change is left to be sent or acknowledged.
    fn next_removal(&mut self, want: &Published) -> Option<DeltaDiscoveryResponse> {
        let subscriptions = self.subscriptions.values();
        let changes = |s: &Subscription| {
            s.waiting.as_ref().is_some_and(|w| !w.sent.is_empty())
                || s.kind.is_some_and(|kind| !s.changed(want.table(kind), self.limits).changed.is_empty())
        };
        if subscriptions.into_iter().any(changes) {
            return None;
        }
        for kind in Kind::ALL.into_iter().rev() {
            let Some(subscription) = self.subscriptions.get(&kind.type_url()) else { continue };
            let diff = subscription.removed(want.table(kind), self.limits);
            match diff.removed.is_empty() {
                true => {}
                false if subscription.waiting.is_some() => return None,
                false => return Some(self.respond(kind.type_url(), diff, want)),
            }
        }
        None
    }

    /// A first response even when there is nothing to say: without it the client would never be ready.
    fn next_empty(&mut self, want: &Published) -> Option<DeltaDiscoveryResponse> {
        let silent = self.subscriptions.iter().find(|(_, s)| {
            let table = s.kind.map(|kind| want.table(kind));
            let settled = table.is_none_or(|t| {
                s.changed(t, self.limits).changed.is_empty() && s.removed(t, self.limits).removed.is_empty()
            });
            !s.answered && settled
        });
        let type_url = silent?.0.clone();
        Some(self.respond(type_url, Diff::default(), want))
    }

    fn respond(&mut self, type_url: String, diff: Diff, want: &Published) -> DeltaDiscoveryResponse {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let limits = self.limits;
        let more = self.subscriptions.get_mut(&type_url).is_some_and(|subscription| {
            let sent = diff.changed.iter().map(|(name, entry)| (name.clone(), entry.version.clone()));
            let waiting =
                Waiting { nonce: nonce.clone(), sent: sent.collect(), removed: diff.removed.clone() };
            subscription.waiting = Some(waiting);
            subscription.answered = true;
            let table = subscription.kind.map(|kind| want.table(kind));
            diff.more || table.is_some_and(|t| !subscription.removed(t, limits).removed.is_empty())
        });
        let resource = |(name, entry): (Arc<str>, super::publish::Entry)| Resource {
            name: name.to_string(),
            version: entry.version.to_string(),
            resource: Some(Any { type_url: type_url.clone(), value: entry.body }),
        };
        DeltaDiscoveryResponse {
            system_version_info: want.version().to_owned(),
            resources: diff.changed.into_iter().map(resource).collect(),
            removed_resources: diff.removed.iter().map(|name| name.to_string()).collect(),
            type_url,
            nonce,
            more,
            // The stream knows nothing of who is at its end: the server says it.
            whole: false,
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// What is neither held nor rejected nor on its way.
    fn changed(&self, want: &Table, limits: Limits) -> Diff {
        match &self.waiting {
            None => diff::changed(&self.held, &self.refused, want, limits),
            Some(waiting) => {
                let mut held = self.held.clone();
                held.extend(waiting.sent.clone());
                diff::changed(&held, &self.refused, want, limits)
            }
        }
    }

    /// What is held, or on its way, and must go, without what goes already. What was rejected must too, so that the client
    /// reports it no longer.
    fn removed(&self, want: &Table, limits: Limits) -> Diff {
        // A cluster always has a token issuer. Where none is known, the API server has not told it to this replica yet, and
        // what another replica has told counts.
        if self.kind == Some(Kind::TokenIssuer) && want.is_empty() {
            return Diff::default();
        }
        if self.waiting.is_none() && self.refused.is_empty() {
            return diff::removed(&self.held, want, limits);
        }
        let mut held = self.held.clone();
        held.extend(self.refused.clone());
        if let Some(waiting) = &self.waiting {
            held.extend(waiting.sent.clone());
            let going: BTreeSet<_> = waiting.removed.iter().collect();
            held.retain(|name, _| !going.contains(name));
        }
        diff::removed(&held, want, limits)
    }

    fn answer(&mut self, nonce: &str, error: Option<ErrorDetail>) -> Heard {
        let Some(waiting) = self.waiting.take_if(|w| w.nonce == nonce) else { return Heard::Stale };
        for name in &waiting.removed {
            self.held.remove(name);
            self.refused.remove(name);
        }
        let Some(error) = error else {
            self.commit(waiting.sent);
            return Heard::Ack;
        };
        let reasons = reasons(&error, &waiting.sent);
        let (refused, good): (Versions, Versions) =
            waiting.sent.into_iter().partition(|(name, _)| reasons.contains_key(&**name));
        self.commit(good);
        let rejected = refused.iter().map(|(name, version)| Rejected {
            name: name.to_string(),
            version: version.to_string(),
            error: reasons.get(&**name).cloned().unwrap_or_default(),
        });
        let rejected = rejected.collect();
        // What it held before stays in `held`: it still has that, and must be told when the resource goes.
        self.refused.extend(refused);
        Heard::Nack(rejected)
    }

    fn commit(&mut self, sent: Versions) {
        for name in sent.keys() {
            self.refused.remove(name);
        }
        self.held.extend(sent);
    }
}

/// Why each resource of a NACK was rejected. One that is no list rejects all.
fn reasons(error: &ErrorDetail, sent: &Versions) -> BTreeMap<String, String> {
    match serde_json::from_str::<Vec<Reason>>(&error.message) {
        Ok(list) => list.into_iter().map(|reason| (reason.name, reason.error)).collect(),
        Err(_) => sent.keys().map(|name| (name.to_string(), error.message.clone())).collect(),
    }
}

#[cfg(test)]
mod tests;
