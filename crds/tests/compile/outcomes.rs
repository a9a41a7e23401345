//! What objects do to each other: trees, namespaces, conflicts, Secrets; and what travels in the end.

use super::{accepted, compiled, input, told};
use sha2::{Digest, Sha256};
use tollgate_crds::{
    api::API_VERSION,
    compile::{Compiled, Input, Options, StdioRules, compile},
    conditions::Truth,
};
use tollgate_proto::v1;

pub(super) fn key(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: {API_VERSION}\nkind: VirtualKey\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

pub(super) fn route(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: {API_VERSION}\nkind: ProviderRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{backends: [{{name: main, anthropic: {{}}}}], {spec}}}\n"
    )
}

pub(super) fn server(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: {API_VERSION}\nkind: McpServer\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{streamableHttp: {{url: \"https://x.com/mcp\"}}, {spec}}}\n"
    )
}

fn secret(namespace: &str, name: &str, data: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData: {{{data}}}\n"
    )
}

fn standalone(parts: &[String]) -> Compiled {
    compiled(&parts.concat(), Options::STANDALONE)
}

pub(super) fn wire<'a>(outcome: &'a Compiled, name: &str) -> &'a v1::VirtualKey {
    outcome.resources.keys().find(|k| k.name == name).unwrap()
}

/// What is said, without the position.
pub(super) fn said(outcome: &Compiled) -> Vec<String> {
    told(outcome).iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

#[test]
fn a_cycle_denies_its_members_and_those_below() {
    let outcome = standalone(&[
        key("n", "a", "parentRef: {name: b}"),
        key("n", "b", "parentRef: {name: a}"),
        key("n", "below", "parentRef: {name: a}"),
        key("n", "free", ""),
    ]);
    assert_eq!(
        said(&outcome),
        [
            "VirtualKey n/a: Accepted ParentCycle spec.parentRef: the parents form a circle: n/a → n/b → n/a; the key is denied",
            "VirtualKey n/b: Accepted ParentCycle spec.parentRef: the parents form a circle: n/b → n/a → n/b; the key is denied",
            "VirtualKey n/below: ResolvedRefs ParentDenied spec.parentRef: VirtualKey n/a is denied: its parents form a circle; the key is denied",
        ]
    );
    assert_eq!(wire(&outcome, "a").denied, "the parents form a circle: n/a → n/b → n/a");
    assert!(!wire(&outcome, "below").denied.is_empty());
    assert!(wire(&outcome, "free").denied.is_empty());
}

#[test]
fn eight_levels_are_a_tree_and_nine_are_too_deep() {
    let mut chain: Vec<_> =
        (1..9).map(|i| key("n", &format!("k{i}"), &format!("parentRef: {{name: k{}}}", i - 1))).collect();
    chain.push(key("n", "k0", ""));
    let outcome = standalone(&chain);
    assert_eq!(
        said(&outcome),
        [
            "VirtualKey n/k8: Accepted ParentTooDeep spec.parentRef: the key has more than 8 levels up to its root; the key is denied"
        ]
    );
    assert!(wire(&outcome, "k7").denied.is_empty() && !wire(&outcome, "k8").denied.is_empty());
}

#[test]
fn a_long_circle_ends() {
    let circle: Vec<_> = (0..40)
        .map(|i| key("n", &format!("k{i}"), &format!("parentRef: {{name: k{}}}", (i + 1) % 40)))
        .collect();
    let outcome = standalone(&circle);
    assert_eq!(said(&outcome).len(), 40);
    assert!(outcome.resources.keys().all(|k| !k.denied.is_empty()));
}

#[test]
fn a_missing_parent_denies_the_key_and_those_below() {
    let outcome = standalone(&[
        key("n", "child", "parentRef: {name: gone}"),
        key("n", "grandchild", "parentRef: {name: child}"),
    ]);
    assert_eq!(
        said(&outcome),
        [
            "VirtualKey n/child: ResolvedRefs ParentNotFound spec.parentRef: VirtualKey n/gone does not exist; the key is denied",
            "VirtualKey n/grandchild: ResolvedRefs ParentDenied spec.parentRef: VirtualKey n/child is denied: VirtualKey n/gone does not exist; the key is denied",
        ]
    );
    let parent = wire(&outcome, "child").parent_ref.clone().unwrap();
    assert_eq!((parent.namespace.as_str(), parent.name.as_str()), ("n", "gone"));
}

#[test]
fn a_parent_that_is_not_accepted_is_no_parent() {
    let outcome = standalone(&[key("n", "bad", "modls: {}"), key("n", "child", "parentRef: {name: bad}")]);
    assert!(said(&outcome)[1].contains("ParentNotFound spec.parentRef: VirtualKey n/bad is not accepted"));
    assert_eq!(wire(&outcome, "child").denied, "VirtualKey n/bad is not accepted");
}

#[test]
fn a_parent_of_another_namespace_must_consent() {
    let labels =
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: apps, labels: {team: eng}}\n".to_owned();
    for (consent, allowed) in [
        ("", false),
        ("allowedNamespaces: Same", false),
        ("allowedNamespaces: All", true),
        ("allowedNamespaces: {selector: {matchLabels: {team: eng}}}", true),
        ("allowedNamespaces: {selector: {matchLabels: {team: ops}}}", false),
        ("allowedNamespaces: {selector: {matchLabels: {kubernetes.io/metadata.name: apps}}}", true),
        (
            "allowedNamespaces: {selector: {matchExpressions: [{key: team, operator: NotIn, values: [eng]}]}}",
            false,
        ),
    ] {
        // With the namespace, and without: names are looked up among those exported, too.
        for reference in ["{name: org, namespace: platform}", "{name: org}"] {
            let outcome = standalone(&[
                key("platform", "org", consent),
                key("apps", "child", &format!("parentRef: {reference}")),
                labels.clone(),
            ]);
            let child = wire(&outcome, "child");
            assert_eq!(child.denied.is_empty(), allowed, "{consent} {reference}: {:?}", said(&outcome));
            if allowed {
                assert_eq!(child.parent_ref.as_ref().unwrap().namespace, "platform");
            } else {
                assert!(said(&outcome)[0].contains("ResolvedRefs NotAllowedByNamespace spec.parentRef"));
            }
        }
    }
}

