//! What each gateway may see.

use super::{auth::Identity, publish::Published};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};
use tollgate_proto::{
    Kind, Resource, ResourceId,
    names::{self, MAX_DEPTH},
    v1,
};

/// Decides what a gateway may see.
pub trait View: fmt::Debug + Send + Sync + 'static {
    /// Whether `node` may connect at all; else why not, in words that reach it.
    ///
    /// # Errors
    /// When it may not.
    fn admit(&self, node: &Identity, all: &Arc<Published>) -> Result<(), String> {
        let _ = (node, all);
        Ok(())
    }

    /// Whether `node` sees everything, whatever there will be.
    fn is_whole(&self, node: &Identity) -> bool {
        let _ = node;
        false
    }

    /// The part of `all` that `node` sees; see [`Published::restricted`].
    fn view(&self, node: &Identity, all: &Arc<Published>) -> Arc<Published>;
}

/// Every gateway sees everything: those of the shared installation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

/// The gateways of the installation see everything. Anyone else, such as a full gateway as a sidecar, sees the keys that
/// name its ServiceAccount, their parents, and the routes, servers and Secrets that these keys can use; who is named by no
/// key is a stranger.
#[derive(Debug)]
pub struct ByNode {
    namespace: String,
    gateways: BTreeSet<String>,
    /// Views of one state: many gateways may run with one ServiceAccount.
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    of: Option<Arc<Published>>,
    views: HashMap<(String, String), Arc<Published>>,
}

/// What a ServiceAccount's gateways need.
struct Needs<'a> {
    all: &'a Published,
    kept: BTreeSet<ResourceId>,
}

/// The most fallbacks after each other: a request follows one, so this is generous.
const MAX_FALLBACKS: usize = 4;

// === impl Everything ===

impl View for Everything {
    fn is_whole(&self, _: &Identity) -> bool {
        true
    }

    fn view(&self, _: &Identity, all: &Arc<Published>) -> Arc<Published> {
        all.clone()
    }
}

// === impl ByNode ===

impl ByNode {
    /// Pods of these ServiceAccounts in `namespace` are the installation's gateways.
    pub fn new(namespace: &str, gateways: &[String]) -> Self {
        ByNode {
            namespace: namespace.to_owned(),
            gateways: gateways.iter().cloned().collect(),
            made: Mutex::default(),
        }
    }

    fn is_gateway(&self, node: &Identity) -> bool {
        node.namespace == self.namespace && self.gateways.contains(&node.service_account)
    }
}

impl View for ByNode {
    fn admit(&self, node: &Identity, all: &Arc<Published>) -> Result<(), String> {
        if self.is_gateway(node) || all.resources().keys().any(|key| is_of(key, node)) {
            return Ok(());
        }
        Err(format!(
            "ServiceAccount {}/{} is no gateway of this installation, and no VirtualKey names it in \
             spec.serviceAccounts",
            node.namespace, node.service_account
        ))
    }

    fn is_whole(&self, node: &Identity) -> bool {
        self.is_gateway(node)
    }

    fn view(&self, node: &Identity, all: &Arc<Published>) -> Arc<Published> {
        if self.is_gateway(node) {
            return all.clone();
        }
        let mut made = self.made.lock();
        if made.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, all)) {
            *made = Made { of: Some(all.clone()), views: HashMap::new() };
        }
        let account = (node.namespace.clone(), node.service_account.clone());
        made.views.entry(account).or_insert_with(|| Arc::new(part(node, all))).clone()
    }
}

/// Whether a key names the ServiceAccount.
fn is_of(key: &v1::VirtualKey, node: &Identity) -> bool {
    key.service_accounts.iter().any(|a| a.name == node.service_account && a.namespace == node.namespace)
}

fn part(node: &Identity, all: &Published) -> Published {
    let mut needs = Needs { all, kept: BTreeSet::new() };
    for key in all.resources().keys().filter(|key| is_of(key, node)) {
        needs.key(key);
    }
    // Whose tokens count is public; what all gateways seal with is not for one workload.
    all.restricted(|r| r.kind() == Kind::TokenIssuer || needs.kept.contains(&r.id()))
}

