//! Who leads: of all replicas, only the one that holds the Lease `tollgate-operator` writes.
//!
//! ```text
//! Lease --get, replace with its resource version--> [ record: free, lapsed, or another's ] -> [ Term ] -> a Permit a write
//! ```
//! Why not `kube-lease-manager`: its renewals do not say which version of the Lease they replace, so that a leader that was
//! stopped and wakes up takes the Lease back from its successor; and it compares the clocks of two machines.
//!
//! Three times keep two replicas from writing at once. A holder writes for [`Timing::valid`] after the moment *before* its last
//! renewal was sent. A write takes [`WRITE`] at most. Another replica takes the Lease only after it has watched it unchanged for
//! [`Timing::duration`], which is longer than both together, by its own clock.
//!
//! # Layout
//! - [`record`]: the Lease, and what to do about it (pure)
//! - [`term`]: the right to write

pub mod record;
pub mod term;

pub use record::Candidate;
pub use term::{Permit, Term};

use crate::telemetry;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use record::{NAME, Next, Seen};
use std::{
    hash::BuildHasher,
    time::{Duration, Instant},
};
use term::Moment;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tollgate_crds::annotations::OPERATOR;

/// The most time that one write of a leader may take; see [`Term::permit`].
pub const WRITE: Duration = Duration::from_secs(3);

/// The times of the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long the Lease must be unchanged until another replica takes it. Whole seconds.
    pub duration: Duration,
    /// How long after a renewal its holder writes.
    pub valid: Duration,
    /// How often the holder renews it.
    pub renew: Duration,
    /// How often others look at it, and the holder tries again.
    pub retry: Duration,
}

/// Which Lease, and who wants it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Who wants it.
    pub candidate: Candidate,
    /// Its times.
    pub timing: Timing,
}

/// What the leader writes upon the Lease, whenever it renews it.
pub type Says = Box<dyn Fn() -> record::Notes + Send + Sync>;

/// Who leads now. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lead(watch::Receiver<Standing>);

/// Who leads.
#[derive(Debug, Clone, Default)]
pub enum Standing {
    /// Nobody that is known.
    #[default]
    Nobody,
    /// This replica.
    Mine(Term),
    /// Another one.
    Other(Candidate),
}

/// The task that wants the Lease.
struct Elector {
    api: Api<Lease>,
    options: Options,
    standing: watch::Sender<Standing>,
    lease: Option<Lease>,
    seen: Option<Seen>,
    terms: u64,
    says: Says,
}

/// Begins to want the Lease, until `stop`; then it is released, and the task ends. Must be called within a runtime.
pub fn start(
    client: Client,
    options: Options,
    says: Says,
    stop: CancellationToken,
) -> (Lead, JoinHandle<()>) {
    let (standing, receiver) = watch::channel(Standing::Nobody);
    let api = Api::namespaced(client, &options.namespace);
    let elector = Elector { api, options, standing, lease: None, seen: None, terms: 0, says };
    (Lead(receiver), tokio::spawn(elector.run(stop)))
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            duration: Duration::from_secs(15),
            valid: Duration::from_secs(10),
            renew: Duration::from_secs(4),
            retry: Duration::from_secs(1),
        }
    }
}

// === impl Timing ===

impl Timing {
    /// Times for a Lease of `duration`, of 6 s at least.
    pub fn of(duration: Duration) -> Self {
        let duration = Duration::from_secs(duration.as_secs().max(6));
        let valid = (duration - WRITE).mul_f64(0.85);
        Timing { duration, valid, renew: valid / 3, retry: (valid / 10).max(Duration::from_millis(200)) }
    }
}

// === impl Lead ===

impl Lead {
    /// A replica that leads for ever, without a Lease: for tests of what a leader does.
    pub fn always() -> Self {
        let term = Term::new(1, Moment::now(), Duration::from_secs(u64::from(u32::MAX)));
        Lead(watch::channel(Standing::Mine(term)).1)
    }

    /// Who leads now.
    pub fn standing(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// The term, while this replica leads.
    pub fn term(&self) -> Option<Term> {
        match &*self.0.borrow() {
            Standing::Mine(term) if term.holds() => Some(term.clone()),
            _ => None,
        }
    }

    /// Whether this replica leads now, by its own clocks.
    pub fn leads(&self) -> bool {
        self.term().is_some()
    }

    /// The right to write now, if this replica leads: to be held while one write is under way.
    pub fn permit(&self) -> Option<Permit> {
        self.term()?.permit()
    }

    /// Waits until this replica leads; `None` when it never will.
    pub async fn wait(&mut self) -> Option<Term> {
        loop {
            if let Standing::Mine(term) = &*self.0.borrow_and_update()
                && term.holds()
            {
                return Some(term.clone());
            }
            self.0.changed().await.ok()?;
        }
    }

    /// Waits until somebody else leads, or nobody does; `None` when nothing will change any more.
    pub async fn changed(&mut self) -> Option<Standing> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

// === impl Elector ===

impl Elector {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = Moment::now();
            // Bounded by what is left: an API server that does not answer must not keep the term alive.
            let patience = self.term().map_or(self.options.timing.valid, |term| term.left(asked));
            let outcome = tokio::select! {
                outcome = timeout(patience.max(Duration::from_millis(1)), self.attempt()) => outcome,
                () = stop.cancelled() => break,
            };
            match outcome {
                Ok(Ok(true)) => self.lead(asked),
                Ok(Ok(false)) if self.mine() => {}
                Ok(Ok(false)) => self.follow(),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the Lease {NAME} cannot be read or written");
                    // What is known of it may be old: it is read again before it is written.
                    self.lease = None;
                }
                Err(_) => {
                    tracing::warn!("the API server does not answer about the Lease {NAME}");
                    self.lease = None;
                }
            }
            self.check();
            let pause = self.pause();
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        self.release().await;
    }

