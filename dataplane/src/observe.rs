//! What this gateway sees of its world, for the operator: backends that it leaves alone, how MCP servers are, and whether the
//! ledger answers.

use crate::{config::xds::Observed, gateway::Gateway, ledger::Health, mcp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::interval};
use tollgate_proto::discovery::v1::{Ejection, ServerReport};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A list of tools that is the same is told of again after this time, in milliseconds.
const AGAIN: i64 = 600_000;
/// The longest error that is told, in bytes.
const MAX_ERROR: usize = 500;

/// Looks now and then, until nobody reports any more.
pub async fn run(gateway: Arc<Gateway>, endpoint: mcp::Endpoint, observed: watch::Sender<Observed>) {
    let mut ticks = interval(LOOK);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = observed.closed() => return,
        }
        let now = gateway.now();
        let ejected = ejections(&gateway, now);
        let seen = endpoint.look(&gateway.snapshot());
        let trouble = trouble(gateway.ledger.health());
        observed.send_if_modified(|o| {
            let servers = servers(&o.servers, seen, now);
            let differs = o.ejected != ejected || o.servers != servers || o.ledger_trouble != trouble;
            (o.ejected, o.servers, o.ledger_trouble) = (ejected, servers, trouble);
            differs
        });
    }
}

fn trouble(health: Health) -> String {
    if health.ok { String::new() } else { shortened(&health.words) }
}

fn ejections(gateway: &Gateway, now: i64) -> Vec<Ejection> {
    let one = |e: crate::upstream::health::Ejected| Ejection {
        route: e.route.as_str().to_owned(),
        backend: e.backend,
        until: e.until,
        error: shortened(&e.error),
    };
    gateway.health.all_ejected(now).into_iter().map(one).collect()
}

/// The servers' reports; one that says nothing new stays as it was.
fn servers(
    told: &BTreeMap<String, ServerReport>,
    seen: Vec<mcp::Seen>,
    now: i64,
) -> BTreeMap<String, ServerReport> {
    let report = |seen: mcp::Seen| {
        let ago =
            |listed: Duration| now.saturating_sub(i64::try_from(listed.as_millis()).unwrap_or(i64::MAX));
        let new = ServerReport {
            server: seen.server.clone(),
            error: seen.error.as_deref().map(shortened).unwrap_or_default(),
            protocol_version: seen.version.to_owned(),
            modern: seen.modern,
            tools: u32::try_from(seen.tools).unwrap_or(u32::MAX),
            listed_at: seen.listed.map_or(0, ago),
        };
        let same = told.get(&seen.server).filter(|old| {
            let timeless = ServerReport { listed_at: old.listed_at, ..new.clone() };
            **old == timeless && new.listed_at - old.listed_at < AGAIN
        });
        (seen.server, same.cloned().unwrap_or(new))
    };
    seen.into_iter().map(report).collect()
}

fn shortened(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_ERROR)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tools: usize, listed: u64) -> mcp::Seen {
        mcp::Seen {
            server: "n/s".into(),
            error: None,
            version: "2025-11-25",
            modern: false,
            tools,
            listed: Some(Duration::from_secs(listed)),
        }
    }

    #[test]
    fn what_is_the_same_is_not_told_again() {
        let first = servers(&BTreeMap::new(), vec![seen(3, 1)], 1_000_000);
        assert_eq!((first["n/s"].tools, first["n/s"].listed_at), (3, 999_000));
        assert_eq!(servers(&first, vec![seen(3, 0)], 1_500_000), first);
        assert_ne!(servers(&first, vec![seen(4, 0)], 1_500_000), first);
        assert_ne!(servers(&first, vec![seen(3, 0)], 1_700_000), first);
        assert!(servers(&first, vec![], 1_700_000).is_empty());
    }
}
