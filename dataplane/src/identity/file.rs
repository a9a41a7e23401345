//! An issuer out of a file, for a gateway that no operator tells whose tokens to take (`--token-issuer FILE`).

use super::{JwksError, Verifier};
use serde::Deserialize;
use std::{io, path::Path};

/// The file's content: `{"issuer": "https://…", "audience": "tollgate", "jwks": {"keys": […]}}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    issuer: String,
    #[serde(default = "audience")]
    audience: String,
    jwks: serde_json::Value,
}

/// Why the file gives no issuer.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no JSON of that form.
    #[error("it is not {{issuer, audience, jwks}}: {0}")]
    Json(#[from] serde_json::Error),
    /// Its keys cannot be used.
    #[error(transparent)]
    Jwks(#[from] JwksError),
}

/// Reads the file.
///
/// # Errors
/// When it cannot be read or holds no usable key.
pub fn read(path: &Path) -> Result<Verifier, FileError> {
    let file: Issuer = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(Verifier::new(&file.issuer, &file.audience, &file.jwks.to_string())?)
}

fn audience() -> String {
    "tollgate".to_owned()
}
