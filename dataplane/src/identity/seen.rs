//! Tokens that were verified before. A pod shows the same token for most of an hour, and a signature takes longer to check
//! than everything else about identity. Looked up by every request without a lock; written once a token.

use super::Workload;
use arc_swap::ArcSwap;
use std::collections::HashMap;

/// The most tokens that are remembered. Only verified ones are, so strangers cannot fill it.
const MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Seen(ArcSwap<HashMap<[u8; 32], Workload>>);

// === impl Seen ===

impl Seen {
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Workload> {
        self.0.load().get(hash).cloned()
    }

    pub(super) fn insert(&self, hash: [u8; 32], workload: Workload, now: i64) {
        self.0.rcu(|old| {
            let mut new = HashMap::clone(old);
            if new.len() >= MAX {
                new.retain(|_, w| w.expires > now);
            }
            if new.len() >= MAX {
                // Those that expire first have served longest.
                let mut ends: Vec<i64> = new.values().map(|w| w.expires).collect();
                let (_, median, _) = ends.select_nth_unstable(MAX / 2);
                let median = *median;
                new.retain(|_, w| w.expires > median);
            }
            new.insert(hash, workload.clone());
            new
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.load().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectId;

    #[test]
    fn it_is_bounded_and_keeps_what_lives_longest() {
        let seen = Seen::default();
        for n in 0..(MAX as u64 * 2) {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_le_bytes());
            let workload = Workload { account: ObjectId::new("n", "a"), expires: 1000 + n as i64 };
            if n % 64 == 0 || n >= MAX as u64 {
                seen.insert(hash, workload, 0);
            }
            assert!(seen.len() <= MAX);
        }
        let mut last = [0; 32];
        last[..8].copy_from_slice(&(MAX as u64 * 2 - 1).to_le_bytes());
        assert!(seen.get(&last).is_some());
    }
}
