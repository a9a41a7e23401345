//! What goes on beside the requests: dead holds and repeats, revocations, resets, reports of spend.

use super::{Ledger, RedisArgs, Settings, Shared, connect, resets, restored, revocations, spend::Sampler};
use crate::{config::xds::report::Observed, gateway::Gateway, snapshot::Snapshot};
use anyhow::Context as _;
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::sync::watch;
use tollgate_ledger::{budget::Limit, charge::BudgetState, memory::MemoryStore};
use tollgate_proto::discovery::v1;

/// How often dead holds are looked for and failures repeated.
const TICK: Duration = Duration::from_secs(1);
/// How often charges that Redis does not confirm are looked for.
const KEEP: Duration = Duration::from_millis(50);
/// How often budgets are looked at for reports.
const SAMPLE: Duration = Duration::from_secs(5);

/// The ledger that the flags name; without any, an empty one in this process. Needs a runtime. `drained`: something takes the
/// billing records out of Redis; `data`: the folder of what must outlive the process.
///
/// # Errors
/// When the address is not understood, or the folder cannot be used.
pub fn open(args: &RedisArgs, drained: bool, data: &Path) -> anyhow::Result<Ledger> {
    Ok(match connect(args, drained)? {
        Some(store) => {
            let hold = Duration::from_secs(args.redis_hold.into());
            let shared = Shared::new(store, Settings { hold, drained });
            shared.keep_unposted(data).context("cannot use the file of unposted charges")?;
            shared.into()
        }
        None => MemoryStore::new().into(),
    })
}

/// Starts what looks after the gateway's ledger, until the process ends. What it sees of budgets goes into `observed`.
pub fn keep(
    gateway: &Arc<Gateway>,
    snapshots: &watch::Receiver<Arc<Snapshot>>,
    observed: Option<watch::Sender<Observed>>,
) {
    tokio::spawn(tick(gateway.clone()));
    tokio::spawn(keep_unposted(gateway.clone()));
    let (times, restores) = watch::channel(0);
    tokio::spawn(restored::watch(gateway.clone(), times));
    tokio::spawn(revocations::follow(gateway.clone(), snapshots.clone(), restores.clone()));
    tokio::spawn(resets::follow(gateway.clone(), snapshots.clone(), restores));
    if observed.is_some() || gateway.ledger.shared().is_some() {
        tokio::spawn(sample(gateway.clone(), observed));
    }
}

/// Gives up dead holds. Every exit of a request settles, so one found here is worth a warning.
async fn tick(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for dead in gateway.ledger.tick(gateway.now()).await {
            tracing::warn!(id = %dead.id, "a hold died without a settle: charged what it had used");
            gateway.record_expired(dead);
        }
    }
}

/// Keeps what Redis does not confirm in time in a file.
async fn keep_unposted(gateway: Arc<Gateway>) {
    let Some(shared) = gateway.ledger.shared() else { return };
    let mut ticks = tokio::time::interval(KEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // After a failure what the file has is not what it should have.
    let mut kept = Some(0);
    loop {
        ticks.tick().await;
        if kept != Some(0) || shared.store().waiting() > 0 {
            kept = shared.update_kept().await;
        }
    }
}

/// Looks at the budgets that were used, for reports and for what a local allowance begins with.
async fn sample(gateway: Arc<Gateway>, observed: Option<watch::Sender<Observed>>) {
    let mut sampler = Sampler::default();
    let mut ticks = tokio::time::interval(SAMPLE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (snapshot, now) = (gateway.snapshot(), gateway.now());
        if let Some(known) = sampler.look(&gateway.ledger, &snapshot, now).await
            && let Some(observed) = &observed
        {
            observed.send_modify(|o| report(&mut o.budgets, known, &snapshot, now));
        }
    }
}

type Reports = BTreeMap<(String, String), v1::BudgetReport>;

/// Brings the reports up to date; an entry of which nothing has changed stays as it is.
fn report(
    reports: &mut Reports,
    known: &BTreeMap<(String, String), BudgetState>,
    snapshot: &Snapshot,
    now: i64,
) {
    reports.retain(|place, _| known.contains_key(place));
    let mut since = BTreeMap::new();
    for key in snapshot.keys() {
        for budget in &key.key().budgets {
            let window = budget.budget.window(now);
            since.insert(
                (key.id().as_str(), budget.budget.name.as_str()),
                (window.start, budget.budget.period),
            );
        }
    }
    for (place, state) in known {
        let window = since.get(&(place.0.as_str(), place.1.as_str())).copied();
        let rolling = matches!(window, Some((_, tollgate_ledger::budget::Period::Rolling(_))));
        let unit = match state.limit {
            Limit::NanoUsd(_) => v1::Unit::NanoUsd,
            Limit::Tokens(_) => v1::Unit::Tokens,
        };
        let mut new = v1::BudgetReport {
            key: place.0.clone(),
            budget: place.1.clone(),
            unit: unit.into(),
            limit: state.limit.amount(),
            committed: state.committed,
            held: state.held,
            overrun: 0,
            since: window.map_or(0, |(start, _)| start).max(0),
            resets_at: if rolling { 0 } else { state.resets_at },
            sampled_at: now,
        };
        match reports.get(place) {
            Some(old) => {
                let same = v1::BudgetReport { sampled_at: old.sampled_at, since: old.since, ..new.clone() };
                if rolling {
                    new.since = old.since;
                }
                if same != *old || (!rolling && new.since != old.since) {
                    reports.insert(place.clone(), new);
                }
            }
            None => {
                reports.insert(place.clone(), new);
            }
        }
    }
}
