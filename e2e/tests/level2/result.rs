//! What a long run leaves behind: a dated page with its commit.

use anyhow::Context;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// What passed, and how long it took.
#[derive(Debug, Default)]
pub struct Results(Vec<(&'static str, Duration)>);

// === impl Results ===

impl Results {
    /// Notes what passed.
    pub fn passed(&mut self, what: &'static str, took: Duration) {
        eprintln!("{what}: {:.1} s", took.as_secs_f64());
        self.0.push((what, took));
    }

    /// Runs a scenario and notes it when it passes.
    pub async fn run<T>(
        &mut self,
        what: &'static str,
        scenario: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        let done = scenario.await.context(what)?;
        self.passed(what, begun.elapsed());
        Ok(done)
    }

    /// Writes `docs/results/DATE-e2e-cluster.md` when `TOLLGATE_RESULTS` is 1.
    pub fn write(&self, outcome: &anyhow::Result<()>) -> anyhow::Result<()> {
        if std::env::var_os("TOLLGATE_RESULTS").is_none_or(|v| v != "1") {
            return Ok(());
        }
        let (date, commit) = (said("date", &["-u", "+%F"])?, said("git", &["rev-parse", "--short", "HEAD"])?);
        let changed = if said("git", &["status", "--porcelain"])?.is_empty() { "" } else { ", with changes" };
        let mut page = format!(
            "# `make e2e-cluster` on {date}\n\nCommit {commit}{changed}. Kubernetes 1.37.2 from source: etcd, API server, controllers, scheduler, \
             kubelet, kube-proxy (nftables), containerd 2.4 with runc, CoreDNS.\nMachine: {}, {} processors.\n\n\
             | scenario | seconds |\n|---|---|\n",
            said("uname", &["-srm"])?,
            std::thread::available_parallelism()?
        );
        for (what, took) in &self.0 {
            page.push_str(&format!("| {what} | {:.1} |\n", took.as_secs_f64()));
        }
        page.push_str(&match outcome {
            Ok(()) => "\nAll passed.\n".to_owned(),
            Err(error) => format!("\nFailed: {error:#}\n"),
        });
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/results"));
        std::fs::create_dir_all(folder)?;
        Ok(std::fs::write(folder.join(format!("{date}-e2e-cluster.md")), page)?)
    }
}

fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
