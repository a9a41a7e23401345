//! `tollgate-operator run`: the control plane in a cluster.
//!
//! Every replica watches, compiles and serves; only the one that holds the Lease writes. Its parts start in the order in
//! which they need each other, and end together: a part that cannot go on ends the process, which is started anew.

use anyhow::Context as _;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tollgate_crds::{
    annotations::{GATEWAYS, LEDGER_TROUBLE, VERSION, gateways},
    compile::{Input, Options as CompileOptions},
    stdio::StdioRules,
};
use tollgate_operator::{
    certificates,
    context::Context,
    inject,
    kubernetes::{self, Feed},
    lead, leader,
    passing::{self, Passing},
    pushed,
    settings::Settings,
    status::fleet::Fleet,
    stdio, telemetry,
    xds::{self, ByNode, Nodes, Server, TokenReviews, listen::CertificateSource},
};
use tollgate_process::{
    admin,
    readiness::{Readiness, Waiting},
    stop::Signals,
    telemetry::Telemetry,
};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The namespace the operator runs in; it holds the Lease and the Secrets of certificates.
    #[arg(long, env = "POD_NAMESPACE", default_value = "tollgate-system", value_name = "NAME")]
    namespace: String,
    /// The name of its pod.
    #[arg(long, env = "POD_NAME", default_value = "tollgate-operator", value_name = "NAME")]
    pod: String,
    /// The address of its pod, where other replicas reach it when it leads.
    #[arg(long, env = "POD_IP", value_name = "ADDR")]
    pod_ip: Option<IpAddr>,
    /// Namespace whose objects count (repeatable); all when left out.
    #[arg(long = "watch-namespace", value_name = "NAME")]
    watch_namespaces: Vec<String>,
    /// Where gateways connect (TLS); port 0 picks a free one.
    #[arg(long, default_value = "0.0.0.0:18000", value_name = "ADDR")]
    xds_listen: SocketAddr,
    /// Where the API server asks for injections (TLS).
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDR")]
    webhook_listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served (plain HTTP).
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDR")]
    admin_listen: SocketAddr,
    /// The operator's Service.
    #[arg(long, default_value = "tollgate-operator", value_name = "NAME")]
    service: String,
    /// The gateways' Service.
    #[arg(long, default_value = "tollgate", value_name = "NAME")]
    gateway_service: String,
    /// ServiceAccount of the gateways, in the operator's namespace (repeatable); they see everything.
    #[arg(long = "gateway-service-account", default_value = "tollgate-gateway", value_name = "NAME")]
    gateway_service_accounts: Vec<String>,
    /// Let pods that run as a ServiceAccount of a VirtualKey connect as full gateways: they get what the key can use, Secrets of their own
    /// namespace included. Off: the gateways alone.
    #[arg(long)]
    sidecar_gateways: bool,
    /// The audience that ServiceAccount tokens must have, here and at gateways.
    #[arg(long, default_value = "tollgate", value_name = "NAME")]
    audience: String,
    /// Namespace, beside the operator's own, whose exports to other namespaces count and whose keys may be anonymous (repeatable).
    #[arg(long = "platform-namespace", value_name = "NAME")]
    platform_namespaces: Vec<String>,
    /// Allow endpoints at private and cluster addresses.
    #[arg(long)]
    allow_private_endpoints: bool,
    /// Image that McpServers may run, such as ghcr.io/acme/* (repeatable); none when left out.
    #[arg(long = "allowed-stdio-image", value_name = "GLOB")]
    allowed_stdio_images: Vec<String>,
    /// The image of the data plane, for what is injected into pods.
    #[arg(long, value_name = "IMAGE")]
    dataplane_image: Option<String>,
    /// The MutatingWebhookConfiguration whose caBundle the leader writes.
    #[arg(long, value_name = "NAME")]
    webhook_configuration: Option<String>,
    /// For how long certificates are issued, in seconds; they are renewed after two thirds of it.
    #[arg(long, default_value = "7776000", value_parser = seconds, value_name = "SECONDS")]
    certificate_life: Duration,
    /// Further name or address of the operator's certificate (repeatable).
    #[arg(long = "tls-name", value_name = "NAME")]
    tls_names: Vec<String>,
    /// Further name or address of the gateways' certificate (repeatable).
    #[arg(long = "gateway-tls-name", value_name = "NAME")]
    gateway_tls_names: Vec<String>,
    /// How long the Lease must be unchanged until another replica takes it, in seconds.
    #[arg(long, default_value = "15", value_parser = seconds, value_name = "SECONDS")]
    lease_duration: Duration,
    /// File of the token with which this replica passes reports on to the leader.
    #[arg(long, default_value = "/var/run/secrets/tollgate/token", value_name = "FILE")]
    token_file: PathBuf,
    /// Log as JSON lines.
    #[arg(long)]
    log_json: bool,
}

