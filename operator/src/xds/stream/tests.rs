//! The machine against clients that behave, and against those that do not.

use super::*;
use proptest::prelude::*;
use tollgate_proto::{Resource as Message, Resources, v1};

fn key(name: &str, version: u8) -> Message {
    let default_route = version.to_string();
    v1::VirtualKey { namespace: "n".into(), name: name.into(), default_route, ..Default::default() }.into()
}

fn secret(name: &str) -> Message {
    v1::Secret { namespace: "n".into(), name: name.into(), data: Default::default() }.into()
}

fn world(resources: impl IntoIterator<Item = Message>) -> Published {
    Published::new(Arc::new(resources.into_iter().collect()))
}

fn subscribe(kind: Kind, held: &[(&str, &str)]) -> DeltaDiscoveryRequest {
    let held = held.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    DeltaDiscoveryRequest {
        type_url: kind.type_url(),
        initial_resource_versions: held.collect(),
        ..Default::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    let error_detail = Some(ErrorDetail { code: 3, message: message.to_owned() });
    DeltaDiscoveryRequest { error_detail, ..ack(response) }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|r| r.name.as_str()).collect()
}

#[test]
fn a_first_response_comes_even_when_empty_and_then_only_changes() {
    let mut stream = Stream::default();
    assert!(stream.next(&world([])).is_none(), "nothing before a subscription");
    stream.hear(subscribe(Kind::VirtualKey, &[])).unwrap();
    let first = stream.next(&world([])).unwrap();
    assert!(first.resources.is_empty() && !first.more);
    assert!(stream.next(&world([])).is_none());
    assert_eq!(stream.hear(ack(&first)), Ok(Heard::Ack));
    assert!(stream.next(&world([])).is_none());
    let second = stream.next(&world([key("a", 1)])).unwrap();
    assert_eq!(names(&second), ["n/a"]);
    assert_ne!(first.nonce, second.nonce);
}

#[test]
fn retained_versions_are_not_sent_again_and_those_that_are_gone_are_told() {
    let mut stream = Stream::default();
    let version = key("a", 1).version();
    let held = [("n/a", version.as_str()), ("n/b", "old"), ("n/gone", "x")];
    assert_eq!(stream.hear(subscribe(Kind::VirtualKey, &held)), Ok(Heard::Subscribed(3)));
    let world = world([key("a", 1), key("b", 1)]);
    let change = stream.next(&world).unwrap();
    assert_eq!((names(&change), change.more), (vec!["n/b"], true));
    assert!(stream.next(&world).is_none(), "the removal waits for the change");
    stream.hear(ack(&change)).unwrap();
    let removal = stream.next(&world).unwrap();
    assert_eq!(removal.removed_resources, ["n/gone"]);
    assert!(removal.resources.is_empty() && !removal.more);
}

#[test]
fn a_replica_that_knows_no_token_issuer_takes_none_away() {
    let issuer = |name: &str| Message::from(v1::TokenIssuer { name: name.to_owned(), ..Default::default() });
    let mut stream = Stream::default();
    stream.hear(subscribe(Kind::TokenIssuer, &[("cluster", "1")])).unwrap();
    let first = stream.next(&world([])).unwrap();
    assert!(first.removed_resources.is_empty() && first.resources.is_empty() && !first.more);
    stream.hear(ack(&first)).unwrap();
    assert!(stream.next(&world([])).is_none());
    // One that knows another does.
    let known = world([issuer("other")]);
    let change = stream.next(&known).unwrap();
    assert_eq!(names(&change), ["other"]);
    stream.hear(ack(&change)).unwrap();
    assert_eq!(stream.next(&known).unwrap().removed_resources, ["cluster"]);
}

#[test]
fn only_an_ack_makes_a_version_held() {
    let mut stream = Stream::default();
    stream.hear(subscribe(Kind::VirtualKey, &[])).unwrap();
    let first = stream.next(&world([key("a", 1)])).unwrap();
    // While it waits nothing of the type is sent, and then what has become of it in the end.
    assert!(stream.next(&world([key("a", 2)])).is_none());
    assert!(stream.next(&world([key("a", 3), key("b", 1)])).is_none());
    stream.hear(ack(&first)).unwrap();
    let second = stream.next(&world([key("a", 3), key("b", 1)])).unwrap();
    assert_eq!(names(&second), ["n/a", "n/b"]);
    // A resource that goes while it is on its way is taken back after its answer.
    assert!(stream.next(&world([key("a", 3)])).is_none());
    stream.hear(ack(&second)).unwrap();
    assert_eq!(stream.next(&world([key("a", 3)])).unwrap().removed_resources, ["n/b"]);
}

