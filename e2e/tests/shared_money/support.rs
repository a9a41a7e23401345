//! Gateways that share a Redis, and clients that spend.

use anyhow::Context;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tollgate_e2e::{
    client::{Answer, Http},
    gateway::{Gateway, Home, Manifests, binary},
    postgres::Postgres,
    provider::{Provider, Reply, Rule, UsageSpec},
    redis::Redis,
};

/// $3 and $15 a million.
pub const MODEL: &str = "anthropic/claude-sonnet-4-5";
/// What each request uses, and what that costs in nano-USD.
pub const USED: UsageSpec =
    UsageSpec { input: 10, output: 500, cache_read: 0, cache_write: 0, cache_write_1h: 0, reasoning: 0 };
pub const COST: u64 = 10 * 3_000 + 500 * 15_000;
/// One dollar.
pub const DOLLAR: u64 = 1_000_000_000;

/// Several gateways, each with folders of its own, and what they share.
pub struct Shared {
    pub provider: Provider,
    pub redis: Redis,
    /// Where records are, where gateways share them.
    pub postgres: Option<Postgres>,
    pub homes: Vec<Home>,
    pub gateways: Vec<Gateway>,
}

/// What a client learned.
#[derive(Debug, Default, Clone)]
pub struct Spent {
    /// Answers that it got, by the gateway that gave them.
    pub answers: BTreeMap<String, u64>,
    /// What the first final refusal says was spent.
    pub at_refusal: u64,
}

/// The address of a gateway that clients talk to; it may change under them.
pub type Place = Arc<parking_lot::Mutex<String>>;

pub fn ask() -> Value {
    json!({"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "hello"}]})
}

/// A key that may use everything, with a budget of so many dollars, and further lines.
pub fn budget(usd: &str, more: &str) -> String {
    format!("models: {{allow: [\"*/*\"]}}\nbudgets: [{{name: month, usd: \"{usd}\", period: Month}}]\n{more}")
}

/// `tollgate-dataplane ledger …`
pub fn ledger(words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(binary()?).arg("ledger").args(words).output()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ledger {words:?}: {said}");
    Ok(said)
}

// === impl Shared ===

impl Shared {
    /// Two gateways on one Redis that has a ledger.
    pub async fn start(flags: &[&str], manifests: impl Fn(Manifests) -> Manifests) -> anyhow::Result<Self> {
        let redis = Redis::start(flags)?;
        ledger(&["found", "--redis", &redis.url()])?;
        Self::on(redis, manifests).await
    }

    /// Two gateways on this Redis.
    pub async fn on(redis: Redis, manifests: impl Fn(Manifests) -> Manifests) -> anyhow::Result<Self> {
        Self::with(redis, None, manifests).await
    }

    /// Two gateways on a Redis with these flags and on one PostgreSQL; the first of them founds the ledger.
    pub async fn recorded(
        flags: &[&str],
        manifests: impl Fn(Manifests) -> Manifests,
    ) -> anyhow::Result<Self> {
        let postgres = tokio::task::spawn_blocking(Postgres::start).await?.map_err(anyhow::Error::msg)?;
        Self::with(Redis::start(flags)?, Some(postgres), manifests).await
    }

    async fn with(
        redis: Redis,
        postgres: Option<Postgres>,
        manifests: impl Fn(Manifests) -> Manifests,
    ) -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let reply = Reply { usage: Some(USED), delay_ms: 10, ..Reply::text("spent") };
        provider.script(Rule::always(reply));
        let mut shared = Shared { provider, redis, postgres, homes: Vec::new(), gateways: Vec::new() };
        for _ in 0..2 {
            let home = Home::new(&manifests(Manifests::routes(&shared.provider.url())))?;
            let gateway = shared.gateway(&home).await?;
            shared.homes.push(home);
            shared.gateways.push(gateway);
        }
        Ok(shared)
    }

    /// A gateway with these folders.
    pub async fn gateway(&self, home: &Home) -> anyhow::Result<Gateway> {
        let url = self.redis.url();
        let mut flags =
            vec!["--redis", &url, "--redis-hold", "5", "--redis-timeout", "500", "--redis-patience", "1"];
        let postgres = self.postgres.as_ref().map(Postgres::url);
        if let Some(postgres) = &postgres {
            flags.extend(["--postgres", postgres]);
        }
        Gateway::start_on(home, "127.0.0.1:0", &flags).await
    }

    /// What is committed and held of the key's budget, as the first gateway tells it.
    pub async fn counted(&self, key: &str) -> anyhow::Result<(u64, u64)> {
        let gateway = self.gateways.last().expect("a gateway");
        let id = format!("default/{key}");
        let found = gateway.budgets().await?.into_iter().find(|budget| budget.key == id);
        Ok(found.map_or((u64::MAX, u64::MAX), |budget| (budget.committed, budget.held)))
    }

    /// A number that PostgreSQL answers with.
    pub fn asked(&self, sql: &str) -> anyhow::Result<u64> {
        let postgres = self.postgres.as_ref().context("there is no PostgreSQL")?;
        let text = postgres.psql(sql).map_err(anyhow::Error::msg)?;
        text.parse().with_context(|| format!("{sql}: {text:?}"))
    }

    /// The costs in the stream of a tree, summed.
    pub fn streamed(&self, root: &str) -> anyhow::Result<u64> {
        let mut connection = redis::Client::open(self.redis.url())?.get_connection()?;
        let stream = format!("tollgate:1:{{default/{root}}}:s");
        type Fields = Vec<(String, Vec<u8>)>;
        let entries: Vec<(String, Fields)> =
            redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut connection)?;
        let cost = |fields: &Fields| {
            let (_, cost) = fields.iter().find(|(name, _)| name == "cost").expect("a cost");
            String::from_utf8_lossy(cost).parse::<u64>().expect("a number")
        };
        Ok(entries.iter().map(|(_, fields)| cost(fields)).sum())
    }
}

/// Spends until it is refused for good. What passes by itself is waited for.
pub async fn spend(place: Place, key: &'static str, done: Arc<AtomicU64>) -> anyhow::Result<Spent> {
    let (http, body) = (Http::new(), ask());
    let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
    let mut spent = Spent::default();
    for _ in 0..20_000 {
        let gateway = place.lock().clone();
        let url = format!("{gateway}/anthropic/v1/messages");
        let Ok(answer) = http.post(&url, &headers, &body).await else {
            tokio::time::sleep(Duration::from_millis(20)).await; // The gateway is gone.
            continue;
        };
        match answer.status {
            200 => {
                *spent.answers.entry(gateway).or_default() += 1;
                done.fetch_add(1, Relaxed);
            }
            402 => {
                spent.at_refusal = told(&answer)?;
                return Ok(spent);
            }
            429 | 503 => {
                assert!(answer.header("retry-after").is_some(), "{}", answer.text());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => anyhow::bail!("{other}: {}", answer.text()),
        }
    }
    anyhow::bail!("the budget never runs out")
}

/// What a refusal says was spent: `spent $0.99 of $1.00`.
fn told(answer: &Answer) -> anyhow::Result<u64> {
    let text = answer.text();
    let (_, rest) = text.split_once("spent $").ok_or_else(|| anyhow::anyhow!("no amount in {text}"))?;
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    Ok((number.parse::<f64>()? * 1e9) as u64)
}
