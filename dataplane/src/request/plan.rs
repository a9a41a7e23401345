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
    price::{Catalogue, Price},
};

/// One backend that may answer.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Model and route.
    pub resolved: Resolved,
    /// The backend's place in `route.backends`.
    pub index: usize,
    /// The format it speaks.
    pub format: Format,
    /// The model's name at the upstream.
    pub upstream_model: String,
    /// Its price, when known.
    pub price: Option<Arc<Price>>,
    /// The most output tokens it makes, when known.
    pub max_output: Option<u64>,
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
}

/// The candidates for a request, best first. Never empty. `draw` is a random number for the weighted choice.
pub fn plan(
    snapshot: &Snapshot,
    node: &KeyNode,
    first: &Resolved,
    health: &Health,
    now: i64,
    mut draw: u64,
) -> Result<Vec<Candidate>, GatewayError> {
    let mut why = Vec::new();
    let mut all = on_route(node, first, health, now, draw, &mut why);
    for name in &first.route.fallbacks {
        draw = draw.rotate_left(17);
        if let Some(next) = resolve::fallback(snapshot, node, &first.route, name) {
            all.extend(on_route(node, &next, health, now, draw, &mut why));
        }
    }
    if all.is_empty() { Err(nothing(first, node, why)) } else { Ok(all) }
}

/// Why a backend was left out.
enum LeftOut {
    Forbidden(String),
    Off(String),
}

fn on_route(
    node: &KeyNode,
    resolved: &Resolved,
    health: &Health,
    now: i64,
    draw: u64,
    why: &mut Vec<LeftOut>,
) -> Vec<Candidate> {
    let mut usable: Vec<(Candidate, u32, u32, bool)> = Vec::new();
    for (index, backend) in resolved.route.backends.iter().enumerate() {
        if !(backend.models.is_empty() || backend.models.matches(&resolved.model)) {
            continue;
        }
        if let Some(reason) = unusable(node, backend) {
            why.push(reason);
            continue;
        }
        let Some(format) = backend.format() else { continue };
        let ejected = health.ejected(&resolved.route.id, &backend.name, now);
        usable.push((candidate(resolved, index, backend, format), backend.priority, backend.weight, ejected));
    }
    usable.sort_by_key(|(_, priority, _, ejected)| (*ejected, *priority));
    weighted(usable, draw)
}

fn unusable(node: &KeyNode, backend: &Backend) -> Option<LeftOut> {
    for key in &node.path {
        let rules = &key.providers;
        if rules.allow.as_ref().is_some_and(|allow| !allow.contains(&backend.provider)) {
            let what = format!("provider {} is not allowed for key {}", backend.provider.as_str(), key.id);
            return Some(LeftOut::Forbidden(what));
        }
        if rules
            .regions
            .as_ref()
            .is_some_and(|r| !backend.region.as_deref().is_some_and(|name| r.matches(name)))
        {
            let region = backend.region.as_deref().unwrap_or("(none)");
            return Some(LeftOut::Forbidden(format!("region {region} is not allowed for key {}", key.id)));
        }
    }
    if let Some(reason) = &backend.off {
        return Some(LeftOut::Off(format!("backend {} is off: {reason}", backend.name)));
    }
    if backend.format().is_none() {
        let what = format!(
            "backend {}: {} is not supported by this version",
            backend.name,
            backend.provider.as_str()
        );
        return Some(LeftOut::Off(what));
    }
    None
}

fn candidate(resolved: &Resolved, index: usize, backend: &Backend, format: Format) -> Candidate {
    let listed = resolve::listed(&resolved.route, &resolved.model);
    let upstream_model =
        listed.and_then(|m| m.upstream_name.clone()).unwrap_or_else(|| resolved.model.clone());
    let known = Catalogue::embedded().find(backend.provider, &upstream_model);
    let price = listed.and_then(|m| m.price.clone()).or_else(|| known.and_then(|m| m.price.clone()));
    let max_output = listed.and_then(|m| m.max_output).or_else(|| known.and_then(|m| m.max_output));
    Candidate {
        resolved: resolved.clone(),
        index,
        format,
        upstream_model,
        price: price.map(Arc::new),
        max_output,
    }
}

/// Inside each group of equal (ejected, priority): one drawn by weight goes first, the others follow as they stand.
fn weighted(mut all: Vec<(Candidate, u32, u32, bool)>, draw: u64) -> Vec<Candidate> {
    let mut start = 0;
    while start < all.len() {
        let group = (all[start].1, all[start].3);
        let len = all[start..].iter().take_while(|c| (c.1, c.3) == group).count();
        let total: u64 = all[start..start + len].iter().map(|c| u64::from(c.2)).sum();
        if len > 1 && total > 0 {
            let mut at = draw % total;
            let chosen = all[start..start + len].iter().position(|c| {
                let weight = u64::from(c.2);
                let here = at < weight;
                at = at.saturating_sub(weight);
                here
            });
            all[start..start + len].rotate_left(chosen.unwrap_or(0));
        }
        start += len;
    }
    all.into_iter().map(|(candidate, ..)| candidate).collect()
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
            first.model
        )),
    }
}

#[cfg(test)]
mod tests;
