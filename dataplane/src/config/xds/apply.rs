//! Responses to snapshots: each resource is applied or rejected alone; a rejected one keeps its last good version.

use crate::{
    model::convert::model::{Model, Refused},
    snapshot::Snapshot,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tollgate_proto::{
    Kind, Resource, ResourceId, Resources,
    discovery::{
        MAX_REASON,
        v1::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ErrorDetail},
    },
};

/// What the stream has become so far.
#[derive(Debug, Default)]
pub struct Applier {
    resources: Resources,
    standing: Standing,
    complete: BTreeSet<Kind>,
    /// What the last response about keys said of itself.
    whole: bool,
    /// Keys were restored, and the operator has not told all of its own since.
    remembered: bool,
    model: Model,
    snapshot: Arc<Snapshot>,
}

/// What is in force, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The versions in force.
    pub in_force: BTreeMap<ResourceId, String>,
    /// What is rejected now.
    pub rejected: BTreeMap<ResourceId, Rejection>,
}

/// A resource that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The version that was rejected.
    pub version: String,
    /// Why.
    pub error: String,
}

/// What came of a response.
#[derive(Debug)]
pub struct Applied {
    /// The answer: an ACK, or a NACK that names what was rejected.
    pub answer: DeltaDiscoveryRequest,
    /// Whether there is a new snapshot.
    pub changed: bool,
    /// What was rejected.
    pub rejected: Vec<(ResourceId, Rejection)>,
}

/// An entry of a NACK's list.
#[derive(serde::Serialize)]
struct Reason<'a> {
    name: &'a str,
    error: &'a str,
}

/// `INVALID_ARGUMENT` of google.rpc.Code.
const INVALID_ARGUMENT: i32 = 3;

/// What is being applied: by resource, its version, and what was there before.
type Candidates = BTreeMap<ResourceId, (String, Option<Resource>)>;

// === impl Applier ===

