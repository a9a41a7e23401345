//! From flags to a store.

use std::{path::PathBuf, time::Duration};
use tollgate_ledger::redis::{Address, Options, RedisStore, StoreError};

/// Where the ledger is that gateways share.
#[derive(Debug, Clone, clap::Args)]
pub struct RedisArgs {
    /// The Redis that gateways share for budgets and limits; without it each gateway counts for itself:
    /// redis://host:6379[/db], rediss:// (TLS), redis+sentinel://host,host/MASTER, redis+cluster://host,host; a user goes before
    /// the host (redis://gateway@host).
    #[arg(long, env = "TOLLGATE_REDIS", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,
    /// File of its password; read anew for each connection.
    #[arg(long, env = "TOLLGATE_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// File of the authorities (PEM) to trust for rediss:// instead of the public ones; read anew for each connection.
    #[arg(long, env = "TOLLGATE_REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    /// How long a request waits for Redis, in milliseconds, before its key's onStoreFailure decides.
    // An answer takes a millisecond, but a pod throttled at its CPU limit stands still for 100: that is no outage.
    #[arg(long, env = "TOLLGATE_REDIS_TIMEOUT", default_value = "250", value_parser = millis, value_name = "MS")]
    pub redis_timeout: Duration,
    /// How long money stays held after a gateway died, in seconds.
    #[arg(long, env = "TOLLGATE_REDIS_HOLD", default_value = "60", value_parser = clap::value_parser!(u32).range(5..=3600), value_name = "SECONDS")]
    pub redis_hold: u32,
    /// How long a gateway that starts waits for Redis before it serves the keys with onStoreFailure: Allow without it, in
    /// seconds; if there are none, it waits for as long as it takes.
    #[arg(long, env = "TOLLGATE_REDIS_PATIENCE", default_value = "30", value_parser = clap::value_parser!(u32).range(0..=3600), value_name = "SECONDS")]
    pub redis_patience: u32,
    /// What all keys in Redis begin with: two installations on one Redis have different ones.
    #[arg(long, env = "TOLLGATE_REDIS_PREFIX", default_value = "tollgate:1", value_name = "TEXT")]
    pub redis_prefix: String,
}

/// Billing records that a tree's stream keeps when a drainer takes them out: what a long outage of PostgreSQL needs.
const DRAINED: u64 = 1_000_000;
/// And when nothing does: what a person may want to look at.
const UNDRAINED: u64 = 10_000;

/// Begins to connect to the Redis that the flags name, if they do. `drained`: something takes the billing records out.
///
/// # Errors
/// When the address is not understood. That Redis is away is none: it is found when it comes.
pub fn connect(args: &RedisArgs, drained: bool) -> Result<Option<RedisStore>, StoreError> {
    let Some(url) = &args.redis else { return Ok(None) };
    let address = Address::parse(url)?;
    tracing::info!("the ledger is in Redis at {address:?}");
    Ok(Some(RedisStore::start(&address, options(args, drained))))
}

/// How the store behaves.
pub(super) fn options(args: &RedisArgs, drained: bool) -> Options {
    Options {
        prefix: args.redis_prefix.clone(),
        timeout: args.redis_timeout,
        stream: if drained { DRAINED } else { UNDRAINED },
        password_file: args.redis_password_file.clone(),
        ca_file: args.redis_ca.clone(),
        ..Options::default()
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 1..=60_000) => Ok(Duration::from_millis(ms)),
        _ => Err(format!("{text:?} is no number of milliseconds from 1 to 60000")),
    }
}
