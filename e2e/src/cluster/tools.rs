//! Where the programs are that a cluster is made of.

use anyhow::{Context, ensure};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The checkout.
pub(super) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Builds a part of `e2e/tools/install`, unless it is built, and answers its folder. The first time takes minutes.
pub(crate) async fn install(part: &str) -> anyhow::Result<PathBuf> {
    install_all(part).await?.pop().with_context(|| format!("e2e/tools/install {part} named no folder"))
}

/// The same for a part with several folders.
pub(super) async fn install_all(part: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = Command::new(repository().join("e2e/tools/install"));
    command.arg(part).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let output = command.spawn().context("cannot start e2e/tools/install")?.wait_with_output().await?;
    ensure!(output.status.success(), "e2e/tools/install {part}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect())
}

/// A program on `PATH`.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `PATH` with the folder of our own programs first, so that kubectl finds its plugin.
pub(super) fn path_with_ours() -> anyhow::Result<OsString> {
    let this = std::env::current_exe()?;
    let ours = this.ancestors().skip(1).take(2).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(ours.chain(std::env::split_paths(&path)))?)
}
