//! Phase 1: whose request it is. The credential is hashed and looked up; the text itself is kept nowhere.

use crate::{
    error::GatewayError,
    model::key::Key,
    names,
    snapshot::{KeyNode, Snapshot},
};
use http::{HeaderMap, HeaderValue, header};
use ring::digest::{SHA256, digest};
use std::sync::Arc;

/// Finds the caller's key. `anonymous`: whether this listener lets callers without a known credential in.
pub fn identify(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    anonymous: bool,
    now: i64,
) -> Result<Arc<KeyNode>, GatewayError> {
    let mut presented = false;
    let known = credentials(headers)
        .inspect(|_| presented = true)
        .find_map(|credential| by_token(snapshot, &hash(credential), now));
    let node = match known.or_else(|| snapshot.anonymous().filter(|_| anonymous)) {
        Some(node) => node,
        None if presented => return Err(GatewayError::UnknownKey(UNKNOWN.into())),
        None => return Err(GatewayError::UnknownKey(MISSING.into())),
    };
    check(node, now)?;
    Ok(node.clone())
}

/// The key whose token has this SHA-256, unless the token was rotated away.
pub fn by_token<'s>(snapshot: &'s Snapshot, hash: &[u8; 32], now: i64) -> Option<&'s Arc<KeyNode>> {
    snapshot.key_by_token(hash).filter(|node| node.key().accepts(hash, now))
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