#[test]
fn the_own_namespace_hides_the_others() {
    let outcome = standalone(&[
        key("apps", "org", ""),
        key("platform", "org", "allowedNamespaces: All"),
        key("apps", "child", "parentRef: {name: org}"),
    ]);
    assert_eq!(wire(&outcome, "child").parent_ref.as_ref().unwrap().namespace, "apps");
}

#[test]
fn what_is_refused_hides_what_others_export_all_the_same() {
    let spec = "anonymous: true, defaultRoute: r, tools: [{server: s, allow: ['*']}]";
    let outcome = standalone(&[
        route("platform", "r", "allowedNamespaces: All"),
        server("platform", "s", "allowedNamespaces: All"),
        route("apps", "r", "models: [{name: a}, {name: a}]"),
        server("apps", "s", "sse: {url: \"https://x.com\"}"),
        key("apps", "k", spec),
    ]);
    let off = |namespace: &str| {
        let route = outcome.resources.routes().find(|r| r.namespace == namespace).unwrap();
        let server = outcome.resources.servers().find(|s| s.namespace == namespace).unwrap();
        (route.off.clone(), server.off.clone())
    };
    assert_eq!(off("platform"), (String::new(), String::new()));
    let (route, server) = off("apps");
    assert!(route.starts_with("ProviderRoute apps/r is not accepted: spec.models[1].name: "), "{route}");
    assert!(server.starts_with("McpServer apps/s is not accepted: spec.sse: "), "{server}");
    let of_key: Vec<_> = said(&outcome).into_iter().filter(|line| line.starts_with("VirtualKey")).collect();
    assert_eq!(of_key.len(), 2, "{of_key:?}");
    assert!(of_key.iter().all(|line| line.contains("is not accepted")), "{of_key:?}");
}

#[test]
fn exported_routes_and_servers_are_found_and_others_are_not() {
    let spec = "anonymous: true, defaultRoute: r, tools: [{server: s, allow: ['*']}]";
    let with = |export: &str| {
        standalone(&[route("platform", "r", export), server("platform", "s", export), key("apps", "k", spec)])
    };
    assert_eq!(said(&with("allowedNamespaces: All")), Vec::<String>::new());
    assert_eq!(
        said(&with("")),
        [
            "VirtualKey apps/k: ResolvedRefs NotAllowedByNamespace spec.defaultRoute: ProviderRoute `r` exists in other namespaces only, and none allows apps",
            "VirtualKey apps/k: ResolvedRefs NotAllowedByNamespace spec.tools[0].server: McpServer `s` exists in other namespaces only, and none allows apps; the key has no tools of it",
        ]
    );
    // A team's names are its children's, who may see more.
    let team = standalone(&[route("platform", "r", ""), key("apps", "team", "models: {allow: ['r/*']}")]);
    assert_eq!(said(&team), Vec::<String>::new());
}

