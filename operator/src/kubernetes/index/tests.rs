use super::*;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tollgate_crds::conditions::{RESOLVED_REFS, reasons};

/// The index as a cluster without restriction fills it.
struct Cluster(Index, Instant);

const WATCHED: [Watched; 5] =
    [Watched::Keys, Watched::Routes, Watched::Servers, Watched::Namespaces, Watched::Secrets];

fn everywhere(watched: Watched) -> Source {
    Source { watched, namespace: None }
}

fn metadata(namespace: &str, name: &str, generation: i64) -> Value {
    json!({"namespace": namespace, "name": name, "generation": generation, "uid": name,
        "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn key(namespace: &str, name: &str, spec: Value) -> Observed {
    key_at(namespace, name, 1, spec)
}

fn key_at(namespace: &str, name: &str, generation: i64, spec: Value) -> Observed {
    let object = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "VirtualKey",
        "metadata": metadata(namespace, name, generation), "spec": spec});
    Observed::Key(serde_json::from_value(object).unwrap())
}

fn route(namespace: &str, name: &str, spec: Value) -> Observed {
    let object = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "ProviderRoute",
        "metadata": metadata(namespace, name, 1), "spec": spec});
    Observed::Route(serde_json::from_value(object).unwrap())
}

/// A route whose credential stands in the Secret `name`.
fn route_with_secret(namespace: &str, name: &str) -> Observed {
    let secret = json!({"secretRef": {"name": name, "key": "apiKey"}});
    route(namespace, name, json!({"backends": [{"name": "b", "anthropic": {}, "credentials": secret}]}))
}

fn namespace(name: &str, labels: Value) -> Observed {
    let object = json!({"metadata": {"name": name, "labels": labels}});
    Observed::Namespace(Box::new(serde_json::from_value(object).unwrap()))
}

fn secret_seen(namespace: &str, name: &str) -> Observed {
    let object = json!({"metadata": {"namespace": namespace, "name": name}});
    Observed::Secret(Box::new(serde_json::from_value(object).unwrap()))
}

fn name(namespace: &str, name: &str) -> ObjectName {
    (namespace.to_owned(), name.to_owned())
}

fn found(entries: &[(&str, &str)]) -> Read {
    let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()));
    Read::Found(entries.iter().map(entry).collect())
}

// === impl Cluster ===

impl Cluster {
    /// Every first list is complete, with these objects.
    fn new(objects: Vec<Observed>) -> Self {
        let mut cluster = Cluster(Index::new(Input::default(), WATCHED.map(everywhere)), Instant::now());
        for watched in WATCHED {
            cluster.0.restart(&everywhere(watched));
        }
        for object in objects {
            cluster.see(object);
        }
        for watched in WATCHED {
            cluster.0.complete(&everywhere(watched));
        }
        cluster.settle();
        cluster
    }

    fn settle(&mut self) {
        self.0.settle(self.1);
    }

    /// What is to be read now.
    fn due(&mut self) -> Vec<ObjectName> {
        self.0.take_due(self.1)
    }

    fn read(&mut self, name: &ObjectName, read: Read) {
        self.0.read(name, read, self.1);
        self.settle();
    }

    /// Time passes.
    fn wait(&mut self, seconds: u64) {
        self.1 += Duration::from_secs(seconds);
        self.settle();
    }

    fn apply(&mut self, object: Observed) {
        self.see(object);
        self.settle();
    }

    fn see(&mut self, object: Observed) {
        let watched = match &object {
            Observed::Key(_) => Watched::Keys,
            Observed::Route(_) => Watched::Routes,
            Observed::Server(_) => Watched::Servers,
            Observed::Namespace(_) => Watched::Namespaces,
            Observed::Secret(_) => Watched::Secrets,
        };
        self.0.apply(&everywhere(watched), object);
    }

