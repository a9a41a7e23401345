//! The control plane's stream: the source of configuration in a cluster.
//!
//! ```text
//! operator --responses--> [ client: connect, back off ] -> [ apply: one by one, last good kept ] -> watch<Arc<Snapshot>>
//!          <--ACK, NACK--                                     |-> [ saved: a file for the next start ]
//!          <--reports----- [ report: in force, rejected ] <---'
//! ```
//! The gateway keeps serving what it has when the operator is gone. It is ready when it has had the initial state of every
//! type, each resource applied or rejected, or has loaded what it had before it was started again.
//!
//! # Layout
//! - [`client`]: the stream, again and again; [`connect`]: one connection; [`backoff`]: when the next
//! - [`apply`]: responses to snapshots (pure)
//! - [`report`]: what is told upwards; [`saved`]: the file

pub mod apply;
pub mod backoff;
pub mod client;
pub mod connect;
pub mod report;
pub mod saved;

use crate::snapshot::Snapshot;
use apply::Applier;
use client::Client;
pub use report::Observed;
use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tollgate_proto::Kind;

/// Where the control plane is, and what this gateway shows there.
#[derive(Debug, Clone)]
pub struct Options {
    /// `https://host:port`; `http://` on loopback only: secrets and the token travel there.
    pub url: String,
    /// The file of the token, read anew for each connection: the kubelet rotates it.
    pub token_file: PathBuf,
    /// The file of the authorities that the operator's certificate must lead to (PEM), read anew for each connection.
    pub ca_file: Option<PathBuf>,
    /// What this gateway calls itself, for people.
    pub node: String,
    /// Where what is in force is kept for the next start of this container. On tmpfs: it holds secrets.
    pub saved: Option<PathBuf>,
}

/// What comes of the stream.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is in force; empty until the status is ready. The stream ends when all receivers are gone.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// How the stream is.
    pub status: watch::Receiver<Status>,
    /// What this gateway sees of its world; what is put there is reported.
    pub observed: watch::Sender<Observed>,
}

/// How the stream is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// There is a configuration to serve. Never false again: the control plane's absence is no reason not to serve.
    pub ready: bool,
    /// Types whose initial state has not come yet.
    pub missing: Vec<Kind>,
    /// The stream is open.
    pub connected: bool,
    /// Why it could not be opened, or ended, last.
    pub error: Option<String>,
    /// The operator has said something on this stream: what is in force is what it wants.
    pub confirmed: bool,
    /// When it had last, as far as this process knows; its start before that.
    pub heard: Option<Instant>,
    /// How old what was loaded at the start was then.
    pub before: Duration,
    /// The configuration in force.
    pub generation: u64,
    /// Resources that are rejected.
    pub rejected: usize,
}

/// Begins to follow the control plane, on a thread of its own: decoding and compiling must not take time from requests.
///
/// # Errors
/// When the options cannot work whatever the control plane does, or there can be no thread.
pub fn start(options: Options) -> io::Result<Source> {
    connect::check(&options).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (applier, restored) = restore(&options);
    let before = restored.unwrap_or_default();
    let (snapshots, receiver) = watch::channel(applier.snapshot().clone());
    let first = Status {
        ready: restored.is_some(),
        missing: applier.missing(),
        heard: Some(Instant::now()),
        before,
        generation: applier.snapshot().generation,
        ..Status::default()
    };
    let (status, status_receiver) = watch::channel(first);
    let observed = watch::Sender::new(Observed::default());
    let client = Client::new(options, applier, snapshots, status, observed.subscribe());
    thread::Builder::new().name("configuration".to_owned()).spawn(move || runtime.block_on(client.run()))?;
    Ok(Source { snapshots: receiver, status: status_receiver, observed })
}

/// What was in force before this start, and how long ago an operator has confirmed it; `None`: there is nothing.
fn restore(options: &Options) -> (Applier, Option<Duration>) {
    let mut applier = Applier::default();
    let Some(path) = &options.saved else { return (applier, None) };
    match saved::load(path) {
        Ok(Some(state)) => {
            applier.restore(state);
            let (generation, age) = (applier.snapshot().generation, saved::age(path));
            let age_s = age.as_secs();
            tracing::info!(file = %path.display(), generation, age_s, "the last configuration is in force again");
            (applier, Some(age))
        }
        Ok(None) => (applier, None),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the last configuration cannot be used");
            (applier, None)
        }
    }
}

// === impl Source ===

impl Source {
    /// Waits until there is a configuration to serve, and tells why there is none yet; false when there never will be.
    pub async fn wait_ready(&mut self, tell: impl Fn(&str)) -> bool {
        let mut told = None;
        loop {
            let status = self.status.borrow_and_update().clone();
            if status.ready {
                return true;
            }
            let why = status.why();
            if told.as_ref() != Some(&why) {
                tracing::info!("not ready: {why}");
                tell(&why);
                told = Some(why);
            }
            if self.status.changed().await.is_err() {
                return false;
            }
        }
    }
}

// === impl Status ===

impl Status {
    /// How old the configuration may be: the time since an operator has confirmed it, over restarts of the container.
    pub fn age(&self) -> Duration {
        let since = self.heard.filter(|_| !self.confirmed).map(|heard| heard.elapsed());
        since.map_or(Duration::ZERO, |since| since.saturating_add(self.before))
    }

    /// Why it is not ready, in words.
    pub fn why(&self) -> String {
        let missing: Vec<_> = self.missing.iter().map(|kind| kind.as_str()).collect();
        let missing = missing.join(", ");
        match (&self.error, self.connected) {
            _ if self.ready => "ready".to_owned(),
            (_, true) => format!("it has not sent its {missing} yet"),
            (Some(error), false) => format!("it cannot be reached: {error}"),
            (None, false) => "connecting".to_owned(),
        }
    }
}
