//! The store that gateways share: Redis 7 (or Valkey), one script to reserve and one to settle over the whole tree.
//!
//! # Exactness
//! A script sees all keys of a tree at once and nothing runs beside it, so any number of gateways decide as one. Its numbers
//! are doubles: amounts are exact up to 2^53 ([`MAX_AMOUNT`]: 9,007,199 USD in nano-USD), larger limits are refused
//! ([`StoreError::TooLarge`]), larger uses are cut off there. The scripts only find out whether a request fits; why it does
//! not is decided here from what they read, by the same code as in the in-memory store.
//!
//! # Keys
//! `PREFIX:{ROOT}:…` for everything of a tree: one slot of a cluster, and its calls a second are the ceiling of a tree
//! (`cargo run --release -p tollgate-ledger --features redis --example redis_calls` measures it). `prelude.lua` lists them. Scripts make
//! key names from the base they are given: an ACL user needs `~PREFIX:*`, `+@all -@dangerous +info` at most.
//! - Counters expire with their window. A key's home (`PREFIX:{KEY}:home`) stays: it is how a key that moves to another tree
//!   takes its counters along (`trees`).
//! - `PREFIX:{ledger}:generation` and a copy in each tree: where it is missing Redis was emptied, and nothing is granted
//!   ([`StoreError::Emptied`]) until the ledger is [restored](RedisStore::restore).
//! - `PREFIX:{ROOT}:s`: the billing records, a stream, written in the same step as the charge. It is cut at about
//!   [`Options::stream`] entries, far above what a drainer leaves.
//!
//! # Time
//! Redis's clock decides in which window a charge lies, among the bounds that the gateway passes (scripts know no time
//! zones). With [`Clock::Given`] the time that is passed in decides, as in the in-memory store: for tests.
//!
//! # When Redis is slow or away
//! Each call has [`Options::timeout`]; what happens to the request is for the key's `onStoreFailure`. A settle that failed is
//! kept and repeated by [`RedisStore::sweep`], a reserve whose outcome is unknown is taken back by it. When the sweep finds
//! another server, or the same one started anew, it replays this gateway's live holds and its settles of the last minute;
//! all are idempotent by id.

mod address;
mod error;
mod journal;
mod link;
#[cfg(test)]
mod tests;
mod trees;
mod wire;

pub use address::Address;
pub use error::StoreError;
pub use wire::MAX_AMOUNT;

use crate::budget::Limit;
use crate::charge::{Actual, Ask, BudgetState, Counter, Decision, Expired, Grant, Level, Posting, Settled};
use crate::state::{State, decide};
use ::redis::Value;
use journal::{Journal, LiveHold};
use link::Link;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use wire::{Args, Part, Reply};

/// Whose clock decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// Redis's own.
    #[default]
    Server,
    /// The time that is passed in.
    Given,
}

/// How the store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What all keys begin with; the version of their layout is part of it.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whose clock decides.
    pub clock: Clock,
    /// About how many billing records a tree's stream keeps.
    pub stream: u64,
    /// The authorities to trust for TLS instead of the public ones (PEM).
    pub ca_pem: Option<Vec<u8>>,
}

/// The store.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    options: Options,
    journal: Journal,
    /// Redis's clock less ours, in milliseconds.
    ahead: AtomicI64,
    sweeps: AtomicU64,
    overrun: AtomicU64,
    overrun_tokens: AtomicU64,
}

/// What failed in a sweep.
#[derive(Debug, Default)]
struct Failures {
    first: Option<StoreError>,
    count: usize,
}

/// A sweep gives up after so many failures: each may have taken the whole timeout.
const MOST_FAILURES: usize = 16;

/// The sweep looks after trees that no living gateway uses every so many times.
const ALL_TREES_EVERY: u64 = 30;

/// How many dead holds of a tree a sweep takes in one call.
const BATCH: usize = 100;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Options {
            prefix: "tollgate:1".to_owned(),
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            clock: Clock::Server,
            stream: 1_000_000,
            ca_pem: None,
        }
    }
}

// === impl RedisStore ===

impl RedisStore {
    /// Connects, and refuses a server that may evict counters.
    pub async fn connect(address: &Address, options: Options) -> Result<Self, StoreError> {
        let link = Link::connect(address, &options).await?;
        let store = RedisStore {
            link,
            options,
            journal: Journal::default(),
            ahead: AtomicI64::new(0),
            sweeps: AtomicU64::new(0),
            overrun: AtomicU64::new(0),
            overrun_tokens: AtomicU64::new(0),
        };
        store.check().await?;
        Ok(store)
    }

