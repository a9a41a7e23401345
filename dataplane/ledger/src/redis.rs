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
//! kept and repeated by [`RedisStore::look_after`], a reserve whose outcome is unknown is taken back by it. When it finds
//! another server, or the same one started anew, it replays this gateway's live holds and its settles of the last minute;
//! all are idempotent by id.

mod address;
mod connect;
mod contact;
mod error;
mod journal;
mod link;
mod reads;
mod restore;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod trees;
mod unposted;
mod wire;

pub use address::Address;
pub use error::StoreError;
pub use restore::{Backup, DeadHold, KeyBackup, Restored, TreeBackup};
pub use stream::{Entry, How, Malformed};
pub use sweep::{Round, Upkeep};
pub use trees::Reset;
pub use unposted::Unposted;
pub use wire::MAX_AMOUNT;

use crate::budget::Limit;
use crate::charge::{Actual, Ask, Counter, Decision, Grant, Level, Posting, Settled};
use crate::state::{State, decide};
use contact::Contacts;
pub use journal::Charge;
use journal::{Journal, LiveHold, Settle};
use link::Link;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use uuid::Uuid;
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
    /// How long one call may take for which a client waits.
    pub timeout: Duration,
    /// How long one call may take for which nobody waits: a settle, a sweep.
    pub late: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whose clock decides.
    pub clock: Clock,
    /// About how many billing records a tree's stream keeps; 0: there is no stream.
    pub stream: u64,
    /// The file of the password, in place of the address's; read anew for each connection.
    pub password_file: Option<PathBuf>,
    /// The file of the authorities to trust for TLS instead of the public ones (PEM); read anew for each connection.
    pub ca_file: Option<PathBuf>,
}

/// What the billing stream says of a charge, beside the amounts.
#[derive(Debug, Clone, Copy)]
pub struct Billing<'a> {
    /// The record to which the charge belongs; there may be several charges of one record.
    pub request: Uuid,
    /// The record, without its postings; empty where another charge brings it.
    pub record: &'a [u8],
}

/// A settle on its way.
#[derive(Debug)]
#[must_use = "a settle is only carried out by `confirm`"]
pub struct Settling {
    settle: Arc<Settle>,
    kept: Result<(), usize>,
    /// What it will post if the hold still lives.
    pub expected: Settled,
}

/// A cancel on its way.
#[derive(Debug)]
#[must_use = "a cancel is only carried out by `confirm_cancel`"]
pub struct Cancelling {
    id: Uuid,
    root: Arc<str>,
}

/// The store.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    options: Options,
    journal: Journal,
    contacts: Mutex<Contacts>,
    /// Redis's clock less ours, in milliseconds.
    ahead: AtomicI64,
    sweeps: AtomicU64,
    overrun: AtomicU64,
    overrun_tokens: AtomicU64,
}

/// A reserve under way: whoever stops waiting for it does not know whether it was carried out.
struct Unsure<'a> {
    journal: &'a Journal,
    id: Uuid,
    root: &'a Arc<str>,
    armed: bool,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Options {
            prefix: "tollgate:1".to_owned(),
            timeout: Duration::from_millis(50),
            late: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            clock: Clock::Server,
            stream: 1_000_000,
            password_file: None,
            ca_file: None,
        }
    }
}

// === impl Drop for Unsure ===

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.journal.unsure(self.id, self.root);
        }
    }
}

// === impl RedisStore ===

impl RedisStore {
    /// Begins to connect, and never stops trying: until it succeeds, whatever is asked fails at once. Needs a runtime.
    pub fn start(address: &Address, options: Options) -> Self {
        RedisStore {
            link: Link::start(address, &options),
            options,
            journal: Journal::default(),
            contacts: Mutex::default(),
            ahead: AtomicI64::new(0),
            sweeps: AtomicU64::new(0),
            overrun: AtomicU64::new(0),
            overrun_tokens: AtomicU64::new(0),
        }
    }

    /// Connects, and refuses a server that may evict counters.
    pub async fn connect(address: &Address, options: Options) -> Result<Self, StoreError> {
        let store = RedisStore::start(address, options);
        store.link.first().await?;
        Ok(store)
    }

    /// Why nothing can be asked now, as far as is known without asking.
    pub fn trouble(&self) -> Option<StoreError> {
        self.link.trouble()
    }