#[test]
fn a_selector_travels_as_the_namespaces_that_have_keys() {
    let export = "allowedNamespaces: {selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [c]}]}}";
    let outcome = standalone(&[
        route("platform", "r", export),
        key("b", "k", ""),
        key("a", "k", ""),
        key("c", "k", ""),
        server("d", "s", ""),
    ]);
    let to = outcome.resources.routes().next().unwrap().allowed_namespaces.clone().unwrap().to;
    let names = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(to, Some(v1::export::To::Namespaces(v1::Namespaces { names })));
}

#[test]
fn during_a_rotation_both_tokens_count_and_the_wire_says_until_when() {
    let (new, old) = ("n".repeat(32), "o".repeat(32));
    let token = "token: {secretRef: {name: t, key: token}}";
    let hashes = |entries: &str| {
        let outcome = compiled(&(secret("n", "t", entries) + &key("n", "k", token)), Options::CLUSTER);
        let key = outcome.resources.keys().next().unwrap();
        (key.token_sha256.clone(), key.previous_token_until)
    };
    let hash = |token: &str| Sha256::digest(token).to_vec();
    let until = "previous-token-expires: 1970-01-01T00:00:01Z";
    let both = hashes(&format!("token: {new}, previous-token: {old}, {until}"));
    assert_eq!(both, (vec![hash(&new), hash(&old)], Some(1000)));
    for alone in [
        format!("token: {new}"),
        format!("token: {new}, previous-token: {old}"),
        format!("token: {new}, previous-token: short, {until}"),
        format!("token: {new}, previous-token: {new}, {until}"),
        format!("token: {new}, previous-token: {old}, previous-token-expires: soon"),
    ] {
        assert_eq!(hashes(&alone), (vec![hash(&new)], None), "{alone}");
    }
}

#[test]
fn of_two_keys_with_one_token_the_first_has_it() {
    let token = "token: {secretRef: {name: t, key: t}}";
    let mut parts = [
        secret("n", "t", "t: vk-same"),
        secret("m", "t", "t: vk-same"),
        key("n", "b", token),
        key("m", "a", token),
    ];
    let outcome = standalone(&parts);
    assert_eq!(
        said(&outcome),
        ["VirtualKey m/a: Accepted Conflict spec.token: VirtualKey n/b has the same token, and had it first"]
    );
    assert!(outcome.resources.keys().all(|k| k.name == "b"));
    // Where their ages are known, the older has it, wherever it stands.
    let (mut input, _) = input(&parts.concat(), Options::STANDALONE);
    for object in &mut input.objects {
        object.created = Some(if object.name == "a" { 1 } else { 2 });
    }
    assert!(compile(&input).resources.keys().all(|k| k.name == "a"));
    parts.swap(2, 3);
    assert!(standalone(&parts).resources.keys().all(|k| k.name == "a"));
}

#[test]
fn only_one_key_is_anyones() {
    let outcome = standalone(&[key("n", "a", "anonymous: true"), key("n", "b", "anonymous: true")]);
    assert_eq!(
        said(&outcome),
        [
            "VirtualKey n/b: Accepted Conflict spec.anonymous: VirtualKey n/a is anonymous too, and was first: only one key can be"
        ]
    );
}

#[test]
fn of_two_keys_that_claim_a_service_account_the_oldest_has_it() {
    let parts = [
        key("n", "b", "serviceAccounts: [{name: devbox}]"),
        key("n", "a", "serviceAccounts: [{name: ci}, {name: devbox}]"),
        // Another namespace's ServiceAccount of that name is another one.
        key("m", "c", "serviceAccounts: [{name: devbox}]"),
    ];
    let (mut input, _) = input(&parts.concat(), Options::CLUSTER);
    for object in &mut input.objects {
        object.created = Some(if object.name == "a" { 1 } else { 2 });
    }
    let outcome = compile(&input);
    assert_eq!(
        said(&outcome),
        [
            "VirtualKey n/b: Accepted Conflict spec.serviceAccounts[0]: VirtualKey n/a has ServiceAccount n/devbox already, \
             and had it first: a workload is one key only"
        ]
    );
    let accounts = |name: &str| {
        let of = outcome.resources.keys().filter(|k| k.name == name).flat_map(|k| &k.service_accounts);
        of.map(|a| format!("{}/{}", a.namespace, a.name)).collect::<Vec<_>>()
    };
    assert_eq!(
        (accounts("a"), accounts("c")),
        (vec!["n/ci".into(), "n/devbox".into()], vec!["m/devbox".into()])
    );
    assert!(
        outcome.resources.keys().all(|k| !k.team),
        "a key without a token is no team when workloads are it"
    );
    for object in &mut input.objects {
        object.created = Some(if object.name == "b" { 1 } else { 2 });
    }
    assert!(compile(&input).resources.keys().all(|k| k.name != "a"));
}

