//! Public keys out of a JSON Web Key Set.

use super::claims::Signed;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt;

/// The most keys of a set that are used: an issuer has the current one and a few old ones.
const MAX_KEYS: usize = 32;
/// The smallest RSA modulus, in bytes: 2,048 bits.
const MIN_RSA: usize = 256;

/// A public key that signatures are checked with.
pub(super) struct SigningKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    /// Of the key's own numbers, so that keys can be compared.
    fingerprint: [u8; 32],
}

/// Why a key set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not a key set.
    #[error("the key set cannot be read: {0}")]
    Unreadable(String),
    /// Nothing in it that could be used.
    #[error("the key set has no RSA key of at least 2,048 bits and no P-256 key for signatures")]
    Empty,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

/// The usable keys of a set. Keys of kinds that are not known here are passed over, as RFC 7517 §5 wants it.
pub(super) fn read(jwks: &str) -> Result<Vec<SigningKey>, JwksError> {
    let set: Set = serde_json::from_str(jwks).map_err(|e| JwksError::Unreadable(e.to_string()))?;
    let usable = set.keys.into_iter().filter_map(|value| signing_key(serde_json::from_value(value).ok()?));
    let keys: Vec<_> = usable.take(MAX_KEYS).collect();
    if keys.is_empty() { Err(JwksError::Empty) } else { Ok(keys) }
}

fn signing_key(jwk: Jwk) -> Option<SigningKey> {
    if jwk.usage.as_deref().is_some_and(|u| u != "sig") {
        return None;
    }
    let named = |name: &str| jwk.alg.as_deref().is_none_or(|a| a == name);
    let (algorithm, key, a, b) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) if named("RS256") => {
            let (n, e) = (jwk.n?, jwk.e?);
            // Four characters hold three bytes.
            if n.len() / 4 * 3 < MIN_RSA - 2 {
                return None;
            }
            (Algorithm::RS256, DecodingKey::from_rsa_components(&n, &e).ok()?, n, e)
        }
        ("EC", Some("P-256")) if named("ES256") => {
            let (x, y) = (jwk.x?, jwk.y?);
            (Algorithm::ES256, DecodingKey::from_ec_components(&x, &y).ok()?, x, y)
        }
        _ => return None,
    };
    let fingerprint = Sha256::digest(format!("{algorithm:?}.{a}.{b}")).into();
    Some(SigningKey { id: jwk.kid, algorithm, key, fingerprint })
}

// === impl SigningKey ===

impl SigningKey {
    /// Whether the token could be signed by this key, by what it says itself.
    pub(super) fn may_have_signed(&self, signed: &Signed<'_>) -> bool {
        self.algorithm == signed.algorithm
            && match (&self.id, &signed.key) {
                (Some(own), Some(named)) => own == named,
                _ => true,
            }
    }

    /// Whether it is.
    pub(super) fn verifies(&self, signed: &Signed<'_>) -> bool {
        crypto::verify(signed.signature, signed.message.as_bytes(), &self.key, self.algorithm)
            .unwrap_or(false)
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
