//! The state of budgets, as the ledger tells it.

use super::Viewer;
use futures_util::future::BoxFuture;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use tollgate_ledger::charge::BudgetState;

/// The state of one key's budgets, for the spend page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpend {
    /// The key's path, the key itself first, its root last (`namespace/name` each): decides who sees it.
    pub tree: Vec<Arc<str>>,
    /// Its budgets; amounts in the unit of each limit.
    pub budgets: Vec<BudgetState>,
}

/// Tells the state of the budgets that a viewer may see, now: read from the ledger when a page asks, and only these.
pub type SpendProvider = Arc<dyn Fn(Viewer) -> BoxFuture<'static, Vec<KeySpend>> + Send + Sync>;

/// How long an answer is good for: whoever asks more often gets the same again.
const FRESH: Duration = Duration::from_secs(2);
/// The most viewers whose answers are remembered.
const MOST_VIEWERS: usize = 256;

/// What was told to whom, and when.
#[derive(Debug, Default)]
struct Told(HashMap<Viewer, (Instant, Vec<KeySpend>)>);

/// A provider that asks `spend` at most once in two seconds for each viewer, and for one viewer at a time: a page in a loop is no way to
/// keep the ledger busy.
pub fn remembered(spend: SpendProvider) -> SpendProvider {
    let told = Arc::new(Mutex::new(Told::default()));
    Arc::new(move |viewer: Viewer| {
        let (spend, told) = (spend.clone(), told.clone());
        Box::pin(async move {
            let mut told = told.lock().await;
            if let Some(known) = told.known(&viewer, Instant::now()) {
                return known;
            }
            let found = spend(viewer.clone()).await;
            told.add(viewer, found.clone(), Instant::now());
            found
        })
    })
}

/// A provider of what is known without waiting.
pub fn at_once(spend: impl Fn() -> Vec<KeySpend> + Send + Sync + 'static) -> SpendProvider {
    Arc::new(move |viewer: Viewer| {
        let spend: Vec<_> = spend().into_iter().filter(|key| viewer.sees(&key.tree)).collect();
        Box::pin(std::future::ready(spend))
    })
}

// === impl Told ===

impl Told {
    fn known(&self, viewer: &Viewer, now: Instant) -> Option<Vec<KeySpend>> {
        let (since, spend) = self.0.get(viewer)?;
        (now.saturating_duration_since(*since) < FRESH).then(|| spend.clone())
    }

    fn add(&mut self, viewer: Viewer, spend: Vec<KeySpend>, now: Instant) {
        self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < FRESH);
        if self.0.len() < MOST_VIEWERS {
            self.0.insert(viewer, (now, spend));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_told_again_for_a_while_and_to_the_same_viewer_only() {
        let of = |name: &str| Viewer::Keys([Arc::from(name)].into());
        let spend = |name: &str| vec![KeySpend { tree: vec![Arc::from(name)], budgets: Vec::new() }];
        let (mut told, now) = (Told::default(), Instant::now());
        told.add(of("eng/a"), spend("eng/a"), now);
        assert_eq!(told.known(&of("eng/a"), now), Some(spend("eng/a")));
        assert_eq!(told.known(&of("eng/b"), now), None);
        assert_eq!(told.known(&Viewer::All, now), None);
        assert_eq!(told.known(&of("eng/a"), now + FRESH), None);
        for viewer in 0..2 * MOST_VIEWERS {
            told.add(of(&viewer.to_string()), Vec::new(), now);
        }
        assert_eq!(told.0.len(), MOST_VIEWERS);
        told.add(of("eng/b"), Vec::new(), now + FRESH);
        assert_eq!(told.0.len(), 1, "what is too old to be told again is forgotten");
    }
}
