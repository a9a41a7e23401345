//! The gateway: what all requests share. Nothing in here is behind a lock that every request takes.

use crate::{
    client::{HttpClient, Reach, http_client},
    identity::Verifier,
    ledger::Ledger,
    model::{ObjectId, key::Content},
    records::{
        Record, Sink,
        record::{Latency, ModelRecord, RecordKind},
    },
    snapshot::Snapshot,
    upstream::health::Health,
};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tollgate_ledger::charge::Expired;
use tollgate_translate::Usage;
use uuid::Uuid;

/// How long the record of a dead hold is kept: longer than any budget's window.
const EXPIRED_RETENTION: Duration = Duration::from_secs(400 * 24 * 3600);

/// How many callers without a key are recorded a second.
const STRANGERS_PER_SECOND: u32 = 5;
/// How long such a record is kept.
const STRANGER_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// What is set once, at start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most bytes of a request body.
    pub max_body: usize,
    /// How long a hold lives without progress, in milliseconds.
    pub hold_ms: i64,
    /// Let callers without a known credential be the anonymous key also on listeners beyond loopback.
    pub allow_anonymous: bool,
    /// Host names under which the gateway may be called, besides loopback names. Empty on a listener beyond loopback: any.
    pub allowed_hosts: Vec<String>,
    /// Web origins (`https://host`) that may call it from a browser.
    pub allowed_origins: Vec<String>,
    /// The manifests lie on this machine: whoever reaches a loopback listener is its user, and sees all records.
    pub standalone: bool,
    /// Whose ServiceAccount tokens are taken, besides those that the operator names.
    pub token_issuers: Vec<Arc<Verifier>>,
    /// Keys whose holders read all records and the audit on listeners beyond loopback.
    pub logs_admins: Vec<ObjectId>,
    /// Nothing is served by a configuration that is older. `None`: any age will do.
    pub max_config_age: Option<Duration>,
}

/// What all requests share.
pub struct Gateway {
    /// Budgets and limits.
    pub ledger: Ledger,
    /// Which backends are ejected.
    pub health: Health,
    /// Set once.
    pub options: Options,
    snapshot: ArcSwap<Snapshot>,
    clients: ArcSwap<HashMap<(Duration, Reach), HttpClient>>,
    sink: Sink,
    strangers: AtomicU32,
    strangers_second: AtomicI64,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Options {
            max_body: 32 << 20,
            hold_ms: 10 * 60 * 1000,
            allow_anonymous: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            standalone: false,
            token_issuers: Vec::new(),
            logs_admins: Vec::new(),
            max_config_age: None,
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// A gateway with a first snapshot.
    pub fn new(options: Options, snapshot: Arc<Snapshot>, ledger: Ledger, sink: Sink) -> Self {
        Gateway {
            ledger,
            health: Health::default(),
            options,
            snapshot: ArcSwap::new(snapshot),
            clients: ArcSwap::default(),
            sink,
            strangers: AtomicU32::new(0),
            strangers_second: AtomicI64::new(0),
        }
    }

    /// The configuration in force. A request loads it once and keeps it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a new configuration in force. Requests under way keep theirs; long streams notice within a second.
    pub fn replace(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
    }

    /// Where records go.
    pub fn sink(&self) -> Sink {
        self.sink.clone()
    }

    /// Hands a record over; never blocks.
    pub fn record(&self, record: Record) {
        (self.sink)(record);
    }

    /// Records the charge of a hold that died without a settle, so that the records still add up to the ledger.
    pub fn record_expired(&self, dead: Expired) {
        let key = dead.settled.postings.first().map(|p| Arc::from(p.counter.key.as_str()));
        let usage = Usage {
            input: dead.charged.input_tokens,
            output: dead.charged.output_tokens,
            ..Usage::default()
        };
        let model = ModelRecord {
            usage: Some(usage),
            usage_estimated: true,
            cost: Some(dead.charged.cost),
            overrun: dead.settled.overrun,
            ..ModelRecord::default()
        };
        self.record(Record {
            id: Uuid::now_v7(),
            kind: RecordKind::Model(Box::new(model)),
            at: self.now(),
            tree: key.iter().cloned().collect(),
            key: key.unwrap_or_else(|| Arc::from("")),
            session: None,
            user_agent: None,
            status: 500,
            error: Some(format!("request {} ended without a settle; charged what it had used", dead.id)),
            latency: Latency::default(),
            metadata: Vec::new(),
            trace_id: None,
            postings: dead.settled.postings,
            content: Content::Metadata,
            retention_s: EXPIRED_RETENTION.as_secs(),
        });
    }

    /// Records that a caller was turned away at the door, so that its owner finds out why in `/logs`. At most a few a second:
    /// strangers must not fill the disk.
    pub fn record_turned_away(&self, id: Uuid, status: u16, error: String, user_agent: Option<String>) {
        let now = self.now();
        let second = now / 1000;
        if self.strangers_second.swap(second, Ordering::Relaxed) != second {
            self.strangers.store(0, Ordering::Relaxed);
        }
        if self.strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS_PER_SECOND {
            return;
        }
        self.record(Record {
            id,
            kind: RecordKind::Model(Box::default()),
            at: now,
            key: Arc::from(""),
            tree: Vec::new(),
            session: None,
            user_agent,
            status,
            error: Some(error),
            latency: Latency::default(),
            metadata: Vec::new(),
            trace_id: None,
            postings: Vec::new(),
            content: Content::Metadata,
            retention_s: STRANGER_RETENTION.as_secs(),
        });
    }

    /// Unix milliseconds.
    pub fn now(&self) -> i64 {
        unix_ms()
    }

    /// The client for upstreams with this connect timeout and within this reach; each keeps its own pool.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn client(&self, connect: Duration, reach: Reach) -> Result<HttpClient, rustls::Error> {
        if let Some(client) = self.clients.load().get(&(connect, reach)) {
            return Ok(client.clone());
        }
        let made = http_client(connect, reach)?;
        let clients = self.clients.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.entry((connect, reach)).or_insert_with(|| made.clone());
            new
        });
        Ok(clients.get(&(connect, reach)).cloned().unwrap_or(made))
    }
}

/// Now, Unix milliseconds.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("options", &self.options).finish_non_exhaustive()
    }
}
