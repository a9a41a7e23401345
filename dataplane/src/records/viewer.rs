//! Who looks, and what they may see.

use std::sync::Arc;

/// What a viewer may see. The listener puts one into each request's extensions; a request without is [`Viewer::Nobody`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Viewer {
    /// Everything: an administrator, or anyone on loopback in standalone mode.
    All,
    /// Records of these keys (`namespace/name`) and of every key below them: a key sees its own, a team its subtree.
    Keys(Arc<[Arc<str>]>),
    /// Nothing: no known credential. Answered with 401 and how to get in.
    #[default]
    Nobody,
}

// === impl Viewer ===

impl Viewer {
    /// Whether a record (or a key) with this path may be seen.
    pub fn sees<T: AsRef<str>>(&self, tree: &[T]) -> bool {
        match self {
            Viewer::All => true,
            Viewer::Keys(keys) => tree.iter().any(|key| keys.iter().any(|k| **k == *key.as_ref())),
            Viewer::Nobody => false,
        }
    }
}
