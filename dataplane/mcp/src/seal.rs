//! Sealed tokens: state that travels through a client and comes back to any replica, readable and changeable by none but the gateways.
//!
//! `v1.<key id>.<base64url(nonce ‖ AES-256-GCM(expiry ‖ payload))>`; the kind of token and the principal it was made for are
//! authenticated with it, so a session id is no cursor, and nobody can use another's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a sealing key.
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce: random, and used once.
pub const NONCE_LEN: usize = 12;
/// The longest token that is looked at; headers have to stay small anyway.
pub const MAX_TOKEN: usize = 4096;

const VERSION: &str = "v1";
const EXPIRY_LEN: usize = 8;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Mcp-Session-Id`.
    Session,
    /// A list's `nextCursor`.
    Cursor,
}

/// Seals with its first key, opens with all: rotate by putting the new one first and taking the old one away when its tokens expired.
pub struct Sealer {
    keys: Vec<(String, LessSafeKey)>,
}

/// Why there is no sealer, or no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No key at all.
    #[error("there is no sealing key")]
    NoKey,
    /// The cipher refused.
    #[error("the cipher refused to seal")]
    Cipher,
}

/// Why a token does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a token of this form.
    #[error("not a token of this gateway")]
    Malformed,
    /// Sealed with a key that is not (or no longer) here.
    #[error("sealed with a key this gateway does not have")]
    UnknownKey,
    /// Changed, of another kind, or another's.
    #[error("not made for this use and this caller")]
    Forged,
    /// Its time is over.
    #[error("expired")]
    Expired,
}

// === impl Sealer ===

impl Sealer {
    /// A sealer of one or more keys, the newest first.
    ///
    /// # Errors
    /// [`SealError::NoKey`] when there is none.
    pub fn new(keys: &[[u8; KEY_LEN]]) -> Result<Self, SealError> {
        let keys: Vec<_> = keys.iter().map(ring_key).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(SealError::NoKey) } else { Ok(Sealer { keys }) }
    }

    /// Seals `payload` for `principal` until `expires_at` (Unix milliseconds). `nonce` is fresh random bytes.
    ///
    /// # Errors
    /// [`SealError::Cipher`] when the payload is beyond what the cipher takes.
    pub fn seal(
        &self,
        kind: Kind,
        principal: &str,
        expires_at: i64,
        nonce: [u8; NONCE_LEN],
        payload: &[u8],
    ) -> Result<String, SealError> {
        let (id, key) = self.keys.first().ok_or(SealError::NoKey)?;
        let mut sealed = expires_at.to_be_bytes().to_vec();
        sealed.extend_from_slice(payload);
        let aad = Aad::from(aad(kind, principal));
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| SealError::Cipher)?;
        let mut whole = nonce.to_vec();
        whole.append(&mut sealed);
        Ok(format!("{VERSION}.{id}.{}", URL_SAFE_NO_PAD.encode(whole)))
    }

    /// The payload of a token that was sealed here for this kind and this principal, and whose time is not over at `now`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, kind: Kind, principal: &str, now: i64, token: &str) -> Result<Vec<u8>, OpenError> {
        if token.len() > MAX_TOKEN {
            return Err(OpenError::Malformed);
        }
        let mut parts = token.splitn(3, '.');
        let (Some(VERSION), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(OpenError::Malformed);
        };
        let (_, key) = self.keys.iter().find(|(k, _)| k == id).ok_or(OpenError::UnknownKey)?;
        let whole = URL_SAFE_NO_PAD.decode(text).map_err(|_| OpenError::Malformed)?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
        let mut sealed = sealed.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad(kind, principal)), &mut sealed)
            .map_err(|_| OpenError::Forged)?;
        let (expiry, payload) = plain.split_first_chunk::<EXPIRY_LEN>().ok_or(OpenError::Malformed)?;
        if i64::from_be_bytes(*expiry) <= now { Err(OpenError::Expired) } else { Ok(payload.to_vec()) }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

/// A key with the id that names it in tokens: the beginning of its hash.
fn ring_key(bytes: &[u8; KEY_LEN]) -> Result<(String, LessSafeKey), SealError> {
    let digest = Sha256::new().chain_update(b"tollgate key id").chain_update(bytes).finalize();
    let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Cipher)?;
    Ok((hex::encode(&digest[..4]), LessSafeKey::new(key)))
}

fn aad(kind: Kind, principal: &str) -> Vec<u8> {
    let kind: &[u8] = match kind {
        Kind::Session => b"mcp session",
        Kind::Cursor => b"mcp cursor",
    };
    [kind, &[0], principal.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    fn sealer(keys: &[u8]) -> Sealer {
        Sealer::new(&keys.iter().map(|k| [*k; KEY_LEN]).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_token_opens_for_its_kind_and_principal_until_it_expires() {
        let s = sealer(&[1]);
        let token = s.seal(Kind::Session, "ns/key", 1000, NONCE, b"state").unwrap();
        assert_eq!(s.open(Kind::Session, "ns/key", 999, &token).unwrap(), b"state");
        assert_eq!(s.open(Kind::Session, "ns/key", 1000, &token), Err(OpenError::Expired));
        assert_eq!(s.open(Kind::Session, "ns/other", 999, &token), Err(OpenError::Forged));
        assert_eq!(s.open(Kind::Cursor, "ns/key", 999, &token), Err(OpenError::Forged));
        assert!(token.bytes().all(|b| b.is_ascii_graphic()));
    }

    #[test]
    fn keys_rotate() {
        let old = sealer(&[1]).seal(Kind::Session, "p", 9, NONCE, b"x").unwrap();
        assert!(sealer(&[2, 1]).open(Kind::Session, "p", 1, &old).is_ok());
        let new = sealer(&[2, 1]).seal(Kind::Session, "p", 9, NONCE, b"x").unwrap();
        assert!(sealer(&[2]).open(Kind::Session, "p", 1, &new).is_ok());
        assert_eq!(sealer(&[2]).open(Kind::Session, "p", 1, &old), Err(OpenError::UnknownKey));
        assert_eq!(Sealer::new(&[]).err(), Some(SealError::NoKey));
    }

    proptest! {
        #[test]
        fn tampering_is_noticed(at in 0usize..200, bit in 0u8..7, payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let s = sealer(&[1]);
            let token = s.seal(Kind::Session, "p", 9, NONCE, &payload).unwrap();
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(s.open(Kind::Session, "p", 1, &changed).is_err());
            }
            prop_assert_eq!(s.open(Kind::Session, "p", 1, &token).unwrap(), payload);
        }

        #[test]
        fn arbitrary_tokens_never_panic(token in ".{0,200}") {
            _ = sealer(&[1]).open(Kind::Session, "p", 1, &token);
            let (id, _) = ring_key(&[1; KEY_LEN]).unwrap();
            _ = sealer(&[1]).open(Kind::Session, "p", 1, &format!("v1.{id}.{token}"));
        }
    }
}
