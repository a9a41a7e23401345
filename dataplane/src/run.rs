//! Wiring: from the command line to a serving process, and its orderly end.

mod listeners;

use crate::{
    args::Args,
    bridge::Local,
    config::{folder, xds},
    gateway::{Gateway, Options},
    identity,
    ledger::{self, Ledger},
    logs::{self, LogsState},
    mcp, observe,
    records::{self, Recorder, drainer::Drainer},
    serve::{self, Drain, Stop, dispatch::Service},
    snapshot::Snapshot,
    telemetry::{self, Labels},
};
use anyhow::Context;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};
use tollgate_process::{
    admin,
    readiness::{Readiness, Waiting},
    telemetry::{Options as TelemetryOptions, Telemetry},
};
use tollgate_translate::price::Catalogue;

/// How long what is on its way to the ledger may take at least, however late it is.
const CLOSING: Duration = Duration::from_secs(2);

/// What serves, once it is there.
struct Started {
    service: Service,
    gateway: Arc<Gateway>,
    endpoint: mcp::Endpoint,
    recorder: Recorder,
    /// How the operator's stream is, where there is one.
    configuration: Option<watch::Receiver<xds::Status>>,
    /// The stdio servers of this process, when they are allowed.
    local: Option<Arc<Local>>,
}

/// Snapshots; where they come from the operator, how its stream is, and where to put what is seen, to be reported.
type Followed = (
    watch::Receiver<Arc<Snapshot>>,
    Option<watch::Receiver<xds::Status>>,
    Option<watch::Sender<xds::Observed>>,
);

/// Runs the gateway until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the manifests folder cannot be read, the records cannot be opened, or an address cannot be listened on.
pub fn run(args: Args) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&TelemetryOptions {
        service: "tollgate-gateway",
        version: env!("CARGO_PKG_VERSION"),
        instance: args.node.clone(),
        scrape: args.operations.admin.is_some(),
    });
    telemetry::start(&telemetry, Labels { keys: args.operations.metrics_keys });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(args, &telemetry));
    telemetry.stop();
    ended
}

async fn serve(args: Args, telemetry: &Telemetry) -> anyhow::Result<()> {
    let began = Instant::now();
    // Read while the rest starts, so that the first request does not wait for it.
    tokio::task::spawn_blocking(Catalogue::embedded);
    let readiness = Readiness::default();
    let waiting = readiness.wait_for("starting");
    let stop = Stop::with_signals()?;
    // Listening first: a taken port is the commonest failure and should cost nothing.
    let options = options(&args)?;
    let listeners = listeners::bind(&args, &options, &readiness, &stop.drain).await?;
    if let Some(address) = args.operations.admin {
        let address = admin::start(address, readiness, telemetry.prometheus())
            .with_context(|| format!("cannot listen on {address} (--admin)"))?;
        tracing::info!("admin port on http://{address}");
    }
    let fronts: Vec<_> = listeners.iter().map(|listener| listener.front.clone()).collect();
    let drain = Drain { accepting: args.operations.min_drain, most: args.drain };
    let serving = tokio::spawn(serve::serve(listeners, stop.clone(), drain));
    // The listeners answer while the rest starts.
    let started = tokio::select! {
        started = start(&args, options, &waiting) => started?,
        () = stop.drain.cancelled() => return end(serving, None, &stop).await,
    };
    for front in fronts {
        if let Some(status) = started.configuration.clone() {
            front.watch_age(Box::new(move || status.borrow().age()));
        }
        front.open(&started.service);
    }
    drop(waiting);
    tracing::info!(after_ms = began.elapsed().as_millis() as u64, "ready");
    end(serving, Some(started), &stop).await
}

