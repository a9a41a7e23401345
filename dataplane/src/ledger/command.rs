//! `tollgate-dataplane ledger …`: what a person (or a Helm hook) does to the ledger that gateways share.

use super::{RedisArgs, connect::options};
use crate::records::{Store, flags::PostgresArgs};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::fmt::Write;
use tollgate_ledger::redis::{Address, RedisStore, Restored};
use uuid::Uuid;

/// Looks after the ledger that gateways share.
#[derive(Debug, Clone, Args)]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Founds the ledger, once: from then on its absence means that Redis was emptied, and nothing is granted. Does nothing
    /// where there is one.
    Found(RedisArgs),
    /// Puts the committed sums of all open windows back out of PostgreSQL after Redis was emptied, or a shard of a cluster was:
    /// into the trees that are lost. What is there stays as it is. After a failure it is said again.
    Restore(RestoreArgs),
    /// Lets a key pass that the ledger refuses, until a gateway learns anew that it was disabled or deleted.
    Allow(AllowArgs),
    /// Tells what is in the ledger: trees, and which of them are lost, records that wait for PostgreSQL, keys that are refused.
    Status(RedisArgs),
}

/// Which key.
#[derive(Debug, Clone, Args)]
struct AllowArgs {
    /// The key, as namespace/name.
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    redis: RedisArgs,
}

/// From where to where.
#[derive(Debug, Clone, Args)]
struct RestoreArgs {
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// Carries a command out, and tells what came of it on standard output.
///
/// # Errors
/// When Redis cannot be asked.
pub fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        match command.what {
            What::Found(args) => found(&open(&args).await?).await,
            What::Restore(args) => restore(&args).await,
            What::Allow(args) => allow(&open(&args.redis).await?, &args.key).await,
            What::Status(args) => status(&open(&args).await?).await,
        }
    })?;
    println!("{said}");
    Ok(())
}

async fn open(args: &RedisArgs) -> anyhow::Result<RedisStore> {
    let url = args.redis.as_deref().context("which Redis? Give --redis URL or TOLLGATE_REDIS")?;
    let options = tollgate_ledger::redis::Options {
        // A person waits longer than a request.
        timeout: std::time::Duration::from_secs(10),
        late: std::time::Duration::from_secs(10),
        connect_timeout: std::time::Duration::from_secs(10),
        ..options(args, true)
    };
    Ok(RedisStore::connect(&Address::parse(url)?, options).await?)
}

async fn restore(args: &RestoreArgs) -> anyhow::Result<String> {
    let options = args.postgres.options(&std::env::temp_dir());
    let records =
        Store::reader(&options.context("which PostgreSQL? Give --postgres URL or TOLLGATE_POSTGRES")?)?;
    let redis = open(&args.redis).await?;
    let backup = records.ledger_backup(jiff::Timestamp::now().as_millisecond()).await?;
    let there = redis.generation().await?;
    let generation = there.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    if there.is_none() {
        // Gateways compare the two: this one is not to surprise them.
        records.set_generation(&generation).await?;
    }
    let restored = redis.restore(&backup, &generation).await;
    let Restored { trees, there: left, counters } =
        restored.context("not all is restored, and nothing is granted in what was lost: say it again")?;
    Ok(match there {
        Some(_) if trees == 0 => {
            format!("there is a ledger (generation {generation}), and its {left} trees: nothing was changed")
        }
        _ => format!("the ledger is restored: {counters} counters of {trees} trees ({left} were there)"),
    })
}

async fn found(store: &RedisStore) -> anyhow::Result<String> {
    let new = store.found().await?;
    let generation = store.generation().await?.unwrap_or_default();
    Ok(match new {
        true => format!("the ledger is founded (generation {generation})"),
        false => format!("there is a ledger already (generation {generation}): nothing was changed"),
    })
}

async fn allow(store: &RedisStore, key: &str) -> anyhow::Result<String> {
    let denied = store.denied().await?;
    let Some((_, root)) = denied.iter().find(|(denied, _)| denied == key) else {
        return Ok(format!("the ledger does not refuse {key}: nothing was changed"));
    };
    store.deny(root, key, None).await?;
    Ok(format!("the ledger does not refuse {key} any more"))
}

async fn status(store: &RedisStore) -> anyhow::Result<String> {
    let Some(generation) = store.generation().await? else {
        return Ok("there is no ledger: it was never founded (ledger found), or Redis was emptied".to_owned());
    };
    let mut out = format!("generation {generation}\n");
    let mut trees = store.trees().await?;
    trees.sort();
    for root in trees {
        if store.is_lost(&root).await? {
            writeln!(
                out,
                "tree {root} is lost: nothing is granted in it until it is restored (ledger restore)"
            )?;
            continue;
        }
        let waiting = store.stream_length(&root).await?;
        writeln!(out, "tree {root}: {waiting} records in its stream")?;
    }
    for (key, root) in store.denied().await? {
        writeln!(out, "key {key} (tree {root}) is refused")?;
    }
    Ok(out.trim_end().to_owned())
}
