//! `make bench-policy`: from `kubectl apply` to enforced on every gateway, over many changes of one key, with real programs and a
//! real API server. Prints percentiles beside the round trip of the API server in the same minutes, and writes them down.
//! Then the key is revoked while it has a stream at every gateway: how long they run on. It fails when one did for too long.

use anyhow::Context;
use clap::Parser;
use std::{
    fmt::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use tollgate_e2e::{
    bench::percentile,
    client::{Http, Streaming},
    cluster::Cluster,
    control_plane::{ControlPlane, Options, process::Process},
    provider::{DEFAULT_KEY, Provider},
    results,
};

#[derive(Debug, Parser)]
#[command(about = "Measures how long a change of policy takes from kubectl apply to every gateway")]
struct Args {
    /// How many changes.
    #[arg(long, default_value_t = 200)]
    changes: u32,
    /// How many gateways.
    #[arg(long, default_value_t = 2)]
    gateways: usize,
    /// How many further keys there are.
    #[arg(long, default_value_t = 200)]
    keys: u32,
    /// How often the key is revoked while it has a running stream at every gateway.
    #[arg(long, default_value_t = 20)]
    revocations: u32,
    /// Folder of dated results; nothing is written when left out.
    #[arg(long)]
    results: Option<PathBuf>,
}

/// Milliseconds of one change.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// Until kubectl had ended: the API server has it.
    applied: f64,
    /// Until the last gateway enforced it, from the start of kubectl.
    enforced: f64,
}

const TOKEN: &str = "bench-0123456789abcdef0123456789abcdef";
const MODELS: [&str; 2] = ["main/claude-opus-4-1", "main/claude-sonnet-4-5"];
/// How long one change may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a gateway is asked.
const EVERY: Duration = Duration::from_millis(2);
/// How long the streams of a revoked key may run on, in milliseconds.
const RUNS_ON: f64 = 5000.0;
/// A stream of two minutes.
const LONG: &str = "[[deltas:1200]] [[every:100]] [[say:";

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let cluster = Cluster::start().await?;
    cluster.install_crds().await?;
    let provider = Provider::start().await?;
    let options = Options { gateways: args.gateways, ..Options::default() };
    let plane = ControlPlane::start(&cluster, options).await?;
    let http = Http::new();
    apply(&cluster, &plane, &others(args.keys)).await?;
    apply(&cluster, &plane, &(route(&provider.url()) + &secret() + &key(MODELS[0]))).await?;
    enforced(&plane, &http, MODELS[1]).await?;
    let mut changes = Vec::new();
    for number in 0..args.changes {
        let (next, old) = if number % 2 == 0 { (MODELS[1], MODELS[0]) } else { (MODELS[0], MODELS[1]) };
        changes.push(
            change(&cluster, &plane, &http, next, old).await.with_context(|| format!("change {number}"))?,
        );
        if number % 20 == 19 {
            eprintln!("policy-latency: {} of {}", number + 1, args.changes);
        }
    }
    let mut ran_on = Vec::new();
    for number in 0..args.revocations {
        // Streams look at the configuration by a clock of their own: one comes at any moment of it.
        let moment = Duration::from_millis(u64::from(number) * 157 % 1000);
        let ended = revocation(&cluster, &plane, &http, moment).await;
        ran_on.extend(ended.with_context(|| format!("revocation {number}"))?);
    }
    let report = report(&args, &changes, &ran_on);
    println!("{report}");
    if let Some(folder) = &args.results {
        results::write(folder, "policy-latency", &report)?;
    }
    let late = ran_on.iter().any(|time| *time > RUNS_ON);
    Ok(if late { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Allows `next` in place of `old`, and measures until every gateway refuses `old`.
async fn change(
    cluster: &Cluster,
    plane: &ControlPlane,
    http: &Http,
    next: &str,
    old: &str,
) -> anyhow::Result<Change> {
    let started = Instant::now();
    let manifest = key(next);
    let (applied, enforced) = tokio::join!(
        async {
            apply(cluster, plane, &manifest).await?;
            anyhow::Ok(started.elapsed())
        },
        async {
            enforced(plane, http, old).await?;
            anyhow::Ok(started.elapsed())
        }
    );
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Change { applied: milliseconds(applied?), enforced: milliseconds(enforced?) })
}

/// Waits until every gateway refuses the model. A refusal asks no provider, so that asking costs next to nothing.
async fn enforced(plane: &ControlPlane, http: &Http, model: &str) -> anyhow::Result<()> {
    let gateways: Vec<_> = plane.gateways().map(|gateway| refuses(gateway, http, model)).collect();
    futures_util::future::try_join_all(gateways).await.map(drop)
}

async fn refuses(gateway: &Process, http: &Http, model: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let body =
        serde_json::json!({"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "x"}]});
    loop {
        let answer = http.post(&gateway.at("/anthropic/v1/messages"), &[("x-api-key", TOKEN)], &body).await?;
        if answer.status == 400 && answer.text().contains("not allowed") {
            return Ok(());
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "still {} {}", answer.status, answer.text());
        tokio::time::sleep(EVERY).await;
    }
}

/// Revokes the key when it has had a stream at every gateway for a moment: milliseconds from the start of kubectl until each has ended.
async fn revocation(
    cluster: &Cluster,
    plane: &ControlPlane,
    http: &Http,
    moment: Duration,
) -> anyhow::Result<Vec<f64>> {
    apply(cluster, plane, &key(MODELS[0])).await?;
    let streams = plane.gateways().map(|gateway| running(gateway, http, MODELS[0]));
    let streams = futures_util::future::try_join_all(streams).await?;
    tokio::time::sleep(moment).await;
    let started = Instant::now();
    let end = |mut stream: Streaming| async move {
        let (events, _) = stream.rest().await;
        let ended = started.elapsed().as_secs_f64() * 1000.0;
        anyhow::ensure!(!events.iter().any(|event| event.name == "message_stop"), "a stream ran to its end");
        Ok(ended)
    };
    let revoked = key(MODELS[0]).replace("spec: {", "spec: {disabled: true, ");
    let ended = futures_util::future::try_join_all(streams.into_iter().map(end));
    let (applied, ended) = tokio::join!(apply(cluster, plane, &revoked), ended);
    applied?;
    ended
}

/// A stream that has begun, as soon as the gateway allows the key.
async fn running(gateway: &Process, http: &Http, model: &str) -> anyhow::Result<Streaming> {
    let started = Instant::now();
    let words = format!("{LONG}{}]]", "on and on ".repeat(120));
    let body = serde_json::json!({"model": model, "max_tokens": 4000, "stream": true, "messages": [{"role": "user", "content": words}]});
    loop {
        let mut stream =
            http.stream(&gateway.at("/anthropic/v1/messages"), &[("x-api-key", TOKEN)], &body).await?;
        if stream.status == 200 {
            stream.next().await?.context("an empty stream")?;
            return Ok(stream);
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "still {}", stream.status);
        tokio::time::sleep(EVERY).await;
    }
}

async fn apply(cluster: &Cluster, plane: &ControlPlane, yaml: &str) -> anyhow::Result<()> {
    let arguments = ["apply", "--namespace", plane.namespace(), "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), arguments, yaml).await.map(drop)
}

fn route(url: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: main}}\nstringData: {{apiKey: {DEFAULT_KEY}}}\n---\n\
         apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {{name: main}}\nspec: {{backends: [{{name: main, \
         anthropic: {{}}, endpoint: {url:?}, credentials: {{secretRef: {{name: main, key: apiKey}}}}}}]}}\n---\n"
    )
}

fn secret() -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: bench}}\nstringData: {{token: {TOKEN}}}\n---\n")
}