/// Serves until the end, and leaves nothing undone.
async fn end(
    serving: JoinHandle<std::io::Result<tokio::time::Instant>>,
    started: Option<Started>,
    stop: &Stop,
) -> anyhow::Result<()> {
    let until = serving.await??;
    if let Some(Started { gateway, endpoint, recorder, local, .. }) = started {
        // Tool calls whose client is gone may still end: their effects should be recorded with their outcome.
        endpoint.end(until, &stop.cut).await;
        // Every request has ended, but what it ended with may still be on its way.
        gateway.ledger.close(until.saturating_duration_since(tokio::time::Instant::now()).max(CLOSING)).await;
        recorder.flush().await;
        if let Some(local) = local {
            local.shutdown().await;
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// All that serves, from the configuration to the pages.
async fn start(args: &Args, options: Options, waiting: &Waiting) -> anyhow::Result<Started> {
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot create {}", args.data.display()))?;
    let local = local_stdio(args).await?;
    let (snapshots, configuration, observed) = snapshots(args, local.clone(), waiting).await?;
    let (recorder, store) = records::open_with(args.postgres.location(&args.data), record_options(args))
        .await
        .context("cannot open the records")?;
    let (first, counted) = (snapshots.borrow().clone(), recorder.clone());
    telemetry::watch_records(move || counted.counts());
    let account = ledger::open(&args.ledger, args.postgres.postgres.is_some(), &args.data)?;
    let gateway = gateway(options, first, account, &recorder, &store).await?;
    let (holding, asked) = (gateway.clone(), gateway.clone());
    telemetry::watch_holds(move || holding.ledger.holds());
    telemetry::watch_ledger(move || asked.ledger.health().ok);
    ledger::keep(&gateway, &snapshots, observed.clone());
    tokio::spawn(follow(gateway.clone(), snapshots));
    let keys = [mcp::keys::load_or_create(&args.data.join("sealing.key"))?];
    let endpoint = mcp::Endpoint::new(recorder.sink(), &keys)?.counted(gateway.clone());
    if let Some(observed) = observed {
        tokio::spawn(observe::run(gateway.clone(), endpoint.clone(), observed));
    }
    let pages = logs(&gateway, drained(args, &gateway, store)?);
    let patience = Duration::from_secs(args.ledger.redis_patience.into());
    ledger::first::wait(&gateway, &args.data, patience, |why| waiting.because(why)).await;
    let service = Service::new(gateway.clone(), endpoint.clone(), pages, args.listen.ip().is_loopback());
    Ok(Started { service, gateway, endpoint, recorder, configuration, local })
}

/// With a ledger that gateways share, its stream tells what was charged.
fn record_options(args: &Args) -> records::Options {
    let shared = args.ledger.redis.is_some();
    let money = if shared { records::Money::Stream } else { records::Money::Records };
    records::Options { money, ..records::Options::default() }
}

/// Where gateways share both ledger and records: brings the one's billing records to the other, for as long as the process
/// lives.
fn drained(args: &Args, gateway: &Gateway, store: records::Store) -> anyhow::Result<records::Store> {
    let (Some(shared), Some(options)) = (gateway.ledger.shared(), args.postgres.options(&args.data)) else {
        return Ok(store);
    };
    let drainer = Drainer::new(shared.store().clone(), &options, &args.node)?;
    telemetry::watch_drain(drainer.stats());
    tokio::spawn(drainer.run());
    tokio::spawn(records::generation::keep(store.clone(), shared.store().clone()));
    Ok(store.with_ledger(shared.store().clone()))
}

fn options(args: &Args) -> anyhow::Result<Options> {
    let issuer = |file: &std::path::PathBuf| {
        identity::file::read(file).with_context(|| format!("cannot use --token-issuer {}", file.display()))
    };
    Ok(Options {
        token_issuers: args
            .token_issuer
            .iter()
            .map(issuer)
            .map(|v| v.map(Arc::new))
            .collect::<Result<_, _>>()?,
        max_body: args.max_body,
        allow_anonymous: args.allow_anonymous,
        standalone: args.source.manifests.is_some(),
        allowed_hosts: args.allowed_hosts.clone(),
        allowed_origins: args.allowed_origins.clone(),
        logs_admins: args.logs_admins.clone(),
        max_config_age: args.operations.max_config_age,
        ..Options::default()
    })
}

async fn local_stdio(args: &Args) -> anyhow::Result<Option<Arc<Local>>> {
    match args.allow_local_stdio {
        true => Local::start().await.map(Some).context("cannot listen on loopback for stdio servers"),
        false => Ok(None),
    }
}

/// What is in force, and what will be: from a folder, or from the operator once there is something to serve.
async fn snapshots(args: &Args, local: Option<Arc<Local>>, waiting: &Waiting) -> anyhow::Result<Followed> {
    if let Some(folder) = &args.source.manifests {
        let snapshots = folder::watch_and_run(folder, folder::Options::default(), local)
            .await
            .with_context(|| format!("cannot read the manifests in {}", folder.display()))?;
        return Ok((snapshots, None, None));
    }
    let options = xds::Options {
        url: args.source.xds.clone().unwrap_or_default(),
        token_file: args.xds_token_file.clone().unwrap_or_default(),
        ca_file: args.xds_ca.clone(),
        node: args.node.clone(),
        saved: args.xds_state.clone(),
    };
    let from = options.url.clone();
    let mut source = xds::start(options).context("cannot follow the operator")?;
    telemetry::watch_configuration(source.status.clone());
    let tell = |why: &str| waiting.because(format!("waiting for the first configuration from {from}: {why}"));
    anyhow::ensure!(source.wait_ready(tell).await, "the thread that follows the operator ended");
    Ok((source.snapshots, Some(source.status), Some(source.observed)))
}

async fn gateway(
    options: Options,
    snapshot: Arc<Snapshot>,
    account: Ledger,
    recorder: &Recorder,
    store: &records::Store,
) -> anyhow::Result<Arc<Gateway>> {
    let gateway = Gateway::new(options, snapshot, account, recorder.sink());
    if gateway.ledger.shared().is_none() {
        let now = gateway.now();
        let past = store.postings_since(now).await.context("cannot read past charges from the records")?;
        gateway.ledger.restore(past, now);
    }
    Ok(Arc::new(gateway))
}

/// Puts each new snapshot in force.
async fn follow(gateway: Arc<Gateway>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    while snapshots.changed().await.is_ok() {
        let next = snapshots.borrow_and_update().clone();
        gateway.replace(next);
    }
}

/// `/logs`, with the ledger's state for its spend page.
fn logs(gateway: &Arc<Gateway>, store: records::Store) -> axum::Router {
    logs::router(LogsState { store, budgets: ledger::spend::for_pages(gateway) })
}
