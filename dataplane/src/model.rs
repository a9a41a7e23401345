//! Validated configuration, as requests use it. Made from the wire resources in one `TryFrom` per resource ([`convert`]).

pub mod convert;
#[cfg(test)]
pub mod fixtures;
pub mod key;
pub mod route;
pub mod server;
pub mod trust;

pub use key::Key;
pub use route::Route;
pub use server::Server;
pub use tollgate_proto::glob::Globs;
pub use trust::{SealingKeys, TokenIssuer};

use std::{fmt, sync::Arc};

/// The identity of a user's object: `namespace/name`, kept as one string with the place of the slash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    text: Arc<str>,
    slash: usize,
}

/// To whom an object outside its namespace is visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// Its own namespace only.
    Same,
    /// Everyone.
    All,
    /// These namespaces (a selector, already resolved).
    Namespaces(Vec<String>),
}

/// A value that must not be shown: credentials. Its `Debug` prints no content.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// Why a resource cannot become configuration: the field and the reason (a NACK's words).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field, as a path in the user's manifest.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

// === impl ObjectId ===

impl ObjectId {
    /// An id from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        ObjectId { text: format!("{namespace}/{name}").into(), slash: namespace.len() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `namespace/name`, shared.
    pub fn shared(&self) -> Arc<str> {
        self.text.clone()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Export ===

impl Export {
    /// Whether an object with this export is visible from `namespace`, another than its own.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Export::Same => false,
            Export::All => true,
            Export::Namespaces(list) => list.iter().any(|n| n == namespace),
        }
    }
}

// === impl Secret ===

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Secret(text.into())
    }

    /// The text: only to be put on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
