//! Responses as an operator sends them, good and bad.

use super::*;
use crate::model::ObjectId;
use tollgate_proto::v1 as message;

fn key(name: &str, parent: Option<&str>) -> Resource {
    let parent = parent.map(|p| message::ObjectRef { namespace: "n".into(), name: p.into() });
    message::VirtualKey { namespace: "n".into(), name: name.into(), parent_ref: parent, ..Default::default() }
        .into()
}

/// A key whose budget has no window: no version of this program takes it.
fn bad_key(name: &str) -> Resource {
    let budgets = vec![message::Budget { name: "b".into(), ..Default::default() }];
    message::VirtualKey { namespace: "n".into(), name: name.into(), budgets, ..Default::default() }.into()
}

fn wire(resource: &Resource) -> v1::Resource {
    let any = v1::Any { type_url: resource.kind().type_url(), value: resource.encode().into() };
    v1::Resource { name: resource.id().name, version: resource.version(), resource: Some(any) }
}

fn response(resources: Vec<v1::Resource>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        type_url: Kind::VirtualKey.type_url(),
        nonce: "7".into(),
        ..Default::default()
    }
}

fn has(applier: &Applier, name: &str) -> bool {
    applier.snapshot().key(&ObjectId::new("n", name)).is_some()
}

fn reasons(applied: &Applied) -> Vec<(String, String)> {
    let detail = applied.answer.error_detail.as_ref().expect("a NACK");
    assert_eq!(detail.code, INVALID_ARGUMENT);
    let list: Vec<serde_json::Value> = serde_json::from_str(&detail.message).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    list.iter().map(|entry| (text(&entry["name"]), text(&entry["error"]))).collect()
}

fn held(applier: &mut Applier) -> BTreeMap<String, String> {
    let requests = applier.subscribe(v1::Node::default());
    let mut of_keys = requests.into_iter().filter(|r| r.type_url == Kind::VirtualKey.type_url());
    of_keys.next().unwrap().initial_resource_versions
}

/// Who sees a part must not take what it does not see for deleted, nor what it remembers for what there is.
#[test]
fn a_snapshot_tells_what_an_absence_means_in_it() {
    let mut applier = Applier::default();
    let standing = |applier: &Applier| (applier.snapshot().whole, applier.snapshot().remembered);
    let keys = [key("a", None), key("b", None)];
    let whole = |response| DeltaDiscoveryResponse { whole: true, ..response };
    applier.apply(whole(response(keys.iter().map(wire).collect(), &[])));
    assert_eq!(standing(&applier), (true, false));
    let saved = applier.save();
    applier.apply(response(Vec::new(), &["n/a"]));
    assert_eq!(standing(&applier), (false, false), "its view was narrowed");
    let mut again = Applier::default();
    again.restore(saved);
    assert_eq!(standing(&again), (false, true));
    let secrets =
        DeltaDiscoveryResponse { type_url: Kind::Secret.type_url(), ..whole(response(Vec::new(), &[])) };
    assert!(!again.apply(secrets).changed, "nothing is said of keys yet");
    again.apply(DeltaDiscoveryResponse { more: true, ..whole(response(Vec::new(), &["n/a"])) });
    assert_eq!(standing(&again), (true, true), "a deletion counts at once");
    let applied = again.apply(whole(response(Vec::new(), &[])));
    assert!(applied.changed && standing(&again) == (true, false));
}

#[test]
fn good_ones_are_applied_and_a_bad_one_is_named() {
    let mut applier = Applier::default();
    let good = key("good", None);
    let applied = applier.apply(response(vec![wire(&good), wire(&bad_key("bad"))], &[]));
    assert_eq!(applied.answer.response_nonce, "7");
    let reasons = reasons(&applied);
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].0 == "n/bad" && reasons[0].1.starts_with("spec.budgets[0]"), "{reasons:?}");
    assert!(applied.changed && has(&applier, "good") && !has(&applier, "bad"));
    assert_eq!(applier.standing().rejected.len(), 1);
    // Only what is in force is advertised.
    assert_eq!(held(&mut applier), BTreeMap::from([("n/good".to_owned(), good.version())]));
}

#[test]
fn a_rejected_change_keeps_the_last_good_version_and_advertises_that() {
    let mut applier = Applier::default();
    let good = key("a", None);
    assert!(applier.apply(response(vec![wire(&good)], &[])).answer.error_detail.is_none());
    let applied = applier.apply(response(vec![wire(&bad_key("a"))], &[]));
    assert_eq!(reasons(&applied).len(), 1);
    assert!(has(&applier, "a"));
    assert_eq!(held(&mut applier), BTreeMap::from([("n/a".to_owned(), good.version())]));
    // It goes all the same when it is deleted.
    let applied = applier.apply(response(Vec::new(), &["n/a"]));
    assert!(applied.answer.error_detail.is_none() && !has(&applier, "a"));
    assert!(held(&mut applier).is_empty());
}

#[test]
fn what_is_no_resource_is_rejected_alone() {
    let mut applier = Applier::default();
    let none = v1::Resource { name: "n/none".into(), ..Default::default() };
    let mut other_name = wire(&key("a", None));
    other_name.name = "n/b".into();
    let mut other_type = wire(&key("c", None));
    other_type.resource.as_mut().unwrap().type_url = Kind::Secret.type_url();
    let mut garbage = wire(&key("d", None));
    garbage.resource.as_mut().unwrap().value = vec![0xff; 9].into();
    let applied =
        applier.apply(response(vec![none, other_name, other_type, garbage, wire(&key("e", None))], &[]));
    let names: Vec<_> = reasons(&applied).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["n/none", "n/b", "n/c", "n/d"]);
    assert!(has(&applier, "e") && applier.counts().0 == 1);
    let unknown = DeltaDiscoveryResponse { type_url: "new".into(), ..Default::default() };
    assert!(applier.apply(unknown).answer.error_detail.is_some());
}

#[test]
fn the_initial_state_of_every_type_is_waited_for() {
    let mut applier = Applier::default();
    for (left, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(applier.missing().len(), Kind::ALL.len() - left);
        let type_url = kind.type_url();
        let part = DeltaDiscoveryResponse { type_url: type_url.clone(), more: true, ..Default::default() };
        applier.apply(part);
        assert_eq!(applier.missing().len(), Kind::ALL.len() - left, "there is more");
        let applied = applier.apply(DeltaDiscoveryResponse { type_url, ..Default::default() });
        assert!(!applied.changed && applied.answer.error_detail.is_none());
    }
    assert!(applier.missing().is_empty());
}

#[test]
fn what_was_saved_is_in_force_again_with_its_versions() {
    let mut applier = Applier::default();
    let secret = message::Secret { namespace: "n".into(), name: "s".into(), ..Default::default() };
    let secret = Resource::from(secret);
    let secrets =
        DeltaDiscoveryResponse { type_url: Kind::Secret.type_url(), ..response(vec![wire(&secret)], &[]) };
    applier.apply(secrets);
    applier.apply(response(vec![wire(&key("a", None)), wire(&key("b", Some("a")))], &[]));
    let mut again = Applier::default();
    again.restore(applier.save());
    assert_eq!(again.standing(), applier.standing());
    assert!(has(&again, "a") && has(&again, "b"));
    assert_eq!(again.missing().len(), Kind::ALL.len(), "a saved state is not the operator's");
}
