//! The writer: one thread that turns queued records into batches and batches into transactions. Splitting, hashing and
//! compressing happen here, never on a request's thread.

use super::{
    batch::Batch,
    content::Splitter,
    recorder::{BATCH_MAX, Message, Queued, Shared},
    retention,
    trees::TreeIds,
};
use sqlx::{Row as _, SqlitePool};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// The writer's state.
pub(crate) struct Writer {
    pub(crate) pool: SqlitePool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) trees: TreeIds,
    pub(crate) splitter: Splitter,
    pub(crate) next_seq: i64,
}

/// The longest a record waits for others: what a killed process may lose.
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// Content bytes in one batch at most.
const BATCH_BYTES: usize = 16 << 20;
/// How often a batch is tried before its billing parts are spilled.
const ATTEMPTS: u32 = 5;
/// How often spilled records are looked after, and old ones deleted.
const REPLAY_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A batch with who waits for it.
#[derive(Default)]
struct Collected {
    batch: Batch,
    bytes: usize,
    flushes: Vec<oneshot::Sender<()>>,
}

// === impl Writer ===

impl Writer {
    /// Writes until the last recorder is gone and the queue is empty.
    pub(crate) async fn run(mut self, mut from: mpsc::Receiver<Message>) {
        let mut sweep = interval(SWEEP_EVERY);
        let mut replay = interval(REPLAY_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        replay.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = from.recv() => match message {
                    Some(first) => self.batch(first, &mut from).await,
                    None => break,
                },
                _ = sweep.tick() => self.sweep().await,
                _ = replay.tick(), if self.spilled() => self.replay().await,
            }
        }
        self.pool.close().await;
    }

    /// Collects one batch that begins with `first`, and writes it.
    async fn batch(&mut self, first: Message, from: &mut mpsc::Receiver<Message>) {
        let mut collected = Collected::default();
        let waits = matches!(first, Message::Record(..));
        self.take(first, &mut collected);
        if waits && self.shared.queued.load(Relaxed) < BATCH_MAX {
            // Either way the batch goes now: after its time, or because it is full.
            timeout(BATCH_WAIT, self.shared.full.notified()).await.unwrap_or(());
        }
        while collected.batch.len() < BATCH_MAX && collected.bytes < BATCH_BYTES {
            let Ok(message) = from.try_recv() else { break };
            self.take(message, &mut collected);
        }
        if collected.batch.len() > 0 {
            self.write(collected.batch).await;
        }
        if !collected.flushes.is_empty() && self.spilled() {
            self.replay().await;
        }
        for done in collected.flushes {
            // Whoever waited may be gone.
            done.send(()).unwrap_or(());
        }
    }

    fn take(&mut self, message: Message, into: &mut Collected) {
        match message {
            Message::Record(queued) => {
                let Queued { size, .. } = *queued;
                self.shared.queued.fetch_sub(1, Relaxed);
                self.shared.bytes.fetch_sub(size, Relaxed);
                into.bytes += size;
                let seq = self.seq();
                into.batch.add(seq, *queued, &mut self.trees, &mut self.splitter);
            }
            Message::Flush(done) => into.flushes.push(done),
        }
    }

    fn seq(&mut self) -> i64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// Writes a batch; when the store refuses for long, its billing parts are spilled.
    async fn write(&mut self, mut batch: Batch) {
        let records = batch.len() as u64;
        for attempt in 0..ATTEMPTS {
            match self.try_write(&mut batch).await {
                Ok(()) => {
                    self.shared.written.fetch_add(records, Relaxed);
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, attempt, records, "Records cannot be written; trying again.");
                    sleep(Duration::from_millis(50 << (2 * attempt))).await;
                }
            }
        }
        // What this batch brought is not stored: later records must bring it again.
        self.splitter.forget();
        batch.into_entries().for_each(|entry| self.shared.spill(entry));
    }

    async fn try_write(&mut self, batch: &mut Batch) -> sqlx::Result<()> {
        let mut conn = self.pool.acquire().await?;
        batch.write(&mut conn, &mut self.trees).await
    }

    // === Spilled records ===

    fn spilled(&self) -> bool {
        self.shared.spill.as_ref().is_some_and(|s| s.pending() > 0)
    }

    /// Replays the spill file, or what an earlier process left of one. Failures leave the file for the next time.
    pub(crate) async fn replay(&mut self) {
        let Some(spill) = self.shared.spill.clone() else { return };
        loop {
            match spill.set_aside() {
                Ok(Some(aside)) => match self.replay_one(&aside).await {
                    Ok(lines) => {
                        spill.replayed(lines);
                        if let Err(error) = aside.remove() {
                            tracing::error!(%error, "The replayed spill file cannot be removed.");
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "Spilled records cannot be replayed yet.");
                        return;
                    }
                },
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "The spill file cannot be set aside.");
                    return;
                }
            }
        }
    }

    async fn replay_one(&mut self, aside: &super::spill::Replay) -> anyhow::Result<u64> {
        let mut lines = 0;
        let mut batch = Batch::default();
        for entry in aside.entries()? {
            lines += 1;
            let Some(entry) = entry else {
                self.shared.lost.fetch_add(1, Relaxed);
                continue;
            };
            let seq = self.seq();
            batch.add_spilled(seq, entry, &mut self.trees);
            if batch.len() >= BATCH_MAX {
                self.try_write(&mut std::mem::take(&mut batch)).await?;
            }
        }
        if batch.len() > 0 {
            self.try_write(&mut batch).await?;
        }
        Ok(lines)
    }

    // === Old records ===

    async fn sweep(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        let now = jiff::Timestamp::now().as_millisecond();
        let swept = async {
            let mut conn = self.pool.acquire().await?;
            // In small steps, so that new records never wait long.
            while retention::step(&mut conn, now).await? && Instant::now() < until {
                tokio::task::yield_now().await;
            }
            Ok::<(), sqlx::Error>(())
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "Old records cannot be deleted.");
        }
    }
}

/// The next free `seq`.
pub(crate) async fn next_seq(pool: &SqlitePool) -> sqlx::Result<i64> {
    let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) + 1 FROM records").fetch_one(pool).await?;
    row.try_get(0)
}
