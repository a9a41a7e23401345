//! An object of the API server as the compiler takes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use tollgate_crds::{
    api::AllowedNamespaces,
    compile::{Body, Object, Problem},
    guard::Unreadable,
};
use tollgate_proto::Kind;

/// What decides whether an object has to be compiled again. Not its status: the operator itself writes that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    generation: Option<i64>,
    annotations: Option<&'a BTreeMap<String, String>>,
    created: Option<i64>,
    uid: Option<&'a str>,
}

/// What `metadata` says.
pub(super) fn said(metadata: &ObjectMeta) -> Said<'_> {
    Said {
        generation: metadata.generation,
        annotations: metadata.annotations.as_ref(),
        created: created(metadata),
        uid: metadata.uid.as_deref(),
    }
}

/// The object for the compiler.
pub(super) fn object(kind: Kind, metadata: &ObjectMeta, body: Body) -> Object {
    Object {
        source: None,
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        created: created(metadata),
        body,
    }
}

/// The body of an object that cannot be read.
pub(super) fn unreadable(object: &Unreadable) -> Body {
    let message = format!("this version of the operator cannot read it: {}", object.error);
    Body::Unreadable(vec![Problem::invalid(object.field.clone(), message)], object.export.clone())
}

/// The body of a Secret whose content is not known.
pub(super) fn unreadable_secret(message: String) -> Body {
    Body::Unreadable(vec![Problem::invalid("", message)], AllowedNamespaces::Same)
}

fn created(metadata: &ObjectMeta) -> Option<i64> {
    metadata.creation_timestamp.as_ref().map(|time| time.0.as_second())
}
