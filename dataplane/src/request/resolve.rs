//! Phase 3: which model a name means, and whether the key may use it.
//!
//! `route/model` is split at the first slash only if the prefix is a visible route; otherwise the whole is a bare name. A bare
//! name goes to the key's `defaultRoute`, else to the only visible route that lists it, else the client is told the candidates.

use crate::{
    error::GatewayError,
    model::Route,
    snapshot::{KeyNode, Snapshot},
};
use std::sync::Arc;

/// A model on a route.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The route.
    pub route: Arc<Route>,
    /// `route/model`: what permissions, budgets and records speak of.
    pub qualified: Arc<str>,
}

// === impl Resolved ===

impl Resolved {
    /// The model's name on the route.
    pub fn model(&self) -> &str {
        self.qualified.get(self.route.id.name().len() + 1..).unwrap_or_default()
    }
}

/// The longest name of a model, in bytes: names go into every answer, error and record.
pub const MAX_NAME: usize = 512;

/// Resolves `asked` for the key and checks the key's model permissions.
pub fn resolve(snapshot: &Snapshot, node: &KeyNode, asked: &str) -> Result<Resolved, GatewayError> {
    if asked.len() > MAX_NAME {
        return Err(GatewayError::BadRequest(format!("the model's name is over {MAX_NAME} bytes")));
    }
    let name = alias(node, asked.strip_suffix("[1m]").unwrap_or(asked));
    let resolved = locate(snapshot, node, name)?;
    allowed(node, &resolved.qualified)?;
    Ok(resolved)
}

/// Resolves a fallback of a route: the same permissions hold; an error means that it is left out.
pub fn fallback(snapshot: &Snapshot, node: &KeyNode, owner: &Route, name: &str) -> Option<Resolved> {
    let (prefix, model) = name.split_once('/')?;
    let route = snapshot.route(owner.id.namespace(), prefix)?;
    let resolved = on_route(route, model).ok()?;
    allowed(node, &resolved.qualified).ok()?;
    Some(resolved)
}

/// Whether every level of the key's path lets `qualified` through. A key itself must name what it may use.
pub fn allowed(node: &KeyNode, qualified: &str) -> Result<(), GatewayError> {
    for (depth, key) in node.path.iter().enumerate() {
        let rules = &key.models;
        let passes = rules.allow.as_ref().map_or(depth > 0, |globs| globs.matches(qualified));
        if !passes || rules.deny.matches(qualified) {
            return Err(GatewayError::NotAllowed(refusal(node, depth, qualified)));
        }
    }
    Ok(())
}

fn refusal(node: &KeyNode, depth: usize, qualified: &str) -> String {
    let list = |globs: &crate::model::Globs| globs.patterns().collect::<Vec<_>>().join(", ");
    let key = &node.path[depth];
    let may = match &key.models.allow {
        Some(globs) if !globs.is_empty() => format!("it may use {}", list(globs)),
        _ => "it may use no model".to_owned(),
    };
    let but = if key.models.deny.is_empty() {
        String::new()
    } else {
        format!(" but not {}", list(&key.models.deny))
    };
    let whose = if depth == 0 { String::new() } else { format!(", the parent of {}", node.id()) };
    format!("model {qualified} is not allowed for key {}{whose}: {may}{but}", key.id)
}

/// An alias of the key itself, or of the nearest parent that has it. The permissions are those of the name it stands for.
fn alias<'a>(node: &'a KeyNode, name: &'a str) -> &'a str {
    node.path.iter().find_map(|key| key.models.aliases.get(name)).map_or(name, String::as_str)
}

fn locate(snapshot: &Snapshot, node: &KeyNode, name: &str) -> Result<Resolved, GatewayError> {
    let namespace = node.id().namespace();
    if let Some((prefix, model)) = name.split_once('/')
        && let Some(route) = snapshot.route(namespace, prefix)
    {
        return on_route(route, model);
    }
    if let Some(default) = node.path.iter().find_map(|key| key.default_route.as_deref()) {
        let Some(route) = snapshot.route(namespace, default) else {
            return Err(GatewayError::ModelNotFound(format!(
                "no route {default} is visible in namespace {namespace} (defaultRoute of key {})",
                node.id()
            )));
        };
        return on_route(route, name);
    }
    only_lister(snapshot, node, name)
}

/// The one route that lists a bare name; routes that take any name do not count.
fn only_lister(snapshot: &Snapshot, node: &KeyNode, name: &str) -> Result<Resolved, GatewayError> {
    let namespace = node.id().namespace();
    let mut found: Vec<Resolved> = snapshot
        .visible_routes(namespace)
        .filter(|route| !route.models.is_empty())
        .filter_map(|route| on_route(route, name).ok())
        .collect();
    if found.iter().any(|r| allowed(node, &r.qualified).is_ok()) {
        found.retain(|r| allowed(node, &r.qualified).is_ok());
    }
    match found.len() {
        0 => Err(GatewayError::ModelNotFound(format!(
            "no route has model {name}; name it route/model (routes: {})",
            joined(snapshot.visible_routes(namespace).map(|r| r.id.name().to_owned()))
        ))),
        1 => Ok(found.remove(0)),
        _ => Err(GatewayError::BadRequest(format!(
            "model {name} is ambiguous; ask for one of {}",
            joined(found.into_iter().map(|r| r.qualified.to_string()))
        ))),
    }
}

fn on_route(route: &Arc<Route>, model: &str) -> Result<Resolved, GatewayError> {
    if let Some(off) = &route.off {
        return Err(GatewayError::NoBackend(format!("route {} is off: {off}", route.id.name())));
    }
    if model.is_empty() || !(route.models.is_empty() || listed(route, model).is_some()) {
        let models = joined(route.models.iter().map(|m| m.name.clone()));
        return Err(GatewayError::ModelNotFound(format!(
            "route {} has no model {model:?}; it has {models}",
            route.id.name()
        )));
    }
    let qualified = format!("{}/{model}", route.id.name()).into();
    Ok(Resolved { route: route.clone(), qualified })
}

/// The place of `model` in the route's list: the exact name before a glob.
pub fn listed(route: &Route, model: &str) -> Option<usize> {
    let exact = route.models.iter().position(|m| m.name == model);
    exact.or_else(|| route.models.iter().position(|m| m.pattern.matches(model)))
}

fn joined(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort();
    if names.len() > 20 {
        let more = names.len() - 20;
        names.truncate(20);
        names.push(format!("… and {more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
