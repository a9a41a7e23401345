//! `make bench-footprint`: memory and processor time of an operator, a gateway and a relay that have nothing to do, and after
//! sessions of Claude Code's size through relay and gateway. Needs release builds beside it.

use anyhow::Context;
use clap::Parser;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tollgate_e2e::{
    bench::{
        cases,
        load::{Mode, Target},
        process::{Cpu, memory, own_memory, peak_memory},
    },
    client::{Http, eventually},
    cluster::Cluster,
    control_plane::{
        AUDIENCE, ControlPlane, Options, free_port,
        process::{Process, Spec},
    },
    provider::{DEFAULT_KEY, Provider},
    results,
};

#[derive(Debug, Parser)]
#[command(about = "Measures what an installation costs that has nothing to do")]
struct Args {
    /// Seconds without a request.
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Seconds of requests, on 4 connections.
    #[arg(long, default_value_t = 5)]
    busy: u64,
    /// Folder of dated results; nothing is written when left out.
    #[arg(long)]
    results: Option<PathBuf>,
}

/// One process.
struct Footprint {
    name: &'static str,
    pid: u32,
    idle: u64,
    /// Processor milliseconds a second without a request.
    cpu: f64,
    busy: u64,
    /// Of that what is no page of a file.
    own: u64,
    peak: u64,
}

/// What a relay may have, in bytes.
const RELAY: u64 = 15_000_000;
/// The workload's ServiceAccount.
const WORKLOAD: &str = "devbox";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let cluster = Cluster::start().await?;
    cluster.install_crds().await?;
    let provider = Provider::start().await?;
    let mut plane = ControlPlane::start(&cluster, Options { gateways: 0, ..Options::default() }).await?;
    let folder = tempfile::tempdir()?;
    let tls = gateway(&cluster, &mut plane, folder.path()).await?;
    let apply = ["apply", "--namespace", plane.namespace(), "-f", "-"];
    cluster.kubectl_as(cluster.kubeconfig(), apply, &manifests(&provider.url())).await?;
    let relay = relay(&cluster, &plane, folder.path(), tls).await?;

    let pids = [
        ("operator", plane.operator(0)?.pid()?),
        ("gateway", plane.gateway(0)?.pid()?),
        ("relay", relay.pid()?),
    ];
    let mut all = Vec::new();
    for (name, pid) in pids {
        all.push(Footprint { name, pid, idle: 0, cpu: 0.0, busy: 0, own: 0, peak: 0 });
    }
    idle(&mut all, Duration::from_secs(args.idle.max(1))).await?;
    busy(&mut all, &relay, Duration::from_secs(args.busy.max(1))).await?;
    let page = page(&args, &all);
    println!("{page}");
    match &args.results {
        Some(folder) => results::write(folder, "footprint", &page),
        None => Ok(()),
    }
}

/// A gateway with a listener for relays; the listener's port.
async fn gateway(cluster: &Cluster, plane: &mut ControlPlane, folder: &Path) -> anyhow::Result<u16> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client().await?, plane.namespace());
    let pair = eventually("the gateways' certificate is there", || async {
        Ok(secrets.get_opt("tollgate-gateway-tls").await?.and_then(|secret| secret.data))
    })
    .await?;
    for (entry, value) in pair {
        std::fs::write(folder.join(entry), value.0)?;
    }
    std::fs::write(folder.join("ca.crt"), plane.authority(cluster).await?)?;
    let port = free_port()?;
    let file = |name: &str| folder.join(name).display().to_string();
    let more = [
        format!("--listen-tls=127.0.0.1:{port}"),
        format!("--tls-cert={}", file("tls.crt")),
        format!("--tls-key={}", file("tls.key")),
    ];
    plane.add_gateway(cluster, &more).await?;
    plane.wait_ready().await?;
    Ok(port)
}

