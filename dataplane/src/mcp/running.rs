//! Calls that are under way in this process, so that `notifications/cancelled` finds its call.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};
use tokio::sync::Notify;

/// Shards, so that calls do not wait for one lock.
const SHARDS: usize = 16;

/// The principal, its session, and the raw id of the request.
type Key = (Box<str>, Box<str>, Box<str>);

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Running {
    shards: [Mutex<HashMap<Key, Arc<Notify>>>; SHARDS],
    hasher: RandomState,
}

/// A call under way; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<super::Shared>,
    key: Key,
    cancelled: Arc<Notify>,
}

// === impl Running ===

impl Running {
    /// Cancels a call of this session, if it is here.
    pub(super) fn cancel(&self, principal: &str, session: &str, request: &str) {
        let key = (principal.into(), session.into(), request.into());
        if let Some(call) = self.shard(&key).lock().get(&key) {
            call.notify_one();
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Arc<Notify>>> {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        &self.shards[at]
    }
}

// === impl Ticket ===

impl Ticket {
    /// Notes a call, so that it can be cancelled.
    pub(super) fn new(shared: &Arc<super::Shared>, principal: &str, session: &str, request: &str) -> Self {
        let key = (principal.into(), session.into(), request.into());
        let cancelled = Arc::new(Notify::new());
        shared.running.shard(&key).lock().insert(key.clone(), cancelled.clone());
        Ticket { shared: shared.clone(), key, cancelled }
    }

    /// Waits until the call is cancelled.
    pub(super) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shard = self.shared.running.shard(&self.key).lock();
        if shard.get(&self.key).is_some_and(|n| Arc::ptr_eq(n, &self.cancelled)) {
            shard.remove(&self.key);
        }
    }
}