    fn delete(&mut self, watched: Watched, namespace: &str, object: &str) {
        self.0.delete(watched, &name(namespace, object));
        self.settle();
    }

    /// The resources' names, by kind.
    fn names(&mut self) -> Vec<String> {
        self.0.world().compiled.resources.iter().map(|r| r.id().to_string()).collect()
    }

    fn reason(&mut self, id: &str) -> Option<&'static str> {
        let world = self.0.world();
        let status = world.compiled.statuses.iter().find(|s| s.id().to_string() == id)?;
        status.problems.first().map(|p| p.reason)
    }

    fn secret(&mut self, namespace: &str, name: &str, key: &str) -> Option<String> {
        let world = self.0.world();
        let bytes = world.compiled.resources.secret(namespace, name, key)?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }
}

#[test]
fn nothing_is_complete_before_every_first_list() {
    let mut index = Index::new(Input::default(), WATCHED.map(everywhere));
    for watched in WATCHED {
        assert!(!index.world().synced);
        index.restart(&everywhere(watched));
        assert!(index.incomplete().any(|source| *source == everywhere(watched)));
        index.complete(&everywhere(watched));
    }
    assert!(index.is_changed() && index.world().synced);
    assert!(!index.is_changed());
}

#[test]
fn what_is_applied_is_there_until_it_is_deleted() {
    let mut cluster = Cluster::new(vec![key("a", "k", json!({})), key("b", "k", json!({}))]);
    assert_eq!(cluster.names(), ["VirtualKey a/k", "VirtualKey b/k"]);
    cluster.delete(Watched::Keys, "a", "k");
    cluster.delete(Watched::Keys, "a", "never-there");
    assert_eq!(cluster.names(), ["VirtualKey b/k"]);
    assert!(!cluster.0.world().keys.contains_key(&name("a", "k")));
}

#[test]
fn an_object_that_cannot_be_read_is_told_and_harms_no_other() {
    let bad = key("a", "bad", json!({"budgets": "many"}));
    let mut cluster = Cluster::new(vec![bad, key("a", "good", json!({}))]);
    assert_eq!(cluster.names(), ["VirtualKey a/good"]);
    assert_eq!(cluster.reason("VirtualKey a/bad"), Some(reasons::INVALID));
    let world = cluster.0.world();
    assert_eq!(world.unreadable.len(), 1);
    // It becomes readable, and unreadable again: its last good form is not remembered.
    cluster.apply(key_at("a", "bad", 2, json!({})));
    assert_eq!(cluster.names(), ["VirtualKey a/bad", "VirtualKey a/good"]);
    assert!(cluster.0.world().unreadable.is_empty());
    cluster.apply(key_at("a", "bad", 3, json!({"budgets": 1})));
    assert_eq!(cluster.names(), ["VirtualKey a/good"]);
    cluster.delete(Watched::Keys, "a", "bad");
    assert!(cluster.0.world().unreadable.is_empty() && cluster.reason("VirtualKey a/bad").is_none());
}

#[test]
fn a_status_that_is_written_compiles_nothing() {
    let mut cluster = Cluster::new(vec![key("a", "k", json!({}))]);
    let before = cluster.0.world();
    cluster.apply(key_at("a", "k", 1, json!({})));
    assert!(cluster.0.is_changed(), "the object itself is another");
    let after = cluster.0.world();
    assert!(Arc::ptr_eq(&before.compiled, &after.compiled));
    assert!(!Arc::ptr_eq(&before.keys, &after.keys) && Arc::ptr_eq(&before.routes, &after.routes));
    cluster.apply(key_at("a", "k", 2, json!({"disabled": true})));
    assert!(!Arc::ptr_eq(&after.compiled, &cluster.0.world().compiled));
}

