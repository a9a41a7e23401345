//! Workload identity: ServiceAccount tokens of Kubernetes, verified offline.
//!
//! A pod shows its projected token; the issuer's public keys were pushed to the gateway, so no request waits for an API
//! server. What offline verification cannot know is that a pod was deleted: its token is good until it expires, an hour
//! at most for tokens as the relay's.
//!
//! # Layout
//! - here: [`Verifier`], one issuer; [`verify`], over all of them; [`Rejection`], in words for the caller
//! - `jwks`: public keys out of a JSON Web Key Set; `claims`: what a token says
//! - `seen`: tokens that were verified before; [`file`]: an issuer out of a file, for a gateway without an operator

mod claims;
pub mod file;
mod jwks;
mod seen;

#[cfg(test)]
pub(crate) mod tests;

pub use jwks::JwksError;

use crate::model::ObjectId;
use claims::Claims;
use jwks::SigningKey;
use seen::Seen;
use std::fmt;

/// The longest token that is looked at, in bytes: Kubernetes' own have about one thousand.
pub const MAX_TOKEN: usize = 8 << 10;
/// How far the clocks of issuer and gateway may differ, in milliseconds.
pub const LEEWAY: i64 = 30_000;

/// One issuer of tokens, and those of its tokens that were seen.
pub struct Verifier {
    issuer: String,
    audience: String,
    keys: Vec<SigningKey>,
    seen: Seen,
}

/// Who a verified token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The ServiceAccount.
    pub account: ObjectId,
    /// Until when the token is good, Unix milliseconds.
    pub expires: i64,
}

/// Why a token is no credential, in words for whoever sent it. Nothing of the token is in them before its signature was good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not three parts, not JSON, too long.
    #[error("the credential looks like a ServiceAccount token and cannot be read as one: {0}")]
    Malformed(&'static str),
    /// No such issuer is known here.
    #[error(
        "the ServiceAccount token comes from an issuer that this gateway does not know; it takes tokens of {0}: \
         use a token of the cluster that the gateway serves"
    )]
    Issuer(String),
    /// An algorithm that is not taken.
    #[error(
        "the ServiceAccount token is signed with an algorithm that is not taken here; RS256 and ES256 are"
    )]
    Algorithm,
    /// No key of the issuer made the signature.
    #[error(
        "the signature of the ServiceAccount token is of no key of {0}: the token is forged, or of another cluster"
    )]
    Signature(String),
    /// Meant for somebody else.
    #[error(
        "the ServiceAccount token is for another audience; mount a projected token with `audience: {0}` \
         (the default token of a pod is for the API server only)"
    )]
    Audience(String),
    /// Past its end.
    #[error(
        "the ServiceAccount token expired {0} s ago; kubelet replaces the file before that: read it anew for each request"
    )]
    Expired(i64),
    /// Before its beginning.
    #[error(
        "the ServiceAccount token is not valid for another {0} s: compare the clocks of node and gateway"
    )]
    NotYet(i64),
    /// Signed, but for no ServiceAccount.
    #[error("the token is not one of a ServiceAccount")]
    Subject,
}

/// Whether a credential is worth trying as a token: virtual keys hold no dots.
pub fn looks_like_a_token(text: &str) -> bool {
    text.len() <= MAX_TOKEN && text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() == 2
}

/// Who `token` is, at `now` (Unix milliseconds). `hash`: its SHA-256, under which a verified token is remembered.
///
/// # Errors
/// The reason, for the caller.
pub fn verify<'v>(
    verifiers: impl Iterator<Item = &'v Verifier> + Clone,
    token: &str,
    hash: &[u8; 32],
    now: i64,
) -> Result<Workload, Rejection> {
    if let Some(known) = verifiers.clone().find_map(|v| v.seen.get(hash)) {
        return known.in_time(now);
    }
    let (signed, claims) = Claims::read(token)?;
    let Some(verifier) = verifiers.clone().find(|v| v.issuer == claims.issuer) else {
        let known: Vec<&str> = verifiers.map(|v| v.issuer.as_str()).take(4).collect();
        return Err(Rejection::Issuer(known.join(", ")));
    };
    let workload = verifier.check(&signed, claims, now)?;
    verifier.seen.insert(*hash, workload.clone(), now);
    Ok(workload)
}

// === impl Verifier ===

impl Verifier {
    /// A verifier of the tokens of `issuer` for `audience`, by the keys in `jwks` (RFC 7517, JSON).
    ///
    /// # Errors
    /// When the key set cannot be read, or holds no key of a kind that is taken here.
    pub fn new(issuer: &str, audience: &str, jwks: &str) -> Result<Self, JwksError> {
        let keys = jwks::read(jwks)?;
        Ok(Verifier { issuer: issuer.to_owned(), audience: audience.to_owned(), keys, seen: Seen::default() })
    }

    fn check(&self, signed: &claims::Signed<'_>, claims: Claims, now: i64) -> Result<Workload, Rejection> {
        let candidates = self.keys.iter().filter(|key| key.may_have_signed(signed));
        if !candidates.clone().any(|key| key.verifies(signed)) {
            return Err(Rejection::Signature(self.issuer.clone()));
        }
        if !claims.audience.contains(&self.audience) {
            return Err(Rejection::Audience(self.audience.clone()));
        }
        if let Some(begin) = claims.not_before.filter(|begin| now < begin.saturating_sub(LEEWAY)) {
            return Err(Rejection::NotYet((begin - now) / 1000));
        }
        let workload =
            Workload { account: claims.account().ok_or(Rejection::Subject)?, expires: claims.expires };
        workload.in_time(now)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Verifier {
    /// The same issuer with the same keys, whatever it has seen.
    fn eq(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.audience == other.audience && self.keys == other.keys
    }
}

impl Eq for Verifier {}

// === impl Workload ===

impl Workload {
    fn in_time(self, now: i64) -> Result<Self, Rejection> {
        match now.saturating_sub(self.expires) {
            late if late >= LEEWAY => Err(Rejection::Expired(late / 1000)),
            _ => Ok(self),
        }
    }
}