    /// Whether Redis answers, keeps what it is given (`maxmemory-policy noeviction`, on every node), and has a ledger.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut command = ::redis::cmd("INFO");
        let answer = self.link.send_within(command.arg("memory"), self.options.late).await?;
        if let Some(policy) = connect::wrong_policy(&answer) {
            self.link.distrust(policy.clone());
            return Err(StoreError::WrongPolicy(policy));
        }
        let (key, args) = connect::rights(&self.options);
        if let Some(commands) = self.run(&wire::RIGHTS, &key, &args).await?.missing() {
            return Err(StoreError::Rights(commands));
        }
        if self.is_founded().await? { Ok(()) } else { Err(StoreError::Emptied) }
    }

    /// Holds at all levels, or at none; see [`MemoryStore::reserve`](crate::memory::MemoryStore::reserve). One call where the
    /// keys were charged in their tree before. Whoever stops waiting for it holds nothing: it is taken back by the sweep.
    pub async fn reserve(&self, levels: &[Level<'_>], ask: &Ask) -> Result<Decision, StoreError> {
        check_limits(levels)?;
        let root = self.journal.uses(root_of(levels));
        let args = wire::reserve(levels, ask, &self.time(ask.now), self.options.clock == Clock::Server);
        let mut unsure = Unsure { journal: &self.journal, id: ask.id, root: &root, armed: true };
        let reply = self.in_tree(&root, &wire::RESERVE, &args).await;
        unsure.armed = reply.as_ref().is_err_and(StoreError::is_unsure);
        let reply = reply?;
        match reply.word() {
            "held" | "again" => {
                self.ahead.store(reply.number(2).saturating_sub(ask.now), Relaxed);
                let grant = wire::grant(&reply, levels, ask)?;
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
        self.settle_with(levels, grant, actual, now, Billing { request: grant.id, record: b"" }).await
    }

    /// Posts the real amounts, releases the hold and appends the record to the billing stream, in one step; see
    /// [`MemoryStore::settle`](crate::memory::MemoryStore::settle). After an error that says that Redis failed it is repeated
    /// by the sweep until it succeeds: the charge is late, not lost.
    pub async fn settle_with(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
    ) -> Result<Settled, StoreError> {
        let settling = self.begin_settle(levels, grant, actual, now, billing);
        Ok(self.confirm(&settling).await?.unwrap_or_default())
    }

    /// The first half of [`RedisStore::settle_with`]: from now on the settle is kept until it is carried out, by
    /// [`RedisStore::confirm`] or by the sweep. Never waits.
    pub fn begin_settle(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
    ) -> Settling {
        self.begin(levels, grant, actual, now, billing, true)
    }

    /// [`RedisStore::begin_settle`] of what was granted elsewhere while Redis was away: nothing is held for it.
    pub fn begin_unheld(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
    ) -> Settling {
        self.begin(levels, grant, actual, now, billing, false)
    }

    fn begin(
        &self,
        levels: &[Level<'_>],
        grant: &Grant,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
        held: bool,
    ) -> Settling {
        let root = self.root_of(levels, grant);
        let used = wire::clamp(actual);
        let part = |counter: &Counter| Part { held: grant.held, counter: counter.clone() };
        let (expected, _) = outcome(grant.counters.iter().map(part), &used);
        let charge = Charge {
            id: grant.id,
            root: root.to_string(),
            held: grant.held,
            counters: grant.counters.clone(),
            levels: levels.iter().map(|level| (level.key.to_owned(), level.tokens_per_minute)).collect(),
            used,
            request: billing.request,
            record: billing.record.to_vec(),
        };
        let (settle, kept) = self.journal.settling(Settle { root, charge, at: now, held });
        Settling { settle, kept, expected }
    }

    /// The second half: what was posted, or `None` where it had been carried out before.
    pub async fn confirm(&self, settling: &Settling) -> Result<Option<Settled>, StoreError> {
        let sent = self.carry_out(&settling.settle).await;
        self.journal.let_go(settling.settle.charge.id);
        match (sent, settling.kept) {
            (Err(_), Err(full)) => Err(StoreError::Full(full)),
            (sent, _) => sent,
        }
    }

    /// In place of [`RedisStore::confirm`]: leaves a settle to the sweep. Returns what it will post if the hold still lives.
    pub fn leave(&self, settling: Settling) -> Settled {
        self.journal.let_go(settling.settle.charge.id);
        settling.expected
    }

    async fn carry_out(&self, settle: &Settle) -> Result<Option<Settled>, StoreError> {
        let (id, at) = (settle.charge.id, self.server_time(settle.at));
        let args =
            wire::settle(&settle.charge, &self.time(settle.at), self.options.stream, self.journal.tried(id));
        let reply = match self.opened(&settle.root, &wire::SETTLE, &args).await {
            Ok(reply) => reply,
            Err(error) => {
                if error.is_unsure() {
                    self.journal.may_be_done(id, at);
                }
                return Err(error);
            }
        };
        self.journal.settled(id, at);
        if reply.number(5) > 0 {
            // It is posted; what goes to another tree is brought there by the next sweep at the latest.
            self.forward(&settle.root, &self.time(0)).await.ok();
        }
        Ok(self.settled(&settle.charge, &reply))
    }

    /// Releases a hold without a charge (nothing reached the upstream). Gives the request's rate tokens back.
    pub async fn cancel(&self, levels: &[Level<'_>], grant: &Grant, now: i64) -> Result<(), StoreError> {
        let cancelling = self.begin_cancel(levels, grant);
        self.confirm_cancel(&cancelling, now).await
    }

    /// The first half of [`RedisStore::cancel`]: kept until it is carried out. Never waits.
    pub fn begin_cancel(&self, levels: &[Level<'_>], grant: &Grant) -> Cancelling {
        let root = self.root_of(levels, grant);
        self.journal.released(grant.id);
        self.journal.unsure(grant.id, &root);
        Cancelling { id: grant.id, root }
    }

    /// The second half.
    pub async fn confirm_cancel(&self, cancelling: &Cancelling, now: i64) -> Result<(), StoreError> {
        self.release(cancelling.id, &cancelling.root, now).await?;
        self.journal.sure(cancelling.id);
        Ok(())
    }

    async fn release(&self, id: Uuid, root: &str, now: i64) -> Result<(), StoreError> {
        let mut args = Args::default();
        args.push(id.simple()).push(self.time(now));
        let reply = self.opened(root, &wire::CANCEL, &args).await?;
        if reply.number(1) > 0 {
            self.forward(root, &self.time(now)).await?;
        }
        Ok(())
    }

    /// Notes progress of a long stream at once; see [`MemoryStore::progress`](crate::memory::MemoryStore::progress). Holds
    /// that this gateway did not make are left alone. Gateways use [`RedisStore::note`] and [`RedisStore::renew`] instead.
    pub async fn progress(&self, grant: &Grant, so_far: &Actual, expires: i64) -> Result<(), StoreError> {
        let so_far = wire::clamp(so_far);
        let Some(root) = self.journal.progress(grant.id, &so_far, expires) else { return Ok(()) };
        self.note_progress(&root, &[(grant.id, so_far)], expires).await
    }

    /// Notes progress for the next [`RedisStore::renew`]. Never waits.
    pub fn note(&self, grant: &Grant, so_far: &Actual) {
        self.journal.note(grant.id, &wire::clamp(so_far));
    }

    async fn note_progress(
        &self,
        root: &str,
        holds: &[(Uuid, Actual)],
        expires: i64,
    ) -> Result<(), StoreError> {
        let expires = match self.options.clock {
            Clock::Server => expires.saturating_add(self.ahead.load(Relaxed)),
            Clock::Given => expires,
        };
        let mut args = Args::default();
        for (id, so_far) in holds {
            args.push(id.simple()).push(so_far.cost).push(so_far.input_tokens).push(so_far.output_tokens);
            args.push(expires);
        }
        self.opened(root, &wire::PROGRESS, &args).await.map(drop)
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
        self.journal.waiting()
    }

    /// How many cancels and reserves of unknown outcome wait for Redis.
    pub fn unsure(&self) -> usize {
        self.journal.unsure_count()
    }

    /// How many holds this gateway has.
    pub fn holds(&self) -> usize {
        self.journal.holds()
    }

    /// A settle's outcome. Amounts held in USD are known from the grant, tokens from the script.
    fn settled(&self, charge: &Charge, reply: &Reply) -> Option<Settled> {
        if reply.word() == "again" {
            return None;
        }
        let (posted, held_tokens) = (reply.actual(1), u64::try_from(reply.number(4)).unwrap_or(0));
        let held = |counter: &Counter| match counter.limit {
            Limit::NanoUsd(_) if reply.word() == "live" => charge.held,
            Limit::NanoUsd(_) => 0,
            Limit::Tokens(_) => held_tokens,
        };
        let part = |counter: &Counter| Part { held: held(counter), counter: counter.clone() };
        Some(self.post(charge.counters.iter().map(part), &posted))
    }

    /// What posting `used` at counters with what each held comes to; counts what was above it as overrun.
    fn post(&self, parts: impl Iterator<Item = Part>, used: &Actual) -> Settled {
        let (settled, tokens) = outcome(parts, used);
        self.overrun.fetch_add(settled.overrun, Relaxed);
        self.overrun_tokens.fetch_add(tokens, Relaxed);
        settled
    }

    /// The root under which a grant was held: a key may have moved since.
    fn root_of(&self, levels: &[Level<'_>], grant: &Grant) -> Arc<str> {
        self.journal.root(grant.id).unwrap_or_else(|| self.journal.uses(root_of(levels)))
    }

    /// Now by the clock that decides, as far as it is known here.
    fn server_time(&self, given: i64) -> i64 {
        match self.options.clock {
            Clock::Server => jiff::Timestamp::now().as_millisecond().saturating_add(self.ahead.load(Relaxed)),
            Clock::Given => given,
        }
    }

    /// Now, as scripts are told: nothing where they look themselves.
    fn time(&self, now: i64) -> String {
        match self.options.clock {
            Clock::Server => String::new(),
            Clock::Given => now.to_string(),
        }
    }
}

/// What posting `used` at counters with what each held comes to, and the tokens above it at token budgets.
fn outcome(parts: impl Iterator<Item = Part>, used: &Actual) -> (Settled, u64) {
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
    (settled, tokens)
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