#[test]
fn only_secrets_that_are_named_are_read_and_only_their_named_entries_kept() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r"), secret_seen("a", "other")]);
    assert!(cluster.0.is_unknown());
    assert_eq!(cluster.due(), [name("a", "r")]);
    assert!(cluster.due().is_empty(), "it is told once");
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk-1"), ("else", "hush")]));
    assert!(!cluster.0.is_unknown());
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk-1"));
    assert!(!format!("{:?}", cluster.0.secrets).contains("else"));
    // Another Secret changes: nobody reads it.
    cluster.apply(secret_seen("a", "other"));
    assert!(cluster.due().is_empty());
    // The route goes, and with it what is known of its Secret.
    cluster.delete(Watched::Routes, "a", "r");
    assert!(cluster.names().is_empty() && cluster.0.secrets.names_in(None).is_empty());
}

#[test]
fn a_secret_that_changes_is_read_again_and_counts_as_it_was_until_then() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.due();
    cluster.read(&name("a", "r"), found(&[("apiKey", "old")]));
    cluster.apply(secret_seen("a", "r"));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("old"));
    assert_eq!(cluster.due(), [name("a", "r")]);
    // It changes once more while it is read: what comes may be old already.
    cluster.apply(secret_seen("a", "r"));
    cluster.read(&name("a", "r"), found(&[("apiKey", "new")]));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("new"));
    assert_eq!(cluster.due(), [name("a", "r")]);
    cluster.0.world();
    cluster.read(&name("a", "r"), found(&[("apiKey", "new")]));
    assert!(!cluster.0.is_changed(), "the same content is no change");
}

#[test]
fn a_secret_that_goes_switches_off_and_one_that_cannot_be_asked_for_changes_nothing() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.due();
    cluster.read(&name("a", "r"), Read::Absent);
    assert_eq!(cluster.reason("ProviderRoute a/r"), Some(reasons::SECRET_NOT_FOUND));
    cluster.apply(secret_seen("a", "r"));
    cluster.due();
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    assert_eq!(cluster.reason("ProviderRoute a/r"), None);
    cluster.apply(secret_seen("a", "r"));
    cluster.due();
    cluster.read(&name("a", "r"), Read::Failed("away".into()));
    assert_eq!(cluster.0.failure(), Some("away"));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
    assert!(cluster.due().is_empty(), "not at once");
    cluster.wait(1);
    assert_eq!(cluster.due(), [name("a", "r")], "but it is tried again");
    cluster.delete(Watched::Secrets, "a", "r");
    assert_eq!(cluster.secret("a", "r", "apiKey"), None);
}

/// The words of the condition that tells what a route lacks.
fn lack(cluster: &mut Cluster, route: &str) -> String {
    let world = cluster.0.world();
    let mut statuses = world.compiled.statuses.iter();
    let status = statuses.find(|s| s.kind == Kind::ProviderRoute && s.name == route).unwrap();
    status.of_condition(RESOLVED_REFS).next().map(ToString::to_string).unwrap_or_default()
}

/// The operator may not read this Secret, for so many seconds from now on, asked as often as it is due.
fn refuse(cluster: &mut Cluster, seconds: u64) {
    for _ in 0..seconds {
        for secret in cluster.due() {
            cluster.read(&secret, Read::Refused("forbidden".into()));
        }
        cluster.wait(1);
    }
}

#[test]
fn a_secret_that_the_operator_may_not_read_says_so() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    refuse(&mut cluster, 50);
    assert!(cluster.0.is_unknown(), "an API server that has just started refuses everything");
    refuse(&mut cluster, 15);
    assert!(!cluster.0.is_unknown());
    let words = lack(&mut cluster, "r");
    assert!(words.contains("may not read it: forbidden"), "{words}");
    assert!(cluster.due().is_empty());
    cluster.wait(60);
    assert_eq!(cluster.due(), [name("a", "r")]);
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
}

