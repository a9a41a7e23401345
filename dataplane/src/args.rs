//! The command line.

use crate::{
    bridge, check,
    ledger::{self, RedisArgs},
    model::ObjectId,
    records::{audit, flags::PostgresArgs},
    relay,
};
use clap::Parser;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The gateway process: one endpoint between coding agents and everything they use.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tollgate-dataplane",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Args {
    /// Another program in the same file; without one: the gateway.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where configuration comes from.
    #[command(flatten)]
    pub source: Source,
    /// File of the token to show to the operator; read anew for each connection.
    #[arg(long, env = "TOLLGATE_XDS_TOKEN_FILE", value_name = "FILE", required_unless_present = "manifests")]
    pub xds_token_file: Option<PathBuf>,
    /// File of the authority (PEM) of the operator's certificate; needed for https://.
    #[arg(long, env = "TOLLGATE_XDS_CA", value_name = "FILE")]
    pub xds_ca: Option<PathBuf>,
    /// File on tmpfs where the operator's configuration is kept for the next start; it holds secrets.
    #[arg(long, env = "TOLLGATE_XDS_STATE", value_name = "FILE")]
    pub xds_state: Option<PathBuf>,
    /// What this gateway calls itself to the operator, such as its pod's name.
    #[arg(long, env = "TOLLGATE_NODE", default_value = "gateway", value_name = "NAME")]
    pub node: String,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, env = "TOLLGATE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// File of an issuer whose ServiceAccount tokens are credentials: `{"issuer": …, "audience": "tollgate", "jwks": {…}}`. In a
    /// cluster the operator tells.
    #[arg(long, value_name = "FILE")]
    pub token_issuer: Option<PathBuf>,
    /// Run the commands of McpServers with `spec.stdio` as children of this process: whoever may write the manifests may then run
    /// programs here.
    #[arg(long, requires = "manifests")]
    pub allow_local_stdio: bool,
    /// Where records are kept that all gateways share.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Folder for records (SQLite, or what waits for PostgreSQL), created when absent.
    #[arg(long, env = "TOLLGATE_DATA", default_value = "tollgate-data", value_name = "DIR")]
    pub data: PathBuf,
    /// Where the account of money and limits is.
    #[command(flatten)]
    pub ledger: RedisArgs,
    /// Host name under which the gateway may be called (repeatable); loopback names always may.
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// A key (namespace/name) whose holder sees all records in /logs, and /logs/api/audit, with its token (repeatable): for the
    /// platform's people and programs. It needs no models.
    #[arg(long = "logs-admin", value_name = "KEY", value_parser = key)]
    pub logs_admins: Vec<ObjectId>,
    /// Web origin that may call it from a browser (repeatable), such as https://tools.example.com.
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    pub allowed_origins: Vec<String>,
    /// Let callers without a key be the key marked `anonymous: true` also on listeners beyond loopback.
    #[arg(long)]
    pub allow_anonymous: bool,
    /// Largest request body in bytes.
    #[arg(long, default_value_t = 32 << 20, value_name = "BYTES")]
    pub max_body: usize,
    /// How long requests under way may take to end after SIGTERM, in seconds.
    #[arg(long, default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub drain: Duration,
    /// How it is operated.
    #[command(flatten)]
    pub operations: Operations,
    /// Log as JSON lines.
    #[arg(long, env = "TOLLGATE_LOG_JSON")]
    pub log_json: bool,
}

/// The other programs.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Forward an agent's requests to the gateways, as its pod's ServiceAccount.
    Relay(relay::Args),
    /// Serve an MCP server that speaks over standard input and output by HTTP.
    Bridge(bridge::Args),
    /// Ask until every address answers with the status that is expected of it.
    Check(check::Args),
    /// Look after the ledger that gateways share in Redis.
    Ledger(ledger::command::Command),
    /// Compare the ledger that gateways share, what waits in its streams, and the records in PostgreSQL.
    Audit(audit::command::Args),
}

/// How the gateway is operated: TLS, the admin port, its end.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Operations {
    /// Where to listen with TLS (HTTP/2 and HTTP/1.1), such as for relays.
    #[arg(
        long,
        env = "TOLLGATE_LISTEN_TLS",
        value_name = "ADDR",
        requires = "tls_cert",
        requires = "tls_key"
    )]
    pub listen_tls: Option<SocketAddr>,
    /// Certificate and chain (PEM) of --listen-tls; taken anew when the file changes.
    #[arg(long, env = "TOLLGATE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, env = "TOLLGATE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are answered, in plain HTTP, such as 0.0.0.0:9090. Off when not given.
    #[arg(long, env = "TOLLGATE_ADMIN", value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// How long new connections are still taken after SIGTERM, in seconds: until all balancers know that this gateway is not
    /// ready any more. The time of --drain begins then.
    #[arg(long, default_value = "0", value_parser = seconds, value_name = "SECONDS")]
    pub min_drain: Duration,
    /// Serve nothing when the operator has not been reached for so long, in seconds. Not given: what is in force stays in force.
    #[arg(long, value_parser = seconds, value_name = "SECONDS", requires = "xds")]
    pub max_config_age: Option<Duration>,
    /// So many keys have metrics of their own (label tollgate_key); those beyond share one.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub metrics_keys: usize,
}

/// Where configuration comes from: one of the two.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// Folder of manifests (VirtualKey, ProviderRoute, McpServer, Secret); watched.
    #[arg(long, env = "TOLLGATE_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// The operator's address, such as https://tollgate-operator:18000; http:// on loopback only.
    #[arg(long, env = "TOLLGATE_XDS", value_name = "URL")]
    pub xds: Option<String>,
}

// === impl Args ===

impl Args {
    /// Whether the program that is meant logs as JSON lines.
    pub fn log_json(&self) -> bool {
        match &self.command {
            None => self.log_json,
            Some(Command::Relay(args)) => args.log_json,
            Some(Command::Bridge(args)) => args.log_json,
            Some(Command::Check(args)) => args.log_json,
            Some(Command::Ledger(_) | Command::Audit(_)) => false,
        }
    }
}

fn key(text: &str) -> Result<ObjectId, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectId::new(namespace, name))
        }
        _ => Err(format!("{text:?} is no key as namespace/name")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("{text:?} is no whole number of seconds"))
}
