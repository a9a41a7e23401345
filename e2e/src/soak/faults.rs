//! What is done to the installation, one at a time, and what must go on meanwhile.

use super::{
    clients::probe,
    judge::REVOCATION,
    keys::{CHANGED, KEYS, LIMITS, REVOKED, ROTATED},
    random::Random,
    stage::{GATEWAYS, OPERATORS, Stage, server_options},
    turn::{At, Kind, Running, Turn},
};
use crate::{
    client::{Http, eventually},
    mcp_server::McpServer,
    provider::{Reply, Rule},
};
use anyhow::{Context, ensure};
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a gateway; it comes back with its data folder.
    GatewayKill,
    /// SIGTERM of a gateway; it comes back.
    GatewayDrain,
    /// A gateway stands still, longer than a hold lives or shorter.
    GatewayPause,
    /// `kill -9` of Redis, which has its AOF.
    RedisKill,
    /// Redis stands still.
    RedisPause,
    /// PostgreSQL ends and comes back.
    PostgresStop,
    /// PostgreSQL stands still.
    PostgresPause,
    /// `kill -9` of the operator that leads.
    LeaderKill,
    /// `kill -9` of all operators.
    OperatorsKill,
    /// The API server ends and comes back.
    ApiServer,
    /// A backend closes connections without an answer, and in the middle of streams.
    ProviderReset,
    /// A backend answers what is no JSON.
    ProviderGarbage,
    /// A backend answers 429.
    ProviderLimit,
    /// A backend answers 500.
    ProviderError,
    /// A backend falls silent in the middle.
    ProviderStall,
    /// The MCP server is gone, and comes back without its sessions.
    McpKill,
    /// A key's budget is changed, twice, and then as it was.
    BudgetChange,
    /// A key is disabled, and then not.
    KeyRevoke,
    /// A key gets another token; the old one ends at once.
    TokenRotate,
}

/// A fault, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// What.
    pub fault: Fault,
    /// The gateway that it is done to.
    pub gateway: Option<usize>,
    /// Both backends, and not only the first.
    pub both: bool,
}

/// How many answers show that a gateway goes on.
const GOES_ON: u64 = 3;

// === impl Fault ===

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 19] = [
        Fault::GatewayKill,
        Fault::GatewayDrain,
        Fault::GatewayPause,
        Fault::RedisKill,
        Fault::RedisPause,
        Fault::PostgresStop,
        Fault::PostgresPause,
        Fault::LeaderKill,
        Fault::OperatorsKill,
        Fault::ApiServer,
        Fault::ProviderReset,
        Fault::ProviderGarbage,
        Fault::ProviderLimit,
        Fault::ProviderError,
        Fault::ProviderStall,
        Fault::McpKill,
        Fault::BudgetChange,
        Fault::KeyRevoke,
        Fault::TokenRotate,
    ];

    /// What it is called.
    pub fn words(self) -> &'static str {
        match self {
            Fault::GatewayKill => "a gateway is killed (-9)",
            Fault::GatewayDrain => "a gateway is drained (SIGTERM)",
            Fault::GatewayPause => "a gateway stands still",
            Fault::RedisKill => "Redis is killed (-9)",
            Fault::RedisPause => "Redis stands still",
            Fault::PostgresStop => "PostgreSQL is stopped",
            Fault::PostgresPause => "PostgreSQL stands still",
            Fault::LeaderKill => "the leading operator is killed (-9)",
            Fault::OperatorsKill => "all operators are killed (-9)",
            Fault::ApiServer => "the API server is killed (-9)",
            Fault::ProviderReset => "a provider breaks connections",
            Fault::ProviderGarbage => "a provider answers garbage",
            Fault::ProviderLimit => "a provider answers 429",
            Fault::ProviderError => "a provider answers 500",
            Fault::ProviderStall => "a provider falls silent in the middle",
            Fault::McpKill => "the MCP server is killed",
            Fault::BudgetChange => "a budget is changed",
            Fault::KeyRevoke => "a key is revoked and allowed again",
            Fault::TokenRotate => "a token is rotated",
        }
    }

    /// Whether a provider causes it.
    pub fn is_provider(self) -> bool {
        use Fault::{ProviderError, ProviderGarbage, ProviderLimit, ProviderReset, ProviderStall};
        matches!(self, ProviderError | ProviderGarbage | ProviderLimit | ProviderReset | ProviderStall)
    }

    /// Whether what holds and renews money stands still.
    pub fn is_pause(self) -> bool {
        matches!(self, Fault::GatewayPause | Fault::RedisPause)
    }

    /// Picks what it is done to.
    pub fn target(self, random: &mut Random) -> Target {
        // The last gateway is spared: its memory is compared.
        let gateway = random.place(GATEWAYS - 1);
        let one = matches!(self, Fault::GatewayKill | Fault::GatewayDrain | Fault::GatewayPause);
        Target { fault: self, gateway: one.then_some(gateway), both: random.below(2) == 0 }
    }
}

