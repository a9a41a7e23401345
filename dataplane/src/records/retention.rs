//! How long what is kept, beside what each record says itself. Old rows go in small steps, so that new ones never wait long.

use super::{db::Pool, postgres, sqlite};

/// Rows a step.
pub(crate) const STEP: i64 = 500;
/// Counters stay this long after their window: for a clock that runs late.
pub(crate) const COUNTERS_MS: i64 = 7 * 86_400_000;
/// Sums by hour and histograms by day stay this many hours.
pub(crate) const SPEND_HOURS: i64 = 400 * 24;
/// Histograms by hour stay this many.
pub(crate) const LATENCY_HOURS: i64 = 72;
/// Single charges (PostgreSQL) stay this long: for audits, and far longer than one may arrive twice.
pub(crate) const CHARGES_MS: i64 = 400 * 86_400_000;

/// One step. Returns whether there may be more.
pub(crate) async fn step(pool: &Pool, now: i64) -> sqlx::Result<bool> {
    match pool {
        Pool::Sqlite(_) => sqlite::retention::step(pool, now).await,
        Pool::Postgres(..) => postgres::retention::step(pool, now).await,
    }
}