#[test]
fn stale_answers_are_ignored() {
    let mut stream = Stream::default();
    let mut answer = DeltaDiscoveryRequest {
        type_url: Kind::VirtualKey.type_url(),
        response_nonce: "7".into(),
        ..Default::default()
    };
    assert_eq!(stream.hear(answer.clone()), Ok(Heard::Stale), "no subscription");
    stream.hear(subscribe(Kind::VirtualKey, &[])).unwrap();
    let first = stream.next(&world([key("a", 1)])).unwrap();
    assert_eq!(stream.hear(answer.clone()), Ok(Heard::Stale), "another nonce");
    answer.response_nonce = String::new();
    assert_eq!(stream.hear(answer), Ok(Heard::Stale), "subscribed twice");
    assert!(stream.is_waiting());
    assert_eq!(stream.hear(ack(&first)), Ok(Heard::Ack));
    assert_eq!(stream.hear(ack(&first)), Ok(Heard::Stale), "answered twice");
}

#[test]
fn a_nack_takes_one_resource_and_is_remembered_until_it_changes() {
    let mut stream = Stream::default();
    stream.hear(subscribe(Kind::VirtualKey, &[])).unwrap();
    let world1 = world([key("good", 1), key("bad", 1)]);
    let first = stream.next(&world1).unwrap();
    let heard =
        stream.hear(nack(&first, r#"[{"name":"n/bad","error":"spec.x: no"},{"name":"n/other","error":""}]"#));
    let version = key("bad", 1).version();
    let rejected = Rejected { name: "n/bad".into(), version, error: "spec.x: no".into() };
    assert_eq!(heard, Ok(Heard::Nack(vec![rejected])));
    assert!(stream.next(&world1).is_none(), "not sent again");
    let second = stream.next(&world([key("good", 1), key("bad", 2)])).unwrap();
    assert_eq!(names(&second), ["n/bad"]);
    stream.hear(ack(&second)).unwrap();
    // The first version is not refused for ever: it is asked again.
    assert_eq!(names(&stream.next(&world1).unwrap()), ["n/bad"]);
}

#[test]
fn a_client_that_kept_an_older_version_is_told_when_it_goes() {
    let mut stream = Stream::default();
    stream.hear(subscribe(Kind::VirtualKey, &[])).unwrap();
    let first = stream.next(&world([key("a", 1)])).unwrap();
    stream.hear(ack(&first)).unwrap();
    let second = stream.next(&world([key("a", 2)])).unwrap();
    stream.hear(nack(&second, r#"[{"name":"n/a","error":"no"}]"#)).unwrap();
    assert!(stream.next(&world([key("a", 1)])).is_none(), "the client still holds the first");
    let third = stream.next(&world([])).unwrap();
    assert_eq!(third.removed_resources, ["n/a"]);
    stream.hear(ack(&third)).unwrap();
    // Rejected from the start and then gone: the client is told, so that it reports it no longer.
    let first = stream.next(&world([key("b", 1)])).unwrap();
    stream.hear(nack(&first, r#"[{"name":"n/b","error":"no"}]"#)).unwrap();
    let second = stream.next(&world([])).unwrap();
    assert_eq!(second.removed_resources, ["n/b"]);
    stream.hear(ack(&second)).unwrap();
    // Gone and back: what was refused once may be good now.
    assert_eq!(names(&stream.next(&world([key("a", 2)])).unwrap()), ["n/a"]);
}

#[test]
fn a_nack_without_a_list_rejects_the_whole_response() {
    let mut stream = Stream::default();
    stream.hear(subscribe(Kind::VirtualKey, &[])).unwrap();
    let world = world([key("a", 1), key("b", 1)]);
    let first = stream.next(&world).unwrap();
    let Ok(Heard::Nack(rejected)) = stream.hear(nack(&first, "out of memory")) else { panic!() };
    assert_eq!(rejected.len(), 2);
    assert_eq!(rejected[0].error, "out of memory");
    assert!(stream.next(&world).is_none());
}

#[test]
fn what_is_referred_to_comes_first_and_goes_last() {
    let mut stream = Stream::new(Limits { resources: 1, bytes: 1 << 20 });
    for kind in [Kind::VirtualKey, Kind::Secret] {
        stream.hear(subscribe(kind, &[])).unwrap();
    }
    let all = world([key("a", 1), secret("s"), secret("t")]);
    let mut said = Vec::new();
    let mut run = |world: &Published| {
        while let Some(response) = stream.next(world) {
            said.extend(names(&response).into_iter().map(|n| format!("+{n}")));
            said.extend(response.removed_resources.iter().map(|n| format!("-{n}")));
            stream.hear(ack(&response)).unwrap();
        }
    };
    run(&all);
    run(&world([key("b", 1), secret("u")]));
    assert_eq!(said, ["+n/s", "+n/t", "+n/a", "+n/u", "+n/b", "-n/a", "-n/s", "-n/t"]);
}

#[test]
fn a_type_of_the_future_is_answered_as_empty() {
    let mut stream = Stream::default();
    let request = |n: usize| DeltaDiscoveryRequest { type_url: format!("new/{n}"), ..Default::default() };
    stream.hear(request(0)).unwrap();
    let response = stream.next(&world([key("a", 1)])).unwrap();
    assert!(response.type_url == "new/0" && response.resources.is_empty() && !response.more);
    let refused = (1..100).find_map(|n| stream.hear(request(n)).err());
    assert_eq!(refused, Some(TooManyTypes));
}

/// A client that holds what it acknowledges, and rejects what it is told to.
#[derive(Default)]
struct Client {
    held: BTreeMap<(String, String), String>,
}

impl Client {
    fn take(&mut self, response: &DeltaDiscoveryResponse, bad: &BTreeSet<String>) -> DeltaDiscoveryRequest {
        let mut rejected = Vec::new();
        for name in &response.removed_resources {
            self.held.remove(&(response.type_url.clone(), name.clone()));
        }
        for resource in &response.resources {
            if bad.contains(&resource.name) {
                rejected.push(serde_json::json!({"name": resource.name, "error": "bad"}));
            } else {
                let id = (response.type_url.clone(), resource.name.clone());
                self.held.insert(id, resource.version.clone());
            }
        }
        match rejected.is_empty() {
            true => ack(response),
            false => nack(response, &serde_json::to_string(&rejected).unwrap()),
        }
    }
}

fn worlds() -> impl Strategy<Value = Vec<BTreeMap<(bool, u8), u8>>> {
    let entry = ((any::<bool>(), 0..6_u8), 0..3_u8);
    prop::collection::vec(
        prop::collection::vec(entry, 0..8).prop_map(|entries| entries.into_iter().collect()),
        1..6,
    )
}

proptest! {
    /// Whatever the client starts with, however the world changes and whatever it rejects: in the end it holds the world,
    /// except for what it rejects, and every response is needed.
    #[test]
    fn a_client_ends_at_the_world(
        start in worlds(),
        worlds in worlds(),
        bad in prop::collection::btree_set(0..6_u8, 0..3),
        eager in prop::collection::vec(any::<bool>(), 32),
        size in 1..4_usize,
    ) {
        let published = |entries: &BTreeMap<(bool, u8), u8>| -> Published {
            let resource = |(&(is_key, name), &v): (&(bool, u8), &u8)| match is_key {
                true => key(&name.to_string(), v),
                false => v1::McpServer {
                    namespace: "n".into(), name: name.to_string(), url: v.to_string(), ..Default::default()
                }.into(),
            };
            let resources: Resources = entries.iter().map(resource).collect();
            Published::new(Arc::new(resources))
        };
        let bad: BTreeSet<String> = bad.into_iter().map(|n| format!("n/{n}")).collect();
        let kinds = [Kind::VirtualKey, Kind::McpServer];
        let mut client = Client::default();
        let mut stream = Stream::new(Limits { resources: size, bytes: 1 << 20 });
        let initial = published(&start[0]);
        for kind in kinds {
            let held: Vec<_> = initial.table(kind).iter().map(|(n, e)| (n.to_string(), e.version.to_string())).collect();
            for (name, version) in &held {
                client.held.insert((kind.type_url(), name.clone()), version.clone());
            }
            let held: Vec<_> = held.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            stream.hear(subscribe(kind, &held)).unwrap();
        }
        let mut eager = eager.into_iter().cycle();
        let mut answers = std::collections::VecDeque::new();
        for (index, entries) in worlds.iter().enumerate() {
            let world = published(entries);
            let last = index + 1 == worlds.len();
            let mut steps = 0;
            loop {
                while let Some(response) = stream.next(&world) {
                    prop_assert!(response.resources.len() <= size && response.removed_resources.len() <= size);
                    answers.push_back(client.take(&response, &bad));
                }
                if !last && eager.next() == Some(true) { break }
                let Some(answer) = answers.pop_front() else { break };
                stream.hear(answer).unwrap();
                steps += 1;
                prop_assert!(steps < 200, "it never ends");
            }
        }
        let world = published(worlds.last().unwrap());
        for kind in kinds {
            for (name, entry) in world.table(kind) {
                let held = client.held.get(&(kind.type_url(), name.to_string()));
                prop_assert!(bad.contains(&**name) || held == Some(&entry.version.to_string()), "{name}");
            }
            let names = client.held.keys().filter(|(t, _)| *t == kind.type_url());
            for (_, name) in names {
                prop_assert!(world.table(kind).contains_key(name.as_str()), "{name} should be gone");
            }
        }
        prop_assert!(!stream.is_waiting());
    }
}