// === impl Target ===

impl Target {
    /// What it is called.
    pub fn words(self) -> String {
        match (self.gateway, self.fault.is_provider(), self.both) {
            (Some(gateway), ..) => format!("{} (gateway {gateway})", self.fault.words()),
            (None, true, true) => format!("{} (both backends)", self.fault.words()),
            _ => self.fault.words().to_owned(),
        }
    }

    /// The gateways that it is not done to.
    fn others(self) -> Vec<usize> {
        (0..GATEWAYS).filter(|n| Some(*n) != self.gateway).collect()
    }
}

/// Does it, lets it stand, and takes it back. What must go on meanwhile is waited for.
pub async fn apply(stage: &mut Stage, target: Target, stand: Duration) -> anyhow::Result<()> {
    let gateway = target.gateway.unwrap_or(0);
    match target.fault {
        Fault::GatewayKill => {
            stage.plane.gateway_mut(gateway)?.kill9().await?;
            goes_on(stage, target, stand, false).await?;
            stage.plane.gateway_mut(gateway)?.restart()
        }
        Fault::GatewayDrain => {
            stage.plane.gateway_mut(gateway)?.stop().await?;
            goes_on(stage, target, stand / 4, false).await?;
            stage.plane.gateway_mut(gateway)?.restart()
        }
        Fault::GatewayPause => {
            let pid = stage.plane.gateway(gateway)?.pid()?;
            signal("-STOP", pid).await?;
            let went = goes_on(stage, target, stand, false).await;
            signal("-CONT", pid).await?;
            went
        }
        Fault::RedisKill => {
            stage.redis.kill();
            goes_on(stage, target, stand, true).await?;
            tokio::task::block_in_place(|| stage.redis.launch())
        }
        Fault::RedisPause => {
            stage.redis.pause()?;
            let went = goes_on(stage, target, stand, true).await;
            stage.redis.resume()?;
            went
        }
        Fault::PostgresStop => {
            tokio::task::block_in_place(|| stage.postgres.kill());
            goes_on(stage, target, stand, false).await?;
            tokio::task::block_in_place(|| stage.postgres.restart()).map_err(anyhow::Error::msg)
        }
        Fault::PostgresPause => {
            stage.postgres.pause().map_err(anyhow::Error::msg)?;
            let went = goes_on(stage, target, stand, false).await;
            stage.postgres.resume().map_err(anyhow::Error::msg)?;
            went
        }
        Fault::LeaderKill => leader(stage, target).await,
        Fault::OperatorsKill => {
            for n in 0..OPERATORS {
                stage.plane.operator_mut(n)?.kill9().await?;
            }
            goes_on(stage, target, stand, false).await?;
            (0..OPERATORS).try_for_each(|n| stage.plane.operator_mut(n)?.restart())
        }
        Fault::ApiServer => {
            stage.cluster.stop_api_server()?;
            goes_on(stage, target, stand, false).await?;
            stage.cluster.start_api_server().await
        }
        Fault::McpKill => mcp(stage, target, stand).await,
        Fault::BudgetChange => budget(stage).await,
        Fault::KeyRevoke => revoke(stage, stand).await,
        Fault::TokenRotate => rotate(stage).await,
        _ => provider(stage, target, stand).await,
    }
}

