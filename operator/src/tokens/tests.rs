use super::{
    Track,
    decide::{Change, Done, decide},
};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use kube::ResourceExt as _;
use tollgate_crds::{
    annotations::{MANAGED_BY, ROTATE_TOKEN, ROTATED, ROTATION_OVERLAP},
    api::VirtualKey,
};

fn key(annotations: &[(&str, &str)]) -> VirtualKey {
    let mut key: VirtualKey = serde_json::from_value(serde_json::json!({
        "apiVersion": "tollgate.dev/v1alpha1", "kind": "VirtualKey",
        "metadata": {"name": "k", "namespace": "n", "uid": "u-1"},
        "spec": {"token": {"secretRef": {"name": "s", "key": "token"}}},
    }))
    .unwrap();
    for (name, value) in annotations {
        key.annotations_mut().insert((*name).to_owned(), (*value).to_owned());
    }
    key
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn entry(secret: &Secret, name: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(name)?;
    Some(String::from_utf8(bytes.clone()).unwrap())
}

fn made(change: Change) -> Secret {
    change.secret.unwrap_or_else(|| panic!("{:?}", change.done))
}

#[test]
fn a_missing_secret_is_made_and_owned_by_its_key() {
    let change = decide(&key(&[]), None, "tg_1", at(0));
    assert_eq!(change.done, Done::Generated { secret: "s".into(), entry: "token".into() });
    let secret = made(change);
    assert_eq!(entry(&secret, "token").as_deref(), Some("tg_1"));
    assert_eq!((secret.name_any(), secret.namespace()), ("s".into(), Some("n".into())));
    let owner = &secret.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.controller),
        ("VirtualKey", "u-1", Some(true))
    );
    assert_eq!(decide(&key(&[]), Some(&secret), "tg_2", at(1)).done, Done::Nothing);
}

#[test]
fn a_rotation_is_carried_out_once_and_the_old_token_goes_when_its_time_is_over() {
    let first = made(decide(&key(&[]), None, "tg_1", at(0)));
    let asked = key(&[(ROTATE_TOKEN, "a"), (ROTATION_OVERLAP, "1h")]);
    let change = decide(&asked, Some(&first), "tg_2", at(0));
    assert_eq!(change.done, Done::Rotated { secret: "s".into(), until: Some(at(3600)) });
    let second = made(change);
    let held = |secret: &Secret| {
        ["token", "previous-token", "previous-token-expires"]
            .map(|name| entry(secret, name).unwrap_or_default())
    };
    assert_eq!(held(&second), ["tg_2", "tg_1", "1970-01-01T01:00:00Z"]);
    assert_eq!(second.annotations()[ROTATED], "a");
    assert_eq!(decide(&asked, Some(&second), "tg_3", at(3599)).done, Done::Nothing);
    let change = decide(&asked, Some(&second), "tg_3", at(3600));
    assert_eq!(change.done, Done::Expired { secret: "s".into() });
    let third = made(change);
    assert_eq!(held(&third), ["tg_2", "", ""]);
    // The same request again is none; taking it away is none either.
    assert_eq!(decide(&asked, Some(&third), "tg_4", at(4000)).done, Done::Nothing);
    assert_eq!(decide(&key(&[]), Some(&third), "tg_4", at(4000)).done, Done::Nothing);
    let again = key(&[(ROTATE_TOKEN, "b"), (ROTATION_OVERLAP, "0s")]);
    let change = decide(&again, Some(&second), "tg_5", at(10));
    assert_eq!(change.done, Done::Rotated { secret: "s".into(), until: None });
    assert_eq!(held(&made(change)), ["tg_5", "", ""], "no overlap: the old token is gone at once");
    let slip = key(&[(ROTATE_TOKEN, "c"), (ROTATION_OVERLAP, "soon")]);
    let change = decide(&slip, Some(&third), "tg_6", at(0));
    assert!(
        matches!(&change.done, Done::Refused(why) if why.contains("soon")),
        "a slip rotates nothing, and is told of"
    );
    assert!(change.secret.is_none());
    let leaked = key(&[(ROTATE_TOKEN, "c"), (ROTATION_OVERLAP, "0")]);
    let change = decide(&leaked, Some(&third), "tg_6", at(0));
    assert_eq!(change.done, Done::Rotated { secret: "s".into(), until: None });
    let usual = key(&[(ROTATE_TOKEN, "c")]);
    let change = decide(&usual, Some(&third), "tg_6", at(0));
    assert_eq!(change.done, Done::Rotated { secret: "s".into(), until: Some(at(24 * 3600)) });
}

#[test]
fn a_request_that_was_there_before_the_token_needs_no_rotation() {
    let asked = key(&[(ROTATE_TOKEN, "a")]);
    let secret = made(decide(&asked, None, "tg_1", at(0)));
    assert_eq!(decide(&asked, Some(&secret), "tg_2", at(1)).done, Done::Nothing);
}

#[test]
fn what_the_operator_has_not_made_is_never_written() {
    let mine = made(decide(&key(&[]), None, "tg_1", at(0)));
    let mut unlabelled = mine.clone();
    unlabelled.labels_mut().remove(MANAGED_BY);
    let mut anothers = mine.clone();
    anothers.owner_references_mut()[0].uid = "u-0".into();
    let mut bare = mine.clone();
    bare.owner_references_mut().clear();
    for secret in [unlabelled, anothers, bare] {
        assert_eq!(
            decide(&key(&[]), Some(&secret), "tg_2", at(0)),
            Change { secret: None, done: Done::Nothing }
        );
        let change = decide(&key(&[(ROTATE_TOKEN, "a")]), Some(&secret), "tg_2", at(0));
        assert!(change.secret.is_none() && matches!(change.done, Done::Refused(_)), "{change:?}");
        let mut empty = secret.clone();
        empty.data = None;
        let change = decide(&key(&[]), Some(&empty), "tg_2", at(0));
        assert!(change.secret.is_none() && matches!(change.done, Done::Refused(_)), "{change:?}");
    }
    let mut emptied = mine;
    emptied.data = None;
    let change = decide(&key(&[]), Some(&emptied), "tg_2", at(0));
    assert!(
        matches!(change.done, Done::Generated { .. }),
        "an entry that is gone from one's own Secret comes again"
    );
}

#[test]
fn what_was_refused_for_a_slip_is_looked_at_again_at_once_when_that_is_put_right() {
    let now = std::time::Instant::now();
    let refused = |said: &VirtualKey| {
        let mut track = Track::default();
        track.hear(said);
        (0..10).for_each(|_| track.backoff.failed(now));
        track.hear(said);
        assert!(track.backoff.wait(now).is_some(), "it is as it was");
        track
    };
    let slip = key(&[(ROTATE_TOKEN, "1"), (ROTATION_OVERLAP, "none")]);
    let mut grown = slip.clone();
    grown.metadata.generation = Some(2);
    let right = key(&[(ROTATE_TOKEN, "1"), (ROTATION_OVERLAP, "0")]);
    for said in [right, key(&[(ROTATE_TOKEN, "2"), (ROTATION_OVERLAP, "none")]), key(&[]), grown] {
        let mut track = refused(&slip);
        track.hear(&said);
        assert_eq!(track.backoff.wait(now), None, "{said:?}");
    }
    // What others say of the key is nothing to it.
    let mut other = slip.clone();
    other.annotations_mut().insert("team".to_owned(), "a".to_owned());
    let mut track = refused(&slip);
    track.hear(&other);
    assert!(track.backoff.wait(now).is_some());
}