impl Applier {
    /// What is in force.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What is in force and what is rejected, by name.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How many keys, routes and servers are in force.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.model.counts()
    }

    /// The types whose initial state has not come yet.
    pub fn missing(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.complete.contains(kind)).collect()
    }

    /// Begins a stream; returns its first requests: for each type, what is still held. A rejected resource counts with the
    /// version that it keeps, and not at all when it keeps none; so it is sent, and rejected, again.
    pub fn subscribe(&mut self, node: v1::Node) -> Vec<DeltaDiscoveryRequest> {
        self.standing.rejected.clear();
        let held = |kind: Kind| {
            let of_kind = self.standing.in_force.iter().filter(move |(id, _)| id.kind == kind);
            of_kind.map(|(id, version)| (id.name.clone(), version.clone())).collect()
        };
        let mut node = Some(node);
        let request = |kind: Kind| DeltaDiscoveryRequest {
            node: node.take(),
            type_url: kind.type_url(),
            initial_resource_versions: held(kind),
            ..Default::default()
        };
        Kind::ALL.into_iter().map(request).collect()
    }

    /// Applies a response.
    pub fn apply(&mut self, response: DeltaDiscoveryResponse) -> Applied {
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        let Some(kind) = Kind::of_type_url(&response.type_url) else {
            let message = format!("unknown resource type {:?}", response.type_url);
            let error_detail = Some(ErrorDetail { code: INVALID_ARGUMENT, message });
            return Applied {
                answer: DeltaDiscoveryRequest { error_detail, ..answer },
                changed: false,
                rejected: Vec::new(),
            };
        };
        let mut changed = false;
        if kind == Kind::VirtualKey {
            self.whole = response.whole;
            changed = !response.more && std::mem::take(&mut self.remembered);
        }
        for name in response.removed_resources {
            changed |= self.remove(&ResourceId { kind, name });
        }
        let (candidates, mut rejected) = self.insert(kind, response.resources);
        if changed || !candidates.is_empty() {
            changed = true;
            rejected.extend(self.put_in_force(candidates));
        }
        for (id, rejection) in &rejected {
            self.standing.rejected.insert(id.clone(), rejection.clone());
        }
        if !response.more {
            self.complete.insert(kind);
        }
        Applied {
            answer: DeltaDiscoveryRequest { error_detail: error_detail(&rejected), ..answer },
            changed,
            rejected,
        }
    }

    /// Puts what was saved in force again. What does not pass any more is not there, and will be asked for.
    pub fn restore(&mut self, saved: v1::SavedState) {
        self.remembered = true;
        for kind in Kind::ALL {
            let of_kind = |r: &&v1::Resource| {
                r.resource.as_ref().is_some_and(|any| Kind::of_type_url(&any.type_url) == Some(kind))
            };
            let resources = saved.resources.iter().filter(of_kind).cloned().collect();
            let (candidates, _) = self.insert(kind, resources);
            self.put_in_force(candidates);
        }
    }

    /// What is in force, to be saved. Its versions are the hashes of the bytes as this program writes them: should it not
    /// know a field, the version is another one than the operator's, and the resource is sent again.
    pub fn save(&self) -> v1::SavedState {
        let resource = |resource: &Resource| {
            let value = resource.encode();
            v1::Resource {
                name: resource.id().name,
                version: Resource::version_of(&value),
                resource: Some(v1::Any { type_url: resource.kind().type_url(), value: value.into() }),
            }
        };
        v1::SavedState { resources: self.resources.iter().map(resource).collect() }
    }

    fn remove(&mut self, id: &ResourceId) -> bool {
        self.standing.in_force.remove(id);
        self.standing.rejected.remove(id);
        self.resources.remove(id).is_some()
    }

    /// Takes resources in; those that are none are rejected.
    fn insert(
        &mut self,
        kind: Kind,
        resources: Vec<v1::Resource>,
    ) -> (Candidates, Vec<(ResourceId, Rejection)>) {
        let mut candidates = Candidates::new();
        let mut rejected = Vec::new();
        for wire in resources {
            match decode(kind, &wire) {
                Ok(resource) => {
                    let id = resource.id();
                    let before = self.resources.insert(resource);
                    let candidate = candidates.entry(id).or_insert((String::new(), before));
                    candidate.0 = wire.version;
                }
                Err(error) => {
                    let id = ResourceId { kind, name: wire.name };
                    rejected.push((id, Rejection { version: wire.version, error }));
                }
            }
        }
        (candidates, rejected)
    }

    /// Makes the next snapshot, and takes back what does not pass.
    fn put_in_force(&mut self, mut candidates: Candidates) -> Vec<(ResourceId, Rejection)> {
        let (mut snapshot, refused) = self.model.apply(&self.resources);
        (snapshot.whole, snapshot.remembered) = (self.whole, self.remembered);
        self.snapshot = Arc::new(snapshot);
        let mut rejected = Vec::new();
        for Refused { resource: id, invalid, .. } in refused {
            let Some((version, before)) = candidates.remove(&id) else { continue };
            match before {
                Some(before) => drop(self.resources.insert(before)),
                None => drop(self.resources.remove(&id)),
            }
            let mut error = format!("{}: {}", invalid.field, invalid.reason);
            error.truncate(error.floor_char_boundary(MAX_REASON));
            rejected.push((id, Rejection { version, error }));
        }
        for (id, (version, _)) in candidates {
            self.standing.rejected.remove(&id);
            self.standing.in_force.insert(id, version);
        }
        rejected
    }
}

fn decode(kind: Kind, wire: &v1::Resource) -> Result<Resource, String> {
    let any = wire.resource.as_ref().ok_or("it has no content")?;
    if any.type_url != kind.type_url() {
        return Err(format!("its type is {:?}, in a response of {}", any.type_url, kind.type_url()));
    }
    let resource = Resource::decode(&any.type_url, &any.value).map_err(|error| error.to_string())?;
    let id = resource.id();
    match id.name == wire.name {
        true => Ok(resource),
        false => Err(format!("its content is that of {id}")),
    }
}

fn error_detail(rejected: &[(ResourceId, Rejection)]) -> Option<ErrorDetail> {
    if rejected.is_empty() {
        return None;
    }
    let reasons: Vec<_> = rejected.iter().map(|(id, r)| Reason { name: &id.name, error: &r.error }).collect();
    let message = serde_json::to_string(&reasons).unwrap_or_default();
    Some(ErrorDetail { code: INVALID_ARGUMENT, message })
}

#[cfg(test)]
mod tests;
