//! A client's session: what `initialize` settled, carried by the client itself in its sealed session id. No gateway stores it, so any
//! replica serves it, before and after a restart.

use crate::{
    seal::{Kind, NONCE_LEN, OpenError, SealError, Sealer},
    version::Version,
};
use serde::{Deserialize, Serialize};

/// How long a session id is good, in milliseconds: 30 days, because clients rarely initialise again by themselves.
pub const LIFETIME_MS: i64 = 30 * 24 * 3600 * 1000;

/// What `initialize` settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSession {
    /// Names the session in records and keeps its upstream sessions apart from others'.
    pub id: String,
    /// The negotiated revision.
    pub version: Version,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    i: String,
    v: String,
}

// === impl ClientSession ===

impl ClientSession {
    /// The session id for `principal` (the key's identity, not its credential), good from `now` (Unix milliseconds) for [`LIFETIME_MS`].
    ///
    /// # Errors
    /// When sealing fails.
    pub fn seal(
        &self,
        sealer: &Sealer,
        principal: &str,
        now: i64,
        nonce: [u8; NONCE_LEN],
    ) -> Result<String, SealError> {
        let payload = Payload { i: self.id.clone(), v: self.version.as_str().to_owned() };
        let payload = serde_json::to_vec(&payload).map_err(|_| SealError::Cipher)?;
        sealer.seal(Kind::Session, principal, now.saturating_add(LIFETIME_MS), nonce, &payload)
    }

    /// The session of a session id.
    ///
    /// # Errors
    /// When it is not one of these gateways, another principal's, or expired.
    pub fn open(sealer: &Sealer, principal: &str, now: i64, token: &str) -> Result<Self, OpenError> {
        let payload = sealer.open(Kind::Session, principal, now, token)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| OpenError::Malformed)?;
        let version = Version::parse(&payload.v).ok_or(OpenError::Malformed)?;
        Ok(ClientSession { id: payload.i, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_thirty_days_on_any_gateway_with_the_key() {
        let session = ClientSession { id: "0192".into(), version: Version::V2025_06_18 };
        let (one, two) = (Sealer::new(&[[1; 32]]).unwrap(), Sealer::new(&[[2; 32], [1; 32]]).unwrap());
        let token = session.seal(&one, "ns/key", 1000, [3; 12]).unwrap();
        assert_eq!(ClientSession::open(&two, "ns/key", 1000 + LIFETIME_MS - 1, &token), Ok(session));
        assert_eq!(ClientSession::open(&two, "ns/key", 1000 + LIFETIME_MS, &token), Err(OpenError::Expired));
        assert!(ClientSession::open(&two, "ns/thief", 1000, &token).is_err());
        assert!(token.len() < 300);
    }
}
