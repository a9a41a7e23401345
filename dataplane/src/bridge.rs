//! `tollgate-dataplane bridge -- COMMAND…`: an MCP server that speaks over standard input and output, served by streamable HTTP.
//!
//! A client that opens a session gets a process of its own; requests without one, and all requests under `--shared`, go to one
//! process that the bridge opens itself. Ids and progress tokens are rewritten on the way, because those of two clients may be
//! equal; every other byte passes as it came.
//!
//! # Layout
//! - here: the command line and the program
//! - `command`: what is run, and the reaping of what has ended; `process`: one running server and the requests it is to answer;
//!   `lines`: its output, line by line within bounds; `rewrite`: ids and tokens
//! - `pool`: sessions, the shared process, caps, idleness and backoff; `http`: requests and answers
//! - `local`: the same within a gateway that stands alone

mod command;
mod http;
mod lines;
mod local;
mod pool;
mod process;
mod rewrite;

#[cfg(test)]
mod tests;

pub use command::CommandLine;
pub use http::answer;
pub use local::{Local, LocalServer};
pub use pool::{Limits, Pool};

use crate::{
    body::{Body, full},
    listen,
};
use ::http::{Request, Response, StatusCode};
use anyhow::Context;
use hyper::body::Incoming;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use tollgate_crds::stdio;

/// The most connections of gateways at once.
const MAX_CONNECTIONS: usize = 1024;

/// Arguments of `bridge`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where gateways find it; port 0 picks a free one.
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// One process for all sessions; only for servers that keep nothing between calls.
    #[arg(long)]
    pub shared: bool,
    /// The most sessions, and so processes, at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub max_sessions: u16,
    /// A session that nobody uses for so many seconds ends.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    pub idle: u64,
    /// The largest message in bytes, either way.
    #[arg(long, default_value_t = 8 << 20, value_name = "BYTES")]
    pub max_message: usize,
    /// How long requests under way may take to end after SIGTERM, in seconds.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    pub drain: u64,
    /// Copy this program to a file, and end: so that a container of another image can run it.
    #[arg(long, conflicts_with = "command", value_name = "FILE")]
    pub copy_to: Option<PathBuf>,
    /// Log as JSON lines.
    #[arg(long, env = "TOLLGATE_LOG_JSON")]
    pub log_json: bool,
    /// The server's command and its arguments.
    #[arg(last = true, required_unless_present = "copy_to", value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Runs the bridge until SIGTERM or Ctrl-C; then no process of the server is left.
///
/// # Errors
/// When the address cannot be listened on. A command that cannot be run is no error here: clients are told, and it is tried again.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(file) = &args.copy_to {
        return copy(file);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

/// Puts this program into `file`, whole or not at all: a pod's container may be started again while it is there.
fn copy(file: &Path) -> anyhow::Result<()> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let partial = file.with_extension("partial");
    std::fs::copy(&this, &partial).with_context(|| format!("cannot write {}", partial.display()))?;
    std::fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let limits = Limits {
        shared: args.shared,
        sessions: usize::from(args.max_sessions),
        idle: Duration::from_secs(args.idle),
        message: args.max_message,
    };
    command::reap_orphans()?;
    let pool = Pool::start("server", CommandLine::inheriting(args.command), limits);
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let shared = pool.clone();
    let handler = move |request| {
        let pool = shared.clone();
        async move { route(&pool, request).await }
    };
    let drain = Duration::from_secs(args.drain);
    listen::serve(listener, MAX_CONNECTIONS, handler, listen::stopped(), drain).await;
    pool.end().await;
    tracing::info!("stopped");
    Ok(())
}

async fn route(pool: &Arc<Pool>, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        path if path == stdio::PATH => http::answer(pool, request).await,
        "/healthz" => words(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match pool.not_ready() {
            None => words(StatusCode::OK, "ready\n".to_owned()),
            Some(reason) => words(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        _ => words(StatusCode::NOT_FOUND, "the endpoint is /mcp\n".to_owned()),
    }
}

fn words(status: StatusCode, words: String) -> Response<Body> {
    let mut response = Response::new(full(words));
    *response.status_mut() = status;
    response
}
