//! What a token says. Nothing of it counts before the signature does.

use super::{MAX_TOKEN, Rejection};
use crate::model::ObjectId;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

/// The parts of a token that its signature is about.
#[derive(Debug)]
pub(super) struct Signed<'t> {
    /// Header and payload, as they came.
    pub(super) message: &'t str,
    /// The signature, in base64url.
    pub(super) signature: &'t str,
    pub(super) algorithm: Algorithm,
    /// The id of the key, when the token names one.
    pub(super) key: Option<String>,
}

/// The claims that matter here; times in Unix milliseconds.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) expires: i64,
    pub(super) not_before: Option<i64>,
    subject: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): none is.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// How the subject of a ServiceAccount begins; its namespace and name follow.
const SUBJECT: &str = "system:serviceaccount:";

// === impl Claims ===

impl Claims {
    /// Takes a token apart.
    pub(super) fn read(token: &str) -> Result<(Signed<'_>, Self), Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(Rejection::Malformed("it is too long"));
        }
        let parts = token.rsplit_once('.').and_then(|(message, signature)| {
            let (header, payload) = message.split_once('.')?;
            Some((message, signature, header, payload))
        });
        let (message, signature, header, payload) =
            parts.ok_or(Rejection::Malformed("it has not three parts"))?;
        let header: Header = json(header).ok_or(Rejection::Malformed("its header is no JSON"))?;
        let payload: Payload = json(payload)
            .ok_or(Rejection::Malformed("a claim is missing: iss, sub, aud and exp must be there"))?;
        if header.crit.is_some() {
            return Err(Rejection::Malformed("it uses extensions"));
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            // `none`, and HMAC with a public key for a secret, are the classic forgeries.
            _ => return Err(Rejection::Algorithm),
        };
        let claims = Claims {
            issuer: payload.iss,
            audience: match payload.aud {
                Audience::One(one) => vec![one],
                Audience::Several(several) => several,
            },
            expires: millis(payload.exp),
            not_before: payload.nbf.map(millis),
            subject: payload.sub,
        };
        Ok((Signed { message, signature, algorithm, key: header.kid }, claims))
    }

    /// The ServiceAccount that the subject names.
    pub(super) fn account(&self) -> Option<ObjectId> {
        let (namespace, name) = self.subject.strip_prefix(SUBJECT)?.split_once(':')?;
        let named = |part: &str| !part.is_empty() && !part.contains([':', '/']);
        (named(namespace) && named(name)).then(|| ObjectId::new(namespace, name))
    }
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Seconds since 1970, which may have a fraction (RFC 7519 §2), in milliseconds. Out of range saturates; no number is the past.
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}
