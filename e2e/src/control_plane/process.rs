//! One program: started, killed, started again on the same ports and with the same files.

use crate::{
    client::{Answer, Http, eventually},
    gateway::{Log, beside},
};
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::{process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What it is called in messages.
    pub name: String,
    /// The program, of this workspace.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside what every program here has.
    pub environment: Vec<(String, String)>,
    /// Where it serves.
    pub url: String,
    /// Where it tells how it is.
    pub admin: String,
}

/// A program that runs, or did; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Option<Child>,
    log: Log,
}

/// How long an orderly end may take.
const END: Duration = Duration::from_secs(40);

// === impl Process ===

impl Process {
    /// Starts it.
    pub fn start(spec: Spec) -> anyhow::Result<Self> {
        let mut process = Process { spec, child: None, log: Log::default() };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again, when it does not run; its log goes on.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(!self.is_running(), "{} runs already", self.spec.name);
        let mut command = Command::new(beside(self.spec.program)?);
        command.args(&self.spec.arguments).env_clear().env("NO_COLOR", "1");
        command.env("TOLLGATE_LOG", "info,tollgate_dataplane=debug,tollgate_operator=debug");
        command.env("RUST_BACKTRACE", "1").envs(self.spec.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.spec.name))?;
        self.log.follow(child.stdout.take());
        self.log.follow(child.stderr.take());
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, at once.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.spec.name))?;
        child.kill().await.with_context(|| format!("cannot kill {}", self.spec.name))
    }

    /// SIGTERM, without waiting.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().await?;
        ensure!(status.success(), "kill -TERM {pid}: {status}");
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.terminate().await?;
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.spec.name))?;
        let ended = tokio::time::timeout(END, child.wait()).await;
        let status = ended.with_context(|| format!("{} did not end within {END:?}", self.spec.name))??;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.spec.name, self.log.text());
        Ok(())
    }

    /// Whether it was started and not stopped since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The process's id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let pid = self.child.as_ref().and_then(Child::id);
        pid.with_context(|| format!("{} has ended", self.spec.name))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.spec.url
    }

    /// The URL of a path there.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.spec.url)
    }

    /// The URL of a path where it tells how it is.
    pub fn admin(&self, path: &str) -> String {
        format!("{}{path}", self.spec.admin)
    }

    /// What it logged so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits until `/readyz` is 200.
    pub async fn wait_ready(&self, http: &Http) -> anyhow::Result<()> {
        let url = self.admin("/readyz");
        let what = format!("{} is ready", self.spec.name);
        let ready = eventually(&what, || {
            let (http, url) = (http.clone(), url.clone());
            async move { Ok(http.get(&url).await.is_ok_and(|answer| answer.status == 200).then_some(())) }
        });
        ready.await.with_context(|| format!("its log:\n{}", self.log.text()))
    }

    /// A whole Messages request with a key, at a gateway.
    pub async fn message(&self, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
        Http::new().post(&self.at("/anthropic/v1/messages"), &headers, body).await
    }

    /// A metric of `/metrics`: its value under this name (with labels, as it stands there).
    pub async fn metric(&self, http: &Http, name: &str) -> anyhow::Result<f64> {
        let text = http.get(&self.admin("/metrics")).await?.expect(200)?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        match line {
            Some(value) => Ok(value.trim().parse()?),
            None => bail!("{} has no metric {name}", self.spec.name),
        }
    }
}
