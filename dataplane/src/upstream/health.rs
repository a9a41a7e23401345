//! Ejection: a backend that failed so many times in a row is left alone for a while. Kept across configuration changes.

use crate::model::{ObjectId, route::Health as Rules};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

/// The health of all backends seen so far. Reading takes no lock; an entry is added once per backend.
#[derive(Debug, Default)]
pub struct Health {
    states: ArcSwap<HashMap<(ObjectId, String), Arc<State>>>,
}

#[derive(Debug, Default)]
struct State {
    failures: AtomicU32,
    ejected_until: AtomicI64,
    /// What ejected it last, in words.
    error: Mutex<String>,
}

/// A backend that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejected {
    /// Its route.
    pub route: ObjectId,
    /// Its name.
    pub backend: String,
    /// Until when, Unix milliseconds.
    pub until: i64,
    /// What ejected it, in words.
    pub error: String,
}

/// The most backends remembered; beyond it new ones are never ejected.
const MAX_BACKENDS: usize = 10_000;

// === impl Health ===

impl Health {
    /// Whether the backend is ejected at `now` (Unix milliseconds).
    pub fn ejected(&self, route: &ObjectId, backend: &str, now: i64) -> bool {
        let states = self.states.load();
        // Almost always empty: nothing has failed yet.
        if states.is_empty() {
            return false;
        }
        let key = (route.clone(), backend.to_owned());
        states.get(&key).is_some_and(|s| s.ejected_until.load(Ordering::Relaxed) > now)
    }

    /// An attempt succeeded.
    pub fn succeeded(&self, route: &ObjectId, backend: &str) {
        let states = self.states.load();
        if states.is_empty() {
            return;
        }
        if let Some(state) = states.get(&(route.clone(), backend.to_owned())) {
            state.failures.store(0, Ordering::Relaxed);
        }
    }

    /// An attempt failed through the backend's fault. Returns whether that ejected it.
    pub fn failed(&self, route: &ObjectId, backend: &str, rules: &Rules, now: i64, error: &str) -> bool {
        if rules.consecutive_failures == 0 {
            return false;
        }
        let Some(state) = self.state(route, backend) else { return false };
        let failures = state.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < rules.consecutive_failures {
            return false;
        }
        state.failures.store(0, Ordering::Relaxed);
        let until = now.saturating_add(i64::try_from(rules.eject_for.as_millis()).unwrap_or(i64::MAX));
        state.ejected_until.store(until, Ordering::Relaxed);
        error.clone_into(&mut state.error.lock());
        true
    }

    /// The backends that are left alone at `now` (Unix milliseconds), by route and name.
    pub fn all_ejected(&self, now: i64) -> Vec<Ejected> {
        let states = self.states.load();
        let ejected = states.iter().filter_map(|((route, backend), state)| {
            let until = state.ejected_until.load(Ordering::Relaxed);
            (until > now).then(|| Ejected {
                route: route.clone(),
                backend: backend.clone(),
                until,
                error: state.error.lock().clone(),
            })
        });
        let mut ejected: Vec<_> = ejected.collect();
        ejected.sort_by(|a, b| (a.route.as_str(), &a.backend).cmp(&(b.route.as_str(), &b.backend)));
        ejected
    }

    fn state(&self, route: &ObjectId, backend: &str) -> Option<Arc<State>> {
        let key = (route.clone(), backend.to_owned());
        if let Some(state) = self.states.load().get(&key) {
            return Some(state.clone());
        }
        self.states.rcu(|old| {
            let mut new = HashMap::clone(old);
            if new.len() < MAX_BACKENDS {
                new.entry(key.clone()).or_default();
            }
            new
        });
        self.states.load().get(&key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ejects_after_failures_in_a_row_and_lets_back_in() {
        let (health, id) = (Health::default(), ObjectId::new("default", "r"));
        let rules = Rules { consecutive_failures: 2, eject_for: Duration::from_millis(100) };
        assert!(!health.failed(&id, "a", &rules, 0, "x"));
        health.succeeded(&id, "a");
        assert!(!health.failed(&id, "a", &rules, 1, "x"), "a success in between starts the count anew");
        assert!(health.failed(&id, "a", &rules, 2, "503"));
        let ejected = health.all_ejected(50);
        assert_eq!((ejected.len(), ejected[0].until, ejected[0].error.as_str()), (1, 102, "503"));
        assert!(health.all_ejected(102).is_empty());
        assert!(health.ejected(&id, "a", 101));
        assert!(!health.ejected(&id, "a", 102));
        assert!(!health.ejected(&id, "b", 50));
    }
}
