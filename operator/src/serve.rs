//! `tollgate-operator serve`: the control plane without a cluster.

use anyhow::Context;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tollgate_crds::compile::Options as CompileOptions;
use tollgate_operator::{
    manifests, telemetry,
    xds::{Options, Server, TokenFile, listen::CertificateFiles},
};
use tollgate_process::{admin, readiness::Readiness, telemetry::Telemetry};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of manifests; read twice a second.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// Where gateways connect; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:18000", value_name = "ADDR")]
    xds_listen: SocketAddr,
    /// File of the tokens that gateways show, one a line, of 16 characters at least; read for each stream.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Certificate and chain (PEM); taken anew when the file changes. Without it only loopback is listened on.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Compile by the rules of standalone mode: short tokens, private endpoints, ${NAME} in Secrets from this environment.
    #[arg(long)]
    standalone: bool,
    /// Allow endpoints at private and cluster addresses.
    #[arg(long)]
    allow_private_endpoints: bool,
    /// Where /healthz, /readyz and /metrics are answered, in plain HTTP. Off when not given.
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Log as JSON lines.
    #[arg(long)]
    log_json: bool,
}

/// Serves until SIGTERM or Ctrl-C.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    tollgate_process::log::init(args.log_json, "info,opentelemetry=warn");
    let telemetry = telemetry::start("", args.admin_listen.is_some());
    let ended =
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(args, &telemetry));
    telemetry.stop();
    ended
}

async fn serve(args: Args, telemetry: &Telemetry) -> anyhow::Result<()> {
    let readiness = Readiness::default();
    let waiting = readiness.wait_for(format!("reading the manifests in {}", args.manifests.display()));
    if let Some(address) = args.admin_listen {
        let address = admin::start(address, readiness.clone(), telemetry.prometheus())
            .with_context(|| format!("cannot listen on {address} (--admin-listen)"))?;
        tracing::info!("admin port on http://{address}");
    }
    let listener = TcpListener::bind(args.xds_listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.xds_listen))?;
    let resources = manifests::follow(&args.manifests, args.compile_options())
        .await
        .with_context(|| format!("cannot read the manifests in {}", args.manifests.display()))?;
    let certificate = args
        .tls_cert
        .zip(args.tls_key)
        .map(|(certificate, key)| CertificateFiles { certificate, key }.into());
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let auth = Arc::new(TokenFile::new(args.token_file));
    let options = Options { certificate, auth, ..Options::default() };
    let stop = CancellationToken::new();
    tracing::info!("listening on {scheme}://{}", listener.local_addr()?);
    drop(waiting);
    tokio::spawn(end(stop.clone(), readiness));
    Server::new(resources, options, stop).serve(listener).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn end(stop: CancellationToken, readiness: Readiness) {
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        tracing::warn!("SIGTERM cannot be waited for");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    readiness.drain();
    stop.cancel();
}

// === impl Args ===

impl Args {
    fn compile_options(&self) -> CompileOptions {
        let by_mode = if self.standalone { CompileOptions::STANDALONE } else { CompileOptions::CLUSTER };
        let allow_private_endpoints = by_mode.allow_private_endpoints || self.allow_private_endpoints;
        CompileOptions { allow_private_endpoints, ..by_mode }
    }
}
