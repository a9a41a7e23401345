//! What a key may use, along its path to the root: the rules that the gateway enforces, over patterns instead of single names.
//!
//! A pattern stands for all that it matches. It is allowed when some pattern of each level covers it whole; so what is said to be
//! allowed is allowed, and what is narrower than any pattern in sight is spoken of by the pattern that names it.

use std::collections::{BTreeMap, BTreeSet};
use tollgate_proto::{
    Resources,
    glob::Globs,
    names::{self, MAX_DEPTH},
    v1,
};

/// The resources of one side, by name.
#[derive(Debug)]
pub struct Policy<'a> {
    keys: BTreeMap<(&'a str, &'a str), &'a v1::VirtualKey>,
    routes: Vec<&'a v1::ProviderRoute>,
    servers: Vec<&'a v1::McpServer>,
    /// Unix milliseconds.
    now: i64,
}

/// A key with those above it.
#[derive(Debug)]
pub struct Path<'a> {
    /// The key first, its root last.
    pub keys: Vec<&'a v1::VirtualKey>,
    /// Why it may use nothing at all.
    pub off: Option<String>,
}

/// Names and patterns to ask about: what either side names.
#[derive(Debug, Default, Clone)]
pub struct Universe {
    models: BTreeSet<String>,
    tools: BTreeSet<String>,
}

// === impl Policy ===

impl<'a> Policy<'a> {
    /// Indexes one side.
    pub fn new(resources: &'a Resources, now: i64) -> Self {
        Policy {
            keys: resources.keys().map(|k| ((k.namespace.as_str(), k.name.as_str()), k)).collect(),
            // What is refused stands there to hide what others export, and serves nobody.
            routes: resources.routes().collect(),
            servers: resources.servers().collect(),
            now,
        }
    }

    /// The keys that clients can be: those that are no team.
    pub fn callers(&self) -> impl Iterator<Item = &'a v1::VirtualKey> {
        self.keys.values().copied().filter(|key| !key.team)
    }

    /// The path of a key.
    pub fn path(&self, namespace: &str, name: &str) -> Option<Path<'a>> {
        let first = *self.keys.get(&(namespace, name))?;
        let mut path = Path { keys: vec![first], off: None };
        let mut last = first;
        while let Some(parent) = &last.parent_ref {
            let next = self.keys.get(&(parent.namespace.as_str(), parent.name.as_str()));
            match next {
                Some(next) if path.keys.len() < MAX_DEPTH => path.keys.push(next),
                _ => {
                    path.off = Some(format!("has no parent {}/{}", parent.namespace, parent.name));
                    break;
                }
            }
            last = next.copied().unwrap_or(last);
        }
        path.off = path.off.take().or_else(|| path.keys.iter().find_map(|key| self.off(key, first)));
        Some(path)
    }

    fn off(&self, key: &v1::VirtualKey, first: &v1::VirtualKey) -> Option<String> {
        let whose = if key.name == first.name && key.namespace == first.namespace {
            String::new()
        } else {
            format!(" by its parent {}/{}", key.namespace, key.name)
        };
        match () {
            () if key.disabled => Some(format!("is disabled{whose}")),
            () if key.expires_at.is_some_and(|at| at <= self.now) => Some(format!("has expired{whose}")),
            () if !key.denied.is_empty() => Some(key.denied.clone()),
            () => None,
        }
    }

    /// The models of `universe` that the key may use.
    pub fn models(&self, path: &Path<'_>, universe: &Universe) -> BTreeSet<String> {
        if path.off.is_some() {
            return BTreeSet::new();
        }
        universe.models.iter().filter(|name| self.may_use(path, name)).cloned().collect()
    }

    fn may_use(&self, path: &Path<'_>, qualified: &str) -> bool {
        let Some((route, model)) = qualified.split_once('/') else { return false };
        let Some(first) = path.keys.first() else { return false };
        let Some(route) = visible(&self.routes, &first.namespace, route, |r| {
            (&r.namespace, &r.name, r.allowed_namespaces.as_ref())
        }) else {
            return false;
        };
        if !route.off.is_empty() {
            return false;
        }
        let listed =
            route.models.is_empty() || Globs::new(route.models.iter().map(|m| &m.name)).matches(model);
        let level = |(depth, key): (usize, &&v1::VirtualKey)| {
            let none = v1::ModelRules::default();
            let rules = key.models.as_ref().unwrap_or(&none);
            let allowed = match &rules.allow {
                Some(globs) => Globs::new(&globs.patterns).matches(qualified),
                None => depth > 0 && key.team,
            };
            allowed && !Globs::new(&rules.deny).matches(qualified)
        };
        let served = |backend: &v1::Backend| {
            let serves = backend.models.is_empty() || Globs::new(&backend.models).matches(model);
            serves && path.keys.iter().all(|key| provider_allowed(key, backend))
        };
        listed && path.keys.iter().enumerate().all(level) && route.backends.iter().any(served)
    }

    /// The tools of `universe` that the key may use.
    pub fn tools(&self, path: &Path<'_>, universe: &Universe) -> BTreeSet<String> {
        if path.off.is_some() {
            return BTreeSet::new();
        }
        universe.tools.iter().filter(|name| self.may_call(path, name)).cloned().collect()
    }

    fn may_call(&self, path: &Path<'_>, qualified: &str) -> bool {
        let Some((name, tool)) = qualified.split_once('/') else { return false };
        let Some(first) = path.keys.first() else { return false };
        let Some(server) = self.server(&first.namespace, name) else { return false };
        if is_refused(server) {
            return false;
        }
        let exists = server.tools.as_ref().and_then(|tools| tools.allow.as_ref());
        let exists = exists.is_none_or(|globs| Globs::new(&globs.patterns).matches(tool));
        let level = |(depth, key): (usize, &&v1::VirtualKey)| {
            let Some(rules) = &key.tools else { return depth > 0 && key.team };
            let same = |rule: &&v1::ToolRule| {
                self.server(&key.namespace, &rule.server).is_some_and(|s| std::ptr::eq(s, server))
            };
            let mut here = rules.rules.iter().filter(same).peekable();
            let named = here.peek().is_some();
            let rules: Vec<_> = here.collect();
            let may = |rule: &&v1::ToolRule| {
                Globs::new(&rule.allow).matches(tool) || Globs::new(&rule.approve).matches(tool)
            };
            named && rules.iter().any(may) && !rules.iter().any(|r| Globs::new(&r.deny).matches(tool))
        };
        exists && path.keys.iter().enumerate().all(level)
    }

    fn server(&self, namespace: &str, name: &str) -> Option<&'a v1::McpServer> {
        visible(&self.servers, namespace, name, |s| (&s.namespace, &s.name, s.allowed_namespaces.as_ref()))
    }
}

