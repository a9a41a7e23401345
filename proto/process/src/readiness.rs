//! Whether a process can serve, and why not, in words.
//!
//! Each part that must be there first holds a [`Waiting`]; the process is ready when the last one is dropped. Nothing can take
//! readiness away again but the process's own end: a store or an operator that goes away later is no reason to stop serving.

use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Whether a process can serve. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Vec<(u64, String)>>,
    next: AtomicU64,
    draining: AtomicBool,
}

/// Something that must be there first; dropped when it is.
#[derive(Debug)]
pub struct Waiting {
    readiness: Readiness,
    id: u64,
}

/// What is said of a process that ends.
pub const DRAINING: &str = "draining";

// === impl Readiness ===

impl Readiness {
    /// Not ready until what is returned is dropped; `why`: for people, such as `Redis: connecting to redis:6379`.
    pub fn wait_for(&self, why: impl Into<String>) -> Waiting {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.waiting.lock().push((id, why.into()));
        Waiting { readiness: self.clone(), id }
    }

    /// Not ready any more: the process ends.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether the process ends.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Whether it can serve.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.0.waiting.lock().is_empty()
    }

    /// Why it cannot serve; nothing when it can.
    pub fn reasons(&self) -> Vec<String> {
        let draining = self.is_draining().then(|| DRAINING.to_owned());
        draining.into_iter().chain(self.0.waiting.lock().iter().map(|(_, why)| why.clone())).collect()
    }
}

// === impl Waiting ===

impl Waiting {
    /// Says anew why.
    pub fn because(&self, why: impl Into<String>) {
        let why = why.into();
        if let Some(mine) = self.readiness.0.waiting.lock().iter_mut().find(|(id, _)| *id == self.id) {
            mine.1 = why;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.readiness.0.waiting.lock().retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_that_was_waited_for_is_there_and_until_the_end() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let redis = readiness.wait_for("Redis: connecting");
        let operator = readiness.clone().wait_for("waiting for the first configuration");
        redis.because("Redis: refused");
        assert_eq!(readiness.reasons(), ["Redis: refused", "waiting for the first configuration"]);
        drop(redis);
        assert!(!readiness.is_ready());
        drop(operator);
        assert!(readiness.is_ready() && readiness.reasons().is_empty());
        readiness.drain();
        assert!(!readiness.is_ready() && readiness.is_draining());
        assert_eq!(readiness.reasons(), [DRAINING]);
    }
}
