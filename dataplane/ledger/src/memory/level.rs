//! The table of all keys.

use crate::state::State;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::HashMap;
use std::sync::Arc;

/// All keys by name, in shards.
#[derive(Debug)]
pub(super) struct Levels {
    shards: Vec<RwLock<HashMap<Arc<str>, Arc<Slot>>>>,
}

/// One key's place in the table.
#[derive(Debug)]
pub(super) struct Slot {
    /// `namespace/name`.
    pub(super) key: Arc<str>,
    state: Mutex<State>,
}

const SHARDS: usize = 64;

// === impl Levels ===

impl Default for Levels {
    fn default() -> Self {
        Levels { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl Levels {
    fn shard(&self, key: &str) -> Option<&RwLock<HashMap<Arc<str>, Arc<Slot>>>> {
        let sum = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.shards.get(sum % SHARDS)
    }

    /// The key's slot, if it has one.
    pub(super) fn find(&self, key: &str) -> Option<Arc<Slot>> {
        self.shard(key)?.read().get(key).cloned()
    }

    /// The key's slot, made if need be.
    pub(super) fn get(&self, key: &str) -> Arc<Slot> {
        if let Some(slot) = self.find(key) {
            return slot;
        }
        let key: Arc<str> = Arc::from(key);
        let slot = || Arc::new(Slot { key: key.clone(), state: Mutex::default() });
        match self.shard(&key) {
            Some(shard) => shard.write().entry(key.clone()).or_insert_with(slot).clone(),
            None => slot(),
        }
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Drops windows that are over, and keys of which nothing is left to remember. A slot that someone else has a hand on
    /// stays; nobody can get one while its shard is locked.
    pub(super) fn tidy(&self, now: i64) {
        for shard in &self.shards {
            shard.write().retain(|_, slot| {
                let idle = slot.lock().tidy(now);
                !idle || Arc::strong_count(slot) > 1
            });
        }
    }
}

// === impl Slot ===

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
