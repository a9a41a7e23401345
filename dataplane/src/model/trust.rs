//! What the operator pushes that belongs to no user's object: whose tokens are credentials, and what gateways seal with.

use crate::identity::Verifier;
use std::{fmt, sync::Arc};
use tollgate_mcp::seal::KEY_LEN;

/// An issuer of ServiceAccount tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// Its name, such as `cluster`.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// One of the `aud` of its tokens must be this.
    pub audience: String,
    /// Its JSON Web Key Set (RFC 7517), as it came.
    pub jwks: String,
    /// What tokens are verified with.
    pub verifier: Arc<Verifier>,
}

/// Keys that state which travels through clients is sealed with. Its `Debug` prints none.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKeys {
    /// The newest first: it seals, all open. Never empty.
    pub keys: Vec<[u8; KEY_LEN]>,
}

// === impl SealingKeys ===

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys").field("keys", &self.keys.len()).finish()
    }
}
