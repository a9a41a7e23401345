//! `tollgate-dataplane relay`: beside an agent's container, in front of the gateways.
//!
//! It holds no provider's secret and no connection to a store. It adds the pod's projected ServiceAccount token to what the
//! agent sends, and forwards bytes both ways over TLS to a gateway that it picks itself.
//!
//! # Layout
//! - here: the command line, and what all requests share
//! - `gateways`: addresses by name, which of them are in order, whose turn it is
//! - `connect`: connections to one address, with TLS in the Service's name
//! - `forward`: a request and its answer; `held`: a body that can be taken back while nobody has read it
//! - `token`: the token's file, read again when it changes

mod connect;
mod forward;
mod gateways;
mod held;
mod token;

use crate::{gateway, listen};
use anyhow::Context;
use gateways::{Gateways, Upstream};
use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use token::TokenFile;
use tokio::net::TcpListener;

/// The most connections of agents at once.
const MAX_CONNECTIONS: usize = 512;
/// How long a probe may take, twice.
const PROBE: Duration = Duration::from_secs(2);

/// Arguments of `relay`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where the gateways are (repeatable, or separated by commas). Each address behind the name is a gateway, so a headless
    /// Service lets the relay see them all. http:// on loopback only.
    #[arg(
        long = "upstream",
        env = "TOLLGATE_UPSTREAM",
        default_value = "https://tollgate.tollgate-system:8443",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub upstreams: Vec<String>,
    /// The name in the gateways' certificate, when it is not the upstream's.
    #[arg(long, env = "TOLLGATE_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// File of the projected ServiceAccount token (audience `tollgate`); read again when it changes.
    #[arg(
        long,
        env = "TOLLGATE_TOKEN_FILE",
        default_value = "/var/run/secrets/tollgate/token",
        value_name = "FILE"
    )]
    pub token_file: PathBuf,
    /// File of the authority (PEM) of the gateways' certificate; read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The authority itself (PEM), where no file can be mounted. Without either, the public web's authorities count.
    #[arg(long, env = "TOLLGATE_CA_PEM", conflicts_with = "ca", value_name = "PEM", hide_env_values = true)]
    pub ca_pem: Option<String>,
    /// Where the agent finds it; port 0 picks a free one.
    #[arg(long, env = "TOLLGATE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Listen beyond loopback: whoever reaches the address is this workload.
    #[arg(long)]
    pub allow_remote: bool,
    /// Host name under which the relay may be called (repeatable); loopback names always may.
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// Web origin that may call it from a browser (repeatable).
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    pub allowed_origins: Vec<String>,
    /// How long requests under way may take to end after SIGTERM, in seconds.
    #[arg(long, env = "TOLLGATE_DRAIN", default_value_t = 25, value_name = "SECONDS")]
    pub drain: u64,
    /// Ask the relay at --listen whether it lives, and end: for kubelet, which does not reach a pod's loopback.
    #[arg(long)]
    pub probe: bool,
    /// Log as JSON lines.
    #[arg(long, env = "TOLLGATE_LOG_JSON")]
    pub log_json: bool,
}

/// What all requests share.
#[derive(Debug)]
pub struct Relay {
    gateways: Gateways,
    token: TokenFile,
    /// Of these only the rules of Host and Origin count.
    guard: gateway::Options,
    loopback: bool,
}

/// Runs the relay until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the arguments contradict each other, the authority cannot be read, or the address cannot be listened on. Gateways that
/// cannot be reached are no error here: the agent is told with each request.
pub fn run(args: Args) -> anyhow::Result<()> {
    if args.probe {
        return probe(args.listen);
    }
    // One thread: a relay forwards for one agent, and a thread's memory is worth more here than its time.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

/// Whether the relay at `address` answers.
fn probe(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = std::net::TcpStream::connect_timeout(&address, PROBE)
        .with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(PROBE))?;
    let host = if address.is_ipv6() { "[::1]" } else { "127.0.0.1" };
    stream.write_all(
        format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut begin = [0; 12];
    stream.read_exact(&mut begin)?;
    anyhow::ensure!(begin == *b"HTTP/1.1 200", "the relay does not answer that it lives");
    Ok(())
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let loopback = args.listen.ip().is_loopback();
    anyhow::ensure!(
        loopback || args.allow_remote,
        "{} is beyond loopback: whoever reaches it would be this workload (--allow-remote if that is meant)",
        args.listen
    );
    let trust = connect::Trust::new(args.ca.clone(), args.ca_pem.as_deref(), args.server_name.as_deref())
        .context("cannot use the authority of the gateways' certificate")?;
    let upstreams = args.upstreams.iter().map(|url| Upstream::parse(url)).collect::<Result<Vec<_>, _>>()?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let relay = Arc::new(Relay {
        gateways: Gateways::new(upstreams, trust),
        token: TokenFile::new(args.token_file),
        guard: gateway::Options {
            allowed_hosts: args.allowed_hosts,
            allowed_origins: args.allowed_origins,
            ..gateway::Options::default()
        },
        loopback,
    });
    relay.gateways.resolve().await;
    tokio::spawn(follow(relay.clone()));
    tracing::info!(gateways = relay.gateways.count(), "listening on http://{address}");
    let handler = move |request| {
        let relay = relay.clone();
        async move { relay.answer(request).await }
    };
    listen::serve(listener, MAX_CONNECTIONS, handler, listen::stopped(), Duration::from_secs(args.drain))
        .await;
    tracing::info!("stopped");
    Ok(())
}

/// Keeps addresses, token and authority up to date.
async fn follow(relay: Arc<Relay>) {
    loop {
        relay.gateways.pause().await;
        relay.token.read();
        relay.gateways.renew_trust();
        relay.gateways.resolve().await;
    }
}