// === impl Needs ===

impl<'a> Needs<'a> {
    fn key(&mut self, key: &'a v1::VirtualKey) {
        let path = self.path(key);
        for key in &path {
            self.kept.insert(ResourceId::new(Kind::VirtualKey, &key.namespace, &key.name));
        }
        let mut names: BTreeSet<&str> = self.all.resources().routes().map(|r| r.name.as_str()).collect();
        names.retain(|name| path.iter().all(|key| may_use_route(key, name)));
        for name in &names {
            self.route(&key.namespace, name, &names, 0);
        }
        for rule in key.tools.iter().flat_map(|tools| &tools.rules) {
            let servers = self.all.resources().servers().filter(|s| s.name == rule.server);
            let reaches = |s: &v1::McpServer| names::reaches(s.allowed_namespaces.as_ref(), &key.namespace);
            if let Some(server) = names::meant(servers, &key.namespace, |s| (&s.namespace, reaches(s))) {
                self.kept.insert(ResourceId::new(Kind::McpServer, &server.namespace, &server.name));
            }
        }
    }

    /// The key and its parents, up to the root.
    fn path(&self, key: &'a v1::VirtualKey) -> Vec<&'a v1::VirtualKey> {
        let mut path = vec![key];
        while let Some(parent) = path.last().and_then(|key| key.parent_ref.as_ref())
            && path.len() < MAX_DEPTH
        {
            let id = ResourceId::new(Kind::VirtualKey, &parent.namespace, &parent.name);
            match self.all.resources().get(&id) {
                Some(Resource::VirtualKey(parent)) => path.push(parent),
                _ => break,
            }
        }
        path
    }

    /// The route that `name` means in `namespace`, and those that it falls back to as far as the key may use them.
    fn route(&mut self, namespace: &str, name: &str, allowed: &BTreeSet<&str>, depth: usize) {
        let routes = self.all.resources().routes().filter(|r| r.name == name);
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
}

/// Whether a level's rules let any model of a route through; a key that allows nothing uses none.
fn may_use_route(key: &v1::VirtualKey, route: &str) -> bool {
    match key.models.as_ref().and_then(|m| m.allow.as_ref()) {
        Some(allow) => allow.patterns.iter().any(|pattern| may_match(pattern, route)),
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
    use super::*;

    fn account(namespace: &str, name: &str) -> Identity {
        Identity { namespace: namespace.into(), service_account: name.into(), pod: "p".into() }
    }

    fn key(namespace: &str, name: &str, parent: Option<&str>, account: &str, allow: &[&str]) -> Resource {
        let object = |name: &str| v1::ObjectRef { namespace: namespace.into(), name: name.into() };
        let patterns = allow.iter().map(|p| (*p).to_owned()).collect();
        v1::VirtualKey {
            namespace: namespace.into(),
            name: name.into(),
            parent_ref: parent.map(object),
            service_accounts: (!account.is_empty()).then(|| object(account)).into_iter().collect(),
            models: Some(v1::ModelRules { allow: Some(v1::Globs { patterns }), ..Default::default() }),
            tools: Some(v1::ToolRules {
                rules: vec![v1::ToolRule { server: "db".into(), ..Default::default() }],
            }),
            ..Default::default()
        }
        .into()
    }

    fn secret_ref(name: &str) -> v1::SecretRef {
        v1::SecretRef { name: name.into(), key: "k".into() }
    }

    fn route(namespace: &str, name: &str, exported: bool, fallbacks: &[&str]) -> [Resource; 2] {
        let backend = v1::Backend { credentials: Some(secret_ref(name)), ..Default::default() };
        let route = v1::ProviderRoute {
            namespace: namespace.into(),
            name: name.into(),
            allowed_namespaces: exported.then_some(v1::Export { to: Some(v1::export::To::All(true)) }),
            backends: vec![backend],
            fallbacks: fallbacks.iter().map(|f| (*f).to_owned()).collect(),
            ..Default::default()
        };
        let data = [("k".to_owned(), b"hush".to_vec())].into();
        [route.into(), v1::Secret { namespace: namespace.into(), name: name.into(), data }.into()]
    }

    fn server(namespace: &str, name: &str) -> Resource {
        v1::McpServer { namespace: namespace.into(), name: name.into(), ..Default::default() }.into()
    }

    fn world() -> Arc<Published> {
        let mut all = vec![
            key("apps", "team", None, "", &["*"]),
            key("apps", "mine", Some("team"), "devbox", &["openai/*"]),
            key("apps", "sibling", Some("team"), "other", &["secret/*"]),
            key("elsewhere", "theirs", None, "devbox", &["*"]),
            server("apps", "db"),
            server("apps", "files"),
            server("elsewhere", "db"),
            v1::SealingKeys { name: "s".into(), keys: vec![vec![1; 32]] }.into(),
            v1::TokenIssuer { name: "cluster".into(), ..Default::default() }.into(),
        ];
        all.extend(route("apps", "openai", false, &["azure/gpt", "openai/other"]));
        all.extend(route("apps", "azure", false, &[]));
        all.extend(route("apps", "secret", false, &[]));
        all.extend(route("platform", "openai", true, &[]));
        all.extend(route("platform", "hidden", false, &[]));
        Arc::new(Published::new(Arc::new(all.into_iter().collect())))
    }

    fn names(published: &Published) -> Vec<String> {
        published.resources().iter().map(|r| r.id().to_string()).collect()
    }

    #[test]
    fn a_gateway_of_the_installation_sees_everything() {
        let (view, all) = (ByNode::new("tollgate-system", &["tollgate-gateway".to_owned()]), world());
        let gateway = account("tollgate-system", "tollgate-gateway");
        assert_eq!(view.admit(&gateway, &all), Ok(()));
        assert!(Arc::ptr_eq(&view.view(&gateway, &all), &all) && view.is_whole(&gateway));
        // The same name elsewhere is somebody else.
        let stranger = account("apps", "tollgate-gateway");
        assert!(view.admit(&stranger, &all).unwrap_err().contains("apps/tollgate-gateway is no gateway"));
        assert!(!names(&view.view(&stranger, &all)).iter().any(|n| !n.starts_with("TokenIssuer")));
    }

    #[test]
    fn a_workload_sees_its_own_keys_with_their_tree_and_what_they_can_use() {
        let (view, all) = (ByNode::new("tollgate-system", &["tollgate-gateway".to_owned()]), world());
        let mine = account("apps", "devbox");
        assert_eq!(view.admit(&mine, &all), Ok(()));
        let seen = view.view(&mine, &all);
        assert_eq!(
            names(&seen),
            [
                "Secret apps/openai",
                "VirtualKey apps/mine",
                "VirtualKey apps/team",
                "ProviderRoute apps/openai",
                "McpServer apps/db",
                "TokenIssuer cluster",
            ]
        );
        assert!(Arc::ptr_eq(&seen, &view.view(&mine, &all)), "made once");
        assert!(!view.is_whole(&mine), "a key that it does not see may exist");
    }

    #[test]
    fn a_fallback_comes_along_where_the_key_may_use_it() {
        let all = world();
        let mut resources = all.resources().clone();
        resources.insert(key("apps", "mine", Some("team"), "devbox", &["openai/*", "azure/gpt"]));
        let all = Arc::new(Published::new(Arc::new(resources)));
        let view = ByNode::new("tollgate-system", &[]);
        let seen = names(&view.view(&account("apps", "devbox"), &all));
        assert!(seen.contains(&"ProviderRoute apps/azure".to_owned()), "{seen:?}");
        assert!(!seen.contains(&"ProviderRoute apps/secret".to_owned()), "{seen:?}");
    }

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
