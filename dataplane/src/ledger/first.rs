//! What a gateway waits for before it is ready for the first time: a ledger that answers and was founded. Requests that came
//! earlier would be refused for every key that needs it: right after an installation, all of them.
//!
//! A ledger that goes away later makes no gateway unready: any other would be no better off. Nor does it keep a gateway for
//! long that has known it before (a container that is started again in its pod), nor one with keys that do without
//! (`onStoreFailure: Allow`): that one waits for a while, in which the pods that it is to replace go on with what they know to be
//! spent.

use super::Shared;
use crate::{gateway::Gateway, money, snapshot::Snapshot};
use std::{io::Write as _, path::Path, time::Duration};
use tokio::time::Instant;
use tollgate_ledger::redis::StoreError;

/// Which keys can be served without the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    /// There are no keys.
    NoKeys,
    /// At least one.
    Some,
    /// None of them.
    None,
}

/// The file in the data folder that says that the ledger was there once.
const KNOWN: &str = "ledger-known";
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a gateway that has known the ledger waits for it.
const AGAIN: Duration = Duration::from_secs(2);

/// Waits for the ledger as long as it should, and tells why it does. `patience`: how long keys that do without it wait.
pub async fn wait(gateway: &Gateway, data: &Path, patience: Duration, tell: impl Fn(String)) {
    let Some(shared) = gateway.ledger.shared() else { return };
    let file = data.join(KNOWN);
    let known = file.exists();
    let until = Instant::now() + if known { AGAIN.min(patience) } else { patience };
    let mut told = None;
    while let Err(error) = found(shared, &file).await {
        let without = without(&gateway.snapshot());
        let enough = known || without == Without::Some;
        if without == Without::NoKeys || (enough && Instant::now() >= until) {
            tracing::warn!(%error, "ready without the ledger: onStoreFailure decides what happens to requests");
            return;
        }
        let why = error.to_string();
        if told.as_ref() != Some(&why) {
            tracing::info!("not ready: waiting for the ledger: {why}");
            tell(format!("waiting for the ledger: {why}"));
            told = Some(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the ledger is there; if so, that is noted for the next start.
async fn found(shared: &Shared, file: &Path) -> Result<(), StoreError> {
    shared.store().check().await?;
    let note = |mut file: std::fs::File| file.write_all(b"The gateway has known its ledger.\n");
    if let Err(error) = std::fs::File::create(file).and_then(note) {
        tracing::warn!(file = %file.display(), %error, "cannot note that the ledger is there");
    }
    Ok(())
}

fn without(snapshot: &Snapshot) -> Without {
    let served = || snapshot.keys().filter(|node| node.denied.is_none());
    match served().any(|node| !money::deny_on_store_failure(node)) {
        true => Without::Some,
        false if served().next().is_none() => Without::NoKeys,
        false => Without::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, fixtures::key, key::Spending};
    use std::sync::Arc;

    #[test]
    fn only_keys_that_need_the_ledger_wait_for_ever() {
        let of = |keys: Vec<Key>| {
            without(&Snapshot::build(1, keys.into_iter().map(Arc::new).collect(), Vec::new(), Vec::new()))
        };
        let allows = |parent: Option<&str>| Key {
            parent: parent.map(|name| key(name).id),
            spending: Spending { deny_on_store_failure: false, ..Spending::default() },
            ..key("allows")
        };
        assert_eq!(of(vec![]), Without::NoKeys);
        assert_eq!(of(vec![key("denies")]), Without::None);
        assert_eq!(of(vec![key("denies"), allows(None)]), Without::Some);
        assert_eq!(of(vec![key("denies"), allows(Some("denies"))]), Without::None, "its parent denies");
        assert_eq!(of(vec![key("denies"), allows(Some("nobody"))]), Without::None, "it is never served");
    }
}
