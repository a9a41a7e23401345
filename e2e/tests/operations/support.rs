//! Processes with any arguments and environment, and what is read of them.

use anyhow::{Context, bail};
use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::process::{Child, Command};
use tollgate_e2e::{
    client::{Http, eventually},
    gateway::{Home, Log, beside},
};

/// A running process of ours; dropping it kills it.
pub struct Process {
    child: Child,
    pub log: Log,
}

/// A gateway with an admin port.
pub struct Operated {
    pub process: Process,
    /// `http://127.0.0.1:PORT` of the data listener.
    pub url: String,
    /// The same of the admin port.
    pub admin: String,
    pub http: Http,
}

/// The longest that an orderly end may take.
const END: Duration = Duration::from_secs(40);

// === impl Process ===

impl Process {
    pub fn start(binary: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(beside(binary)?);
        command.args(args).env_clear().env("NO_COLOR", "1").env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command
            .env("TOLLGATE_LOG", "info,opentelemetry=warn,tollgate_dataplane=debug")
            .envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {binary}"))?;
        let log = Log::default();
        log.follow(child.stdout.take());
        log.follow(child.stderr.take());
        Ok(Process { child, log })
    }

    /// The URL that it logs after `part`.
    pub async fn url(&self, part: &str) -> anyhow::Result<String> {
        let found = eventually(part, || async { Ok(self.log.url_after(part)) }).await;
        found.with_context(|| format!("its log:\n{}", self.log.text()))
    }

    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().context("it has ended")?.to_string();
        let status = Command::new("kill").args([signal, &pid]).status().await?;
        anyhow::ensure!(status.success(), "kill {signal} {pid}: {status}");
        Ok(())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(END, self.child.wait()).await;
        Ok(ended.with_context(|| format!("it did not end; its log:\n{}", self.log.text()))??)
    }

    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

// === impl Operated ===

impl Operated {
    /// A gateway on a folder of manifests, ready.
    pub async fn start(home: &Home, more: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (manifests, data) = (home.manifests().display().to_string(), home.data().display().to_string());
        let mut args = vec!["--manifests", &manifests, "--data", &data];
        args.extend(more);
        let gateway = Self::unready(&args, env).await?;
        gateway.wait_ready().await?;
        Ok(gateway)
    }

    /// A gateway with these arguments and two free ports, whether it is ready or not.
    pub async fn unready(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut all = vec!["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        all.extend(args);
        let process = Process::start("tollgate-dataplane", &all, env)?;
        let url = process.url("listening on http://").await?;
        let admin = process.url("admin port on http://").await?;
        Ok(Operated { process, url, admin, http: Http::new() })
    }

    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        let ready = eventually("the gateway is ready", || async {
            let answer = self.http.get(&format!("{}/readyz", self.admin)).await?;
            Ok((answer.status == 200).then_some(()))
        });
        ready.await.with_context(|| format!("its log:\n{}", self.process.log.text()))
    }

    /// Status and words of a path of the admin port.
    pub async fn probe(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.http.get(&format!("{}{path}", self.admin)).await?;
        Ok((answer.status, answer.text()))
    }

    /// All metrics.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer = self.http.get(&format!("{}/metrics", self.admin)).await?.expect(200)?;
        Metrics::parse(&answer.text())
    }

    /// The orderly end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal("-TERM").await?;
        let status = self.process.ended().await?;
        anyhow::ensure!(status.success(), "{status}:\n{}", self.process.log.text());
        Ok(())
    }
}

/// What Prometheus reads.
pub struct Metrics(Vec<Sample>);

/// One line of it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

// === impl Metrics ===

impl Metrics {
    /// Parses the text format, strictly: every sample has a `# TYPE` before it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut samples, mut families) = (Vec::new(), Vec::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                families.push(rest.split(' ').next().unwrap_or_default().to_owned());
            } else if !line.starts_with('#') {
                let sample = Sample::parse(line).with_context(|| format!("no sample: {line}"))?;
                let family =
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
                let known = |name: &str| families.iter().any(|family| family == name);
                anyhow::ensure!(known(&sample.name) || family.is_some_and(known), "no TYPE: {line}");
                samples.push(sample);
            }
        }
        Ok(Metrics(samples))
    }

    /// The sum of a metric's samples that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).map(|sample| sample.value).sum()
    }

    pub fn all<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &Sample, (name, value): &(&str, &str)| {
            sample.labels.iter().any(|(n, v)| n == name && v == value)
        };
        self.0.iter().filter(move |s| s.name == name && labels.iter().all(|label| has(s, label)))
    }

    pub fn samples(&self) -> &[Sample] {
        &self.0
    }
}

impl Sample {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let (head, value) = line.rsplit_once(' ').context("no value")?;
        let value = if value == "+Inf" { f64::INFINITY } else { value.parse()? };
        let Some((name, labels)) = head.split_once('{') else {
            return Ok(Sample { name: head.to_owned(), labels: Vec::new(), value });
        };
        let labels = labels.strip_suffix('}').context("no end of labels")?;
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once("=\"").context("no label")?;
            anyhow::Ok((name.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        let labels = pairs.collect::<anyhow::Result<_>>()?;
        if name.is_empty() {
            bail!("no name");
        }
        Ok(Sample { name: name.to_owned(), labels, value })
    }
}

/// A free port. Whoever asks for it must be quick.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn write(path: &Path, text: &str) -> anyhow::Result<String> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}
