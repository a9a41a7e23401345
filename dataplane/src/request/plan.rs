//! Phase 4: which backends may answer, in which order.
//!
//! Order: the route's priorities from low to high, inside a priority a weighted draw; ejected backends last (if all are ejected,
//! one is still tried); then the fallbacks, each under the key's permissions.

use super::resolve::{self, Resolved};
use crate::{
    error::GatewayError,
    model::{Route, route::Backend},
    snapshot::{KeyNode, Snapshot},
    upstream::health::Health,
};
use std::sync::Arc;
use tollgate_translate::{
    Format,
    head::Head,
    price::{Catalogue, Model, Price},
};

/// One backend that may answer. Cheap to clone: all it knows it shares with its route and the catalogue.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Model and route.
    pub resolved: Resolved,
    /// The backend's place in `route.backends`.
    pub index: usize,
    /// The format it speaks.
    pub format: Format,
    /// The most output tokens it makes, when known.
    pub max_output: Option<u64>,
    /// The model's place in `route.models`.
    listed: Option<usize>,
    /// What the catalogue says of the price.
    known: Option<&'static Price>,
}

/// What the order and the prices depend on beside configuration.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The client's format.
    pub format: Format,
    /// What it asks for.
    pub head: &'a Head,
    /// Unix milliseconds.
    pub now: i64,
    /// A random number for the weighted choice.
    pub draw: u64,
}

/// Why a backend was left out.
enum LeftOut {
    Forbidden(String),
    Off(String),
}

struct Planner<'a> {
    node: &'a KeyNode,
    health: &'a Health,
    asked: Asked<'a>,
    why: Vec<LeftOut>,
}

/// A candidate with what it is sorted by.
struct Placed {
    candidate: Candidate,
    ejected: bool,
    priority: u32,
    weight: u32,
}

// === impl Candidate ===

impl Candidate {
    /// The backend.
    pub fn backend(&self) -> Option<&Backend> {
        self.resolved.route.backends.get(self.index)
    }

    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.resolved.route
    }

    /// The model's name at the upstream.
    pub fn upstream_model(&self) -> &str {
        let listed = self.listed.and_then(|place| self.resolved.route.models.get(place));
        listed.and_then(|m| m.upstream_name.as_deref()).unwrap_or_else(|| self.resolved.model())
    }

    /// Its price, when known, for the way in which the client asks to be served. The route's own wins.
    pub fn price(&self) -> Option<&Price> {
        let listed = self.listed.and_then(|place| self.resolved.route.models.get(place));
        listed.and_then(|m| m.price.as_ref()).or(self.known)
    }
}

/// The candidates for a request, best first. Never empty.
pub fn plan(
    snapshot: &Snapshot,
    node: &KeyNode,
    first: &Resolved,
    health: &Health,
    asked: Asked<'_>,
) -> Result<Vec<Candidate>, GatewayError> {
    let mut planner = Planner { node, health, asked, why: Vec::new() };
    let mut all = planner.on_route(first);
    for name in &first.route.fallbacks {
        planner.asked.draw = planner.asked.draw.rotate_left(17);
        if let Some(next) = resolve::fallback(snapshot, node, &first.route, name) {
            all.extend(planner.on_route(&next));
        }
    }
    if all.is_empty() { Err(nothing(first, node, planner.why)) } else { Ok(all) }
}

/// Why a key may not use a backend; `None`: it may.
pub fn forbidden(node: &KeyNode, backend: &Backend) -> Option<String> {
    for key in &node.path {
        let rules = &key.providers;
        if rules.allow.as_ref().is_some_and(|allow| !allow.contains(&backend.provider)) {
            return Some(format!("provider {} is not allowed for key {}", backend.provider.as_str(), key.id));
        }
        if rules
            .regions
            .as_ref()
            .is_some_and(|r| !backend.region.as_deref().is_some_and(|name| r.matches(name)))
        {
            let region = backend.region.as_deref().unwrap_or("(none)");
            return Some(format!("region {region} is not allowed for key {}", key.id));
        }
    }
    None
}

// === impl Planner ===

