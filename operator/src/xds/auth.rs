//! Who may connect. Who a gateway is, its token says, never its messages.

use futures_util::future::BoxFuture;
use std::{fmt, path::PathBuf};
use tonic::{Status, metadata::MetadataMap};

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The namespace of its pod.
    pub namespace: String,
    /// Its pod's ServiceAccount.
    pub service_account: String,
    /// Its pod; empty when the token is not bound to one.
    pub pod: String,
}

/// Why a token was not accepted. The words reach the client: they say nothing of what would have been accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none.
    #[error("no bearer token in the metadata `authorization`")]
    Missing,
    /// It belongs to nobody who may connect.
    #[error("the token is not one of a gateway")]
    Unknown,
    /// It could not be checked; trying again may help.
    #[error("the token cannot be checked now: {0}")]
    Unavailable(String),
}

/// Decides whose a token is.
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// Whose `token` is; asked once a stream, which lives no longer than `Options::max_age`.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, Denied>>;
}

/// Nobody may connect.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenyAll;

/// Whoever knows a token of a file may connect: the form without a cluster. One token a line, so that an old and a new one
/// can be valid together; read anew for each stream.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

/// The longest token that is looked at, in bytes; ServiceAccount tokens have about 1 KiB.
const MAX_TOKEN: usize = 16 << 10;
/// The shortest token of a file: shorter ones are no secret.
const MIN_TOKEN: usize = 16;

/// Whose the token in a call's metadata is.
///
/// # Errors
/// `Unauthenticated`, or `Unavailable` when it could not be checked.
pub async fn identify(auth: &dyn Authenticate, metadata: &MetadataMap) -> Result<Identity, Status> {
    let token = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN);
    let outcome = match token {
        Some(token) => auth.authenticate(token).await,
        None => Err(Denied::Missing),
    };
    outcome.map_err(|denied| match denied {
        Denied::Missing | Denied::Unknown => Status::unauthenticated(denied.to_string()),
        Denied::Unavailable(_) => Status::unavailable(denied.to_string()),
    })
}

// === impl Identity ===

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.pod.is_empty() { &self.service_account } else { &self.pod };
        write!(f, "{}/{name}", self.namespace)
    }
}

// === impl DenyAll ===

impl Authenticate for DenyAll {
    fn authenticate<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(async { Err(Denied::Unknown) })
    }
}

// === impl TokenFile ===

impl TokenFile {
    /// Tokens are those of this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        TokenFile { path: path.into() }
    }

    async fn check(&self, token: &str) -> Result<Identity, Denied> {
        let text = tokio::fs::read_to_string(&self.path).await.map_err(|error| {
            tracing::error!(file = %self.path.display(), %error, "cannot read the tokens");
            Denied::Unavailable("the file of tokens cannot be read".to_owned())
        })?;
        // Digests are compared, so that the time it takes tells nothing of a token's beginning.
        let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let given = digest(token);
        let mut known = text.lines().map(str::trim).filter(|line| line.len() >= MIN_TOKEN);
        match known.any(|line| digest(line).as_ref() == given.as_ref()) {
            true => Ok(Identity {
                namespace: "-".to_owned(),
                service_account: "token-file".to_owned(),
                pod: String::new(),
            }),
            false => Err(Denied::Unknown),
        }
    }
}

impl Authenticate for TokenFile {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(self.check(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    async fn code(auth: &dyn Authenticate, header: Option<&str>) -> Result<Identity, Code> {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("authorization", header.parse().unwrap());
        }
        identify(auth, &metadata).await.map_err(|status| status.code())
    }

    #[tokio::test]
    async fn a_token_must_stand_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let auth = TokenFile::new(file.path());
        std::fs::write(file.path(), "a-token-of-some-length\n\nshort\n another-token-of-a-length \n")
            .unwrap();
        assert!(code(&auth, Some("Bearer a-token-of-some-length")).await.is_ok());
        assert!(code(&auth, Some("Bearer another-token-of-a-length")).await.is_ok());
        for wrong in ["Bearer a-token-of-some-lengt", "Bearer short", "Bearer ", "Basic x", "Bearer x"] {
            assert_eq!(code(&auth, Some(wrong)).await, Err(Code::Unauthenticated), "{wrong}");
        }
        assert_eq!(code(&auth, None).await, Err(Code::Unauthenticated));
        // Read anew each time: a token is revoked by taking it out.
        std::fs::write(file.path(), "another-token-of-a-length").unwrap();
        assert_eq!(code(&auth, Some("Bearer a-token-of-some-length")).await, Err(Code::Unauthenticated));
        let gone = TokenFile::new("/nonexistent");
        assert_eq!(code(&gone, Some("Bearer a-token-of-some-length")).await, Err(Code::Unavailable));
    }

    #[tokio::test]
    async fn nobody_may_connect_by_default() {
        assert_eq!(code(&DenyAll, Some("Bearer a-token-of-some-length")).await, Err(Code::Unauthenticated));
    }
}
