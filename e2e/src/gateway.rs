//! Starts and stops the real gateway binary, on a free port, with folders of its own.

pub mod manifests;

pub use manifests::Manifests;

use crate::client::{Answer, Http, eventually};
use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

/// The folders of a gateway: they outlive its process, so that it can be killed and started again.
#[derive(Debug)]
pub struct Home {
    manifests: PathBuf,
    data: PathBuf,
    // Removed when dropped; absent for folders that are somebody else's.
    _dir: Option<TempDir>,
}

/// A running gateway; dropping it kills the process.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    url: String,
    log: Log,
    http: Http,
}

/// A budget as `/logs/api/spend` tells it; amounts in nano-USD (or tokens, by its unit).
#[derive(Debug, Clone, Deserialize)]
pub struct Budget {
    /// `namespace/name` of the key.
    pub key: String,
    /// The budget's name.
    pub budget: String,
    /// The limit.
    pub limit: u64,
    /// Charged.
    pub committed: u64,
    /// Held for requests under way.
    pub held: u64,
}

/// What a process wrote, line by line.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    /// Errors and panics: kept also when there are too many lines.
    alarms: Vec<String>,
    /// What every line is searched for, and the lines that have it: those too that are one too many.
    sought: Vec<String>,
    found: Vec<String>,
}

/// The most lines that are kept.
const MAX_LINES: usize = 20_000;

/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(40);

// === impl Home ===

impl Home {
    /// Fresh folders with these manifests.
    pub fn new(manifests: &Manifests) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("tollgate-e2e-").tempdir()?;
        let home =
            Home { manifests: dir.path().join("manifests"), data: dir.path().join("data"), _dir: Some(dir) };
        std::fs::create_dir_all(&home.manifests)?;
        std::fs::create_dir_all(&home.data)?;
        for (file, yaml) in manifests.files() {
            home.write(file, yaml)?;
        }
        Ok(home)
    }

    /// Folders that exist already (the demo's samples).
    pub fn of(manifests: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Home { manifests: manifests.into(), data: data.into(), _dir: None }
    }

    /// Writes a manifest the way editors and Git do: whole, by rename.
    pub fn write(&self, file: &str, yaml: &str) -> anyhow::Result<()> {
        let partial = self.data.join(format!("{file}.partial"));
        std::fs::write(&partial, yaml)?;
        std::fs::rename(&partial, self.manifests.join(file)).with_context(|| format!("cannot write {file}"))
    }

    /// Removes a manifest.
    pub fn remove(&self, file: &str) -> anyhow::Result<()> {
        std::fs::remove_file(self.manifests.join(file)).with_context(|| format!("cannot remove {file}"))
    }

    /// The manifests' folder.
    pub fn manifests(&self) -> &Path {
        &self.manifests
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// The gateway's binary: `$TOLLGATE_BIN`, else the one built beside this program.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("TOLLGATE_BIN") {
        return Ok(path.into());
    }
    beside("tollgate-dataplane")
}

