//! Helm, on a test cluster.

use crate::cluster::Cluster;
use anyhow::{Context, ensure};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{process::Command, sync::OnceCell};

/// The checkout.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs Helm with all rights in the checkout: each word of `line` is an argument, then come `more`. What it printed; its error
/// output is the error.
pub async fn helm(cluster: &Cluster, line: &str, more: &[&str]) -> anyhow::Result<String> {
    let home = cluster.folder().join("helm");
    let mut command = Command::new(program().await?);
    command.args(line.split_whitespace()).args(more).env("KUBECONFIG", cluster.kubeconfig());
    for (variable, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, home.join(folder));
    }
    finish(command).await
}

/// Runs a program in the checkout. What it printed; its error output is the error.
pub async fn run<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    finish(command).await
}

/// Where Helm is; e2e/tools/install builds it when it is not there.
async fn program() -> anyhow::Result<&'static Path> {
    static HELM: OnceCell<PathBuf> = OnceCell::const_new();
    let helm = HELM.get_or_try_init(|| async {
        let folder = run(repository().join("e2e/tools/install"), ["helm"]).await?;
        anyhow::Ok(Path::new(folder.trim()).join("helm"))
    });
    Ok(helm.await?)
}

async fn finish(mut command: Command) -> anyhow::Result<String> {
    command.current_dir(repository()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}
