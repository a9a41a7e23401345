//! A folder of manifests, watched: the source of standalone mode.
//!
//! A change is read, compiled and put in force within a fraction of a second, as a new snapshot beside the old one, so
//! that no stream is touched. What is wrong is refused alone and keeps its last good version, and the terminal says so.
//!
//! # Layout
//! - [`state`]: files to snapshots, with what was last good; `local`: the commands of stdio servers
//! - `watcher`: when to look

mod local;
pub mod state;
mod watcher;

#[cfg(test)]
mod tests;

use crate::{bridge::Local, snapshot::Snapshot};
use state::{Outcome, State, Told, Update};
use std::{io, path::Path, sync::Arc, thread, time::Duration};
use tokio::sync::{oneshot, watch};
use tollgate_crds::{compile, manifest::folder::scan};
use watcher::Watcher;

/// How a folder is read.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What the compiler allows.
    pub compile: compile::Options,
    /// How long a folder must be quiet before it is read: editors and copies write in several steps.
    pub quiet: Duration,
    /// A folder that is never quiet is read after this long all the same.
    pub patience: Duration,
    /// How often the folder is read without a notice, which network file systems and some container mounts do not give.
    pub poll: Duration,
    /// Whether the file system's notices are used; without them only `poll` decides.
    pub notices: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            compile: compile::Options::STANDALONE,
            quiet: Duration::from_millis(50),
            patience: Duration::from_millis(400),
            poll: Duration::from_secs(1),
            notices: true,
        }
    }
}

/// Reads the folder (or the one file) `root` and watches it: a receiver of snapshots, whose first is there at once. The
/// watching ends when every receiver is gone.
///
/// # Errors
/// When `root` cannot be read at all. Objects that are wrong are no error: they are told on the terminal.
pub async fn watch(root: &Path, options: Options) -> io::Result<watch::Receiver<Arc<Snapshot>>> {
    watch_and_run(root, options, None).await
}

/// The same, and runs the stdio servers of the manifests in `local`.
///
/// # Errors
/// As [`watch`].
pub async fn watch_and_run(
    root: &Path,
    options: Options,
    local: Option<Arc<Local>>,
) -> io::Result<watch::Receiver<Arc<Snapshot>>> {
    let root = root.to_owned();
    let (ready, first) = oneshot::channel();
    // A thread of its own: reading and compiling must not take time from requests.
    thread::Builder::new()
        .name("manifests".to_owned())
        .spawn(move || follow(&root, options, local.as_deref(), ready))?;
    first.await.map_err(|_| io::Error::other("the thread that reads the manifests ended"))?
}

fn follow(
    root: &Path,
    options: Options,
    local: Option<&Local>,
    ready: oneshot::Sender<io::Result<watch::Receiver<Arc<Snapshot>>>>,
) {
    // Watching before reading, so that nothing is missed in between.
    let watcher = Watcher::new(root, options);
    let mut state = State::new(options.compile, |name| std::env::var(name).ok());
    if let Some(local) = local {
        state.run_stdio(local.base());
    }
    // Before the snapshot that names them, so that a first call finds them.
    let run = |state: &mut State| {
        if let Some((local, servers)) = local.zip(state.stdio_servers()) {
            local.set(servers);
        }
    };
    let first = match scan(root) {
        Ok(files) => state.update(files),
        Err(error) => return drop(ready.send(Err(error))),
    };
    say(&first);
    run(&mut state);
    let (sender, receiver) = watch::channel(first.snapshot);
    if ready.send(Ok(receiver)).is_err() {
        return;
    }
    let mut unreadable: Option<String> = None;
    while watcher.wait(|| sender.is_closed()) {
        match scan(root) {
            Ok(files) => {
                unreadable = None;
                let update = state.update(files);
                say(&update);
                run(&mut state);
                if update.changed {
                    sender.send_replace(update.snapshot);
                }
            }
            Err(error) => say_unreadable(root, &error, &mut unreadable),
        }
    }
}

/// A folder that cannot be read changes nothing; it is said once.
fn say_unreadable(root: &Path, error: &io::Error, before: &mut Option<String>) {
    let now = error.to_string();
    if before.as_ref() != Some(&now) {
        tracing::warn!(folder = %root.display(), %error, "cannot read the manifests; the last configuration stays in force");
        *before = Some(now);
    }
}

fn say(update: &Update) {
    for Told { place, object, field, reason, outcome } in &update.told {
        let outcome = match outcome {
            Outcome::Refused => "refused",
            Outcome::Kept => "refused; the last good version stays in force",
            Outcome::Dangling => "a name leads nowhere",
        };
        match object {
            Some(object) => tracing::warn!(file = %place, %object, %field, %reason, "{outcome}"),
            None => tracing::warn!(file = %place, %reason, "{outcome}"),
        }
    }
    if let Some(others) = &update.others {
        tracing::info!("{others}");
    }
    if update.cleared {
        tracing::info!("nothing is wrong with the manifests any more");
    }
    if update.changed || update.cleared {
        let (keys, routes, servers) = update.counts;
        tracing::info!(
            "configuration {} in force: {}, {}, {}",
            update.snapshot.generation,
            counted(keys, "key"),
            counted(routes, "route"),
            counted(servers, "server"),
        );
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
