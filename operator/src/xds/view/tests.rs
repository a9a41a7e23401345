use super::*;
use tollgate_proto::{Resource, Resources, v1};

fn account(namespace: &str, name: &str) -> Identity {
    Identity { namespace: namespace.into(), service_account: name.into(), pod: "p".into() }
}

fn object(namespace: &str, name: &str) -> v1::ObjectRef {
    v1::ObjectRef { namespace: namespace.into(), name: name.into() }
}

fn key(namespace: &str, name: &str, parent: Option<&str>, account: &str, allow: &[&str]) -> v1::VirtualKey {
    let patterns = allow.iter().map(|p| (*p).to_owned()).collect();
    v1::VirtualKey {
        namespace: namespace.into(),
        name: name.into(),
        parent_ref: parent.map(|name| object(namespace, name)),
        service_accounts: (!account.is_empty()).then(|| object(namespace, account)).into_iter().collect(),
        models: Some(v1::ModelRules { allow: Some(v1::Globs { patterns }), ..Default::default() }),
        tools: Some(v1::ToolRules { rules: vec![tool("db")] }),
        ..Default::default()
    }
}

fn tool(server: &str) -> v1::ToolRule {
    v1::ToolRule { server: server.into(), allow: vec!["*".into()], ..Default::default() }
}

/// A route whose credentials are the entry `k` of a Secret of its name, which has another entry.
fn route(namespace: &str, name: &str, exported: bool, fallbacks: &[&str]) -> [Resource; 2] {
    let secret_ref = v1::SecretRef { name: name.into(), key: "k".into() };
    let backend = v1::Backend { credentials: Some(secret_ref), ..Default::default() };
    let route = v1::ProviderRoute {
        namespace: namespace.into(),
        name: name.into(),
        allowed_namespaces: exported.then_some(v1::Export { to: Some(v1::export::To::All(true)) }),
        backends: vec![backend, v1::Backend { name: "free".into(), ..Default::default() }],
        fallbacks: fallbacks.iter().map(|f| (*f).to_owned()).collect(),
        ..Default::default()
    };
    let entry = |name: &str| (name.to_owned(), b"hush".to_vec());
    let data = [entry("k"), entry("other")].into();
    [route.into(), v1::Secret { namespace: namespace.into(), name: name.into(), data }.into()]
}

fn server(namespace: &str, name: &str, exported: bool) -> v1::McpServer {
    let secret_ref = Some(v1::SecretRef { name: "mcp".into(), key: "header".into() });
    v1::McpServer {
        namespace: namespace.into(),
        name: name.into(),
        allowed_namespaces: exported.then_some(v1::Export { to: Some(v1::export::To::All(true)) }),
        auth: exported.then(|| v1::AuthHeader { name: "authorization".into(), secret_ref }),
        ..Default::default()
    }
}

fn resources() -> Resources {
    let mut all: Vec<Resource> = vec![
        key("apps", "team", None, "", &["*"]).into(),
        key("apps", "mine", Some("team"), "devbox", &["openai/*"]).into(),
        key("apps", "sibling", Some("team"), "other", &["secret/*"]).into(),
        key("elsewhere", "theirs", None, "devbox", &["*"]).into(),
        server("apps", "db", false).into(),
        server("apps", "files", false).into(),
        server("elsewhere", "db", false).into(),
        v1::SealingKeys { name: "s".into(), keys: vec![vec![1; 32]] }.into(),
        v1::TokenIssuer { name: "cluster".into(), ..Default::default() }.into(),
    ];
    all.extend(route("apps", "openai", false, &["azure/gpt", "openai/other"]));
    all.extend(route("apps", "azure", false, &[]));
    all.extend(route("apps", "secret", false, &[]));
    all.extend(route("platform", "openai", true, &[]));
    all.extend(route("platform", "anthropic", true, &[]));
    all.extend(route("platform", "hidden", false, &[]));
    all.into_iter().collect()
}

fn published(resources: Resources) -> Arc<Published> {
    Arc::new(Published::new(Arc::new(resources)))
}

fn by_node(sidecars: bool) -> ByNode {
    ByNode::new("tollgate-system", &["tollgate-gateway".to_owned()], sidecars)
}

/// What `apps/devbox` sees when its key is this.
fn seen_with(mine: v1::VirtualKey, more: impl IntoIterator<Item = Resource>) -> Arc<Published> {
    let mut all = resources();
    all.insert(mine);
    for resource in more {
        all.insert(resource);
    }
    by_node(true).view(&account("apps", "devbox"), &published(all))
}

fn names(published: &Published) -> Vec<String> {
    published.resources().iter().map(|r| r.id().to_string()).collect()
}

#[test]
fn a_gateway_of_the_installation_sees_everything() {
    let all = published(resources());
    let gateway = account("tollgate-system", "tollgate-gateway");
    for view in [by_node(false), by_node(true)] {
        assert_eq!(view.admit(&gateway, &all), Ok(()));
        assert!(view.is_whole(&gateway) && Arc::ptr_eq(&view.view(&gateway, &all), &all));
        // The same name elsewhere is somebody else.
        let stranger = account("apps", "tollgate-gateway");
        assert!(view.admit(&stranger, &all).unwrap_err().contains("apps/tollgate-gateway is no gateway"));
        assert!(!names(&view.view(&stranger, &all)).iter().any(|n| !n.starts_with("TokenIssuer")));
    }
}

#[test]
fn nobody_else_is_admitted_unless_that_is_switched_on() {
    let (all, mine) = (published(resources()), account("apps", "devbox"));
    let refused = by_node(false).admit(&mine, &all).unwrap_err();
    assert!(refused.contains("--sidecar-gateways"), "{refused}");
    assert_eq!(names(&by_node(false).view(&mine, &all)), Vec::<String>::new());
    assert_eq!(by_node(true).admit(&mine, &all), Ok(()));
}