/// How long the parts may take to end.
const END: Duration = Duration::from_secs(10);

/// What is logged unless the environment says otherwise. kube's client tells each request that fails as an error, without saying
/// which; whoever sent it tells it with what it was for.
const FILTER: &str = "info,opentelemetry=warn,kube_client::client=off";

/// Runs until SIGTERM or Ctrl-C.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    tollgate_process::log::init(args.log_json, FILTER);
    let telemetry = telemetry::start(&args.pod, true);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(operate(args, &telemetry));
    telemetry.stop();
    ended
}

async fn operate(args: Args, telemetry: &Telemetry) -> anyhow::Result<()> {
    let (stop, readiness) = (CancellationToken::new(), Readiness::default());
    let waiting = readiness.wait_for("the API server");
    let admin = admin::start(args.admin_listen, readiness.clone(), telemetry.prometheus())
        .with_context(|| format!("cannot listen on {} (--admin-listen)", args.admin_listen))?;
    tracing::info!("admin port on http://{admin}");
    tokio::spawn(end(Signals::new()?, stop.clone(), readiness));
    let settings = Arc::new(args.settings());
    let client = kube::Client::try_default().await.context("there is no way to the API server")?;

    let (certificates, keeper) = certificates::start(&client, &settings.namespace);
    let nodes: Arc<Nodes> = Arc::default();
    let says = says(nodes.clone());
    let (lead, electing) = leader::start(client.clone(), args.leader(), says, stop.clone());
    let pushed =
        pushed::start(client.clone(), args.audience.clone(), certificates.sealing.clone(), stop.clone());
    let feed = kubernetes::start(client.clone(), &args.watch_namespaces, args.input(), pushed, stop.clone());
    let world = feed.world.clone();
    let context = Context { client, settings, world, nodes, lead, certificates, stop };
    tokio::spawn(keeper.run(context.clone()));
    let mut parts = start_parts(&args, &context).await?;
    parts.push(electing);

    let served = serve(&args, &context, feed, waiting).await;
    context.stop.cancel();
    for part in parts {
        if timeout(END, part).await.is_err() {
            tracing::warn!("a part did not end in time");
        }
    }
    tracing::info!("stopped");
    served
}

/// What the leader knows of its gateways, for `kubectl tollgate check`.
fn says(nodes: Arc<Nodes>) -> leader::Says {
    Box::new(move || {
        let fleet = Fleet::new(nodes.all(), true);
        vec![
            (LEDGER_TROUBLE, ledger_trouble(&fleet)),
            (GATEWAYS, Some(gateways(&fleet.versions()))),
            (VERSION, Some(env!("CARGO_PKG_VERSION").to_owned())),
        ]
    })
}

/// What gateways say of their ledger, in one line.
fn ledger_trouble(fleet: &Fleet) -> Option<String> {
    let troubled = fleet.without_ledger();
    let (gateway, why) = troubled.first()?;
    let more = match troubled.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{gateway}{more}: {why}"))
}

/// Ends everything on a signal.
async fn end(mut signals: Signals, stop: CancellationToken, readiness: Readiness) {
    let signal = signals.next().await;
    tracing::info!("{signal}: stopping");
    readiness.drain();
    stop.cancel();
}

