//! What is to be done about one key's Secret (pure: the clock and the new token come in).

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use std::{collections::BTreeMap, time::Duration};
use tollgate_crds::{
    annotations::{
        self, COMPONENT, MANAGED_BY, OPERATOR, ROTATE_TOKEN, ROTATED, ROTATION_OVERLAP, previous,
        previous_until,
    },
    api::{API_VERSION, VirtualKey},
};

/// What is to be written, and what to say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The Secret as it shall be; `None`: as it is.
    pub secret: Option<Secret>,
    /// What that does.
    pub done: Done,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing was to be done.
    Nothing,
    /// The key has its first token.
    Generated {
        /// The Secret.
        secret: String,
        /// The entry in it.
        entry: String,
    },
    /// The key has a new token.
    Rotated {
        /// The Secret.
        secret: String,
        /// Until when the one before is valid.
        until: Option<Timestamp>,
    },
    /// The token before a rotation is gone.
    Expired {
        /// The Secret.
        secret: String,
    },
    /// It must not be done.
    Refused(String),
}

/// What is to be done about the Secret of `key`, which is `found`; `fresh` is a token that nobody has.
pub fn decide(key: &VirtualKey, found: Option<&Secret>, fresh: &str, now: Timestamp) -> Change {
    let nothing = Change { secret: None, done: Done::Nothing };
    let Some(source) = &key.spec.token else { return nothing };
    let (name, entry) = (&source.secret_ref.name, &source.secret_ref.key);
    let Some(secret) = found else {
        return generated(key, Secret { metadata: metadata(key, name), ..Secret::default() }, entry, fresh);
    };
    let asked = key.annotations().get(ROTATE_TOKEN).map_or("", String::as_str);
    let token = entry_of(secret, entry);
    if !is_owned(secret, key) {
        return match (token, asked) {
            (None, _) => refused(format!(
                "Secret {name} exists without an entry {entry}, and the operator has not made it: add the entry, or name a \
                 Secret that does not exist"
            )),
            (Some(_), "") => nothing,
            (Some(_), _) => refused(format!(
                "Secret {name} was not made by the operator: put a new token into it yourself, the annotation {ROTATE_TOKEN} does \
                 nothing to it"
            )),
        };
    }
    let Some(token) = token else { return generated(key, secret.clone(), entry, fresh) };
    let carried_out = secret.annotations().get(ROTATED).map_or("", String::as_str);
    if !asked.is_empty() && asked != carried_out {
        return match overlap(key) {
            Ok(overlap) => rotated(key, secret, entry, token, fresh, now, overlap),
            Err(text) => refused(format!(
                "the token is not rotated: {ROTATION_OVERLAP} is {text:?}, which is no duration such as 1h, or 0 for a token that leaked"
            )),
        };
    }
    let until = entry_of(secret, &previous_until(entry)).and_then(|text| text.parse::<Timestamp>().ok());
    match entry_of(secret, &previous(entry)).is_some() && until.is_none_or(|until| until <= now) {
        true => {
            let mut secret = secret.clone();
            forget_previous(&mut secret, entry);
            Change { secret: Some(secret), done: Done::Expired { secret: name.clone() } }
        }
        false => nothing,
    }
}

fn refused(why: String) -> Change {
    Change { secret: None, done: Done::Refused(why) }
}

/// `secret` with a first token.
fn generated(key: &VirtualKey, mut secret: Secret, entry: &str, fresh: &str) -> Change {
    let done = Done::Generated { secret: secret.name_any(), entry: entry.to_owned() };
    set(&mut secret, entry, fresh);
    // A request to rotate that was there before the token needs no rotation.
    note(&mut secret, key);
    Change { secret: Some(secret), done }
}

/// `secret` with a new token, and the old one beside it for the overlap.
fn rotated(
    key: &VirtualKey,
    secret: &Secret,
    entry: &str,
    token: &str,
    fresh: &str,
    now: Timestamp,
    overlap: Duration,
) -> Change {
    let mut secret = secret.clone();
    let until = now.checked_add(SignedDuration::try_from(overlap).unwrap_or_default()).unwrap_or(now);
    // To the second: it is for people, too.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    if overlap.is_zero() {
        forget_previous(&mut secret, entry);
    } else {
        set(&mut secret, &previous(entry), token);
        set(&mut secret, &previous_until(entry), &until.to_string());
    }
    set(&mut secret, entry, fresh);
    note(&mut secret, key);
    let until = (!overlap.is_zero()).then_some(until);
    Change { done: Done::Rotated { secret: secret.name_any(), until }, secret: Some(secret) }
}

/// For how long the token before a rotation stays valid; the error is a text that is no duration.
fn overlap(key: &VirtualKey) -> Result<Duration, &str> {
    annotations::overlap(key.annotations().get(ROTATION_OVERLAP).map(String::as_str))
}

fn metadata(key: &VirtualKey, name: &str) -> ObjectMeta {
    let labels = [(MANAGED_BY, OPERATOR), (COMPONENT, "token"), ("app.kubernetes.io/name", "tollgate")];
    let owner = OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "VirtualKey".to_owned(),
        name: key.name_any(),
        uid: key.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: key.namespace(),
        labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Whether the operator has made the Secret for this very key: not for one of its name that was deleted.
fn is_owned(secret: &Secret, key: &VirtualKey) -> bool {
    let labelled = secret.labels().get(MANAGED_BY).is_some_and(|by| by == OPERATOR);
    labelled && secret.owner_references().iter().any(|owner| Some(&owner.uid) == key.uid().as_ref())
}

fn entry_of<'s>(secret: &'s Secret, entry: &str) -> Option<&'s str> {
    let ByteString(bytes) = secret.data.as_ref()?.get(entry)?;
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn data(secret: &mut Secret) -> &mut BTreeMap<String, ByteString> {
    secret.data.get_or_insert_default()
}

fn set(secret: &mut Secret, entry: &str, value: &str) {
    data(secret).insert(entry.to_owned(), ByteString(value.as_bytes().to_vec()));
}

fn forget_previous(secret: &mut Secret, entry: &str) {
    data(secret).remove(&previous(entry));
    data(secret).remove(&previous_until(entry));
}

/// Notes which request to rotate was carried out.
fn note(secret: &mut Secret, key: &VirtualKey) {
    secret.metadata.managed_fields = None;
    let asked = key.annotations().get(ROTATE_TOKEN).cloned();
    match asked {
        Some(asked) => drop(secret.annotations_mut().insert(ROTATED.to_owned(), asked)),
        None => drop(secret.annotations_mut().remove(ROTATED)),
    }
}
