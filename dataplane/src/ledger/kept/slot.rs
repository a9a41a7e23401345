//! Which file of the folder is this process's: two that share a folder would destroy each other's.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// A file's place, held by a lock until the process ends.
#[derive(Debug)]
pub(super) struct Slot {
    number: usize,
    path: PathBuf,
    _lock: Option<File>,
}

/// How many processes may share a folder.
const MOST: usize = 16;
/// Only the gateway reads it: sessions and users stand in it.
const MODE: u32 = 0o600;

fn path(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join("unposted.jsonl"),
        n => folder.join(format!("unposted.{n}.jsonl")),
    }
}

/// The lock of a file's place, if nobody has it.
fn lock(folder: &Path, number: usize) -> io::Result<Option<File>> {
    // A file of its own: the other is replaced now and then.
    let file = path(folder, number).with_extension("lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(file)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

// === impl Slot ===

impl Slot {
    /// The first place that nobody has, and its file.
    pub(super) fn take(folder: &Path) -> io::Result<(Self, File)> {
        for number in 0..MOST {
            let lock = match lock(folder, number) {
                Ok(None) => continue,
                Ok(lock) => lock,
                Err(error) => {
                    // Some network file systems have no locks.
                    tracing::warn!(%error, "the data folder cannot be locked: see that no other gateway uses it");
                    None
                }
            };
            let path = path(folder, number);
            if number > 0 {
                tracing::warn!(file = %path.display(), "another gateway uses this data folder: give each its own");
            }
            let file = open(&path)?;
            return Ok((Slot { number, path, _lock: lock }, file));
        }
        Err(io::Error::other(format!("{MOST} gateways use the data folder {}", folder.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is to take its place.
    pub(super) fn next(&self) -> io::Result<(PathBuf, File)> {
        let next = self.path.with_extension("next");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&next)?;
        Ok((next, file))
    }

    /// Other files of the folder that have something and belong to nobody any more.
    pub(super) fn orphans(&self, folder: &Path) -> Vec<Orphan> {
        let others = (0..MOST).filter(|number| *number != self.number);
        let orphan = |number: usize| {
            let path = path(folder, number);
            let left = std::fs::metadata(&path).is_ok_and(|about| about.len() > 0);
            let lock = if left { lock(folder, number).ok().flatten()? } else { return None };
            Some(Orphan { file: open(&path).ok()?, _lock: lock })
        };
        others.filter_map(orphan).collect()
    }
}

/// A file that belongs to nobody any more; held while it is emptied.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) file: File,
    _lock: File,
}
