//! The short form of `make soak`: a handful of faults, one after the other, under load, with the same checks.
#![allow(missing_docs, unreachable_pub, reason = "a test")]

use tollgate_e2e::soak::{self, Plan, faults::Fault};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nobody_is_refused_without_a_reason_while_parts_fail() -> anyhow::Result<()> {
    let faults = [
        Fault::GatewayKill,
        Fault::RedisKill,
        Fault::PostgresStop,
        Fault::LeaderKill,
        Fault::ApiServer,
        Fault::ProviderReset,
        Fault::KeyRevoke,
    ];
    let outcome = soak::run(Plan::short(7, &faults)).await?;
    println!("{}", outcome.page());
    anyhow::ensure!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    anyhow::ensure!(outcome.rows.len() == faults.len(), "not every fault was dealt: {:?}", outcome.rows);
    Ok(())
}
