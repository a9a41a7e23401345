//! What one namespace may do to others: be found by name, and take callers without a credential, where the platform says so only.

use super::{
    input,
    outcomes::{key, route, said, server, wire},
};
use tollgate_crds::compile::{Compiled, Options, compile};
use tollgate_proto::{Resource, names, v1};

const ALL: &str = "allowedNamespaces: All";
const USER: &str =
    "token: {secretRef: {name: t, key: token}}, defaultRoute: main, tools: [{server: db, allow: ['*']}]";

/// Compiles as an operator whose only platform namespace is `platform`.
fn of_cluster(parts: &[String]) -> Compiled {
    let (mut input, problems) = input(&parts.concat(), Options::CLUSTER);
    assert_eq!(problems, Vec::<String>::new());
    input.platforms = Some(["platform".to_owned()].into());
    compile(&input)
}

/// The routes and servers that mean something from `namespace`, as the data plane finds them.
fn seen(outcome: &Compiled, namespace: &str) -> Vec<String> {
    let routes = outcome.resources.routes().filter(|r| r.name == "main");
    let servers = outcome.resources.servers().filter(|s| s.name == "db");
    let reaches = |export: &Option<v1::Export>| names::reaches(export.as_ref(), namespace);
    let route = names::meant(routes, namespace, |r| (&r.namespace, reaches(&r.allowed_namespaces)));
    let server = names::meant(servers, namespace, |s| (&s.namespace, reaches(&s.allowed_namespaces)));
    let ids = [route.map(|r| Resource::from(r.clone())), server.map(|s| Resource::from(s.clone()))];
    ids.into_iter().flatten().map(|r| r.id().to_string()).collect()
}

#[test]
fn a_tenant_takes_no_name_that_the_platform_exports() {
    let evil = [route("aaa", "main", ALL), server("aaa", "db", ALL), key("aaa", "org", ALL)];
    let good = [route("platform", "main", ALL), server("platform", "db", ALL), key("platform", "org", ALL)];
    let user = [key("apps", "k", &format!("parentRef: {{name: org}}, {USER}"))];
    for parts in [[&evil[..], &good, &user].concat(), [&good[..], &user, &evil].concat()] {
        let outcome = of_cluster(&parts);
        assert_eq!(seen(&outcome, "apps"), ["ProviderRoute platform/main", "McpServer platform/db"]);
        assert_eq!(seen(&outcome, "aaa"), ["ProviderRoute aaa/main", "McpServer aaa/db"]);
        assert_eq!(wire(&outcome, "k").parent_ref.as_ref().unwrap().namespace, "platform");
    }
    // Nor one that nobody else exports.
    let outcome = of_cluster(&[&evil[..], &user].concat());
    assert_eq!(seen(&outcome, "apps"), Vec::<String>::new());
    assert!(!wire(&outcome, "k").denied.is_empty());
    let said = said(&outcome).join("\n");
    for words in [
        "ProviderRoute aaa/main: ResolvedRefs PlatformNamespacesOnly spec.allowedNamespaces: does not count: aaa is no platform namespace",
        "McpServer aaa/db: ResolvedRefs PlatformNamespacesOnly spec.allowedNamespaces: does not count",
        "spec.parentRef: VirtualKey apps/org does not exist; VirtualKey aaa/org allows it, but is in no platform namespace",
        "spec.defaultRoute: ProviderRoute aaa/main allows apps, but aaa is no platform namespace (the chart's platformNamespaces): it does not count",
    ] {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
}

#[test]
fn a_parent_that_is_named_with_its_namespace_may_be_anybodys_who_consents() {
    let child = |spec: &str| key("apps", "k", &format!("parentRef: {{name: org, namespace: lead}}, {spec}"));
    let outcome = of_cluster(&[key("lead", "org", ALL), child("")]);
    assert_eq!(wire(&outcome, "k").denied, "");
    let outcome = of_cluster(&[key("lead", "org", ""), child("")]);
    assert!(wire(&outcome, "k").denied.contains("does not allow keys of namespace apps"));
}

#[test]
fn without_a_list_of_platforms_every_export_counts() {
    let parts = [route("aaa", "main", ALL), server("aaa", "db", ALL), key("apps", "k", "")];
    let (input, _) = input(&parts.concat(), Options::STANDALONE);
    assert_eq!(seen(&compile(&input), "apps"), ["ProviderRoute aaa/main", "McpServer aaa/db"]);
}

#[test]
fn what_is_refused_keeps_its_name_where_it_was_exported() {
    // Wrong by the compiler, and not readable at all.
    for slip in ["models: [{name: a}, {name: a}]", "modls: []"] {
        let second = "zzz".to_owned();
        let parts = [
            route("platform", "main", &format!("{slip}, {ALL}")),
            server("platform", "db", &format!("sse: {{url: \"https://x.com\"}}, {ALL}")),
            route(&second, "main", ALL),
            server(&second, "db", ALL),
            key("apps", "k", USER),
        ];
        let (mut input, _) = input(&parts.concat(), Options::CLUSTER);
        input.platforms = Some(["platform".to_owned(), second].into());
        let outcome = compile(&input);
        assert_eq!(seen(&outcome, "apps"), ["ProviderRoute platform/main", "McpServer platform/db"]);
        let off = outcome.resources.routes().find(|r| r.namespace == "platform").unwrap();
        assert!(off.off.contains("is not accepted") && off.backends.is_empty());
        let said = said(&outcome).join("\n");
        for words in ["ProviderRoute platform/main is not accepted", "McpServer platform/db is not accepted"]
        {
            assert!(said.contains(words), "{said}");
        }
    }
}

#[test]
fn a_parent_that_is_refused_keeps_its_name() {
    let mut parts = vec![
        key("platform", "org", &format!("budgets: [{{name: a}}], {ALL}")),
        key("zzz", "org", ALL),
        key("apps", "k", "parentRef: {name: org}"),
    ];
    let denied = |parts: &[String]| {
        let (mut input, _) = input(&parts.concat(), Options::CLUSTER);
        input.platforms = Some(["platform".to_owned(), "zzz".to_owned()].into());
        wire(&compile(&input), "k").denied.clone()
    };
    assert_eq!(denied(&parts), "VirtualKey platform/org is not accepted");
    parts.remove(0);
    assert_eq!(denied(&parts), "");
}

#[test]
fn callers_without_a_credential_are_the_platforms() {
    let outcome =
        of_cluster(&[key("aaa", "mine", "anonymous: true"), key("platform", "ours", "anonymous: true")]);
    assert!(!wire(&outcome, "mine").anonymous && wire(&outcome, "ours").anonymous);
    assert_eq!(
        said(&outcome),
        [
            "VirtualKey aaa/mine: ResolvedRefs PlatformNamespacesOnly spec.anonymous: does not count: aaa is no platform namespace; the key is nobody's without a credential"
        ]
    );
}
