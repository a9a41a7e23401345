//! Who looks, and what they may see.

use std::sync::Arc;
use tollgate_ledger::charge::BudgetState;

/// What a viewer may see. The listener puts one into each request's extensions; a request without is [`Viewer::Nobody`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Viewer {
    /// Everything: an administrator, or anyone on loopback in standalone mode.
    All,
    /// Records of these keys (`namespace/name`) and of every key below them: a key sees its own, a team its subtree.
    Keys(Arc<[Arc<str>]>),
    /// Nothing: no known credential. Answered with 401 and how to get in.
    #[default]
    Nobody,
}

/// The state of one key's budgets, for the spend page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpend {
    /// The key's path, the key itself first, its root last (`namespace/name` each): decides who sees it.
    pub tree: Vec<Arc<str>>,
    /// Its budgets; amounts in the unit of each limit.
    pub budgets: Vec<BudgetState>,
}

/// Tells the state of all keys' budgets now: read from the ledger when a page asks.
pub type SpendProvider = Arc<dyn Fn() -> Vec<KeySpend> + Send + Sync>;

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
