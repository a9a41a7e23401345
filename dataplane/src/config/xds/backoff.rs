//! When to try again.

use std::{hash::BuildHasher, time::Duration};

/// The wait before the next attempt: it doubles, up to a bound, and is spread so that gateways do not come all at once.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

/// The first wait.
pub const FIRST: Duration = Duration::from_millis(10);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(15);
/// The longest wait of a gateway that has nothing to serve yet: every moment counts there.
pub const LONGEST_UNREADY: Duration = Duration::from_secs(1);

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Backoff { next: FIRST }
    }
}

impl Backoff {
    /// The wait before the next attempt, `longest` at most: between half of it and all of it by `random`.
    pub fn next(&mut self, random: u64, longest: Duration) -> Duration {
        let wait = self.next.min(longest);
        self.next = (wait * 2).min(longest);
        let part = (random % 1024) as u32;
        wait / 2 + wait / 2 * part / 1024
    }

    /// The last attempt was a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// A number nobody can foresee well enough to make gateways wait for the same time: a hasher's random keys.
pub fn random() -> u64 {
    std::hash::RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let longest: Vec<_> = (0..13).map(|_| backoff.next(1023, LONGEST).as_millis()).collect();
        assert!((9..=10).contains(&longest[0]) && (19..=20).contains(&longest[1]), "{longest:?}");
        assert!((14_900..=15_000).contains(&longest[12]), "{longest:?}");
        assert_eq!(backoff.next(0, LONGEST), LONGEST / 2);
        assert_eq!(backoff.next(0, LONGEST_UNREADY), LONGEST_UNREADY / 2);
        backoff.reset();
        assert_eq!(backoff.next(0, LONGEST), FIRST / 2);
    }
}
