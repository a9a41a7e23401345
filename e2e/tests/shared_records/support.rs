//! Two gateways that share a Redis and a PostgreSQL.

use anyhow::Context;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tollgate_e2e::{
    client::{Http, eventually},
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
/// What the key `alice` may.
pub const SPEC: &str = "models: {allow: [\"*/*\"]}\nbudgets: [{name: month, usd: \"1000\", period: Month}]\n\
                    logging: {content: Full}";
/// Nothing that was answered is lost by a kill.
const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
/// What PostgreSQL has counted.
const COUNTED: &str = "SELECT COALESCE(SUM(amount), 0) FROM counters";

pub struct World {
    pub provider: Provider,
    pub redis: Redis,
    pub postgres: Postgres,
    pub homes: Vec<Home>,
    pub gateways: Vec<Gateway>,
}

impl World {
    /// Starts everything; the key `alice` has a budget that is not used up.
    pub async fn start() -> anyhow::Result<Self> {
        let provider = provider().await?;
        let redis = Redis::start(&DURABLE)?;
        let postgres = tokio::task::spawn_blocking(Postgres::start).await?.map_err(anyhow::Error::msg)?;
        let mut world = World { provider, redis, postgres, homes: Vec::new(), gateways: Vec::new() };
        for _ in 0..2 {
            let home = Home::new(&Manifests::routes(&world.provider.url()).key("alice", SPEC))?;
            world.gateways.push(world.gateway(&home).await?);
            world.homes.push(home);
        }
        // The ledger is founded by the first gateway that knows both stores to be new, before it is ready.
        let gateway = world.gateways.first().context("a gateway")?;
        gateway.message("alice", &ask("first")).await?.expect(200)?;
        Ok(world)
    }

    async fn gateway(&self, home: &Home) -> anyhow::Result<Gateway> {
        self.start_on(home, "127.0.0.1:0", &[]).await
    }

    async fn start_on(&self, home: &Home, listen: &str, more: &[&str]) -> anyhow::Result<Gateway> {
        let (redis, postgres) = (self.redis.url(), self.postgres.url());
        let flags =
            ["--redis", &redis, "--postgres", &postgres, "--redis-hold", "5", "--redis-timeout", "1000"];
        Gateway::start_on(home, listen, &[&flags[..], more].concat()).await
    }

    /// A further gateway that listens beyond loopback, with a key `auditor` that may use nothing.
    pub async fn open_to_all(&mut self, more: [&str; 2]) -> anyhow::Result<Gateway> {
        let manifests = Manifests::routes(&self.provider.url())
            .key("alice", SPEC)
            .key("auditor", "limits: {concurrent: 1}");
        let home = Home::new(&manifests)?;
        let gateway = self.start_on(&home, "0.0.0.0:0", &more).await?;
        self.homes.push(home);
        Ok(gateway)
    }

    /// Starts gateway `n` again, in its old folders.
    pub async fn again(&mut self, n: usize) -> anyhow::Result<()> {
        let gateway = self.gateway(self.homes.get(n).context("a home")?).await?;
        self.gateways.insert(n, gateway);
        Ok(())
    }

    /// The number that a query answers with.
    pub fn count(&self, sql: &str) -> anyhow::Result<u64> {
        let text = self.postgres.psql(sql).map_err(anyhow::Error::msg)?;
        text.parse().with_context(|| format!("{sql}: {text:?}"))
    }

    /// A command to Redis.
    pub fn redis(&self, words: &[&str]) -> anyhow::Result<redis::Value> {
        let mut connection = redis::Client::open(self.redis.url())?.get_connection()?;
        let mut command = redis::cmd(words.first().context("a command")?);
        words.iter().skip(1).for_each(|word| {
            command.arg(*word);
        });
        Ok(command.query(&mut connection)?)
    }

    /// Waits until nothing waits any more and all of it adds up, as gateway `n` tells it; and that it charged so many.
    pub async fn adds_up(&self, n: usize, charged: u64) -> anyhow::Result<()> {
        let gateway = self.gateways.get(n).context("a gateway")?;
        let audit = eventually("the account is at rest", || async {
            let Ok(audit) = gateway.logs("audit").await else { return Ok(None) };
            let rests = audit["waiting"] == 0 && audit["consistent"] == true;
            let budgets = gateway.budgets().await?;
            // The pages may tell what was two seconds ago.
            let counted = self.count(COUNTED)?;
            let same = budgets.iter().any(|b| b.key == "default/alice" && b.committed == counted);
            Ok((rests && same && budgets.iter().all(|budget| budget.held == 0)).then_some(audit))
        });
        let audit = match audit.await {
            Ok(audit) => audit,
            Err(error) => {
                let counted = self.count(COUNTED)?;
                let audit = gateway.logs("audit").await?;
                anyhow::bail!(
                    "{error}: PostgreSQL has {counted}, the ledger {:?}: {audit}",
                    gateway.budgets().await?
                )
            }
        };
        assert!(audit["counters"].as_u64() > Some(0), "{audit}");
        assert_eq!(self.count(COUNTED)?, charged, "{audit}");
        Ok(())
    }
}

/// A provider whose answers cost [`COST`].
pub async fn provider() -> anyhow::Result<Provider> {
    let provider = Provider::start().await?;
    let reply = Reply { usage: Some(USED), delay_ms: 5, ..Reply::text("recorded words") };
    provider.script(Rule::always(reply));
    Ok(provider)
}

/// `tollgate-dataplane WORDS FLAGS`: what it prints; what it complains of is the error.
pub fn command(words: &[&str], flags: &[String]) -> anyhow::Result<String> {
    let output = std::process::Command::new(binary()?).args(words).args(flags).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

pub fn ask(words: &str) -> Value {
    json!({"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": words}]})
}

/// Asks until told to stop; how often it was answered.
pub async fn keep_asking(url: String, stop: Arc<AtomicU64>) -> anyhow::Result<u64> {
    let (http, body, mut answers) = (Http::new(), ask("load"), 0);
    let headers = [("x-api-key", "alice"), ("anthropic-version", "2023-06-01")];
    while stop.load(Relaxed) == 0 {
        let answer = http.post(&format!("{url}/anthropic/v1/messages"), &headers, &body).await?;
        anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        answers += 1;
    }
    Ok(answers)
}
