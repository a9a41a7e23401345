//! Rates and backoffs (pure).

use std::time::{Duration, Instant};

/// So many a second, and so many at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    every: Duration,
    burst: u32,
    /// When the bucket would be full.
    full: Option<Instant>,
}

/// When something that failed is tried again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

/// The first wait after a failure, and the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

// === impl Bucket ===

impl Bucket {
    /// `rate` a second, `burst` at once.
    pub fn new(rate: u32, burst: u32) -> Self {
        Bucket { every: Duration::from_secs(1) / rate.max(1), burst: burst.max(1), full: None }
    }

    /// Takes one; or how long there is none.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = self.full.map_or(now, |full| full.max(now));
        let room = now + self.every * (self.burst - 1);
        if full > room {
            return Err(full - room);
        }
        self.full = Some(full + self.every);
        Ok(())
    }
}

// === impl Backoff ===

impl Backoff {
    /// It failed.
    pub fn failed(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
    }

    /// How often it failed since it last did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long it is left alone; `None`: it may be tried.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.until?.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (mut bucket, start) = (Bucket::new(10, 3), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let taken = |bucket: &mut Bucket, ms| (0..100).take_while(|_| bucket.take(at(ms)).is_ok()).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(bucket.take(at(0)), Err(Duration::from_millis(100)));
        assert_eq!((taken(&mut bucket, 100), taken(&mut bucket, 300), taken(&mut bucket, 9000)), (1, 2, 3));
    }

    #[test]
    fn amounts_are_ten_a_second_in_all() {
        let ((_, mut bucket), start) = (crate::status::Options::USUAL.buckets(), Instant::now());
        // As many as there may be, from a bucket that is full: 10 for each second, and the 10 that it began with.
        let taken = (0..60_000).filter(|ms| bucket.take(start + Duration::from_millis(*ms)).is_ok());
        assert_eq!(taken.count(), 60 * 10 + 9);
    }

    #[test]
    fn a_backoff_grows_and_has_an_end() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert_eq!(backoff.wait(now), None);
        backoff.failed(now);
        assert_eq!(backoff.wait(now), Some(FIRST));
        backoff.failed(now);
        assert_eq!(backoff.wait(now), Some(FIRST * 2));
        (0..100).for_each(|_| backoff.failed(now));
        assert_eq!(backoff.wait(now), Some(LONGEST));
        assert_eq!(backoff.wait(now + LONGEST), None);
    }
}