#[test]
fn a_refusal_takes_away_what_is_known_only_when_it_lasts() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.due();
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    cluster.0.world();
    // A relist: everything is read again, and the API server's authorizer is not warm yet.
    cluster.0.restart(&everywhere(Watched::Secrets));
    cluster.0.complete(&everywhere(Watched::Secrets));
    assert_eq!(cluster.due(), [name("a", "r")]);
    cluster.read(&name("a", "r"), Read::Refused("forbidden".into()));
    assert!(!cluster.0.is_changed());
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
    assert_eq!(cluster.0.failure(), Some("forbidden"));
    cluster.wait(5);
    assert_eq!(cluster.due(), [name("a", "r")], "it is asked again soon");
    // It can be asked in between, and cannot be reached: the time of refusals begins anew.
    cluster.read(&name("a", "r"), Read::Failed("away".into()));
    cluster.wait(1);
    refuse(&mut cluster, 170);
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
    refuse(&mut cluster, 20);
    assert_eq!(cluster.secret("a", "r", "apiKey"), None);
    assert!(lack(&mut cluster, "r").contains("may not read it"));
    cluster.wait(60);
    assert_eq!(cluster.due(), [name("a", "r")]);
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
    assert_eq!(cluster.0.failure(), None);
}

#[test]
fn an_entry_that_is_named_again_is_read_again() {
    let route_of = |entry: &str| {
        let secret = json!({"secretRef": {"name": "shared", "key": entry}});
        route("a", entry, json!({"backends": [{"name": "b", "anthropic": {}, "credentials": secret}]}))
    };
    let shared = name("a", "shared");
    let all = || found(&[("openai", "sk-o"), ("anthropic", "sk-a")]);
    let mut cluster = Cluster::new(vec![route_of("openai"), route_of("anthropic")]);
    assert_eq!(cluster.due(), std::slice::from_ref(&shared));
    cluster.read(&shared, all());
    assert_eq!(cluster.secret("a", "shared", "anthropic").as_deref(), Some("sk-a"));
    cluster.delete(Watched::Routes, "a", "anthropic");
    assert_eq!(cluster.secret("a", "shared", "anthropic"), None);
    assert!(cluster.due().is_empty() && !format!("{:?}", cluster.0.secrets).contains("anthropic"));
    cluster.apply(route_of("anthropic"));
    assert_eq!(cluster.names(), ["Secret a/shared", "ProviderRoute a/openai"], "it waits");
    assert_eq!(cluster.due(), std::slice::from_ref(&shared));
    cluster.read(&shared, all());
    assert_eq!(cluster.secret("a", "shared", "anthropic").as_deref(), Some("sk-a"));
    assert_eq!(lack(&mut cluster, "anthropic"), "");
}

#[test]
fn an_object_waits_for_its_own_secret_and_for_no_other() {
    let mut cluster = Cluster::new(vec![key("a", "old", json!({})), route_with_secret("a", "r")]);
    cluster.due();
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    let slow = json!({"token": {"secretRef": {"name": "slow", "key": "token"}}});
    cluster.apply(key("b", "new", slow.clone()));
    assert_eq!(cluster.due(), [name("b", "slow")]);
    // Nobody else waits: what is revoked meanwhile is revoked.
    cluster.apply(key_at("a", "old", 2, json!({"disabled": true})));
    let world = cluster.0.world();
    assert!(world.compiled.resources.keys().next().unwrap().disabled);
    assert_eq!(world.keys.keys().collect::<Vec<_>>(), [&name("a", "old")]);
    cluster.wait(4);
    cluster.apply(key_at("b", "new", 2, json!({"token": slow["token"], "disabled": true})));
    assert_eq!(cluster.0.world().keys.len(), 1);
    // It waits no longer than the first that waited under this name, and tells why then.
    cluster.wait(1);
    assert_eq!(cluster.0.world().keys.len(), 2);
    assert_eq!(cluster.reason("VirtualKey b/new"), Some(reasons::SECRET_NOT_FOUND));
    cluster.read(&name("b", "slow"), found(&[("token", "t-0123456789-0123456789-0123456789")]));
    assert_eq!(cluster.reason("VirtualKey b/new"), None);
}

