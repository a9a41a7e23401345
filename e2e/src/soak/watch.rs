//! Budgets while it runs: what is committed and held never passes a limit, where the ledger decides.

use super::{
    faults::Fault,
    keys::{AUDITOR, CHANGED, LIMITS},
    stage::World,
};
use crate::{client::Http, gateway::Budget};
use anyhow::Context as _;
use bytes::Bytes;
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How often.
const EVERY: Duration = Duration::from_millis(700);
/// What the names of keys begin with that go on without the ledger: each gateway may spend what was left.
const ALLOW: [&str; 2] = ["going-on", "org-allow"];

/// The state of all budgets, as a gateway tells the auditor.
pub async fn look(world: &World, http: &Http, gateway: usize) -> anyhow::Result<Vec<Budget>> {
    let spend = logs(world, http, gateway, "spend").await?;
    let budgets = spend.get("budgets").cloned().context("no budgets")?;
    Ok(serde_json::from_value(budgets)?)
}

/// `/logs/api/…` as a gateway tells the auditor.
pub async fn logs(
    world: &World,
    http: &Http,
    gateway: usize,
    path: &str,
) -> anyhow::Result<serde_json::Value> {
    let url = format!("{}/logs/api/{path}", world.gateway(gateway));
    let token = world.token(AUDITOR);
    let headers = [("x-api-key", token.as_str())];
    http.call(http::Method::GET, &url, &headers, Bytes::new()).await?.expect(200)?.json()
}

/// Looks again and again, at one gateway after the other, for as long as this is polled. What cannot be told is looked at later.
pub async fn budgets(world: Arc<World>) {
    let (http, mut told) = (Http::new(), HashSet::new());
    for n in 0.. {
        if world.stop.load(Relaxed) {
            return;
        }
        let budgets = look(&world, &http, n % world.gateways.len()).await.unwrap_or_default();
        for budget in budgets {
            let most = most(&world, &budget.key, budget.limit);
            let all = budget.committed.saturating_add(budget.held);
            let Budget { key, budget, committed, held, .. } = budget;
            if all > most && !goes_on(&key) && told.insert((key.clone(), budget.clone())) {
                world.judge.finding(&format!(
                    "budget {budget} of {key}: {committed} committed and {held} held are over its limit of {most}"
                ));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether a key goes on without the ledger.
pub fn goes_on(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    ALLOW.iter().any(|prefix| name.starts_with(prefix))
}

/// The highest limit that a key's budget had in the last minute.
fn most(world: &World, key: &str, limit: u64) -> u64 {
    let recent = |to: Option<Instant>| to.is_none_or(|to| to.elapsed() < Duration::from_secs(70));
    let changed = key.ends_with(&format!("/{CHANGED}"))
        && world.judge.phases().iter().any(|p| p.target.fault == Fault::BudgetChange && recent(p.to));
    let highest = LIMITS.iter().map(|(_, nano)| *nano).max().unwrap_or_default();
    if changed { limit.max(highest) } else { limit }
}
