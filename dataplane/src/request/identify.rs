//! Phase 1: whose request it is. The credential is hashed and looked up; the text itself is kept nowhere.

use crate::{
    error::GatewayError,
    identity::{Verifier, looks_like_a_token, verify},
    model::key::Key,
    names,
    snapshot::{KeyNode, Snapshot},
};
use http::{HeaderMap, HeaderValue, header};
use ring::digest::{SHA256, digest};
use std::sync::Arc;

/// Finds the caller's key. `anonymous`: whether this listener lets callers without a known credential in.
/// `issuers`: whose ServiceAccount tokens are credentials, besides those of the snapshot.
pub fn identify(
    snapshot: &Snapshot,
    issuers: &[Arc<Verifier>],
    headers: &HeaderMap,
    anonymous: bool,
    now: i64,
) -> Result<Arc<KeyNode>, GatewayError> {
    let mut why = MISSING.to_owned();
    let mut known = None;
    for credential in credentials(headers) {
        let hash = hash(credential);
        known = by_token(snapshot, &hash, now);
        if known.is_none() {
            match workload(snapshot, issuers, credential, &hash, now) {
                Some(Ok(node)) => known = Some(node),
                Some(Err(reason)) => why = reason,
                None if why == MISSING => UNKNOWN.clone_into(&mut why),
                None => {}
            }
        }
        if known.is_some() {
            break;
        }
    }
    let Some(node) = known.or_else(|| snapshot.anonymous().filter(|_| anonymous)) else {
        return Err(GatewayError::UnknownKey(why));
    };
    check(node, now)?;
    Ok(node.clone())
}

/// The key whose token has this SHA-256, unless the token was rotated away.
pub fn by_token<'s>(snapshot: &'s Snapshot, hash: &[u8; 32], now: i64) -> Option<&'s Arc<KeyNode>> {
    snapshot.key_by_token(hash).filter(|node| node.key().accepts(hash, now))
}

/// The key of a ServiceAccount token, or why it is none; `None` when the credential is no such token, or nobody's tokens are taken.
fn workload<'s>(
    snapshot: &'s Snapshot,
    issuers: &[Arc<Verifier>],
    credential: &str,
    hash: &[u8; 32],
    now: i64,
) -> Option<Result<&'s Arc<KeyNode>, String>> {
    let verifiers = snapshot.token_issuers.iter().map(|i| &*i.verifier).chain(issuers.iter().map(|v| &**v));
    if !looks_like_a_token(credential) || verifiers.clone().next().is_none() {
        return None;
    }
    Some(verify(verifiers, credential, hash, now).map_err(|e| e.to_string()).and_then(|workload| {
        snapshot.key_by_service_account(&workload.account).ok_or_else(|| {
            format!(
                "ServiceAccount {} is no virtual key: name it in the spec.serviceAccounts of a VirtualKey in namespace {}",
                workload.account,
                workload.account.namespace()
            )
        })
    }))
}

const UNKNOWN: &str = "the credential is no virtual key of this gateway; check ANTHROPIC_API_KEY / ANTHROPIC_AUTH_TOKEN \
                       (or ask whoever runs the gateway for a VirtualKey)";
const MISSING: &str = "no virtual key was sent; send one as `x-api-key`, `Authorization: Bearer`, `x-tollgate-key` or `x-bf-vk`";

/// Whether the key may be used at all at `now`, along its path to the root.
pub fn check(node: &KeyNode, now: i64) -> Result<(), GatewayError> {
    if let Some(reason) = &node.denied {
        return Err(GatewayError::KeyRefused(format!("key {} is not in force: {reason}", node.id())));
    }
    let refused = |key: &Key, what: &str| {
        let whose = if key.id == *node.id() { String::new() } else { format!(" (parent of {})", node.id()) };
        GatewayError::KeyRefused(format!("key {}{whose} {what}", key.id))
    };
    for key in &node.path {
        if key.disabled {
            return Err(refused(key, "is disabled"));
        }
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(refused(key, "has expired"));
        }
    }
    Ok(())
}

/// The SHA-256 under which a token is known.
pub fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

/// The credentials of a request, the gateway's own headers first. A client may send several (an SDK's dummy key beside the real one).
fn credentials(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    [names::KEY, names::KEY_BIFROST, names::API_KEY, header::AUTHORIZATION]
        .into_iter()
        .filter_map(|name| headers.get(name).and_then(token))
}

fn token(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    let bare = match text.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer ") => text[7..].trim(),
        _ => text,
    };
    (!bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{key, world};

    #[test]
    fn the_token_before_a_rotation_is_the_key_until_its_time_is_over() {
        let mut rotated = key("new");
        rotated.token_hashes.push(hash("old"));
        rotated.previous_token = Some((hash("old"), 1_000));
        let (snapshot, _) = world(vec![rotated], Vec::new());
        let known = |token: &str, now| {
            let headers = HeaderMap::from_iter([(names::API_KEY, HeaderValue::from_str(token).unwrap())]);
            identify(&snapshot, &[], &headers, false, now).is_ok()
        };
        assert!(known("new", 999) && known("old", 999));
        assert!(known("new", 1_000) && !known("old", 1_000), "its time is over");
        assert!(!known("older", 999));
    }
}