#[test]
fn what_an_object_said_counts_until_its_new_secret_was_looked_for() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.due();
    cluster.read(&name("a", "r"), found(&[("apiKey", "one")]));
    let secret = json!({"secretRef": {"name": "other", "key": "apiKey"}});
    let moved = json!({"backends": [{"name": "b", "anthropic": {}, "credentials": secret}]});
    let mut observed = route("a", "r", moved);
    if let Observed::Route(route) = &mut observed {
        kube::Resource::meta_mut(route).generation = Some(2);
    }
    cluster.apply(observed);
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("one"));
    assert_eq!(cluster.0.world().routes[&name("a", "r")].metadata.generation, Some(1));
    assert_eq!(cluster.due(), [name("a", "other")]);
    cluster.read(&name("a", "other"), found(&[("apiKey", "two")]));
    assert_eq!(cluster.secret("a", "other", "apiKey").as_deref(), Some("two"));
    assert_eq!(cluster.0.secrets.names_in(None), [name("a", "other")]);
    assert_eq!(lack(&mut cluster, "r"), "");
    // Deleted while a further one waits: nothing comes back.
    let mut observed = route_with_secret("a", "r");
    if let Observed::Route(route) = &mut observed {
        kube::Resource::meta_mut(route).generation = Some(3);
    }
    cluster.apply(observed);
    cluster.delete(Watched::Routes, "a", "r");
    cluster.wait(10);
    assert!(cluster.names().is_empty() && cluster.0.secrets.names_in(None).is_empty());
}

#[test]
fn what_was_not_looked_for_is_not_called_missing() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.due();
    cluster.read(&name("a", "r"), Read::Failed("away".into()));
    assert!(cluster.0.is_unknown() && cluster.names().is_empty());
    cluster.wait(5);
    let words = lack(&mut cluster, "r");
    assert!(words.contains("could not be read yet: away"), "{words}");
}

#[test]
fn a_list_that_begins_anew_takes_away_what_is_not_in_it() {
    let mut cluster = Cluster::new(vec![
        key("a", "stays", json!({})),
        key("a", "goes", json!({})),
        route_with_secret("a", "r"),
    ]);
    cluster.due();
    cluster.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    let keys = everywhere(Watched::Keys);
    cluster.0.restart(&keys);
    cluster.apply(key("a", "stays", json!({})));
    assert_eq!(cluster.0.world().keys.len(), 2, "nothing goes before the list is complete");
    cluster.0.complete(&keys);
    assert_eq!(cluster.0.world().keys.len(), 1);
    // A Secret that a list does not have may be younger than the list.
    let secrets = everywhere(Watched::Secrets);
    cluster.0.restart(&secrets);
    cluster.0.complete(&secrets);
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
    assert_eq!(cluster.due(), [name("a", "r")]);
}

#[test]
fn a_list_of_one_namespace_says_nothing_of_another() {
    let of = |namespace: &str| Source { watched: Watched::Keys, namespace: Some(namespace.into()) };
    let mut index = Index::new(Input::default(), [of("a"), of("b")]);
    for namespace in ["a", "b"] {
        index.restart(&of(namespace));
        index.apply(&of(namespace), key(namespace, "k", json!({})));
        index.complete(&of(namespace));
    }
    index.settle(Instant::now());
    index.restart(&of("a"));
    index.complete(&of("a"));
    assert_eq!(index.world().keys.keys().collect::<Vec<_>>(), [&name("b", "k")]);
}