fn manifests(provider: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: anthropic}}\nstringData: {{apiKey: {DEFAULT_KEY}}}\n---\n\
         apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {{name: anthropic}}\nspec: {{backends: [{{name: main, \
         anthropic: {{}}, endpoint: {provider:?}, credentials: {{secretRef: {{name: anthropic, key: apiKey}}}}}}]}}\n---\n\
         apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: devbox}}\nspec: {{serviceAccounts: \
         [{{name: {WORKLOAD}}}], models: {{allow: [\"*/*\"]}}, budgets: [{{name: day, usd: \"100000\", period: Day}}]}}\n"
    )
}

/// A relay before the gateway, once a request passes through both.
async fn relay(cluster: &Cluster, plane: &ControlPlane, folder: &Path, tls: u16) -> anyhow::Result<Process> {
    cluster.service_account(plane.namespace(), WORKLOAD).await?;
    let file = |name: &str| folder.join(name).display().to_string();
    std::fs::write(file("token"), cluster.token(plane.namespace(), WORKLOAD, AUDIENCE).await?)?;
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let arguments = vec![
        "relay".to_owned(),
        format!("--upstream=https://127.0.0.1:{tls}"),
        format!("--token-file={}", file("token")),
        format!("--ca={}", file("ca.crt")),
        format!("--listen={}", url.trim_start_matches("http://")),
    ];
    let spec = Spec {
        name: "relay".to_owned(),
        program: "tollgate-dataplane",
        arguments,
        environment: Vec::new(),
        admin: url.clone(),
        url,
    };
    let relay = Process::start(spec)?;
    let http = Http::new();
    let models = relay.at("/v1/models");
    let asked = eventually("the workload is known", || async {
        Ok(http.get(&models).await.is_ok_and(|answer| answer.status == 200).then_some(()))
    });
    asked.await.with_context(|| relay.log().text())?;
    Ok(relay)
}

async fn idle(all: &mut [Footprint], time: Duration) -> anyhow::Result<()> {
    let before = all.iter().map(|one| Cpu::of(one.pid)).collect::<anyhow::Result<Vec<_>>>()?;
    tokio::time::sleep(time).await;
    for (one, before) in all.iter_mut().zip(&before) {
        one.idle = memory(one.pid)?;
        one.cpu = Cpu::of(one.pid)?.since(before) as f64 / 1e6 / time.as_secs_f64();
    }
    Ok(())
}

async fn busy(all: &mut [Footprint], relay: &Process, time: Duration) -> anyhow::Result<()> {
    let case = cases::all().into_iter().find(|case| case.streamed() && !case.translated);
    let case = Arc::new(case.context("there is no case of a session")?);
    let target = Target::keyed(relay.url().trim_start_matches("http://").parse()?, "dummy");
    let done = target.run(&case, Mode::Connections(4), time).await.with_context(|| relay.log().text())?;
    eprintln!("footprint: {} requests through the relay", done.len());
    for one in all {
        (one.busy, one.own) = (memory(one.pid)?, own_memory(one.pid)?);
        one.peak = peak_memory(one.pid)?;
    }
    Ok(())
}

fn page(args: &Args, all: &[Footprint]) -> String {
    let mut page = format!(
        "# What an installation costs that has nothing to do\n\n{} build. Resident memory in MB, processor time in ms a second (1,000 \
         is a whole core). Idle: {} s without a request, one route, one key. Busy: {} s of requests like Claude Code's (76 kB, 50 \
         events) on 4 connections, through relay and gateway.\n\n\
         | | idle: memory | processor | after the busy time | of that its own, without its program's pages | most ever |\n\
         |---|---|---|---|---|---|\n",
        results::build(),
        args.idle,
        args.busy
    );
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    for one in all {
        let (idle, busy, peak) = (megabytes(one.idle), megabytes(one.busy), megabytes(one.peak));
        let own = megabytes(one.own);
        page.push_str(&format!(
            "| {} | {idle:.1} | {:.2} | {busy:.1} | {own:.1} | {peak:.1} |\n",
            one.name, one.cpu
        ));
    }
    for relay in all.iter().filter(|one| one.name == "relay") {
        let word = if relay.busy <= RELAY { "met" } else { "MISSED" };
        page.push_str(&format!("\nThe relay's aim is {} MB: {word}.\n", megabytes(RELAY)));
    }
    page
}