/// Starts what needs the context: each returns when `stop` is cancelled.
async fn start_parts(args: &Args, context: &Context) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let bundle = context.certificates.bundle.clone();
    let passing = Passing {
        token_file: args.token_file.clone(),
        authorities: Arc::new(move || bundle.borrow().to_string()),
        server_name: args.service.clone(),
    };
    let (servers, stdio) = stdio::start(context.clone());
    let lead = lead::start(lead::Options {
        client: context.client.clone(),
        pod: args.pod.clone(),
        world: context.world.clone(),
        nodes: context.nodes.clone(),
        stdio,
        lead: context.lead.clone(),
        passing: Some(passing),
        stop: context.stop.clone(),
    });
    let mut parts = vec![lead, servers];
    if args.dataplane_image.is_some() {
        let listener = listen(args.webhook_listen).await?;
        tracing::info!("the webhook is on https://{}{}", listener.local_addr()?, inject::PATH);
        parts.push(tokio::spawn(injecting(context.clone(), listener)));
    }
    Ok(parts)
}

/// Serves the webhook. An operator that cannot still serves gateways: pods with the label wait meanwhile.
async fn injecting(context: Context, listener: TcpListener) {
    if let Err(error) = inject::start(context, listener).await {
        tracing::error!(error = format!("{error:#}"), "the webhook does not serve");
    }
}

/// Serves gateways, once there is something to serve and a certificate to serve it with.
async fn serve(args: &Args, context: &Context, feed: Feed, waiting: Waiting) -> anyhow::Result<()> {
    if context.stop.run_until_cancelled(wait(context, feed.clone(), &waiting)).await.is_none() {
        return Ok(());
    }
    let listener = listen(args.xds_listen).await?;
    let options = xds::Options {
        certificate: Some(CertificateSource::Shared(context.certificates.operator.clone())),
        auth: Arc::new(TokenReviews::new(context.client.clone(), args.audience.clone())),
        view: Arc::new(ByNode::new(&args.namespace, &args.gateway_service_accounts, args.sidecar_gateways)),
        replicas: passing::own_account(&args.token_file),
        ..xds::Options::default()
    };
    let server = Server::with_nodes(feed.resources, context.nodes.clone(), options, context.stop.clone());
    tracing::info!("listening on https://{}", listener.local_addr()?);
    drop(waiting);
    server.serve(listener).await?;
    Ok(())
}

/// Waits until there is something to serve; says meanwhile what is waited for.
async fn wait(context: &Context, mut feed: Feed, waiting: &Waiting) {
    let mut certificate = context.certificates.operator.clone();
    loop {
        let certified = certificate.borrow_and_update().is_some();
        let synced = feed.world.borrow_and_update().synced;
        let first = feed.waiting.borrow_and_update().clone();
        match (synced, certified) {
            (true, true) => return,
            (false, _) => waiting.because(first),
            (true, false) => waiting.because("the operator's certificate"),
        }
        let changed = tokio::select! {
            changed = certificate.changed() => changed,
            changed = feed.world.changed() => changed,
            changed = feed.waiting.changed() => changed,
        };
        if changed.is_err() {
            // Its task is gone, because the process ends.
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is no whole number of seconds")),
    }
}

// === impl Args ===

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            pod_ip: self.pod_ip,
            watch_namespaces: self.watch_namespaces.clone(),
            service: self.service.clone(),
            gateway_service: self.gateway_service.clone(),
            gateway_service_accounts: self.gateway_service_accounts.clone(),
            audience: self.audience.clone(),
            allow_private_endpoints: self.allow_private_endpoints,
            allowed_stdio_images: self.allowed_stdio_images.clone(),
            dataplane_image: self.dataplane_image.clone(),
            webhook_configuration: self.webhook_configuration.clone(),
            certificate_life: self.certificate_life,
            tls_names: self.tls_names.clone(),
            gateway_tls_names: self.gateway_tls_names.clone(),
        }
    }

    fn input(&self) -> Input {
        let options = CompileOptions {
            allow_private_endpoints: self.allow_private_endpoints,
            ..CompileOptions::CLUSTER
        };
        let stdio = StdioRules { images: self.allowed_stdio_images.clone(), local: None };
        let platforms = self.platform_namespaces.iter().chain([&self.namespace]).cloned().collect();
        Input { options, stdio, platforms: Some(platforms), ..Input::default() }
    }

    fn leader(&self) -> leader::Options {
        let address = self.pod_ip.unwrap_or(self.xds_listen.ip());
        leader::Options {
            namespace: self.namespace.clone(),
            candidate: leader::Candidate {
                identity: self.pod.clone(),
                address: SocketAddr::new(address, self.xds_listen.port()).to_string(),
            },
            timing: leader::Timing::of(self.lease_duration),
        }
    }
}