#[test]
fn a_namespaces_label_decides_whether_its_keys_may_have_a_parent_elsewhere() {
    let selector = json!({"selector": {"matchLabels": {"team": "red"}}});
    let mut cluster = Cluster::new(vec![
        namespace("platform", json!({})),
        namespace("red", json!({"team": "red"})),
        key("platform", "parent", json!({"allowedNamespaces": selector})),
        key("red", "child", json!({"parentRef": {"name": "parent", "namespace": "platform"}})),
    ]);
    assert_eq!(cluster.reason("VirtualKey red/child"), None);
    cluster.apply(namespace("red", json!({"team": "blue"})));
    assert_eq!(cluster.reason("VirtualKey red/child"), Some(reasons::NOT_ALLOWED));
    cluster.apply(namespace("red", json!({"team": "red"})));
    assert_eq!(cluster.reason("VirtualKey red/child"), None);
    cluster.delete(Watched::Namespaces, "", "red");
    assert_eq!(cluster.reason("VirtualKey red/child"), Some(reasons::NOT_ALLOWED));
}

#[test]
fn a_refused_route_of_ones_own_hides_an_exported_one() {
    let good = json!({"allowedNamespaces": "All", "backends": [{"name": "b", "anthropic": {}, "endpoint": "https://x.example.com"}]});
    let bad = json!({"backends": [{"name": "b", "anthropic": {}, "endpoint": "http://169.254.169.254"}]});
    let mut cluster = Cluster::new(vec![route("platform", "openai", good), route("tenant", "openai", bad)]);
    let world = cluster.0.world();
    let off = |namespace: &str| {
        world.compiled.resources.routes().find(|r| r.namespace == namespace).unwrap().off.clone()
    };
    assert_eq!(off("platform"), "");
    assert!(off("tenant").contains("ProviderRoute tenant/openai is not accepted"), "{}", off("tenant"));
    cluster.delete(Watched::Routes, "tenant", "openai");
    assert_eq!(cluster.names(), ["ProviderRoute platform/openai"]);
}

#[test]
fn an_exported_route_that_cannot_be_read_keeps_its_name_everywhere() {
    let exported = |backend: Value| json!({"allowedNamespaces": "All", "backends": [backend]});
    let good = json!({"name": "b", "anthropic": {}, "endpoint": "https://x.example.com"});
    let unreadable = json!({"name": "b", "anthropic": {}, "retry": {"when": ["OnFullMoon"]}});
    let mut cluster = Cluster::new(vec![
        route("a-platform", "anthropic", exported(unreadable)),
        route("b-platform", "anthropic", exported(good)),
        key("tenant", "k", json!({"models": {"allow": ["anthropic/*"]}})),
    ]);
    let world = cluster.0.world();
    assert_eq!(world.unreadable.len(), 1, "{:?}", world.compiled.statuses);
    let status = world.compiled.statuses.iter().find(|s| s.kind == Kind::VirtualKey).unwrap();
    let words: Vec<_> = status.problems.iter().map(ToString::to_string).collect();
    assert!(
        words.iter().any(|w| w.contains("ProviderRoute a-platform/anthropic is not accepted")),
        "{words:?}"
    );
    let route = world.compiled.resources.routes().find(|r| r.namespace == "a-platform").unwrap();
    assert!(!route.off.is_empty() && route.allowed_namespaces.is_some(), "{route:?}");
}

#[test]
fn what_belongs_to_no_object_is_there_as_well() {
    let mut cluster = Cluster::new(vec![key("a", "k", json!({}))]);
    let issuer = tollgate_proto::v1::TokenIssuer { name: "cluster".into(), ..Default::default() };
    cluster.0.push(vec![issuer.clone().into()]);
    assert_eq!(cluster.names(), ["VirtualKey a/k", "TokenIssuer cluster"]);
    cluster.0.push(vec![issuer.into()]);
    assert!(!cluster.0.is_changed());
}

