//! Serves `/logs` with invented records on loopback, to look at the pages without a gateway.
//! `cargo run -p tollgate-dataplane --example logs_preview -- [PORT] [RECORDS] [empty|nobody]`

use anyhow::Context as _;
use axum::Extension;
use tollgate_dataplane::{
    logs::{self, KeySpend, LogsState, Viewer},
    records::{self, Location},
};
use tollgate_ledger::{budget::Limit, charge::BudgetState};

#[path = "seeding/seed.rs"]
mod seeding;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().map_or(Ok(0), |port| port.parse()).context("PORT is a number")?;
    let count: u64 = args.next().map_or(Ok(400), |count| count.parse()).context("RECORDS is a number")?;
    let mode = args.next().unwrap_or_default();
    let (recorder, store) = records::open(Location::Memory).await?;
    let now = jiff::Timestamp::now().as_millisecond();
    if mode != "empty" {
        let mut seed = seeding::Seed::new(now, 6 * 86_400_000, count);
        seed.by_ref().for_each(|record| recorder.submit(record));
        recorder.flush().await;
        let live = recorder.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_secs(4)).await;
                let now = jiff::Timestamp::now().as_millisecond();
                seeding::Seed::new(now, 0, 1).for_each(|record| live.submit(record));
            }
        });
    }
    let viewer = if mode == "nobody" { Viewer::Nobody } else { Viewer::All };
    let budgets =
        tollgate_dataplane::logs::budgets::at_once(
            move || if count == 0 { Vec::new() } else { budgets(now) },
        );
    let app = logs::router(LogsState { store, budgets }).layer(Extension(viewer));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/logs", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

fn budgets(now: i64) -> Vec<KeySpend> {
    let state = |usd: u64, committed: u64, held: u64| BudgetState {
        budget: "month".into(),
        limit: Limit::NanoUsd(usd * 1_000_000_000),
        committed: committed * 10_000_000,
        held: held * 10_000_000,
        needed: 0,
        resets_at: now + 8 * 86_400_000,
    };
    let key = |path: &[&str], budget: BudgetState| KeySpend {
        tree: path.iter().map(|k| (*k).into()).collect(),
        budgets: vec![budget],
    };
    vec![
        key(&["engineering/team-engineering", "platform/acme"], state(200, 6_412, 38)),
        key(&["engineering/alice", "engineering/team-engineering", "platform/acme"], state(50, 4_313, 12)),
        key(&["engineering/bob", "engineering/team-engineering", "platform/acme"], state(20, 2_000, 0)),
    ]
}
