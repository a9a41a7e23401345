//! What a full gateway beside a workload needs (pure). It runs in a tenant's pod, so whatever it is shown, the tenant has: no Secret
//! of another namespace, no entry of a Secret that nothing here names, nothing of a key that is not in force.

use crate::xds::auth::Identity;
use std::collections::{BTreeMap, BTreeSet};
use tollgate_proto::{
    Kind, Resource, ResourceId, Resources,
    names::{self, MAX_DEPTH},
    v1,
};

/// What a ServiceAccount's gateways need.
struct Needs<'a> {
    all: &'a Resources,
    kept: BTreeSet<ResourceId>,
}

/// The most fallbacks after each other: a request follows one, so this is generous.
const MAX_FALLBACKS: usize = 4;

/// Whether a key names the ServiceAccount.
pub(super) fn is_of(key: &v1::VirtualKey, node: &Identity) -> bool {
    key.service_accounts.iter().any(|a| a.name == node.service_account && a.namespace == node.namespace)
}

/// The part of `all` that gateways of the node's ServiceAccount get at `now`, and until when it is that (Unix milliseconds).
pub(super) fn part(node: &Identity, all: &Resources, now: i64) -> (Resources, i64) {
    let mut needs = Needs { all, kept: BTreeSet::new() };
    let mut until = i64::MAX;
    for key in all.keys().filter(|key| is_of(key, node)) {
        let Some(path) = path(all, key).filter(|path| path.iter().all(|key| is_in_force(key, now))) else {
            continue;
        };
        until = path.iter().filter_map(|key| key.expires_at).fold(until, i64::min);
        needs.key(key, &path);
    }
    (needs.resources(&node.namespace), until)
}

fn is_in_force(key: &v1::VirtualKey, now: i64) -> bool {
    key.denied.is_empty() && !key.disabled && key.expires_at.is_none_or(|end| now < end)
}

/// The key and its parents, up to the root; `None`: it does not get there.
fn path<'a>(all: &'a Resources, key: &'a v1::VirtualKey) -> Option<Vec<&'a v1::VirtualKey>> {
    let mut path = vec![key];
    while let Some(parent) = path.last().and_then(|key| key.parent_ref.as_ref()) {
        let id = ResourceId::new(Kind::VirtualKey, &parent.namespace, &parent.name);
        match all.get(&id) {
            Some(Resource::VirtualKey(parent)) if path.len() < MAX_DEPTH => path.push(parent),
            _ => return None,
        }
    }
    Some(path)
}

// === impl Needs ===

impl<'a> Needs<'a> {
    fn key(&mut self, key: &'a v1::VirtualKey, path: &[&'a v1::VirtualKey]) {
        for key in path {
            self.kept.insert(ResourceId::new(Kind::VirtualKey, &key.namespace, &key.name));
        }
        let mut routes: BTreeSet<&str> = self.all.routes().map(|r| r.name.as_str()).collect();
        routes.retain(|name| path.iter().all(|key| may_use_route(key, name)));
        for name in &routes {
            self.route(&key.namespace, name, &routes, 0);
        }
        let mut servers: BTreeSet<&str> = self.all.servers().map(|s| s.name.as_str()).collect();
        servers.retain(|name| path.iter().all(|key| may_use_server(key, name)));
        for name in servers {
            let namesakes = self.all.servers().filter(|s| s.name == name);
            let reaches = |s: &v1::McpServer| names::reaches(s.allowed_namespaces.as_ref(), &key.namespace);
            if let Some(server) = names::meant(namesakes, &key.namespace, |s| (&s.namespace, reaches(s))) {
                self.kept.insert(ResourceId::new(Kind::McpServer, &server.namespace, &server.name));
            }
        }
    }

    /// The route that `name` means in `namespace`, and those that it falls back to as far as the key may use them.
    fn route(&mut self, namespace: &str, name: &str, allowed: &BTreeSet<&str>, depth: usize) {
        let routes = self.all.routes().filter(|r| r.name == name);
        let reaches = |r: &v1::ProviderRoute| names::reaches(r.allowed_namespaces.as_ref(), namespace);
        let Some(route) = names::meant(routes, namespace, |r| (&r.namespace, reaches(r))) else { return };
        let fresh = self.kept.insert(ResourceId::new(Kind::ProviderRoute, &route.namespace, &route.name));
        if !fresh || depth >= MAX_FALLBACKS {
            return;
        }
        for fallback in &route.fallbacks {
            let next = fallback.split('/').next().unwrap_or_default();
            if allowed.contains(next) {
                self.route(&route.namespace, next, allowed, depth + 1);
            }
        }
    }

    /// What is kept, as a gateway in the namespace `home` gets it. Whose tokens count is public; what all gateways seal with is
    /// not for one workload.
    fn resources(&self, home: &str) -> Resources {
        let mut part: Resources = self.all.token_issuers().cloned().map(Resource::from).collect();
        let mut entries: BTreeSet<(&str, &str)> = BTreeSet::new();
        for resource in self.kept.iter().filter_map(|id| self.all.get(id)) {
            part.insert(match resource {
                Resource::ProviderRoute(route) if route.namespace != home => foreign_route(route).into(),
                Resource::McpServer(server) if server.namespace != home => foreign_server(server).into(),
                Resource::VirtualKey(key) if key.namespace != home => foreign_key(key).into(),
                own => own.clone(),
            });
            if namespace(resource) == Some(home) {
                entries.extend(secrets_of(resource).map(|r| (r.name.as_str(), r.key.as_str())));
            }
        }
        let mut secrets: BTreeMap<&str, v1::Secret> = BTreeMap::new();
        for (name, key) in entries {
            let Some(value) = self.all.secret(home, name, key) else { continue };
            let (namespace, data) = (home.to_owned(), Default::default());
            let secret =
                secrets.entry(name).or_insert_with(|| v1::Secret { namespace, name: name.to_owned(), data });
            secret.data.insert(key.to_owned(), value.to_vec());
        }
        for secret in secrets.into_values() {
            part.insert(secret);
        }
        part
    }
}