    /// Whether Redis answers and keeps what it is given (`maxmemory-policy noeviction`, on every node).
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut command = ::redis::cmd("INFO");
        let answer = self.link.send(command.arg("memory")).await?;
        let mut found = Vec::new();
        policies(&answer, &mut found);
        match found.iter().find(|policy| *policy != "noeviction") {
            Some(policy) => Err(StoreError::WrongPolicy(policy.clone())),
            None if found.is_empty() => Err(StoreError::Reply("INFO memory")),
            None => Ok(()),
        }
    }

    /// Holds at all levels, or at none; see [`MemoryStore::reserve`](crate::memory::MemoryStore::reserve).
    pub async fn reserve(&self, levels: &[Level<'_>], ask: &Ask) -> Result<Decision, StoreError> {
        check_limits(levels)?;
        let root = self.journal.uses(root_of(levels));
        let args = wire::reserve(levels, ask, &self.time(ask.now), self.options.clock == Clock::Server);
        let reply = self.in_tree(&root, &wire::RESERVE, &args).await.inspect_err(|error| {
            if error.is_unsure() {
                self.journal.unsure(ask.id, &root);
            }
        })?;
        match reply.word() {
            "held" => {
                self.ahead.store(reply.number(2).saturating_sub(ask.now), Relaxed);
                let grant = wire::grant(&reply, ask)?;
                self.journal.held(LiveHold::new(&root, levels, ask, &grant));
                Ok(Decision::Granted(grant))
            }
            "refused" => refusal(levels, ask, &reply),
            "denied" => {
                let (key, reason) = (reply.text(1).to_owned(), reply.text(2).to_owned());
                Err(StoreError::Denied { key, reason })
            }
            "clock" => Err(StoreError::Clock(reply.number(1).saturating_sub(ask.now))),
            _ => Err(StoreError::Reply("reserve")),
        }
    }

    /// [`RedisStore::settle_with`] without a record.
    pub async fn settle(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
    ) -> Result<Settled, StoreError> {
        self.settle_with(levels, grant, actual, now, b"").await
    }

    /// Posts the real amounts, releases the hold and appends `record` to the billing stream, in one step; see
    /// [`MemoryStore::settle`](crate::memory::MemoryStore::settle). After an error that says that Redis failed it is repeated
    /// by the sweep until it succeeds: the charge is late, not lost.
    pub async fn settle_with(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
        record: &[u8],
    ) -> Result<Settled, StoreError> {
        let root = self.root_of(levels, grant);
        let args =
            wire::settle(levels, grant, &wire::clamp(actual), &self.time(now), self.options.stream, record);
        let kept = self.journal.settling(grant.id, &root, &args);
        let reply = match (self.opened(&root, &wire::SETTLE, &args).await, kept) {
            (Ok(reply), _) => reply,
            (Err(_), Err(full)) => return Err(StoreError::Full(full)),
            (Err(error), Ok(())) => return Err(error),
        };
        self.journal.settled(grant.id);
        if reply.number(5) > 0 {
            // It is posted; what goes to another tree is brought there by the next sweep at the latest.
            self.forward(&root, &self.time(now)).await.ok();
        }
        Ok(self.settled(grant, &reply))
    }

    /// Releases a hold without a charge (nothing reached the upstream). Gives the request's rate tokens back.
    pub async fn cancel(&self, levels: &[Level<'_>], grant: &Grant, now: i64) -> Result<(), StoreError> {
        let root = self.root_of(levels, grant);
        self.journal.released(grant.id);
        self.release(grant.id, &root, now).await.inspect_err(|error| {
            if error.is_unsure() {
                self.journal.unsure(grant.id, &root);
            }
        })
    }

    async fn release(&self, id: uuid::Uuid, root: &Arc<str>, now: i64) -> Result<(), StoreError> {
        let mut args = Args::default();
        args.push(id.simple()).push(self.time(now));
        let reply = self.opened(root, &wire::CANCEL, &args).await?;
        if reply.number(1) > 0 {
            self.forward(root, &self.time(now)).await?;
        }
        Ok(())
    }

    /// Notes progress of a long stream; see [`MemoryStore::progress`](crate::memory::MemoryStore::progress). Holds that this
    /// gateway did not make are left alone.
    pub async fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) -> Result<(), StoreError> {
        let so_far = wire::clamp(so_far);
        let Some(root) = self.journal.progress(grant.id, &so_far, expires) else { return Ok(()) };
        self.note_progress(grant.id, &root, &so_far, expires).await
    }

    async fn note_progress(
        &self,
        id: uuid::Uuid,
        root: &str,
        so_far: &Actual,
        expires: i64,
    ) -> Result<(), StoreError> {
        let expires = match self.options.clock {
            Clock::Server => expires.saturating_add(self.ahead.load(Relaxed)),
            Clock::Given => expires,
        };
        let mut args = Args::default();
        args.push(id.simple()).push(so_far.cost).push(so_far.input_tokens).push(so_far.output_tokens);
        self.opened(root, &wire::PROGRESS, args.push(expires)).await.map(drop)
    }

    /// [`RedisStore::expire`] as a list of postings.
    pub async fn sweep(&self, now: i64) -> Result<Vec<Posting>, StoreError> {
        Ok(self.expire(now).await?.into_iter().flat_map(|dead| dead.settled.postings).collect())
    }

    /// Charges dead holds their progress, whichever gateway made them, and returns those that this call ended. Repeats what
    /// failed, and replays after a failover. Called about once a second.
    pub async fn expire(&self, now: i64) -> Result<Vec<Expired>, StoreError> {
        self.journal.tidy();
        let mut roots = self.journal.roots();
        if self.sweeps.fetch_add(1, Relaxed).is_multiple_of(ALL_TREES_EVERY) {
            roots.extend(self.all_trees().await?.into_iter().map(Arc::from));
        }
        let mut failed = Failures::default();
        self.repeat(now, &mut failed).await;
        let mut out = Vec::new();
        for root in roots {
            if failed.enough() {
                break;
            }
            failed.note(self.expire_tree(&root, now, &mut out).await);
        }
        match failed.first {
            // What was ended must be told; the rest is for the next sweep.
            Some(error) if out.is_empty() => Err(error),
            _ => Ok(out),
        }
    }

    async fn expire_tree(&self, root: &str, now: i64, out: &mut Vec<Expired>) -> Result<(), StoreError> {
        loop {
            let mut args = Args::default();
            args.push(self.time(now)).push(BATCH).push(self.options.stream);
            let reply = self.opened(root, &wire::EXPIRE, &args).await?;
            if self.journal.seen(root, reply.text(1)) {
                self.replay(root, now).await?;
                continue;
            }
            let dead = wire::list(reply.item(3));
            for (id, charged, parts) in dead.iter().filter_map(wire::dead) {
                self.journal.released(id);
                let settled = self.post(parts, &charged);
                out.push(Expired { id, charged, settled });
            }
            if reply.number(2) > 0 {
                self.forward(root, &self.time(now)).await?;
            }
            if dead.len() < BATCH {
                return Ok(());
            }
        }
    }

    /// Repeats settles that are not confirmed, and takes back reserves that may have been carried out.
    async fn repeat(&self, now: i64, failed: &mut Failures) {
        for (id, settle) in self.journal.unconfirmed() {
            if failed.enough() {
                return;
            }
            if failed.note(self.opened(&settle.root, &wire::SETTLE, &settle.args).await).is_some() {
                self.journal.settled(id);
            }
        }
        for (id, root) in self.journal.take_unsure() {
            if failed.enough() || failed.note(self.release(id, &root, now).await).is_none() {
                self.journal.unsure(id, &root);
            }
        }
    }

    /// Puts in force again what the new server may not know. All of it is idempotent by id.
    async fn replay(&self, root: &str, now: i64) -> Result<(), StoreError> {
        for hold in self.journal.live(root) {
            let args = wire::replay(&hold, &self.time(now));
            self.in_tree(root, &wire::RESERVE, &args).await?;
            self.note_progress(hold.grant.id, root, &hold.so_far, hold.ask.expires).await?;
        }
        for (_, settle) in self.journal.recent(root) {
            self.opened(root, &wire::SETTLE, &settle.args).await?;
        }
        Ok(())
    }

    /// The state of one level's budgets, for pages and status.
    pub async fn state(&self, level: &Level<'_>, now: i64) -> Result<Vec<BudgetState>, StoreError> {
        let state = self.read(level.key).await?.map(|flat| wire::state(&flat)).unwrap_or_default();
        Ok(level.budgets.iter().map(|budget| state.budget_state(budget, 0, now)).collect())
    }

    /// Nano-USD posted above holds by this gateway since its start; 0 expected where every request holds its worst cost.
    pub fn overrun_total(&self) -> u64 {
        self.overrun.load(Relaxed)
    }

    /// Tokens posted above holds at token budgets by this gateway since its start.
    pub fn overrun_tokens_total(&self) -> u64 {
        self.overrun_tokens.load(Relaxed)
    }

    /// How many settles wait for Redis.
    pub fn waiting(&self) -> usize {
        self.journal.unconfirmed().len()
    }

    /// A settle's outcome. Amounts held in USD are known from the grant, tokens from the script.
    fn settled(&self, grant: &Grant, reply: &Reply) -> Settled {
        if reply.word() == "again" {
            return Settled::default();
        }
        let (posted, held_tokens) = (reply.actual(1), u64::try_from(reply.number(4)).unwrap_or(0));
        let held = |counter: &Counter| match counter.limit {
            Limit::NanoUsd(_) if reply.word() == "live" => grant.held,
            Limit::NanoUsd(_) => 0,
            Limit::Tokens(_) => held_tokens,
        };
        let part = |counter: &Counter| Part { held: held(counter), counter: counter.clone() };
        self.post(grant.counters.iter().map(part).collect(), &posted)
    }

    /// What posting `used` at counters with what each held comes to; counts what was above it as overrun.
    fn post(&self, parts: Vec<Part>, used: &Actual) -> Settled {
        let (mut settled, mut tokens) = (Settled::default(), 0);
        for Part { counter, held } in parts {
            let amount = used.amount(counter.limit).min(MAX_AMOUNT);
            let over = amount.saturating_sub(held);
            match counter.limit {
                Limit::NanoUsd(_) => settled.overrun = settled.overrun.max(over),
                Limit::Tokens(_) => tokens = over.max(tokens),
            }
            if amount > 0 {
                settled.postings.push(Posting { counter, amount });
            }
        }
        self.overrun.fetch_add(settled.overrun, Relaxed);
        self.overrun_tokens.fetch_add(tokens, Relaxed);
        settled
    }

    /// The root under which a grant was held: a key may have moved since.
    fn root_of(&self, levels: &[Level<'_>], grant: &Grant) -> Arc<str> {
        self.journal.root(grant.id).unwrap_or_else(|| self.journal.uses(root_of(levels)))
    }

    /// Now, as scripts are told: nothing where they look themselves.
    fn time(&self, now: i64) -> String {
        match self.options.clock {
            Clock::Server => String::new(),
            Clock::Given => now.to_string(),
        }
    }
}

// === impl Failures ===

impl Failures {
    fn note<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result
            .map_err(|error| {
                self.count += 1;
                self.first.get_or_insert(error);
            })
            .ok()
    }

    fn enough(&self) -> bool {
        self.count >= MOST_FAILURES
    }
}

