//! The account of money and limits, as the request path uses it: in this process, or in the Redis that gateways share.
//!
//! A hold is made before a request leaves (with Redis: one round trip). How it ends is told without waiting: a client never
//! waits for a settle, and one that Redis fails is kept and repeated until it is posted.
//!
//! # Layout
//! - here: [`Ledger`], and what it answers
//! - `shared`: Redis; `allowance`: what holds in a tree while it is away; `connect`: from flags to a store; [`first`]: what a start waits for
//! - `kept`: charges that Redis has not confirmed, in a file
//! - `keep`: what goes on beside the requests; `revocations`: keys that the ledger itself refuses; `resets`: budgets that begin
//!   anew; `restored`: what a restored ledger is told again
//! - [`command`]: `tollgate-dataplane ledger …`
//! - [`spend`]: the states of budgets, for pages and reports

mod allowance;
pub mod command;
mod connect;
pub mod first;
mod keep;
mod kept;
mod resets;
mod restored;
mod revocations;
mod shared;
pub mod spend;

pub use connect::{RedisArgs, connect};
pub use keep::{keep, open};
pub use shared::{Settings, Shared};

use allowance::Allowance;
use std::{sync::Arc, time::Duration};
use tollgate_ledger::{
    charge::{Actual, Ask, Decision, Expired, Grant, Level, Posting, Refusal, Settled},
    memory::MemoryStore,
    redis::Billing,
};

/// The account.
#[derive(Debug)]
pub struct Ledger(Kind);

#[derive(Debug)]
enum Kind {
    Memory(Box<MemoryStore>),
    Shared(Box<Shared>),
}

/// A hold, and where it lies.
#[derive(Debug)]
#[must_use = "a hold is settled or cancelled"]
pub struct Held {
    /// What was granted.
    pub grant: Grant,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory,
    Redis,
    /// In this process, because Redis was away.
    Local(Arc<Allowance>),
}

/// Why nothing is held.
#[derive(Debug)]
pub enum Refused {
    /// A budget or a limit.
    Limit(Refusal),
    /// A key of the path is refused in the ledger itself.
    Revoked {
        /// `namespace/name`.
        key: String,
        /// Why, in words.
        reason: String,
    },
    /// The store is away, and the key asks for that to be a refusal.
    Away,
    /// The request can never be held: in words.
    Unusable(String),
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// It answers.
    pub ok: bool,
    /// What is wrong, or that nothing is, for people.
    pub words: String,
}

// === impl Held ===

impl Held {
    /// Whether it was granted on this gateway's own allowance, because the store was away.
    pub fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }
}

// === impl Ledger ===

impl From<MemoryStore> for Ledger {
    fn from(store: MemoryStore) -> Self {
        Ledger(Kind::Memory(Box::new(store)))
    }
}

impl From<Shared> for Ledger {
    fn from(shared: Shared) -> Self {
        Ledger(Kind::Shared(Box::new(shared)))
    }
}

impl Ledger {
    /// The store that gateways share, if that is where the account is.
    pub fn shared(&self) -> Option<&Shared> {
        match &self.0 {
            Kind::Memory(_) => None,
            Kind::Shared(shared) => Some(shared),
        }
    }

    /// Adds postings of the past. Only for an account in this process: a shared one knows them.
    pub fn restore(&self, postings: impl IntoIterator<Item = Posting>, now: i64) {
        if let Kind::Memory(store) = &self.0 {
            store.restore(postings, now);
        }
    }

    /// Holds at all levels, or at none. `ask.expires` counts only in this process: a shared hold lives as long as its gateway.
    ///
    /// # Errors
    /// See [`Refused`]. With `deny`, a store that is away refuses; else this gateway's own allowance decides.
    pub async fn reserve(&self, levels: &[Level<'_>], ask: &Ask, deny: bool) -> Result<Held, Refused> {
        match &self.0 {
            Kind::Memory(store) => match store.reserve(levels, ask) {
                Decision::Granted(grant) => Ok(Held { grant, place: Place::Memory }),
                Decision::Refused(refusal) => Err(Refused::Limit(refusal)),
            },
            Kind::Shared(shared) => shared.reserve(levels, ask, deny).await,
        }
    }

    /// Posts `actual` in place of the hold; returns what is posted (with a shared account: will be, while the hold lives).
    pub fn settle(
        &self,
        levels: &[Level<'_>],
        held: Held,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
    ) -> Settled {
        match &self.0 {
            Kind::Memory(store) => store.settle(levels, &held.grant, actual, now),
            Kind::Shared(shared) => {
                let settling = shared.begin(levels, held, actual, now, billing);
                let expected = settling.expected.clone();
                shared.confirm_later(settling, |_| {});
                expected
            }
        }
    }

    /// [`Ledger::settle`], which calls `done` when it is known what was posted: at once, or after the store's answer.
    pub fn settle_then(
        &self,
        levels: &[Level<'_>],
        held: Held,
        actual: &Actual,
        now: i64,
        billing: Billing<'_>,
        done: impl FnOnce(Settled) + Send + 'static,
    ) {
        match &self.0 {
            Kind::Memory(store) => done(store.settle(levels, &held.grant, actual, now)),
            Kind::Shared(shared) => {
                let settling = shared.begin(levels, held, actual, now, billing);
                shared.confirm_later(settling, done);
            }
        }
    }

    /// Releases a hold without a charge.
    pub fn cancel(&self, levels: &[Level<'_>], held: &Held, now: i64) {
        match &self.0 {
            Kind::Memory(store) => store.cancel(levels, &held.grant, now),
            Kind::Shared(shared) => shared.cancel(levels, held, now),
        }
    }

    /// Notes what a hold has used so far, which is charged should it die; in this process it then lives until `expires`.
    pub fn progress(&self, held: &Held, so_far: &Actual, expires: i64) {
        match (&self.0, &held.place) {
            (Kind::Memory(store), _) => store.progress(&held.grant, so_far, expires),
            (Kind::Shared(_), Place::Local(own)) => own.progress(&held.grant, so_far, expires),
            (Kind::Shared(shared), _) => shared.note(held, so_far),
        }
    }

    /// What is to be done about once a second; the dead holds that this gateway found, which it is to record.
    pub async fn tick(&self, now: i64) -> Vec<Expired> {
        match &self.0 {
            Kind::Memory(store) => store.expire(now),
            Kind::Shared(shared) => shared.tick(now).await,
        }
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        match &self.0 {
            Kind::Memory(_) => Health { ok: true, words: "the ledger is in this process".into() },
            Kind::Shared(shared) => shared.health(),
        }
    }

    /// How many holds are live: those of this gateway.
    pub fn holds(&self) -> usize {
        match &self.0 {
            Kind::Memory(store) => store.holds(),
            Kind::Shared(shared) => shared.store().holds(),
        }
    }

    /// Nano-USD posted above holds since the start, by this gateway (expected 0).
    pub fn overrun_total(&self) -> u64 {
        match &self.0 {
            Kind::Memory(store) => store.overrun_total(),
            Kind::Shared(shared) => shared.store().overrun_total(),
        }
    }

    /// Settles and cancels that wait for the store.
    pub fn waiting(&self) -> usize {
        self.shared().map_or(0, |shared| shared.store().waiting() + shared.store().unsure())
    }

    /// Waits until all that ended is told to the store, but no longer than `deadline`. Called when no request is left.
    pub async fn close(&self, deadline: Duration) {
        if let Kind::Shared(shared) = &self.0 {
            shared.close(deadline).await;
        }
    }
}