impl Planner<'_> {
    fn on_route(&mut self, resolved: &Resolved) -> Vec<Candidate> {
        let route = &resolved.route;
        let listed = resolve::listed(route, resolved.model());
        let mut usable: Vec<Placed> = Vec::with_capacity(route.backends.len());
        for (index, backend) in route.backends.iter().enumerate() {
            if !(backend.models.is_empty() || backend.models.matches(resolved.model())) {
                continue;
            }
            let format = match self.format(backend) {
                Ok(format) => format,
                Err(reason) => {
                    self.why.push(reason);
                    continue;
                }
            };
            usable.push(Placed {
                candidate: self.candidate(resolved, listed, index, backend, format),
                ejected: self.health.ejected(&route.id, &backend.name, self.asked.now),
                priority: backend.priority,
                weight: backend.weight,
            });
        }
        usable.sort_by_key(|placed| (placed.ejected, placed.priority));
        weighted(usable, self.asked.draw)
    }

    /// The format of a backend that can take the request.
    fn format(&self, backend: &Backend) -> Result<Format, LeftOut> {
        if let Some(words) = forbidden(self.node, backend) {
            return Err(LeftOut::Forbidden(words));
        }
        if let Some(reason) = &backend.off {
            return Err(LeftOut::Off(format!("backend {} is off: {reason}", backend.name)));
        }
        if backend.weight == 0 {
            return Err(LeftOut::Off(format!("backend {} has the weight 0", backend.name)));
        }
        backend.format().ok_or_else(|| {
            let provider = backend.provider.as_str();
            LeftOut::Off(format!("backend {}: {provider} is not supported by this version", backend.name))
        })
    }

    fn candidate(
        &self,
        resolved: &Resolved,
        listed: Option<usize>,
        index: usize,
        backend: &Backend,
        format: Format,
    ) -> Candidate {
        let mut candidate = Candidate {
            resolved: resolved.clone(),
            index,
            format,
            max_output: listed.and_then(|place| resolved.route.models.get(place)?.max_output),
            listed,
            known: None,
        };
        if let Some(model) = Catalogue::embedded().find(backend.provider, candidate.upstream_model()) {
            // A translation drops the fields that choose a dearer way.
            let modes = if format == self.asked.format { &self.asked.head.modes[..] } else { &[] };
            candidate.known = dearest(model, modes);
            candidate.max_output = candidate.max_output.or(model.max_output);
        }
        candidate
    }
}

/// The dearest of the prices that `modes` ask for; the plain one without any.
fn dearest<'a>(model: &'a Model, modes: &[Box<str>]) -> Option<&'a Price> {
    let asked = modes.iter().filter_map(|mode| model.price_in(mode));
    asked.chain(model.price.as_ref()).max_by_key(|price| (price.output, price.input))
}

/// Inside each group of equal (ejected, priority): one drawn by weight goes first, the others follow as they stand.
fn weighted(mut all: Vec<Placed>, draw: u64) -> Vec<Candidate> {
    for group in all.chunk_by_mut(|a, b| (a.ejected, a.priority) == (b.ejected, b.priority)) {
        let total: u64 = group.iter().map(|placed| u64::from(placed.weight)).sum();
        let mut at = draw.checked_rem(total).unwrap_or(0);
        let chosen = group.iter().position(|placed| {
            let weight = u64::from(placed.weight);
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        });
        group.rotate_left(chosen.unwrap_or(0));
    }
    all.into_iter().map(|placed| placed.candidate).collect()
}

fn nothing(first: &Resolved, node: &KeyNode, why: Vec<LeftOut>) -> GatewayError {
    let off = why.iter().find_map(|w| match w {
        LeftOut::Off(words) => Some(words.clone()),
        LeftOut::Forbidden(_) => None,
    });
    let forbidden = why.into_iter().find_map(|w| match w {
        LeftOut::Forbidden(words) => Some(words),
        LeftOut::Off(_) => None,
    });
    match (off, forbidden) {
        (Some(words), _) => GatewayError::NoBackend(format!("no backend for {}: {words}", first.qualified)),
        (None, Some(words)) => {
            GatewayError::NotAllowed(format!("model {} for key {}: {words}", first.qualified, node.id()))
        }
        (None, None) => GatewayError::ModelNotFound(format!(
            "no backend of route {} serves {}",
            first.route.id.name(),
            first.model()
        )),
    }
}

#[cfg(test)]
mod tests;
