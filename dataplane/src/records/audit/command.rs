//! `tollgate-dataplane audit`: whether the account adds up, for a person, a probe or a CronJob.

use super::Audit;
use crate::{
    ledger::{RedisArgs, connect},
    records::{Store, flags::PostgresArgs},
};
use anyhow::Context as _;
use clap::Parser;
use std::time::Duration;

/// Compares the ledger, what waits in its streams, and PostgreSQL, counter by counter. Ends with 1 when they do not add up.
#[derive(Debug, Clone, Parser)]
pub struct Args {
    /// The ledger.
    #[command(flatten)]
    pub redis: RedisArgs,
    /// The records.
    #[command(flatten)]
    pub postgres: PostgresArgs,
}

/// Compares, and prints what was found as JSON.
///
/// # Errors
/// When one of the two cannot be asked, or they do not add up.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let audit = runtime.block_on(compare(&args))?;
    println!("{}", serde_json::to_string_pretty(&audit)?);
    anyhow::ensure!(audit.consistent, "the account does not add up");
    Ok(())
}

async fn compare(args: &Args) -> anyhow::Result<Audit> {
    // A person waits longer than a request.
    let redis = RedisArgs { redis_timeout: Duration::from_secs(10), ..args.redis.clone() };
    let ledger = connect(&redis, true)?.context("which Redis? Give --redis URL or TOLLGATE_REDIS")?;
    let options = args.postgres.options(&std::env::temp_dir());
    let store =
        Store::reader(&options.context("which PostgreSQL? Give --postgres URL or TOLLGATE_POSTGRES")?)?;
    Ok(store.audit(&ledger, jiff::Timestamp::now().as_millisecond()).await?)
}
