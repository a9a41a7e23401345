//! The way in: a bounded queue that never blocks a request.

use super::{
    Sink,
    entry::Entry,
    record::{Record, RecordKind},
    spill::Spill,
};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

/// Takes records, never blocks, never awaits. Cheap to clone; the writer ends when the last clone is gone.
#[derive(Clone)]
pub struct Recorder {
    to: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What became of records beside being written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Records that wait in the queue.
    pub queued: u64,
    /// Bytes of content that wait.
    pub queued_bytes: u64,
    /// Records written to the store since the start.
    pub written: u64,
    /// Records that lost their content, because the queue was nearly full (expected 0).
    pub content_dropped: u64,
    /// Records whose billing part went to the spill file, because the queue was full (expected 0).
    pub spilled: u64,
    /// Spilled records that are not yet replayed.
    pub spill_pending: u64,
    /// Records that are lost altogether: no disk took them (expected 0).
    pub lost: u64,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// What the queue carries.
pub(crate) enum Message {
    Record(Box<Queued>),
    /// Answer when all before it is stored.
    Flush(oneshot::Sender<()>),
}

/// A record in the queue.
pub(crate) struct Queued {
    pub(crate) record: Record,
    /// Bytes of content it carries.
    pub(crate) size: usize,
    /// Its content was dropped to make room.
    pub(crate) dropped: bool,
}

/// What the recorder and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bounds: Bounds,
    pub(crate) spill: Option<Spill>,
    /// Wakes the writer before its time when a full batch waits.
    pub(crate) full: Notify,
    pub(crate) queued: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
    pub(crate) written: AtomicU64,
    pub(crate) content_dropped: AtomicU64,
    pub(crate) spilled: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Who waits for a flush: then nothing waits for a database that is away.
    flushing: AtomicUsize,
    /// Since when the store does not take records, and why.
    trouble: Mutex<Option<Trouble>>,
}

/// Why the store does not take records.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trouble {
    /// Since when, Unix milliseconds.
    pub since: i64,
    /// What it said last.
    pub words: String,
}

/// Records in one transaction at most; also what wakes the writer early.
pub(crate) const BATCH_MAX: usize = 512;

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new(bounds: Bounds, spill: Option<Spill>) -> (Self, mpsc::Receiver<Message>) {
        let (to, from) = mpsc::channel(bounds.records.max(1));
        let shared = Shared {
            bounds,
            spill,
            full: Notify::new(),
            queued: 0.into(),
            bytes: 0.into(),
            written: 0.into(),
            content_dropped: 0.into(),
            spilled: 0.into(),
            lost: 0.into(),
            flushing: 0.into(),
            trouble: Mutex::new(None),
        };
        (Recorder { to, shared: Arc::new(shared) }, from)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Hands a record over. Never blocks: when the queue is nearly full the content is dropped, when it is full the
    /// billing part goes to the spill file.
    pub fn submit(&self, mut record: Record) {
        let shared = &*self.shared;
        let mut size = content_size(&record);
        let queued = shared.queued.load(Relaxed);
        let crowded = queued >= shared.bounds.records / 4 * 3;
        let dropped =
            size > 0 && (crowded || shared.bytes.load(Relaxed).saturating_add(size) > shared.bounds.bytes);
        if dropped {
            drop_content(&mut record);
            shared.content_dropped.fetch_add(1, Relaxed);
            size = 0;
        }
        let Ok(slot) = self.to.try_reserve() else {
            shared.spill(Entry::take(&mut record));
            return;
        };
        shared.bytes.fetch_add(size, Relaxed);
        if shared.queued.fetch_add(1, Relaxed) + 1 == BATCH_MAX {
            shared.full.notify_one();
        }
        slot.send(Message::Record(Box::new(Queued { record, size, dropped })));
    }

    /// This recorder as a plain function.
    pub fn sink(&self) -> Sink {
        let recorder = self.clone();
        Arc::new(move |record| recorder.submit(record))
    }

    /// Waits until all that was submitted before is stored (or spilled). For shutdown and tests.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.shared.flushing.fetch_add(1, Relaxed);
        if self.to.send(Message::Flush(done)).await.is_ok() {
            self.shared.full.notify_one();
            // An error means that the writer is gone: nothing is left to wait for.
            wait.await.unwrap_or(());
        }
        self.shared.flushing.fetch_sub(1, Relaxed);
    }

    /// Why the store does not take records now; `None`: it does.
    pub fn trouble(&self) -> Option<Trouble> {
        self.shared.trouble()
    }

    /// Counters since the start.
    pub fn counts(&self) -> Counts {
        let shared = &self.shared;
        Counts {
            queued: shared.queued.load(Relaxed) as u64,
            queued_bytes: shared.bytes.load(Relaxed) as u64,
            written: shared.written.load(Relaxed),
            content_dropped: shared.content_dropped.load(Relaxed),
            spilled: shared.spilled.load(Relaxed),
            spill_pending: shared.spill.as_ref().map_or(0, Spill::pending),
            lost: shared.lost.load(Relaxed) + shared.spill.as_ref().map_or(0, Spill::failed),
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("counts", &self.counts()).finish()
    }
}

/// Bytes of content a record carries.
fn content_size(record: &Record) -> usize {
    match &record.kind {
        RecordKind::Model(m) => {
            let answer: usize = m.answer.content.iter().map(block_size).sum();
            let calls: usize = m.answer.tool_calls.iter().map(|c| c.arguments.len()).sum();
            m.request.as_ref().map_or(0, |b| b.len()) + answer + calls
        }
        RecordKind::Tool(t) => {
            t.arguments.as_ref().map_or(0, String::len) + t.result.as_ref().map_or(0, String::len)
        }
    }
}

fn block_size(block: &tollgate_translate::answer::Block) -> usize {
    use tollgate_translate::answer::Block;
    match block {
        Block::Text(text) | Block::Thinking(text) => text.len(),
        Block::ToolCall(_) => 0,
    }
}

/// Leaves the billing part.
fn drop_content(record: &mut Record) {
    match &mut record.kind {
        RecordKind::Model(m) => {
            m.request = None;
            m.answer.content = Vec::new();
            m.answer.tool_calls.iter_mut().for_each(|c| c.arguments = String::new());
        }
        RecordKind::Tool(t) => (t.arguments, t.result) = (None, None),
    }
}

// === impl Shared ===

impl Shared {
    /// Whether a batch may wait for a database that is away: what comes meanwhile has room in the queue.
    pub(crate) fn has_room(&self) -> bool {
        self.flushing.load(Relaxed) == 0
            && self.queued.load(Relaxed) < self.bounds.records / 2
            && self.bytes.load(Relaxed) < self.bounds.bytes / 2
    }

    /// The store took records.
    pub(crate) fn well(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!("Records are written again.");
        }
    }

    /// The store did not take records.
    pub(crate) fn ill(&self, words: &str) {
        let mut trouble = self.trouble.lock();
        let since = trouble.as_ref().map_or_else(|| jiff::Timestamp::now().as_millisecond(), |t| t.since);
        *trouble = Some(Trouble { since, words: words.to_owned() });
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    /// Spills an entry, or counts it as lost.
    pub(crate) fn spill(&self, entry: Entry) {
        if self.spill.as_ref().is_some_and(|spill| spill.put(entry)) {
            self.spilled.fetch_add(1, Relaxed);
        } else {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}
