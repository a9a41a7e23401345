//! Wire resources to validated configuration: one conversion per resource, each in its own file.
//!
//! The data plane does not trust its configuration's sender to be of its own version: everything is checked again here, and
//! what does not pass is refused alone, with its field and the reason ([`Invalid`]: a NACK's words).
//!
//! # Layout
//! - [`key`], [`route`], [`server`]: one resource each; the last two look their credentials up in a set of resources
//! - [`trust`]: what belongs to no user's object: token issuers and sealing keys
//! - [`model`]: all resources at once, with what is unchanged kept and what is refused told

pub mod key;
pub mod model;
pub mod route;
pub mod server;
pub mod trust;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

use super::{Export, Globs, Invalid, ObjectId, Secret};
use std::time::Duration;
use tollgate_proto::{Resources, v1};
use tollgate_translate::Provider;

/// Shorthand for a refusal.
fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Invalid {
    Invalid { field: field.into(), reason: reason.into() }
}

/// The identity of a resource; its parts must be names.
fn object_id(namespace: &str, name: &str) -> Result<ObjectId, Invalid> {
    for (field, part) in [("metadata.namespace", namespace), ("metadata.name", name)] {
        if part.is_empty() || part.contains('/') {
            return Err(invalid(field, format!("{part:?} is not a name")));
        }
    }
    Ok(ObjectId::new(namespace, name))
}

/// Globs of a list that, when it is empty, means all.
fn globs_or_all(patterns: &[String]) -> Globs {
    if patterns.is_empty() { Globs::new(["*"]) } else { Globs::new(patterns) }
}

/// The kind of a provider.
fn provider(field: &str, kind: i32) -> Result<Provider, Invalid> {
    Ok(match v1::Provider::try_from(kind) {
        Ok(v1::Provider::Anthropic) => Provider::Anthropic,
        Ok(v1::Provider::OpenAi) => Provider::OpenAi,
        Ok(v1::Provider::AzureOpenAi) => Provider::AzureOpenAi,
        Ok(v1::Provider::AzureFoundry) => Provider::AzureFoundry,
        Ok(v1::Provider::VertexAi) => Provider::VertexAi,
        Ok(v1::Provider::Gemini) => Provider::Gemini,
        Ok(v1::Provider::Bedrock) => Provider::Bedrock,
        Ok(v1::Provider::OpenAiCompatible) => Provider::OpenAiCompatible,
        Ok(v1::Provider::Unspecified) | Err(_) => {
            return Err(invalid(field, format!("provider kind {kind} is unknown to this version")));
        }
    })
}

/// To whom an object is visible.
fn export(wire: Option<&v1::Export>) -> Export {
    match wire.and_then(|e| e.to.as_ref()) {
        None | Some(v1::export::To::All(false)) => Export::Same,
        Some(v1::export::To::All(true)) => Export::All,
        Some(v1::export::To::Namespaces(list)) => Export::Namespaces(list.names.clone()),
    }
}

/// A deadline: `default` when absent; zero would fail everything.
fn deadline(field: &str, millis: Option<u64>, default: Duration) -> Result<Duration, Invalid> {
    match millis {
        None => Ok(default),
        Some(0) => Err(invalid(field, "must be longer than 0")),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

/// An upstream's address: scheme, authority and path prefix, without a slash at the end.
fn address(field: &str, text: &str) -> Result<http::Uri, Invalid> {
    let uri: http::Uri = text
        .trim_end_matches('/')
        .parse()
        .map_err(|e| invalid(field, format!("{text:?} is not a URL: {e}")))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(invalid(field, format!("{text:?} must begin with https:// or http://"))),
    }
    if uri.query().is_some() {
        return Err(invalid(field, "must have no query"));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(invalid(field, "must hold no credentials: they belong in a Secret"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        _ => Err(invalid(field, format!("{text:?} names no host"))),
    }
}

/// A credential out of a Secret of `namespace`, or why there is none: words for the owner of the object, without any content.
fn credential(namespace: &str, wire: &v1::SecretRef, secrets: &Resources) -> Result<Secret, String> {
    let v1::SecretRef { name, key } = wire;
    let entry = secrets
        .secret(namespace, name, key)
        .ok_or_else(|| format!("Secret {namespace}/{name} with the key {key} does not exist"))?;
    // A Secret made from a file ends in a newline more often than not.
    let text = std::str::from_utf8(entry).map(|t| t.trim_end_matches(['\r', '\n'])).ok();
    match text.filter(|t| !t.is_empty() && t.bytes().all(|b| (0x20..0x7f).contains(&b))) {
        Some(text) => Ok(Secret::new(text)),
        None => Err(format!("the key {key} of Secret {namespace}/{name} is empty or not plain ASCII")),
    }
}
