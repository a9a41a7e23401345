//! A term: the time for which this replica holds the Lease, and the right to write that ends with it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio_util::sync::CancellationToken;

/// The right to write, for as long as the Lease is held. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Term(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u64,
    valid: parking_lot::RwLock<Valid>,
    ended: CancellationToken,
    writing: Arc<RwLock<()>>,
}

/// The right to one write. The Lease is not released while there is one.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>);

/// For how long the Lease is certainly held: counted from before its last renewal was sent.
#[derive(Debug, Clone, Copy)]
struct Valid {
    since: Moment,
    length: Duration,
}

/// A moment by both clocks. The monotonic one goes on while a process is stopped but not while a machine is suspended, the
/// other may be set: the right to write needs both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

// === impl Moment ===

impl Moment {
    pub(super) fn now() -> Self {
        Moment { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The longer of the times that the clocks say have passed since `earlier`.
    fn since(self, earlier: Moment) -> Duration {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        self.monotonic.duration_since(earlier.monotonic).max(wall)
    }
}

// === impl Term ===

impl Term {
    pub(super) fn new(number: u64, since: Moment, length: Duration) -> Self {
        Term(Arc::new(Inner {
            number,
            valid: parking_lot::RwLock::new(Valid { since, length }),
            ended: CancellationToken::new(),
            writing: Arc::default(),
        }))
    }

    /// The Lease was renewed by a request that was sent at `since`. A term that has ended does not come back.
    pub(super) fn renew(&self, since: Moment) {
        self.0.valid.write().since = since;
    }

    /// For how long it is valid from `now` on.
    pub(super) fn left(&self, now: Moment) -> Duration {
        let valid = *self.0.valid.read();
        valid.length.saturating_sub(now.since(valid.since))
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.0.ended.cancel();
    }

    /// Waits until nobody writes any more, for `patience` at most.
    pub(super) async fn drain(&self, patience: Duration) {
        drop(tokio::time::timeout(patience, self.0.writing.write()).await);
    }

    /// Tells this term from others of this process.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether the Lease is held now, by this process's own clocks: a process that was stopped for long and wakes up finds
    /// that it is not.
    pub fn holds(&self) -> bool {
        !self.0.ended.is_cancelled() && !self.left(Moment::now()).is_zero()
    }

    /// The right to write now; `None`: the Lease is not held any more. To be asked for before each write, which must not take
    /// longer than [`super::WRITE`].
    pub fn permit(&self) -> Option<Permit> {
        let guard = self.0.writing.clone().try_read_owned().ok()?;
        self.holds().then_some(Permit(guard))
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn ago(monotonic: u64, wall: i64) -> Moment {
        let now = Moment::now();
        let shift = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 { now.wall + shift } else { now.wall - shift };
        Moment { monotonic: now.monotonic.checked_sub(Duration::from_secs(monotonic)).unwrap(), wall }
    }

    #[test]
    fn a_term_ends_by_either_clock() {
        for (monotonic, wall, holds) in
            [(0, 0, true), (5, 5, true), (11, 0, false), (0, 11, false), (0, -60, true)]
        {
            let term = Term::new(1, ago(monotonic, wall), LENGTH);
            assert_eq!((term.holds(), term.permit().is_some()), (holds, holds), "{monotonic} {wall}");
        }
    }

    #[tokio::test]
    async fn no_write_begins_after_the_end_and_the_end_waits_for_those_that_began() {
        let term = Term::new(1, Moment::now(), LENGTH);
        let permit = term.permit().unwrap();
        term.end();
        assert!(!term.holds() && term.permit().is_none());
        term.renew(Moment::now());
        assert!(term.permit().is_none(), "a term that has ended does not come back");
        let other = term.clone();
        let drained = tokio::spawn(async move { other.drain(Duration::from_secs(60)).await });
        drop(permit);
        drained.await.unwrap();
    }
}