#[test]
fn a_stdio_server_runs_where_it_may() {
    let stdio = |spec: &str| {
        format!(
            "---\napiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: db, namespace: n}}\n\
             spec: {{stdio: {spec}}}\n"
        )
    };
    let outcome = |spec: &str, options: Options, rules: StdioRules| {
        let (input, _) = input(&stdio(spec), options);
        let outcome = compile(&Input { stdio: rules, ..input });
        // Its Service, or this machine's bridge, is of the operator's making.
        assert!(outcome.resources.servers().all(|s| s.private_endpoint || s.url.is_empty()));
        let wire = outcome.resources.servers().next().map(|s| (s.url.clone(), s.off.clone()));
        (said(&outcome), wire)
    };
    let images = StdioRules { images: vec!["ghcr.io/acme/*".into()], local: None };
    let local = StdioRules { images: vec![], local: Some("http://127.0.0.1:7".into()) };

    let (words, wire) = outcome("{image: ghcr.io/acme/db, command: [db]}", Options::CLUSTER, images.clone());
    assert_eq!((words, wire), (vec![], Some(("http://mcp-db.n.svc:8081/mcp".into(), String::new()))));
    let (words, wire) = outcome("{image: evil/db, command: [db]}", Options::CLUSTER, images.clone());
    assert!(
        words[0].starts_with("McpServer n/db: Accepted ImageNotAllowed spec.stdio.image: image `evil/db`")
    );
    assert!(wire.is_some_and(|(url, off)| url.is_empty() && off.contains("is not accepted")));
    let missing = "{image: ghcr.io/acme/db, command: [db], env: [{name: A, secretRef: {name: no, key: k}}]}";
    let (words, wire) = outcome(missing, Options::CLUSTER, images);
    assert_eq!(
        (words, wire.map(|(_, off)| off)),
        (vec![], Some(String::new())),
        "its pod waits for the Secret"
    );
    let (words, wire) = outcome(missing, Options::STANDALONE, local.clone());
    assert!(words[0].starts_with("McpServer n/db: ResolvedRefs SecretNotFound spec.stdio.env[0].secretRef"));
    assert!(wire.is_some_and(|(_, off)| !off.is_empty()));

    let rules = StdioRules { images: vec!["*".into()], local: None };
    let (words, _) = outcome("{image: any}", Options::CLUSTER, rules);
    assert!(words[0].contains("Accepted Invalid spec.stdio.command: is missing"), "{words:?}");

    let (words, wire) = outcome("{image: any, command: [serve]}", Options::STANDALONE, local.clone());
    assert_eq!((words, wire), (vec![], Some(("http://127.0.0.1:7/n/db/mcp".into(), String::new()))));
    let (words, _) = outcome("{image: any}", Options::STANDALONE, local);
    assert!(words[0].contains("Accepted Invalid spec.stdio.command: is missing"), "{words:?}");
}

#[test]
fn only_who_may_have_private_addresses_is_told_so_on_the_wire() {
    let manifests = [route("n", "llm", ""), server("n", "db", "")].concat();
    let told = |options: Options| {
        let outcome = compiled(&manifests, options);
        let (route, server) =
            (outcome.resources.routes().next().unwrap(), outcome.resources.servers().next().unwrap());
        (route.private_endpoints, server.private_endpoint)
    };
    assert_eq!(told(Options::CLUSTER), (false, false));
    assert_eq!(told(Options { allow_private_endpoints: true, ..Options::CLUSTER }), (true, true));
    assert_eq!(told(Options::STANDALONE), (true, true));
}

#[test]
fn only_used_entries_of_secrets_travel() {
    let auth = "auth: {header: {name: X-Key, secretRef: {name: s, key: header}}}";
    let outcome = standalone(&[
        secret("n", "s", "header: used, other: unused"),
        secret("n", "t", "t: vk-token"),
        secret("n", "unused", "a: b"),
        server("n", "m", auth),
        key("n", "k", "token: {secretRef: {name: t, key: t}}"),
        // Not accepted, so it uses nothing.
        server("n", "bad", "auth: {header: {name: Host, secretRef: {name: unused, key: a}}}"),
    ]);
    assert_eq!(outcome.resources.secret("n", "s", "header"), Some(&b"used"[..]));
    assert_eq!(outcome.resources.secret("n", "s", "other"), None);
    assert_eq!(outcome.resources.secret("n", "unused", "a"), None);
    assert_eq!(outcome.resources.secret("n", "t", "t"), None);
    assert!(!format!("{outcome:?}").contains("vk-token"));
}

