//! Records: every model request and tool call, kept without ever slowing one down.
//!
//! A request hands its [`Record`] to a [`Recorder`] (a bounded queue that never blocks) and is done. One thread takes
//! batches off the queue, splits content into blocks that a conversation's turns share, and writes each batch in one
//! transaction: rows, search index, and the sums that spend pages and the ledger's rebuild read. [`Store`] reads. The
//! database is a SQLite file, or PostgreSQL that any number of gateways share.
//!
//! # Layout
//! - [`record`]: what is recorded (the contract with the request path)
//! - [`recorder`]: the queue; [`spill`]: where the billing part goes when it is full
//! - [`writer`], [`target`], [`batch`], [`rows`], [`insert`]: batches and transactions; [`retention`]: deletion
//! - [`entry`]: a record without its content; [`content`], [`split`], [`preview`], [`redact`], [`words`]: its content
//! - [`billing`]: what of a record travels with its charge, through the ledger's stream
//! - [`drainer`]: from there to PostgreSQL; [`generation`]: whether an empty Redis is new; [`audit`]: whether it all adds up
//! - [`trees`], [`sums`]: paths of keys; counters, spend and latency by hour
//! - [`flags`], [`location`]: where records are kept
//! - [`store`]: queries, each within a [`Viewer`]'s scope
//! - [`db`]: the two databases behind one face; [`sqlite`], [`postgres`]: what each does its own way

pub mod audit;
mod batch;
pub mod billing;
mod content;
mod db;
pub mod drainer;
mod entry;
pub mod flags;
pub mod generation;
mod insert;
mod location;
pub mod postgres;
mod preview;
pub mod record;
mod recorder;
pub mod redact;
mod retention;
mod rows;
mod spill;
mod split;
mod sqlite;
mod store;
mod sums;
mod target;
#[cfg(test)]
mod tests;
mod trees;
mod viewer;
mod words;
mod writer;

pub(crate) use db::is_away;
pub use entry::{Kept, Unit};
pub use location::{Location, OpenError};
pub use postgres::write::Money;
pub use record::Record;
pub use recorder::{Counts, Recorder, Trouble};
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
use target::Target;

/// Takes records off the hands of those who make them; never blocks and never fails.
pub type Sink = std::sync::Arc<dyn Fn(Record) + Send + Sync>;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Records that may wait in the queue.
    pub queue_records: usize,
    /// Bytes of content that may wait in the queue.
    pub queue_bytes: usize,
    /// Bytes that the spill file may grow to.
    pub spill_bytes: u64,
    /// Where the money of records is counted from; only PostgreSQL knows another way than the records themselves.
    pub money: Money,
    /// Rewrites content before it is stored.
    pub redact: Redact,
}

/// Opens a store with default bounds; starts its writer.
pub async fn open(location: Location) -> Result<(Recorder, Store), OpenError> {
    open_with(location, Options::default()).await
}

/// Opens a store; starts its writer. What an earlier process spilled is replayed before this returns, if the store takes it.
/// PostgreSQL may be away: then records wait, and this does not.
pub async fn open_with(location: Location, options: Options) -> Result<(Recorder, Store), OpenError> {
    let path = location.name();
    let system = |source| OpenError::Io { path: path.clone(), source };
    let (target, trees, readers, spill) = match &location {
        Location::Postgres(postgres) => {
            let pools = postgres.pools()?;
            let (target, trees) = Target::postgres(pools.writer, postgres.clone(), options.money).await?;
            (target, trees, pools.readers, postgres.spill.clone())
        }
        Location::Memory | Location::File(_) => {
            let file = if let Location::File(file) = &location { Some(file.as_path()) } else { None };
            let pools = sqlite::Pools::open(file).await?;
            let database = |source| OpenError::Database { path: path.clone(), source };
            let (target, trees) = Target::sqlite(pools.writer).await.map_err(database)?;
            (target, trees, pools.readers, file.and_then(|file| file.parent()).map(Into::into))
        }
    };
    let spill = spill.map(|folder| Spill::open(&folder, options.spill_bytes)).transpose().map_err(system)?;
    let bounds = Bounds { records: options.queue_records, bytes: options.queue_bytes };
    let (recorder, from) = Recorder::new(bounds, spill);
    let splitter = content::Splitter::new(options.redact).map_err(system)?;
    let mut writer = writer::Writer { target, shared: recorder.shared().clone(), splitter };
    writer.replay().await;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let run = move || runtime.block_on(writer.run(from));
    std::thread::Builder::new().name("records".into()).spawn(run).map_err(system)?;
    let store = Store::new(readers, trees, recorder.shared().clone());
    Ok((recorder, store))
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Options {
            queue_records: 16_384,
            queue_bytes: 64 << 20,
            spill_bytes: 1 << 30,
            money: Money::Records,
            redact: redact::hook(),
        }
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
