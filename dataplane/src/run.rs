//! Wiring: from the command line to a serving process, and its orderly end.

use crate::{
    args::Args,
    config::{folder, xds},
    gateway::{Gateway, Options},
    identity, listen,
    logs::{self, KeySpend, LogsState},
    mcp, money,
    records::{self, Recorder},
    serve::{self, dispatch::Service},
    snapshot::{KeyNode, Snapshot},
};
use anyhow::Context;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch};
use tollgate_ledger::memory::MemoryStore;
use tollgate_translate::price::Catalogue;

/// How often dead holds are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Runs the gateway until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the manifests folder cannot be read, the records cannot be opened, or the address cannot be listened on.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    // Read while the rest starts, so that the first request does not wait for it.
    tokio::task::spawn_blocking(Catalogue::embedded);
    // Listening first: a taken port is the commonest failure and should cost nothing.
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot create {}", args.data.display()))?;
    let snapshots = snapshots(&args).await?;
    let (recorder, store) = records::open(records::Location::File(args.data.join("records.sqlite")))
        .await
        .context("cannot open the records")?;
    let first = snapshots.borrow().clone();
    let gateway = gateway(&args, first, &recorder, &store).await?;
    tokio::spawn(follow(gateway.clone(), snapshots));
    tokio::spawn(sweep(gateway.clone()));
    let endpoint =
        mcp::Endpoint::new(recorder.sink(), &[mcp::keys::load_or_create(&args.data.join("sealing.key"))?])?;
    let pages = logs(&gateway, store);
    let service = Service::new(gateway, endpoint, pages, address.ip().is_loopback());
    tracing::info!(after_ms = started.elapsed().as_millis() as u64, "listening on http://{address}");
    serve::serve(listener, Arc::new(service), listen::stopped(), args.drain).await?;
    recorder.flush().await;
    tracing::info!("stopped");
    Ok(())
}

/// What is in force, and what will be: from a folder, or from the operator once there is something to serve.
async fn snapshots(args: &Args) -> anyhow::Result<watch::Receiver<Arc<Snapshot>>> {
    if let Some(folder) = &args.source.manifests {
        return folder::watch(folder, folder::Options::default())
            .await
            .with_context(|| format!("cannot read the manifests in {}", folder.display()));
    }
    let options = xds::Options {
        url: args.source.xds.clone().unwrap_or_default(),
        token_file: args.xds_token_file.clone().unwrap_or_default(),
        ca_file: args.xds_ca.clone(),
        node: args.node.clone(),
        saved: args.xds_state.clone(),
    };
    let mut source = xds::start(options).context("cannot follow the operator")?;
    anyhow::ensure!(source.wait_ready().await, "the thread that follows the operator ended");
    Ok(source.snapshots)
}

async fn gateway(
    args: &Args,
    snapshot: Arc<Snapshot>,
    recorder: &Recorder,
    store: &records::Store,
) -> anyhow::Result<Arc<Gateway>> {
    let issuer = |file: &std::path::PathBuf| {
        identity::file::read(file).with_context(|| format!("cannot use --token-issuer {}", file.display()))
    };
    let options = Options {
        token_issuers: args
            .token_issuer
            .iter()
            .map(issuer)
            .map(|v| v.map(Arc::new))
            .collect::<Result<_, _>>()?,
        max_body: args.max_body,
        allow_anonymous: args.allow_anonymous,
        allowed_hosts: args.allowed_hosts.clone(),
        allowed_origins: args.allowed_origins.clone(),
        ..Options::default()
    };
    let gateway = Gateway::new(options, snapshot, MemoryStore::new(), recorder.sink());
    let now = gateway.now();
    let past = store.postings_since(now).await.context("cannot read past charges from the records")?;
    gateway.ledger.restore(past, now);
    Ok(Arc::new(gateway))
}

/// Puts each new snapshot in force.
async fn follow(gateway: Arc<Gateway>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    while snapshots.changed().await.is_ok() {
        let next = snapshots.borrow_and_update().clone();
        gateway.replace(next);
    }
}

/// Gives up dead holds. Every exit of a request settles, so one found here is worth a warning.
async fn sweep(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        for dead in gateway.ledger.expire(gateway.now()) {
            tracing::warn!(id = %dead.id, "a hold died without a settle: charged what it had used");
            gateway.record_expired(dead);
        }
    }
}

/// `/logs`, with the ledger's state for its spend page.
fn logs(gateway: &Arc<Gateway>, store: records::Store) -> axum::Router {
    let gateway = gateway.clone();
    logs::router(LogsState { store, budgets: Arc::new(move || key_spend(&gateway)) })
}

fn key_spend(gateway: &Gateway) -> Vec<KeySpend> {
    let (snapshot, now) = (gateway.snapshot(), gateway.now());
    let state = |node: &Arc<KeyNode>| KeySpend {
        tree: node.path.iter().map(|key| key.id.shared()).collect(),
        budgets: money::all_levels(node)
            .first()
            .map(|level| gateway.ledger.state(level, now))
            .unwrap_or_default(),
    };
    let mut all: Vec<KeySpend> = snapshot.keys().map(state).collect();
    all.sort_by(|a, b| a.tree.first().cmp(&b.tree.first()));
    all
}