/// Waits, and until every gateway that nothing was done to has answered since.
async fn goes_on(stage: &Stage, target: Target, stand: Duration, allow: bool) -> anyhow::Result<()> {
    let (judge, others) = (&stage.world.judge, target.others());
    let before: Vec<u64> = others.iter().map(|n| judge.answered_by(*n)).collect();
    sleep(stand).await;
    for (gateway, before) in others.into_iter().zip(before) {
        // Few clients, slow machine: a probe of our own sees to it that somebody asks.
        let http = Http::new();
        let what = format!("{}: gateway {gateway} answers meanwhile", target.words());
        eventually(&what, || async {
            probe(&stage.world, &http, gateway, Kind::Whole, allow).await;
            Ok((judge.answered_by(gateway) >= before + GOES_ON).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn signal(signal: &str, pid: u32) -> anyhow::Result<()> {
    let status = tokio::process::Command::new("kill").args([signal, &pid.to_string()]).status().await?;
    ensure!(status.success(), "kill {signal} {pid}: {status}");
    Ok(())
}

/// The other one takes over, before the first is back.
async fn leader(stage: &mut Stage, target: Target) -> anyhow::Result<()> {
    let held = eventually("an operator leads", || stage.leader()).await?;
    stage.plane.operator_mut(held)?.kill9().await?;
    goes_on(stage, target, Duration::ZERO, false).await?;
    eventually("the other operator leads", || stage.leader()).await?;
    stage.plane.operator_mut(held)?.restart()
}

async fn provider(stage: &mut Stage, target: Target, stand: Duration) -> anyhow::Result<()> {
    let reply = |n: u64| match target.fault {
        // With and without a first byte.
        Fault::ProviderReset if n == 0 => Reply { drop: true, ..Reply::default() },
        Fault::ProviderReset => {
            Reply { break_after: Some(4), ..Reply::text("this breaks off in its middle") }
        }
        Fault::ProviderGarbage => {
            Reply { body: Some("<html>502 Bad Gateway</html>".to_owned()), ..Reply::default() }
        }
        Fault::ProviderLimit => {
            Reply::error(429, "Number of requests has exceeded your limit").header("retry-after", "1")
        }
        Fault::ProviderStall => Reply {
            pause_after: Some(4),
            pause_ms: 60_000,
            deltas: Some(8),
            ..Reply::text("this falls silent in its middle")
        },
        _ => Reply::error(500, "Internal server error"),
    };
    let hit = if target.both { stage.providers.len() } else { 1 };
    for (n, provider) in stage.providers.iter().take(hit).enumerate() {
        provider.script(Rule::always(reply(n as u64)));
    }
    sleep(stand).await;
    for provider in &stage.providers {
        for leak in provider.leaks() {
            stage.world.judge.finding(&format!("a gateway leaked to a provider: {leak}"));
        }
        provider.reset();
    }
    Ok(())
}

async fn mcp(stage: &mut Stage, target: Target, stand: Duration) -> anyhow::Result<()> {
    drop(stage.server.take());
    goes_on(stage, target, stand, false).await?;
    let listen = stage.server_at;
    eventually(
        "the MCP server's port is free",
        || async move { Ok(TcpListener::bind(listen).ok().map(drop)) },
    )
    .await?;
    stage.server = Some(McpServer::with(server_options(listen)).await?);
    Ok(())
}

/// Another limit counts at every gateway soon, and the first in the end.
async fn budget(stage: &mut Stage) -> anyhow::Result<()> {
    for (usd, nano) in LIMITS.iter().skip(1).chain(LIMITS.first()) {
        let spec = format!(
            "{{\"budgets\": [{{\"name\": \"minute\", \"usd\": \"{usd}\", \"period\": \"Minute\"}}]}}"
        );
        stage.patch(CHANGED, &spec).await?;
        let world = stage.world.clone();
        stage
            .every_gateway(&format!("the limit is ${usd}"), |gateway, http| {
                let world = world.clone();
                async move {
                    let budgets = super::watch::look(&world, &http, gateway).await.unwrap_or_default();
                    let name = format!("/{CHANGED}");
                    Ok(budgets.iter().any(|b| b.key.ends_with(&name) && b.limit == *nano))
                }
            })
            .await?;
    }
    Ok(())
}

/// Its running streams end, and no gateway answers it after five seconds nor for as long as it is revoked; then all do.
async fn revoke(stage: &mut Stage, stand: Duration) -> anyhow::Result<()> {
    let mut running = streams(stage).await?;
    let began = Instant::now();
    stage.patch(REVOKED, "{\"disabled\": true}").await?;
    let judge = stage.world.judge.clone();
    if judge.is_timed() {
        let by = Instant::now() + REVOCATION;
        judge.revoke(Some(by));
        judge.ends_by(by);
        sleep(REVOCATION + stand).await;
    } else {
        answers(stage, REVOKED, stage.world.token(REVOKED), 403).await?;
        judge.revoke(Some(Instant::now()));
        sleep(stand).await;
    }
    // Before the key is allowed again: what ends them is that it is not.
    while let Some(turn) = running.join_next().await {
        let turn = turn?;
        if turn.ended < began {
            judge.finding(&format!("{turn}: before its key was revoked"));
        }
        judge.ended_after(turn.ended.duration_since(began));
        judge.ended(turn, true);
    }
    judge.revoke(None);
    stage.patch(REVOKED, "{\"disabled\": null}").await?;
    answers(stage, REVOKED, stage.world.token(REVOKED), 200).await
}

/// A long stream of the key at every gateway, each of them begun.
async fn streams(stage: &Stage) -> anyhow::Result<JoinSet<Turn>> {
    let (http, world) = (&Http::new(), &stage.world);
    let key = KEYS.iter().find(|key| key.name == REVOKED).context("the key that is revoked")?;
    let token = &world.token(REVOKED);
    let mut running = JoinSet::new();
    for gateway in 0..GATEWAYS {
        let what = format!("gateway {gateway} streams to {REVOKED}");
        let stream = eventually(&what, || async move {
            let at = At { http, gateway, url: world.gateway(gateway), key, token };
            let opened = Running::open(at, &mut Random::new(gateway as u64)).await;
            Ok(opened.map_err(|turn| world.judge.ended(turn, true)).ok())
        });
        running.spawn(stream.await?.end());
    }
    Ok(running)
}

/// The new token works at every gateway, the old one soon at none.
async fn rotate(stage: &mut Stage) -> anyhow::Result<()> {
    stage.rotations += 1;
    let old = stage.world.token(ROTATED);
    let value = format!("tollgate.dev/rotate-token=soak-{}", stage.rotations);
    let annotate =
        ["annotate", "virtualkey", ROTATED, "--overwrite", "tollgate.dev/rotation-overlap=0s", &value];
    stage.kubectl(&annotate).await?;
    let token = stage.token_but(Some(&old)).await?;
    stage.rotate(ROTATED, token.clone());
    answers(stage, ROTATED, token, 200).await?;
    answers(stage, ROTATED, old, 401).await
}

/// Waits until a token is answered so at every gateway.
async fn answers(stage: &Stage, key: &str, token: String, status: u16) -> anyhow::Result<()> {
    let world = stage.world.clone();
    stage
        .every_gateway(&format!("the token of {key} is answered {status}"), |gateway, http| {
            let url = format!("{}/v1/models", world.gateway(gateway));
            let (world, token) = (world.clone(), token.clone());
            async move {
                let headers = [("x-api-key", token.as_str())];
                let answer = http.call(http::Method::GET, &url, &headers, bytes::Bytes::new()).await;
                let answer = answer.context("no answer")?;
                world.judge.waited(answer.header("x-request-id").unwrap_or_default());
                Ok(answer.status == status)
            }
        })
        .await
}