#[test]
fn of_five_thousand_keys_one_changes() {
    let mut objects: Vec<_> = (0..200).map(|n| route_with_secret("a", &format!("r{n}"))).collect();
    objects.extend((0..5000).map(|n| {
        let parent =
            json!({"parentRef": {"name": format!("k{}", n / 10 * 10)}, "models": {"allow": ["r1/*"]}});
        key("a", &format!("k{n}"), if n % 10 == 0 { json!({}) } else { parent })
    }));
    let mut cluster = Cluster::new(objects);
    for secret in cluster.due() {
        cluster.read(&secret, found(&[("apiKey", "sk")]));
    }
    let before = cluster.0.world();
    assert_eq!(before.compiled.resources.len(), 5400);
    cluster.apply(key_at("a", "k7", 2, json!({"disabled": true})));
    let started = std::time::Instant::now();
    let after = cluster.0.world();
    println!("one change among 5,000 keys: compiled in {:?} (debug build)", started.elapsed());
    let differing =
        after.compiled.resources.iter().filter(|r| before.compiled.resources.get(&r.id()) != Some(*r));
    assert_eq!(differing.count(), 1);
}

/// What an operator watches that watches these namespaces only.
fn watches_of(namespaces: &[&str]) -> Vec<Source> {
    let of =
        |watched: Watched| namespaces.iter().map(move |n| Source { watched, namespace: Some((*n).into()) });
    let kinds = WATCHED.into_iter().filter(|watched| *watched != Watched::Namespaces);
    kinds.flat_map(of).chain([everywhere(Watched::Namespaces)]).collect()
}

/// An operator that starts and may watch `a`, but not `gone`.
fn starting(there: &[&str], now: Instant) -> Index {
    let sources = watches_of(&["a", "gone"]);
    let mut index = Index::new(Input::default(), sources.clone());
    for source in &sources {
        if source.namespace.as_deref() == Some("gone") {
            index.refuse(source);
            continue;
        }
        index.restart(source);
        match source.watched {
            Watched::Keys => index.apply(source, key("a", "k", json!({}))),
            Watched::Namespaces => {
                assert!(index.vanish(now).is_empty(), "nobody knows yet which there are");
                there.iter().for_each(|n| index.apply(source, namespace(n, json!({}))));
            }
            _ => {}
        }
        index.complete(source);
    }
    index
}

#[test]
fn a_watched_namespace_that_is_not_there_counts_as_empty_until_it_is() {
    let now = Instant::now();
    let mut index = starting(&["a"], now);
    assert_eq!(index.incomplete().count(), 4);
    assert_eq!(index.vanish(now).len(), 4);
    assert!(index.vanish(now).is_empty(), "it is told once");
    index.settle(now);
    assert!(index.world().synced && index.world().keys.len() == 1);
    assert_eq!(index.refused().count(), 4);
    // The namespace comes, its Role, and what is in it; and all of it goes again, the Role first.
    let keys = Source { watched: Watched::Keys, namespace: Some("gone".into()) };
    index.apply(&everywhere(Watched::Namespaces), namespace("gone", json!({})));
    index.restart(&keys);
    index.apply(&keys, key("gone", "k", json!({})));
    index.complete(&keys);
    index.settle(now);
    assert_eq!((index.world().keys.len(), index.refused().count()), (2, 3));
    index.refuse(&keys);
    assert!(index.vanish(now + REFUSED).is_empty());
    index.settle(now);
    assert_eq!(index.world().keys.len(), 2, "it is there: what was seen counts");
    index.delete(Watched::Namespaces, &name("", "gone"));
    assert_eq!(index.vanish(now), [keys]);
    index.settle(now);
    assert_eq!(index.world().keys.len(), 1);
}

#[test]
fn a_watched_namespace_without_a_role_holds_a_start_back_for_a_while_only() {
    let now = Instant::now();
    let mut index = starting(&["a", "gone"], now);
    assert!(index.vanish(now).is_empty());
    assert_eq!(index.next(now), Some(now + REFUSED));
    assert!(!index.world().synced);
    assert_eq!(index.vanish(now + REFUSED).len(), 4);
    assert!(index.world().synced);
}
