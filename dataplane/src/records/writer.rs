//! The writer: one thread that turns queued records into batches and batches into transactions. Splitting, hashing and
//! compressing happen here, never on a request's thread.

use super::{
    batch::Batch,
    content::Splitter,
    recorder::{BATCH_MAX, Message, Queued, Shared},
    retention,
    target::{Target, WriteError},
};
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
    pub(crate) target: Target,
    pub(crate) shared: Arc<Shared>,
    pub(crate) splitter: Splitter,
}

/// The longest a record waits for others: what a killed process may lose.
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// Content bytes in one batch at most.
const BATCH_BYTES: usize = 16 << 20;
/// How often a batch is tried before its billing parts are spilled. While a database elsewhere is away and there is room in
/// the queue, it waits with its content.
const ATTEMPTS: u32 = 5;
/// The longest pause before it is tried again while there is room.
const PAUSE_MAX: Duration = Duration::from_secs(2);
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
        self.target.pool().close().await;
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
                into.batch.add(*queued, &mut self.splitter);
            }
            Message::Flush(done) => into.flushes.push(done),
        }
    }

    /// Writes a batch; when the store refuses for long, its billing parts are spilled.
    async fn write(&mut self, mut batch: Batch) {
        let records = batch.len() as u64;
        let mut attempt = 0;
        loop {
            match self.target.write(&mut batch).await {
                Ok(()) => {
                    self.shared.written.fetch_add(records, Relaxed);
                    self.shared.well();
                    return;
                }
                Err(WriteError { words, away, .. }) => {
                    tracing::error!(error = %words, attempt, records, "Records cannot be written; trying again.");
                    self.shared.ill(&words);
                    let waits = away && self.target.is_remote() && self.shared.has_room();
                    if attempt + 1 >= self.attempts() && !waits {
                        break;
                    }
                }
            }
            sleep(Duration::from_millis(50 << (2 * attempt.min(4))).min(self.pause_max())).await;
            attempt += 1;
        }
        // What this batch brought is not stored: later records must bring it again.
        self.splitter.forget();
        batch.into_entries().for_each(|entry| self.shared.spill(entry));
    }

    /// Connecting to a database elsewhere takes its own time.
    fn attempts(&self) -> u32 {
        if self.target.is_remote() { 2 } else { ATTEMPTS }
    }

    fn pause_max(&self) -> Duration {
        if self.target.is_remote() { PAUSE_MAX } else { Duration::MAX }
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

    /// Writes spilled records. Those that the database refuses by themselves are set aside: the others must not wait for them.
    async fn write_spilled(&mut self, mut batch: Batch) -> anyhow::Result<()> {
        let Err(error) = self.target.write(&mut batch).await else {
            self.shared.well();
            return Ok(());
        };
        if !error.refused {
            self.shared.ill(&error.words);
            anyhow::bail!(error.words)
        }
        for entry in batch.into_entries() {
            let mut one = Batch::default();
            one.add_bare(entry);
            match self.target.write(&mut one).await {
                Ok(()) => {}
                Err(error) if error.refused => self.refused(one, &error.words)?,
                Err(error) => anyhow::bail!(error.words),
            }
        }
        Ok(())
    }

    fn refused(&self, batch: Batch, words: &str) -> std::io::Result<()> {
        let Some(spill) = &self.shared.spill else { return Ok(()) };
        for entry in batch.into_entries() {
            tracing::error!(id = %entry.id, error = words, "The database refuses a record: it is set aside in refused.jsonl.");
            spill.refuse(&entry)?;
            self.shared.lost.fetch_add(1, Relaxed);
        }
        Ok(())
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
            batch.add_bare(entry);
            if batch.len() >= BATCH_MAX {
                self.write_spilled(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.len() > 0 {
            self.write_spilled(batch).await?;
        }
        Ok(lines)
    }

    // === Old records ===

    async fn sweep(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        let now = jiff::Timestamp::now().as_millisecond();
        let swept = async {
            // In small steps, so that new records never wait long.
            while retention::step(self.target.pool(), now).await? && Instant::now() < until {
                tokio::task::yield_now().await;
            }
            Ok::<(), sqlx::Error>(())
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "Old records cannot be deleted.");
        }
    }
}