/// A binary of this workspace: beside this program, or above it (tests lie in `deps/`).
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is not built: run `cargo build --workspace --bins` (as make test does)")
    })
}

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway on a free port and waits until it is ready.
    pub async fn start(home: &Home) -> anyhow::Result<Self> {
        Self::start_on(home, "127.0.0.1:0", &[]).await
    }

    /// Starts a gateway that logs as little as one in production, for benchmarks.
    pub async fn start_quietly(home: &Home) -> anyhow::Result<Self> {
        Self::spawn(home, "127.0.0.1:0", &[], "info").await
    }

    /// Starts a gateway on an address, with further arguments.
    pub async fn start_on(home: &Home, listen: &str, more: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(home, listen, more, "info,tollgate_dataplane=debug").await
    }

    async fn spawn(home: &Home, listen: &str, more: &[&str], log_level: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(["--listen", listen]).args(more);
        command.arg("--manifests").arg(&home.manifests).arg("--data").arg(&home.data);
        command.env_clear().env("RUST_LOG", log_level).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start the gateway")?;
        let log = Log::default();
        log.follow(child.stdout.take());
        log.follow(child.stderr.take());
        let http = Http::new();
        let ready = eventually("the gateway becomes ready", || {
            let ended = child.try_wait();
            let (log, http) = (log.clone(), http.clone());
            async move {
                if let Some(status) = ended? {
                    bail!("the gateway ended with {status}:\n{}", log.text());
                }
                let Some(url) = log.find_url() else { return Ok(None) };
                let ready = http.get(&format!("{url}/readyz")).await;
                Ok(ready.is_ok_and(|answer| answer.status == 200).then_some(url))
            }
        });
        let url = ready.await.with_context(|| format!("the gateway's log:\n{}", log.text()))?;
        Ok(Gateway { child, url, log, http })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn addr(&self) -> anyhow::Result<SocketAddr> {
        self.url.trim_start_matches("http://").parse().with_context(|| format!("{} is no address", self.url))
    }

    /// The URL of a path.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What it logged so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The process's id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the gateway has ended")
    }

    /// A whole Messages request with a key.
    pub async fn message(&self, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
        self.http.post(&self.at("/anthropic/v1/messages"), &headers, body).await
    }

    /// A whole Chat Completions request with a key.
    pub async fn chat(&self, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let bearer = format!("Bearer {key}");
        self.http.post(&self.at("/v1/chat/completions"), &[("authorization", &bearer)], body).await
    }

    /// `/logs/api/…` as JSON.
    pub async fn logs(&self, path: &str) -> anyhow::Result<Value> {
        self.http.get(&self.at(&format!("/logs/api/{path}"))).await?.expect(200)?.json()
    }

    /// The records of a key and those below it, newest first.
    pub async fn records(&self, key: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.logs(&format!("records?key=default/{key}")).await?;
        page.get("records")
            .and_then(Value::as_array)
            .cloned()
            .with_context(|| format!("no records in {page}"))
    }

    /// The state of all budgets.
    pub async fn budgets(&self) -> anyhow::Result<Vec<Budget>> {
        let spend = self.logs("spend").await?;
        let budgets = spend.get("budgets").cloned().with_context(|| format!("no budgets in {spend}"))?;
        Ok(serde_json::from_value(budgets)?)
    }

    /// The nano-USD that a key's first budget has charged.
    pub async fn spent(&self, key: &str) -> anyhow::Result<u64> {
        let id = format!("default/{key}");
        let found = self.budgets().await?.into_iter().find(|b| b.key == id);
        Ok(found.with_context(|| format!("{id} has no budget"))?.committed)
    }

    /// SIGKILL, at once: nothing is flushed.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the gateway")
    }

    /// SIGTERM without waiting.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().await?;
        anyhow::ensure!(status.success(), "kill -TERM {pid}: {status}");
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.terminate().await?;
        self.ended().await
    }

    /// Waits for the orderly end after [`Self::terminate`].
    pub async fn ended(mut self) -> anyhow::Result<()> {
        let ended = tokio::time::timeout(STOP, self.child.wait()).await;
        let status = ended.with_context(|| format!("the gateway did not stop within {STOP:?}"))??;
        anyhow::ensure!(status.success(), "the gateway stopped with {status}:\n{}", self.log.text());
        Ok(())
    }
}

// === impl Log ===

impl Log {
    /// Reads a process's output to its end.
    pub fn follow(&self, stream: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let Some(stream) = stream else { return };
        let log = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut lines = log.0.lock();
                if is_alarm(&line) && lines.alarms.len() < MAX_LINES {
                    lines.alarms.push(line.clone());
                }
                if lines.sought.iter().any(|part| line.contains(part)) && lines.found.len() < MAX_LINES {
                    lines.found.push(line.clone());
                }
                if lines.all.len() < MAX_LINES {
                    lines.all.push(line);
                }
            }
        });
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0.lock().all.join("\n")
    }

    /// The first line that contains `part`.
    pub fn find(&self, part: &str) -> Option<String> {
        self.0.lock().all.iter().find(|line| line.contains(part)).cloned()
    }

    /// The lines from `from` on that tell of errors and panics, and of nothing else.
    pub fn alarms(&self, from: usize) -> Vec<String> {
        self.0.lock().alarms.get(from..).unwrap_or_default().to_vec()
    }

    /// Searches for this, in what there is and in every line that comes: [`Self::found`].
    pub fn seek(&self, parts: &[String]) {
        let mut lines = self.0.lock();
        let lines = &mut *lines;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if !lines.sought.contains(part) {
                lines.found.extend(lines.all.iter().filter(|line| line.contains(part)).cloned());
                lines.sought.push(part.clone());
            }
        }
    }

    /// The lines with something that was sought, some of them twice.
    pub fn found(&self) -> Vec<String> {
        self.0.lock().found.clone()
    }

    fn find_url(&self) -> Option<String> {
        self.url_after("listening on http://")
    }

    /// The URL in the first line that contains `part`, which ends with the URL's beginning: `listening on https://`.
    pub fn url_after(&self, part: &str) -> Option<String> {
        let line = self.find(part)?;
        let at = line.find(part)? + part.rfind(' ')? + 1;
        let rest = line.get(at..)?;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '\u{1b}' | '"')).unwrap_or(rest.len());
        rest.get(..end).map(str::to_owned)
    }
}

/// Whether a line is an error of the program's log, or a panic's.
fn is_alarm(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("ERROR") || line.contains("panicked at")
}
