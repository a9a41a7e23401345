//! Whether an empty Redis is new or was emptied: PostgreSQL remembers the ledger's generation.

use super::Store;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tollgate_ledger::redis::RedisStore;

/// How often the two are compared.
const EVERY: Duration = Duration::from_secs(30);
/// And while they could not be, or do not agree.
const SOON: Duration = Duration::from_millis(500);

/// What the two say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Both know the same ledger.
    Agreed,
    /// Neither knew one: it is founded now.
    Founded,
    /// Redis has one, PostgreSQL knew none: it does now.
    Noted,
    /// Redis has another than PostgreSQL knew last: it does now.
    Changed,
    /// PostgreSQL knows one, Redis does not.
    Emptied,
}

/// Founds the ledger where there never was one, notes its generation, and tells when Redis was emptied. For ever.
pub async fn keep(store: Store, redis: Arc<RedisStore>) {
    let mut told = None;
    loop {
        let found = compare(&store, &redis).await;
        match &found {
            // A change is told each time, the others are how things are.
            Ok(found) if told == Some(*found) && *found != Found::Changed => {}
            Ok(Found::Founded) => tracing::info!("the ledger is founded: Redis and PostgreSQL are new"),
            Ok(Found::Noted) => tracing::info!("the ledger's generation is noted in PostgreSQL"),
            Ok(Found::Changed) => tracing::warn!(
                "Redis has another ledger than PostgreSQL knew: founded anew, or a backup that was put back. What was spent \
                 may be missing in it: compare them (tollgate-dataplane audit)"
            ),
            Ok(Found::Emptied) => tracing::error!(
                "Redis was emptied: nothing is granted from it until the ledger is restored out of PostgreSQL \
                 (tollgate-dataplane ledger restore)"
            ),
            Ok(Found::Agreed) => {}
            Err(error) => tracing::debug!(%error, "the ledger's generation cannot be compared yet"),
        }
        sleep(if matches!(found, Ok(Found::Agreed)) { EVERY } else { SOON }).await;
        told = found.ok().or(told);
    }
}

async fn compare(store: &Store, redis: &RedisStore) -> anyhow::Result<Found> {
    // PostgreSQL first: that it cannot be asked must never look like a first installation.
    let known = store.generation().await?;
    match (redis.generation().await?, known) {
        (Some(there), Some(known)) if there == known => Ok(Found::Agreed),
        (Some(there), known) => {
            store.set_generation(&there).await?;
            Ok(if known.is_some() { Found::Changed } else { Found::Noted })
        }
        (None, Some(_)) => Ok(Found::Emptied),
        (None, None) => {
            redis.found().await?;
            if let Some(generation) = redis.generation().await? {
                store.set_generation(&generation).await?;
            }
            Ok(Found::Founded)
        }
    }
}