#[test]
fn a_workload_sees_its_own_keys_with_their_tree_and_what_they_can_use() {
    let (view, all) = (by_node(true), published(resources()));
    let mine = account("apps", "devbox");
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
    let Resource::Secret(secret) = seen.resources().iter().next().unwrap() else { panic!("no Secret") };
    assert_eq!(secret.data.keys().collect::<Vec<_>>(), ["k"], "the entry that its route names, and no other");
}

#[test]
fn a_fallback_comes_along_where_the_key_may_use_it() {
    let mine = key("apps", "mine", Some("team"), "devbox", &["openai/*", "azure/gpt"]);
    let seen = names(&seen_with(mine, []));
    assert!(seen.contains(&"ProviderRoute apps/azure".to_owned()), "{seen:?}");
    assert!(!seen.contains(&"ProviderRoute apps/secret".to_owned()), "{seen:?}");
}

#[test]
fn secrets_of_other_namespaces_stay_there() {
    let mine = v1::VirtualKey {
        tools: Some(v1::ToolRules { rules: vec![tool("web")] }),
        ..key("apps", "mine", None, "devbox", &["*"])
    };
    let secret = v1::Secret {
        namespace: "platform".into(),
        name: "mcp".into(),
        data: [("header".into(), vec![1])].into(),
    };
    let seen = seen_with(mine, [server("platform", "web", true).into(), secret.into()]);
    let secrets: Vec<_> = names(&seen).into_iter().filter(|n| n.starts_with("Secret")).collect();
    assert_eq!(secrets, ["Secret apps/azure", "Secret apps/openai", "Secret apps/secret"]);
    let route = seen.resources().routes().find(|r| r.namespace == "platform").unwrap();
    assert_eq!(route.name, "anthropic");
    let (with, without) = (&route.backends[0], &route.backends[1]);
    assert!(with.credentials.is_none() && with.off.contains("in namespace platform"), "{}", with.off);
    assert!(without.off.is_empty(), "what needs no Secret works");
    let server = seen.resources().servers().find(|s| s.namespace == "platform").unwrap();
    assert!(server.auth.is_none() && server.off.contains("in namespace platform"), "{}", server.off);
}

#[test]
fn a_parent_elsewhere_comes_without_what_makes_a_caller_it() {
    let parent =
        v1::VirtualKey { token_sha256: vec![vec![1; 32]], ..key("platform", "org", None, "admin", &["*"]) };
    let mine = v1::VirtualKey {
        parent_ref: Some(object("platform", "org")),
        token_sha256: vec![vec![2; 32]],
        ..key("apps", "mine", None, "devbox", &["openai/*"])
    };
    let seen = seen_with(mine, [parent.into()]);
    let tokens: Vec<_> = seen.resources().keys().map(|k| (k.name.as_str(), k.token_sha256.len())).collect();
    assert_eq!(tokens, [("mine", 1), ("org", 0)]);
    let org = seen.resources().keys().find(|k| k.name == "org").unwrap();
    assert!(org.service_accounts.is_empty() && org.models.is_some());
}

#[test]
fn a_key_that_is_not_in_force_shows_nothing() {
    let usual = || key("apps", "mine", Some("team"), "devbox", &["*"]);
    let past = Some(jiff::Timestamp::now().as_millisecond() - 1);
    let team = || key("apps", "team", None, "", &["*"]);
    let cases = [
        ("denied: no consent", v1::VirtualKey { denied: "no consent".into(), ..usual() }, team()),
        ("disabled", v1::VirtualKey { disabled: true, ..usual() }, team()),
        ("expired", v1::VirtualKey { expires_at: past, ..usual() }, team()),
        ("no parent", v1::VirtualKey { parent_ref: Some(object("apps", "gone")), ..usual() }, team()),
        ("a circle", usual(), v1::VirtualKey { parent_ref: Some(object("apps", "mine")), ..team() }),
        ("a disabled parent", usual(), v1::VirtualKey { disabled: true, ..team() }),
        ("an expired parent", usual(), v1::VirtualKey { expires_at: past, ..team() }),
    ];
    for (what, mine, team) in cases {
        assert_eq!(names(&seen_with(mine, [team.into()])), ["TokenIssuer cluster"], "{what}");
    }
    assert!(names(&seen_with(usual(), [])).len() > 3);
}

#[test]
fn servers_are_those_that_every_level_allows() {
    let mine = || v1::VirtualKey {
        tools: Some(v1::ToolRules { rules: vec![tool("db"), tool("files")] }),
        ..key("apps", "mine", Some("team"), "devbox", &["*"])
    };
    let servers =
        |seen: Arc<Published>| seen.resources().servers().map(|s| s.name.clone()).collect::<Vec<_>>();
    assert_eq!(servers(seen_with(mine(), [])), ["db"]);
    let silent = v1::VirtualKey { tools: None, team: true, ..key("apps", "team", None, "", &["*"]) };
    assert_eq!(servers(seen_with(mine(), [silent.into()])), ["db", "files"]);
}

#[test]
fn a_view_ends_when_a_key_in_it_expires() {
    let soon = jiff::Timestamp::now().as_millisecond() + 20;
    let mut all = resources();
    all.insert(v1::VirtualKey { expires_at: Some(soon), ..key("apps", "mine", None, "devbox", &["*"]) });
    let (view, all, mine) = (by_node(true), published(all), account("apps", "devbox"));
    view.view(&mine, &all);
    while jiff::Timestamp::now().as_millisecond() < soon {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(names(&view.view(&mine, &all)), ["TokenIssuer cluster"]);
}