fn key(model: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: bench}}\n\
         spec: {{token: {{secretRef: {{name: bench, key: token}}}}, models: {{allow: [{model:?}]}}}}\n---\n"
    )
}

/// Keys that only stand there: teams, which need no Secrets.
fn others(number: u32) -> String {
    let mut out = String::new();
    for n in 0..number {
        // Writing to a string cannot fail.
        write!(
            out,
            "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: other-{n}}}\n\
             spec: {{budgets: [{{name: month, usd: \"200\", period: Month}}]}}\n---\n"
        )
        .ok();
    }
    out
}

fn report(args: &Args, changes: &[Change], ran_on: &[f64]) -> String {
    let sorted = |of: fn(&Change) -> f64| {
        let mut all: Vec<f64> = changes.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (applied, enforced) = (sorted(|c| c.applied), sorted(|c| c.enforced));
    let mut ran_on = ran_on.to_vec();
    ran_on.sort_by(f64::total_cmp);
    let after = sorted(|c| (c.enforced - c.applied).max(0.0));
    let mut out = format!(
        "# From kubectl apply to enforced\n\n{} changes of one key beside {} others, {} gateways, {} build, real kube-apiserver, \
         kubectl, operator and gateways on one machine of {} cores. Milliseconds.\n\n\
         | | p50 | p90 | p99 | worst |\n|---|---|---|---|---|\n",
        changes.len(),
        args.keys,
        args.gateways,
        results::build(),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
    );
    for (name, values) in [
        ("kubectl apply alone (the yardstick)", &applied),
        ("kubectl apply → enforced on every gateway", &enforced),
        ("… of which after kubectl had ended", &after),
        ("kubectl apply of a revocation → a running stream of the key has ended", &ran_on),
    ] {
        let at = |percent: f64| percentile(values, percent);
        // Writing to a string cannot fail.
        writeln!(out, "| {name} | {:.0} | {:.0} | {:.0} | {:.0} |", at(50.0), at(90.0), at(99.0), at(100.0))
            .ok();
    }
    let ratio = percentile(&enforced, 99.0) / percentile(&applied, 99.0).max(f64::MIN_POSITIVE);
    writeln!(out, "\nEnforced at p99 takes {ratio:.2} × the p99 of kubectl apply alone.").ok();
    let verdict = if ran_on.last().is_some_and(|worst| *worst > RUNS_ON) { "MISSED" } else { "met" };
    writeln!(
        out,
        "\nRevoked {} times, with a running stream at every gateway: {} streams, which must end within {RUNS_ON} ms: {verdict}.",
        args.revocations,
        ran_on.len(),
    )
    .ok();
    out
}