/// The name that gives a tree its slot.
fn root_of<'a>(levels: &[Level<'a>]) -> &'a str {
    levels.last().map_or("-", |level| level.key)
}

fn check_limits(levels: &[Level<'_>]) -> Result<(), StoreError> {
    for level in levels {
        if let Some(budget) = level.budgets.iter().find(|budget| budget.limit.amount() > MAX_AMOUNT) {
            let (key, limit) = (level.key.to_owned(), budget.limit.amount());
            return Err(StoreError::TooLarge { key, budget: budget.name.clone(), limit });
        }
    }
    Ok(())
}

/// Finds the reason of a refusal in what the script read, by the rules that it applied.
fn refusal(levels: &[Level<'_>], ask: &Ask, reply: &Reply) -> Result<Decision, StoreError> {
    let states: Vec<State> = wire::list(reply.item(2)).iter().map(wire::state).collect();
    let ask = Ask { now: reply.number(1), ..*ask };
    match decide(levels.iter().zip(&states), &ask) {
        Err(refusal) if states.len() == levels.len() => Ok(Decision::Refused(refusal)),
        _ => Err(StoreError::Reply("reserve")),
    }
}

/// Every `maxmemory_policy` in an answer, be it of one node or of many.
fn policies(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Map(nodes) => nodes.iter().for_each(|(_, answer)| policies(answer, found)),
        Value::Array(nodes) => nodes.iter().for_each(|answer| policies(answer, found)),
        other => {
            let text = match other {
                Value::VerbatimString { text, .. } => Some(text.as_str()),
                other => wire::text(other),
            };
            let lines = text.unwrap_or_default().lines();
            found.extend(lines.filter_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::to_owned));
        }
    }
}
