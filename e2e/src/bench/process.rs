//! The processes under test: the floor, the provider; CPU time and memory of any process (Linux).

use anyhow::Context;
use std::{collections::HashMap, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A started helper process; dropping it kills it.
#[derive(Debug)]
pub struct Helper {
    /// Where it listens.
    pub addr: SocketAddr,
    child: Child,
}

/// CPU time of a process's threads, nanoseconds by thread.
#[derive(Debug, Clone, Default)]
pub struct Cpu(HashMap<String, u64>);

/// How long a helper may take to listen.
const START: Duration = Duration::from_secs(10);

// === impl Helper ===

impl Helper {
    /// Starts a program that prints `listening on http://ADDR`.
    pub async fn start(program: PathBuf, args: &[&str]) -> anyhow::Result<Self> {
        let name = program.display().to_string();
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START, lines.next_line()).await.context("it does not listen")??;
        let line = line.with_context(|| format!("{name} ended"))?;
        let (_, addr) = line.split_once("http://").with_context(|| format!("{name} said {line:?}"))?;
        Ok(Helper { addr: addr.trim().parse()?, child })
    }

    /// Starts a program that listens where it is told and says nothing.
    pub async fn start_silent(program: PathBuf, addr: SocketAddr, args: &[&str]) -> anyhow::Result<Self> {
        let name = program.display().to_string();
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let connects = crate::client::eventually("it listens", || async {
            Ok(tokio::net::TcpStream::connect(addr).await.ok().map(drop))
        });
        connects.await.with_context(|| name)?;
        Ok(Helper { addr, child })
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("it has ended")
    }
}

// === impl Cpu ===

impl Cpu {
    /// The CPU time so far of every thread of a process: the scheduler's own account, exact to the nanosecond (the
    /// ticks of `/proc/PID/stat` are 10 ms).
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).context("this needs Linux's /proc")?;
        let mut by_thread = HashMap::new();
        for task in tasks {
            let task = task?;
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
            let run = text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
            by_thread.insert(task.file_name().to_string_lossy().into_owned(), run);
        }
        Ok(Cpu(by_thread))
    }

    /// Nanoseconds since an earlier reading. A thread that ended in between is missed: no hot thread ends.
    pub fn since(&self, earlier: &Cpu) -> u64 {
        let before = |thread: &String| earlier.0.get(thread).copied().unwrap_or(0);
        self.0.iter().map(|(thread, now)| now.saturating_sub(before(thread))).sum()
    }
}

/// Forgets a process's memory peak, so that the next reading is of what follows.
pub fn reset_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the memory peak")
}

/// The largest resident memory since the last reset, in bytes.
pub fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    field(pid, "VmHWM:")
}

/// The resident memory, in bytes.
pub fn memory(pid: u32) -> anyhow::Result<u64> {
    field(pid, "VmRSS:")
}

/// The part of the resident memory that is the process's own, in bytes: without pages of files, such as the program's, which all
/// processes of a node share.
pub fn own_memory(pid: u32) -> anyhow::Result<u64> {
    field(pid, "RssAnon:")
}

fn field(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kilobytes: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kilobytes * 1024)
}
