//! Records: every model request and tool call, kept without ever slowing one down.
//!
//! A request hands its [`Record`] to a [`Recorder`] (a bounded queue that never blocks) and is done. One thread takes
//! batches off the queue, splits content into blocks that a conversation's turns share, and writes each batch in one
//! transaction: rows, search index, and the sums that spend pages and the ledger's rebuild read. [`Store`] reads.
//!
//! # Layout
//! - [`record`]: what is recorded (the contract with the request path)
//! - [`recorder`]: the queue; [`spill`]: where the billing part goes when it is full
//! - [`writer`], [`batch`], [`insert`]: batches and transactions; [`retention`]: deletion
//! - [`entry`]: a record without its content; [`content`], [`split`], [`preview`], [`redact`]: its content
//! - [`billing`]: what of a record travels with its charge, through the ledger's stream
//! - [`trees`], [`sums`]: paths of keys; counters, spend and latency by hour
//! - [`store`]: queries, each within a [`Viewer`]'s scope; [`schema`]: pools and migrations

mod batch;
pub mod billing;
mod content;
mod entry;
mod insert;
mod preview;
pub mod record;
mod recorder;
pub mod redact;
mod retention;
mod schema;
mod spill;
mod split;
mod store;
mod sums;
#[cfg(test)]
mod tests;
mod trees;
mod viewer;
mod writer;

pub use entry::{Kept, Unit};
pub use record::Record;
pub use recorder::{Counts, Recorder};
pub use schema::{Location, OpenError};
pub use store::{
    Store,
    detail::{Charge, Conversation, Full, Link},
    filter::{Cursor, Filter, KindFilter, StatusFilter},
    list::{Listed, Page, Tokens},
    spend::{Latencies, Named, Period, Spend, Sum},
};
pub use viewer::Viewer;

use recorder::Bounds;
use redact::Redact;
use spill::Spill;

/// Takes records off the hands of those who make them; never blocks and never fails.
pub type Sink = std::sync::Arc<dyn Fn(Record) + Send + Sync>;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Records that may wait in the queue.
    pub queue_records: usize,
    /// Bytes of content that may wait in the queue.
    pub queue_bytes: usize,
    /// Rewrites content before it is stored.
    pub redact: Redact,
}

/// Opens a store with default bounds; starts its writer.
pub async fn open(location: Location) -> Result<(Recorder, Store), OpenError> {
    open_with(location, Options::default()).await
}

/// Opens a store; starts its writer. What an earlier process spilled is replayed before this returns.
pub async fn open_with(location: Location, options: Options) -> Result<(Recorder, Store), OpenError> {
    let path = location.name();
    let database = |source| OpenError::Database { path: path.clone(), source };
    let system = |source| OpenError::Io { path: path.clone(), source };
    let pools = schema::Pools::open(&location).await?;
    let mut conn = pools.writer.acquire().await.map_err(database)?;
    let trees = trees::Trees::load(&mut conn).await.map_err(database)?;
    drop(conn);
    let spill = match &location {
        Location::File(file) => Some(Spill::open(file).map_err(system)?),
        Location::Memory => None,
    };
    let bounds = Bounds { records: options.queue_records, bytes: options.queue_bytes };
    let (recorder, from) = Recorder::new(bounds, spill);
    let mut writer = writer::Writer {
        shared: recorder.shared().clone(),
        trees: trees::TreeIds::new(trees.clone()),
        splitter: content::Splitter::new(options.redact).map_err(system)?,
        next_seq: writer::next_seq(&pools.writer).await.map_err(database)?,
        pool: pools.writer.clone(),
    };
    writer.replay().await;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(system)?;
    let run = move || runtime.block_on(writer.run(from));
    std::thread::Builder::new().name("records".into()).spawn(run).map_err(system)?;
    Ok((recorder, Store::new(pools.readers, trees)))
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Options { queue_records: 16_384, queue_bytes: 64 << 20, redact: redact::hook() }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("queue_records", &self.queue_records)
            .field("queue_bytes", &self.queue_bytes)
            .finish_non_exhaustive()
    }
}
