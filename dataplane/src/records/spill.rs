//! The spill file: where the billing part of a record goes when the queue is full. One JSON line a record, appended by a
//! thread of its own, so that not even a slow disk holds up a request. Replayed and removed when the writer has caught up,
//! and at start.

use super::entry::Entry;
use parking_lot::Mutex;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// How many entries may wait for the spill's own thread.
const QUEUE_MAX: usize = 16_384;

/// How large the file of refused entries may become, and one entry more.
const REFUSED_MAX: u64 = 16 << 20;

/// The way into the spill file.
#[derive(Debug, Clone)]
pub(crate) struct Spill {
    to: SyncSender<Box<Entry>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Open while something is in it. Locked by the spill's thread and the writer only, never by a request.
    file: Mutex<Option<File>>,
    /// Lines in the file, and entries on their way to it.
    pending: AtomicU64,
    /// Entries that could not be written to the file.
    failed: AtomicU64,
    /// How large the file may grow.
    most: u64,
}

/// A spill file set aside for reading.
#[derive(Debug)]
pub(crate) struct Replay {
    path: PathBuf,
}

// === impl Spill ===

impl Spill {
    /// A spill in `folder`, of `most` bytes at most; starts its thread, which ends with the last clone.
    pub(crate) fn open(folder: &Path, most: u64) -> io::Result<Self> {
        let path = folder.join("spill.jsonl");
        let shared =
            Arc::new(Shared { path, file: Mutex::new(None), pending: 0.into(), failed: 0.into(), most });
        let (to, from) = sync_channel(QUEUE_MAX);
        let thread = shared.clone();
        std::thread::Builder::new().name("records-spill".into()).spawn(move || thread.run(&from))?;
        Ok(Spill { to, shared })
    }

    /// Hands an entry over; false when even this queue is full. Never blocks.
    pub(crate) fn put(&self, entry: Entry) -> bool {
        self.shared.pending.fetch_add(1, Relaxed);
        let taken = self.to.try_send(Box::new(entry)).is_ok();
        if !taken {
            self.shared.pending.fetch_sub(1, Relaxed);
        }
        taken
    }

    /// Entries that are in the file, or on their way.
    pub(crate) fn pending(&self) -> u64 {
        self.shared.pending.load(Relaxed)
    }

    /// Entries that were lost because the file could not be written.
    pub(crate) fn failed(&self) -> u64 {
        self.shared.failed.load(Relaxed)
    }

    /// Sets the file aside for reading, so that new entries go to a new one. A file set aside before (its replay was cut
    /// off) comes first. `None`: nothing to replay.
    pub(crate) fn set_aside(&self) -> io::Result<Option<Replay>> {
        let aside = self.shared.path.with_extension("replay.jsonl");
        let mut file = self.shared.file.lock();
        if !aside.exists() {
            if !self.shared.path.exists() {
                return Ok(None);
            }
            *file = None;
            std::fs::rename(&self.shared.path, &aside)?;
        }
        Ok(Some(Replay { path: aside }))
    }

    /// Writes down an entry that the database refuses, for a person to look at; as far as there is room.
    pub(crate) fn refuse(&self, entry: &Entry) -> io::Result<()> {
        let path = self.shared.path.with_file_name("refused.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() >= REFUSED_MAX {
            return Ok(());
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Takes replayed lines off the count.
    pub(crate) fn replayed(&self, lines: u64) {
        self.shared.less(lines);
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self, from: &Receiver<Box<Entry>>) {
        while let Ok(entry) = from.recv() {
            if let Err(error) = self.append(&entry) {
                tracing::error!(%error, path = %self.path.display(), id = %entry.id, "A record's billing part is lost: the spill file cannot be written.");
                self.failed.fetch_add(1, Relaxed);
                self.less(1);
            }
        }
    }

    /// Takes lines off the count; those of an earlier process were never on it.
    fn less(&self, lines: u64) {
        let count = |n: u64| Some(n.saturating_sub(lines));
        self.pending.fetch_update(Relaxed, Relaxed, count).unwrap_or_default();
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = self.file.lock();
        if file.is_none() {
            *file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
        }
        let Some(file) = file.as_mut() else { return Ok(()) };
        if file.metadata()?.len().saturating_add(line.len() as u64) > self.most {
            let words = format!("it has reached its {} bytes", self.most);
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        file.write_all(&line)
    }
}

// === impl Replay ===

impl Replay {
    /// The entries; lines that cannot be read (cut off by a crash) are reported and left out.
    pub(crate) fn entries(&self) -> io::Result<impl Iterator<Item = Option<Entry>>> {
        let lines = BufReader::new(File::open(&self.path)?).split(b'\n');
        Ok(lines.map_while(Result::ok).map(|line| match serde_json::from_slice(&line) {
            Ok(entry) => Some(entry),
            Err(error) => {
                tracing::error!(%error, line = %String::from_utf8_lossy(&line), "A spilled record cannot be read.");
                None
            }
        }))
    }

    /// All is stored: the file goes.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}
