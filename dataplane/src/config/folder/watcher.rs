//! When to look: on a notice of the file system, once it is quiet; and from time to time without one.

use super::Options;
use notify::{EventKind, RecursiveMode, Watcher as _, event::AccessKind};
use std::{
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::Instant,
};

/// Notices of one folder.
pub(super) struct Watcher {
    options: Options,
    notices: Receiver<()>,
    /// Kept, because dropping it ends the notices; `None` when the file system gives none.
    _notifier: Option<notify::RecommendedWatcher>,
    /// Kept, so that the channel never closes.
    _sender: SyncSender<()>,
}

// === impl Watcher ===

impl Watcher {
    /// Watches a folder, or the folder of a file. Where that is not possible only time decides.
    pub(super) fn new(root: &Path, options: Options) -> Self {
        let (sender, notices) = sync_channel(1);
        let notifier = options.notices.then(|| notifier(root, sender.clone()));
        let notifier = notifier.and_then(|notifier| {
            let poll = options.poll;
            let failed = |error| tracing::info!(%error, "no notices of changed manifests here: looking every {poll:?}");
            notifier.map_err(failed).ok()
        });
        Watcher { options, notices, _notifier: notifier, _sender: sender }
    }

    /// Waits until it is time to look; false when `over` says so.
    pub(super) fn wait(&self, over: impl Fn() -> bool) -> bool {
        let noticed = self.notices.recv_timeout(self.options.poll);
        if noticed.is_ok() {
            let since = Instant::now();
            while since.elapsed() < self.options.patience
                && self.notices.recv_timeout(self.options.quiet) != Err(RecvTimeoutError::Timeout)
            {
            }
        }
        !over()
    }
}

fn notifier(root: &Path, sender: SyncSender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut notifier = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_change = event.is_ok_and(|event| is_change(&event.kind));
        if is_change && sender.try_send(()).is_err() {
            // Full: a notice is waiting already.
        }
    })?;
    if root.is_file() {
        // Editors replace a file by another one of its name: only its folder notices that.
        let folder = root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        notifier.watch(folder, RecursiveMode::NonRecursive)?;
    } else {
        notifier.watch(root, RecursiveMode::Recursive)?;
    }
    Ok(notifier)
}

/// Reading is noticed too, ours included.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(kind) if !matches!(kind, AccessKind::Close(notify::event::AccessMode::Write)))
}