    /// Looks at the Lease, and takes or renews it when that is right. The holder does not look first: its write says which
    /// version it replaces. Returns whether it was written.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        if !(self.mine() && self.term().is_some()) {
            self.lease = self.api.get_opt(NAME).await?;
        }
        if let Some(lease) = &self.lease {
            self.seen = Some(Seen::update(self.seen.take(), lease, Instant::now()));
        }
        let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() };
        let duration = self.options.timing.duration;
        let mut next =
            self.options.candidate.next(self.lease.as_ref(), self.seen.as_ref(), duration, Instant::now());
        if let Next::Create(lease) | Next::Replace(lease) = &mut next {
            record::note(lease, (self.says)());
        }
        let written = match next {
            Next::Create(lease) => self.api.create(&params, &lease).await,
            Next::Replace(lease) => self.api.replace(NAME, &params, &lease).await,
            Next::Follow(_) => return Ok(false),
        };
        let won = written.is_ok();
        match written {
            Ok(lease) => self.lease = Some(lease),
            // Somebody else was faster; who, the next look says.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                self.lease = self.api.get_opt(NAME).await?;
            }
            Err(error) => return Err(error),
        }
        if let Some(lease) = &self.lease {
            self.seen = Some(Seen::update(self.seen.take(), lease, Instant::now()));
        }
        Ok(won)
    }

    /// Whether the Lease, as it was last seen, is this replica's.
    fn mine(&self) -> bool {
        let spec = self.lease.as_ref().and_then(|l| l.spec.as_ref());
        spec.and_then(|s| s.holder_identity.as_deref()) == Some(&self.options.candidate.identity)
    }

    fn term(&self) -> Option<Term> {
        match &*self.standing.borrow() {
            Standing::Mine(term) if term.holds() => Some(term.clone()),
            _ => None,
        }
    }

    /// The Lease was taken or renewed by a request that was sent after `asked`.
    fn lead(&mut self, asked: Moment) {
        match self.term() {
            Some(term) => term.renew(asked),
            None => {
                self.end();
                self.terms += 1;
                tracing::info!(lease = NAME, "this replica leads");
                telemetry::metrics().leader(true);
                let term = Term::new(self.terms, asked, self.options.timing.valid);
                self.standing.send_replace(Standing::Mine(term));
            }
        }
    }

    fn follow(&mut self) {
        self.end();
        let duration = self.options.timing.duration;
        let (lease, seen) = (self.lease.as_ref(), self.seen.as_ref());
        let next = self.options.candidate.next(lease, seen, duration, Instant::now());
        let Next::Follow(holder) = next else { return };
        self.standing.send_if_modified(|standing| {
            let same = matches!(standing, Standing::Other(known) if *known == holder);
            if !same {
                tracing::info!(leader = %holder.identity, "another replica leads");
                *standing = Standing::Other(holder);
            }
            !same
        });
    }

    /// Ends a term that is no longer valid.
    fn check(&self) {
        let over = matches!(&*self.standing.borrow(), Standing::Mine(term) if !term.holds());
        if over {
            tracing::warn!(
                lease = NAME,
                "the Lease could not be renewed in time: this replica stops leading"
            );
            self.end();
        }
    }

    fn end(&self) {
        self.standing.send_if_modified(|standing| match standing {
            Standing::Mine(term) => {
                term.end();
                telemetry::metrics().leader(false);
                *standing = Standing::Nobody;
                true
            }
            _ => false,
        });
    }

    /// When to look again; replicas do not do it all at the same moment.
    fn pause(&self) -> Duration {
        let timing = self.options.timing;
        let healthy = self.term().filter(|_| self.lease.is_some());
        let pause = match healthy {
            Some(term) => timing.renew.min(term.left(Moment::now())),
            None => timing.retry,
        };
        let random = std::hash::RandomState::new().hash_one(0_u8) % 256;
        pause.mul_f64(0.8 + 0.2 * random as f64 / 256.0)
    }

    /// Lets another replica lead at once.
    async fn release(mut self) {
        let Some(term) = self.term() else { return };
        self.end();
        term.drain(WRITE).await;
        let Some(lease) = self.lease.take().filter(|_| !term.left(Moment::now()).is_zero()) else { return };
        let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() };
        match timeout(WRITE, self.api.replace(NAME, &params, &record::released(&lease))).await {
            Ok(Ok(_)) => tracing::info!(lease = NAME, "the Lease is released"),
            _ => tracing::info!(lease = NAME, "the Lease could not be released: it lapses by itself"),
        }
    }
}
