//! The real clients as hermetic subprocesses: an empty home, an empty environment, loopback only.
//! `e2e/tools/install` puts them in place; a missing one fails a test, it never skips it.

pub mod claude;
pub mod python;

pub use claude::{Claude, Said};

use anyhow::Context;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::process::Command;

/// The longest a client may run.
pub const CLIENT: Duration = Duration::from_secs(120);

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A file below the folder where `e2e/tools/install` puts things.
pub fn tool(path: &str) -> anyhow::Result<PathBuf> {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let base = env("TOLLGATE_CACHE")
        .or_else(|| Some(env("XDG_CACHE_HOME")?.join("tollgate")))
        .or_else(|| Some(env("HOME")?.join(".cache/tollgate")));
    let path = base.context("neither TOLLGATE_CACHE nor HOME is set")?.join(path);
    anyhow::ensure!(path.exists(), "{} is missing: run e2e/tools/install", path.display());
    Ok(path)
}

/// A command with nothing of this machine's settings.
pub fn hermetic(program: PathBuf, home: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    command.env("TMPDIR", home).current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command to its end, at most for [`CLIENT`].
pub async fn run(command: Command) -> anyhow::Result<Ended> {
    run_within(command, CLIENT).await
}

/// Runs a command to its end, at most for `most`.
pub async fn run_within(mut command: Command, most: Duration) -> anyhow::Result<Ended> {
    let name = format!("{:?}", command.as_std().get_program());
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let output = tokio::time::timeout(most, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{name} took over {most:?}"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}
