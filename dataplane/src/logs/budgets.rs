//! The state of budgets, as the ledger tells it.

use futures_util::future::BoxFuture;
use std::sync::Arc;
use tollgate_ledger::charge::BudgetState;

/// The state of one key's budgets, for the spend page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpend {
    /// The key's path, the key itself first, its root last (`namespace/name` each): decides who sees it.
    pub tree: Vec<Arc<str>>,
    /// Its budgets; amounts in the unit of each limit.
    pub budgets: Vec<BudgetState>,
}

/// Tells the state of all keys' budgets now: read from the ledger when a page asks.
pub type SpendProvider = Arc<dyn Fn() -> BoxFuture<'static, Vec<KeySpend>> + Send + Sync>;

/// A provider of what is known without waiting.
pub fn at_once(spend: impl Fn() -> Vec<KeySpend> + Send + Sync + 'static) -> SpendProvider {
    Arc::new(move || {
        let spend = spend();
        Box::pin(std::future::ready(spend))
    })
}