/// Whether a server stands there only to hide what others export. One that is off for want of a Secret has its URL: Secrets stand
/// elsewhere than the manifests under review.
fn is_refused(server: &v1::McpServer) -> bool {
    !server.off.is_empty() && server.url.is_empty()
}

fn provider_allowed(key: &v1::VirtualKey, backend: &v1::Backend) -> bool {
    let Some(rules) = &key.providers else { return true };
    let kind = rules.allow.as_ref().is_none_or(|list| list.kinds.contains(&backend.provider));
    let region = rules.regions.as_ref().is_none_or(|globs| {
        !backend.region.is_empty() && Globs::new(&globs.patterns).matches(&backend.region)
    });
    kind && region
}

/// The object that `name` means in `namespace`.
fn visible<'a, T>(
    all: &[&'a T],
    namespace: &str,
    name: &str,
    of: impl for<'t> Fn(&'t T) -> (&'t String, &'t String, Option<&'t v1::Export>),
) -> Option<&'a T> {
    let namesakes = all.iter().copied().filter(|object| of(object).1 == name);
    names::meant(namesakes, namespace, |object| {
        let (own, _, export) = of(object);
        (own, names::reaches(export, namespace))
    })
}

// === impl Universe ===

impl Universe {
    /// Everything that the policies name: models that routes list, and the patterns of keys, route by route.
    pub fn of(policies: &[&Policy<'_>]) -> Self {
        let mut out = Universe::default();
        let routes: BTreeSet<&str> =
            policies.iter().flat_map(|p| &p.routes).map(|r| r.name.as_str()).collect();
        let servers: BTreeSet<&str> =
            policies.iter().flat_map(|p| &p.servers).map(|s| s.name.as_str()).collect();
        for policy in policies {
            for route in &policy.routes {
                out.models.extend(route.models.iter().map(|m| format!("{}/{}", route.name, m.name)));
                if route.models.is_empty() {
                    out.models.insert(format!("{}/*", route.name));
                }
            }
            for server in &policy.servers {
                out.tools.insert(format!("{}/*", server.name));
                let allow = server.tools.iter().filter_map(|t| t.allow.as_ref()).flat_map(|g| &g.patterns);
                out.tools.extend(allow.map(|tool| format!("{}/{tool}", server.name)));
            }
            for key in policy.keys.values() {
                out.add_key(key, &routes, &servers);
            }
        }
        out
    }

    fn add_key(&mut self, key: &v1::VirtualKey, routes: &BTreeSet<&str>, servers: &BTreeSet<&str>) {
        let rules = key.models.iter();
        let patterns = rules.flat_map(|m| m.allow.iter().flat_map(|g| &g.patterns).chain(&m.deny));
        for pattern in patterns.chain(key.models.iter().flat_map(|m| m.aliases.values())) {
            match pattern.split_once('/') {
                Some((route, model)) => {
                    let globs = Globs::new([route]);
                    let matching = routes.iter().filter(|name| globs.matches(name));
                    self.models.extend(matching.map(|name| format!("{name}/{model}")));
                }
                None => self.models.extend(routes.iter().map(|name| format!("{name}/{pattern}"))),
            }
        }
        for rule in key.tools.iter().flat_map(|tools| &tools.rules) {
            if servers.contains(rule.server.as_str()) {
                let patterns = rule.allow.iter().chain(&rule.deny).chain(&rule.approve);
                self.tools.extend(patterns.map(|tool| format!("{}/{tool}", rule.server)));
            }
        }
    }
}