fn namespace(resource: &Resource) -> Option<&str> {
    match resource {
        Resource::ProviderRoute(route) => Some(&route.namespace),
        Resource::McpServer(server) => Some(&server.namespace),
        _ => None,
    }
}

/// The entries of Secrets that a resource refers to.
fn secrets_of(resource: &Resource) -> impl Iterator<Item = &v1::SecretRef> {
    let (route, server) = match resource {
        Resource::ProviderRoute(route) => (Some(route), None),
        Resource::McpServer(server) => (None, Some(server)),
        _ => (None, None),
    };
    let of_route = route.into_iter().flat_map(|r| r.backends.iter().filter_map(|b| b.credentials.as_ref()));
    let of_server = server.into_iter().filter_map(|s| s.auth.as_ref()?.secret_ref.as_ref());
    of_route.chain(of_server)
}

/// Why what needs a Secret of another namespace is off.
fn withheld(namespace: &str) -> String {
    format!(
        "its credentials are in namespace {namespace}: a gateway beside a workload gets Secrets of its own namespace only; the \
         installation's gateways serve it"
    )
}

/// A route of another namespace, without its credentials.
fn foreign_route(route: &v1::ProviderRoute) -> v1::ProviderRoute {
    let mut route = route.clone();
    for backend in &mut route.backends {
        if backend.credentials.take().is_some() && backend.off.is_empty() {
            backend.off = withheld(&route.namespace);
        }
    }
    route
}

/// A server of another namespace, without its credentials.
fn foreign_server(server: &v1::McpServer) -> v1::McpServer {
    let mut server = server.clone();
    if server.auth.take().is_some() && server.off.is_empty() {
        server.off = withheld(&server.namespace);
    }
    server
}

/// A parent in another namespace: its rules and budgets, but not what makes a caller this key.
fn foreign_key(key: &v1::VirtualKey) -> v1::VirtualKey {
    v1::VirtualKey {
        token_sha256: Vec::new(),
        previous_token_until: None,
        service_accounts: Vec::new(),
        anonymous: false,
        ..key.clone()
    }
}

/// Whether a level's rules let any model of a route through; a key that allows nothing uses none.
fn may_use_route(key: &v1::VirtualKey, route: &str) -> bool {
    match key.models.as_ref().and_then(|m| m.allow.as_ref()) {
        Some(allow) => allow.patterns.iter().any(|pattern| may_match(pattern, route)),
        None => key.team,
    }
}

/// Whether a level's rules let any tool of a server through.
fn may_use_server(key: &v1::VirtualKey, server: &str) -> bool {
    let some =
        |rule: &v1::ToolRule| rule.server == server && !(rule.allow.is_empty() && rule.approve.is_empty());
    match &key.tools {
        Some(tools) => tools.rules.iter().any(some),
        None => key.team,
    }
}

/// Whether a pattern over `route/model` can match any model of `route`: what stands before its first `*` decides.
fn may_match(pattern: &str, route: &str) -> bool {
    let start = format!("{route}/");
    match pattern.split_once('*') {
        Some((literal, _)) => literal.starts_with(&start) || start.starts_with(literal),
        None => pattern.starts_with(&start),
    }
}

#[cfg(test)]
mod tests {
    use super::may_match;

    #[test]
    fn a_pattern_matches_a_route_by_what_stands_before_its_star() {
        for (pattern, route, want) in [
            ("openai/*", "openai", true),
            ("openai/gpt-5", "openai", true),
            ("openai/*", "openai-eu", false),
            ("open*", "openai", true),
            ("*", "any", true),
            ("*/o3", "any", true),
            ("openai-eu/*", "openai", false),
        ] {
            assert_eq!(may_match(pattern, route), want, "{pattern} {route}");
        }
    }
}
