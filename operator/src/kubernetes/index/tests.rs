use super::*;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tollgate_crds::conditions::{RESOLVED_REFS, reasons};

/// The index as a cluster without restriction fills it.
struct Cluster(Index);

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
    Observed::Key(Box::new(serde_json::from_value(object).unwrap()))
}

fn route(namespace: &str, name: &str, spec: Value) -> Observed {
    let object = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "ProviderRoute",
        "metadata": metadata(namespace, name, 1), "spec": spec});
    Observed::Route(Box::new(serde_json::from_value(object).unwrap()))
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
        let mut cluster = Cluster(Index::new(Input::default(), WATCHED.map(everywhere)));
        for watched in WATCHED {
            cluster.0.restart(&everywhere(watched));
        }
        for object in objects {
            cluster.see(object);
        }
        for watched in WATCHED {
            cluster.0.complete(&everywhere(watched));
        }
        cluster.0.settle();
        cluster
    }

    fn apply(&mut self, object: Observed) {
        self.see(object);
        self.0.settle();
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
        self.0.settle();
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
    assert_eq!(cluster.0.take_due(), [name("a", "r")]);
    assert!(cluster.0.take_due().is_empty(), "it is told once");
    cluster.0.read(&name("a", "r"), found(&[("apiKey", "sk-1"), ("else", "hush")]));
    assert!(!cluster.0.is_unknown());
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk-1"));
    assert!(!format!("{:?}", cluster.0.secrets).contains("else"));
    // Another Secret changes: nobody reads it.
    cluster.apply(secret_seen("a", "other"));
    assert!(cluster.0.take_due().is_empty());
    // The route goes, and with it what is known of its Secret.
    cluster.delete(Watched::Routes, "a", "r");
    assert!(cluster.names().is_empty() && cluster.0.secrets.names_in(None).is_empty());
}

#[test]
fn a_secret_that_changes_is_read_again_and_counts_as_it_was_until_then() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), found(&[("apiKey", "old")]));
    cluster.apply(secret_seen("a", "r"));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("old"));
    assert_eq!(cluster.0.take_due(), [name("a", "r")]);
    // It changes once more while it is read: what comes may be old already.
    cluster.apply(secret_seen("a", "r"));
    cluster.0.read(&name("a", "r"), found(&[("apiKey", "new")]));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("new"));
    assert_eq!(cluster.0.take_due(), [name("a", "r")]);
    cluster.0.world();
    cluster.0.read(&name("a", "r"), found(&[("apiKey", "new")]));
    assert!(!cluster.0.is_changed(), "the same content is no change");
}

#[test]
fn a_secret_that_goes_switches_off_and_one_that_cannot_be_asked_for_changes_nothing() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), Read::Absent);
    assert_eq!(cluster.reason("ProviderRoute a/r"), Some(reasons::SECRET_NOT_FOUND));
    cluster.apply(secret_seen("a", "r"));
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), found(&[("apiKey", "sk")]));
    assert_eq!(cluster.reason("ProviderRoute a/r"), None);
    cluster.apply(secret_seen("a", "r"));
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), Read::Failed("away".into()));
    assert_eq!(cluster.0.failure(), Some("away"));
    assert_eq!(cluster.secret("a", "r", "apiKey").as_deref(), Some("sk"));
    assert_eq!(cluster.0.take_due(), [name("a", "r")], "and it is tried again");
    cluster.delete(Watched::Secrets, "a", "r");
    assert_eq!(cluster.secret("a", "r", "apiKey"), None);
}

#[test]
fn a_secret_that_the_operator_may_not_read_says_so() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), Read::Refused("forbidden".into()));
    let world = cluster.0.world();
    let status = world.compiled.statuses.iter().find(|s| s.kind == Kind::ProviderRoute).unwrap();
    let words = status.of_condition(RESOLVED_REFS).next().unwrap().to_string();
    assert!(words.contains("may not read it: forbidden"), "{words}");
    assert!(cluster.0.take_due().is_empty());
    cluster.0.retry_refused();
    assert_eq!(cluster.0.take_due(), [name("a", "r")]);
}

#[test]
fn what_was_not_looked_for_is_not_called_missing() {
    let mut cluster = Cluster::new(vec![route_with_secret("a", "r")]);
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), Read::Failed("away".into()));
    assert!(cluster.0.is_unknown());
    let world = cluster.0.world();
    let status = world.compiled.statuses.iter().find(|s| s.kind == Kind::ProviderRoute).unwrap();
    assert!(status.problems[0].message.contains("could not be read yet: away"), "{status:?}");
}

#[test]
fn a_list_that_begins_anew_takes_away_what_is_not_in_it() {
    let mut cluster = Cluster::new(vec![
        key("a", "stays", json!({})),
        key("a", "goes", json!({})),
        route_with_secret("a", "r"),
    ]);
    cluster.0.take_due();
    cluster.0.read(&name("a", "r"), found(&[("apiKey", "sk")]));
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
    assert_eq!(cluster.0.take_due(), [name("a", "r")]);
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
    let good = json!({"allowedNamespaces": "All", "backends": [{"name": "b", "anthropic": {}}]});
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
    for secret in cluster.0.take_due() {
        cluster.0.read(&secret, found(&[("apiKey", "sk")]));
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