#[test]
fn a_broken_secret_says_so_where_it_is_missed() {
    let outcome = standalone(&[
        secret("n", "s", "key: \"${UNSET}\""),
        format!(
            "---\napiVersion: {API_VERSION}\nkind: ProviderRoute\nmetadata: {{name: r, namespace: n}}\nspec: {{backends: [{{name: a, anthropic: {{}}, credentials: {{secretRef: {{name: s, key: key}}}}}}, {{name: b, openAI: {{}}}}]}}\n"
        ),
    ]);
    let backends = &outcome.resources.routes().next().unwrap().backends;
    assert_eq!(
        backends[0].off,
        "Secret n/s cannot be used: stringData.key: the environment variable UNSET is not set"
    );
    assert!(backends[1].off.is_empty());
    assert_eq!(said(&outcome).len(), 2);
}

#[test]
fn secrets_take_variables_defaults_and_base64() {
    let auth = "auth: {header: {name: X-Key, secretRef: {name: s, key: KEY}}}";
    let value = |yaml: &str, key: &str| {
        let document =
            format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\n{yaml}\n");
        let outcome = standalone(&[document, server("n", "m", &auth.replace("KEY", key))]);
        let value = outcome.resources.secret("n", "s", key).map(<[u8]>::to_vec);
        String::from_utf8(value.unwrap_or_else(|| panic!("{:?}", said(&outcome)))).unwrap()
    };
    assert_eq!(value("stringData: {k: 'Bearer ${SET}!'}", "k"), "Bearer from-the-environment!");
    assert_eq!(value("stringData: {k: '${UNSET:-dummy}-${SET:-x}'}", "k"), "dummy-from-the-environment");
    assert_eq!(value("stringData: {k: '${UNSET:-}x'}", "k"), "x");
    assert_eq!(value("stringData: {k: '$${SET} $SET $'}", "k"), "${SET} $SET $");
    assert_eq!(value("data: {k: aHVz\n    aA==}", "k"), "hush");
    assert_eq!(value("data: {k: aHVzaA==}\nstringData: {k: later}", "k"), "later");
    // Nowhere else.
    assert_eq!(value("data: {k: JHtTRVR9}", "k"), "${SET}");
}

#[test]
fn content_is_logged_by_mode_and_a_silent_team_restricts_nothing() {
    let parts = [key("n", "key", "anonymous: true"), key("n", "team", "")].concat();
    let content = |options, name: &str| wire(&compiled(&parts, options), name).logging.unwrap().content();
    assert_eq!(content(Options::STANDALONE, "key"), v1::Content::Full);
    assert_eq!(content(Options::CLUSTER, "key"), v1::Content::Metadata);
    assert_eq!(content(Options::CLUSTER, "team"), v1::Content::Full);
    let outcome = compiled(&parts, Options::CLUSTER);
    assert!(wire(&outcome, "team").team && !wire(&outcome, "key").team);
}

#[test]
fn lists_are_read_item_by_item() {
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: {API_VERSION}, kind: VirtualKey, metadata: {{name: a}}, spec: {{}}}}\n- {{apiVersion: {API_VERSION}, kind: VirtualKey, metadata: {{name: b}}, spec: {{oops: 1}}}}\n"
    );
    let outcome = compiled(&list, Options::STANDALONE);
    assert_eq!(accepted(&outcome), ["VirtualKey default/a"]);
    assert!(
        told(&outcome)[0]
            .starts_with("case.yaml:1: VirtualKey default/b: Accepted Invalid spec.oops: unknown field")
    );
}

#[test]
fn conditions_say_it_all() {
    let outcome = standalone(&[
        key("n", "good", ""),
        key("n", "bad", "disabled: 5"),
        key("n", "child", "parentRef: {name: bad}"),
    ]);
    let conditions = |name: &str| {
        let status = outcome.statuses.iter().find(|s| s.name == name).unwrap();
        status.conditions().map(|c| (c.truth, c.reason))
    };
    assert_eq!(conditions("good"), [(Truth::True, "Accepted"), (Truth::True, "Resolved")]);
    assert_eq!(conditions("bad"), [(Truth::False, "Invalid"), (Truth::Unknown, "Invalid")]);
    assert_eq!(conditions("child"), [(Truth::True, "Accepted"), (Truth::False, "ParentNotFound")]);
}
