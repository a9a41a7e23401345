//! What is run, in a process group of its own; and the reaping of what has ended, also for processes that lost their parent.

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
use std::{
    collections::HashMap,
    io,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Children are also looked at without a signal: signals of several children may become one, or come before somebody listens.
const LOOK: Duration = Duration::from_secs(1);

/// What is inherited by a command that does not inherit everything.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"];

/// A command, its arguments and its environment. Its `Debug` prints no values of variables.
#[derive(Clone)]
pub struct CommandLine {
    words: Vec<String>,
    /// `None`: that of this process.
    env: Option<Vec<(String, String)>>,
}

/// A started command. Its group is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) group: Group,
    /// How it ended, once it has.
    pub(super) ended: watch::Receiver<Option<Ended>>,
}

/// A process group: the command and its children, unless they leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Group(Pid);

/// How a process ended, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended(pub(super) String);

/// The children that are waited for.
#[derive(Debug, Default)]
struct Children(Mutex<HashMap<Pid, Known>>);

/// A child, and who is told of its end.
type Known = (Child, watch::Sender<Option<Ended>>);

static CHILDREN: LazyLock<Arc<Children>> = LazyLock::new(Arc::default);

// === impl CommandLine ===

impl CommandLine {
    /// A command with this process's environment.
    pub fn inheriting(words: Vec<String>) -> Self {
        CommandLine { words, env: None }
    }

    /// A command with these variables, and of this process's own only what programs cannot do without: the others may be secrets.
    pub fn with_env(words: Vec<String>, env: Vec<(String, String)>) -> Self {
        CommandLine { words, env: Some(env) }
    }

    /// The command without its arguments.
    pub(super) fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Starts it. Must be called within a runtime.
    pub(super) fn start(&self) -> io::Result<Started> {
        let mut command = Command::new(self.program());
        command.args(self.words.iter().skip(1));
        if let Some(env) = &self.env {
            command.env_clear();
            command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
            command.envs(env.iter().map(|(name, value)| (name, value)));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        CHILDREN.start(&mut command)
    }
}

impl PartialEq for CommandLine {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words && self.env == other.env
    }
}

impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandLine").field("program", &self.program()).finish_non_exhaustive()
    }
}

// === impl Group ===

impl Group {
    /// Asks all of it to end.
    pub(super) fn terminate(self) {
        // An error means that there is nobody left, which is what is wanted.
        kill_process_group(self.0, Signal::TERM).ok();
    }

    /// Ends all of it.
    pub(super) fn kill(self) {
        kill_process_group(self.0, Signal::KILL).ok();
    }
}

// === impl Children ===

impl Children {
    fn start(self: &Arc<Self>, command: &mut Command) -> io::Result<Started> {
        let incomplete = || io::Error::other("the process has no pipes");
        let (sender, ended) = watch::channel(None);
        // Held while the process starts, so that nobody reaps it before it is known.
        let mut children = self.0.lock();
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(incomplete)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        children.insert(pid, (child, sender));
        drop(children);
        tokio::spawn(watch_children(self.clone(), ended.clone()));
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(incomplete()) };
        Ok(Started { stdin, stdout, stderr, group: Group(pid), ended })
    }

    /// Takes notice of those that have ended.
    fn look(&self) {
        let mut children = self.0.lock();
        children.retain(|pid, (child, sender)| {
            let words = match child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) => shown(status),
                // Somebody else waited for it: as PID 1 this process reaps what it does not know, which may be quicker.
                Err(_) => "it has ended".to_owned(),
            };
            // Whatever it started and left behind.
            Group(*pid).kill();
            sender.send_replace(Some(Ended(words)));
            false
        });
    }
}

fn shown(status: ExitStatus) -> String {
    status.to_string()
}

/// Looks at the children until one's end is known.
async fn watch_children(children: Arc<Children>, ended: watch::Receiver<Option<Ended>>) {
    let mut signals = signal(SignalKind::child()).ok();
    while ended.borrow().is_none() {
        match &mut signals {
            // Either somebody ended, or it is time to look.
            Some(signals) => drop(tokio::time::timeout(LOOK, signals.recv()).await),
            None => tokio::time::sleep(LOOK).await,
        }
        children.look();
    }
}

/// As PID 1 of a container: reaps processes that lost their parent, or they would stay as zombies.
///
/// # Errors
/// When signals cannot be listened to.
pub(super) fn reap_orphans() -> io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut signals = signal(SignalKind::child())?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            CHILDREN.look();
            let children = CHILDREN.0.lock();
            while let Ok(Some((pid, _))) = waitpid(None, WaitOptions::NOHANG) {
                tracing::debug!(pid = pid.as_raw_pid(), known = children.contains_key(&pid), "reaped");
            }
        }
    });
    Ok(())
}
