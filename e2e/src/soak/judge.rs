//! What each fault explains, and what nothing does.

use super::{
    faults::{Fault, Target},
    keys::{CHANGED, REVOKED, ROTATED},
    turn::{End, Kind, Turn},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How long a revoked key may still be answered, and a stream of it run on: what is promised.
pub const REVOCATION: Duration = Duration::from_secs(5);
/// The most findings that are told.
const MOST: usize = 200;

/// Sees how every request ended.
#[derive(Debug)]
pub struct Judge {
    seed: u64,
    timed: bool,
    began: Instant,
    answered: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phases: Vec<Phase>,
    turns: Vec<Turn>,
    findings: Vec<String>,
    /// How often a kind of request ended so.
    ends: BTreeMap<(&'static str, String), u64>,
    /// By gateway: how often it answered.
    by_gateway: BTreeMap<usize, u64>,
    /// Since when a key must not be answered any more.
    revoked: Option<Instant>,
    /// By when the streams of each revocation must have ended.
    ends_by: Vec<Instant>,
    /// How long after kubectl began to revoke their key streams ended.
    ended_after: Vec<Duration>,
    /// The ids of requests of this run's own that only wait for something.
    waited: HashSet<String>,
}

/// A fault, from before it begins until all is well again.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// What, and to what.
    pub target: Target,
    /// When it began.
    pub from: Instant,
    /// When it ended.
    pub to: Option<Instant>,
}

// === impl Judge ===

impl Judge {
    /// A judge of a run that begins now; `timed`: what is promised within a time is wanted within it.
    pub fn new(seed: u64, timed: bool) -> Self {
        Judge { seed, timed, began: Instant::now(), answered: AtomicU64::new(0), inner: Mutex::default() }
    }

    /// Whether what is promised within a time is wanted within it: not on a machine that does other work.
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// Tells how it goes.
    pub fn say(&self, words: &str) {
        eprintln!("soak: {:6.1} s  {words}", self.began.elapsed().as_secs_f64());
    }

    /// Tells at once what nothing explains.
    pub fn finding(&self, words: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let finding = format!("{at:.1} s: {words}");
        let mut inner = self.inner.lock();
        if inner.findings.len() < MOST {
            eprintln!("soak: seed {} FINDING at {finding}", self.seed);
            inner.findings.push(finding);
        }
    }

    /// All of them.
    pub fn findings(&self) -> Vec<String> {
        self.inner.lock().findings.clone()
    }

    /// Waits; what fails meanwhile is explained by nothing.
    pub async fn quiet(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }

    /// A fault is about to begin.
    pub fn begin(&self, target: Target) {
        self.inner.lock().phases.push(Phase { target, from: Instant::now(), to: None });
    }

    /// All is well again.
    pub fn end(&self) {
        if let Some(phase) = self.inner.lock().phases.last_mut() {
            phase.to = Some(Instant::now());
        }
    }

    /// All phases so far.
    pub fn phases(&self) -> Vec<Phase> {
        self.inner.lock().phases.clone()
    }

    /// How often a client was answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// How often a gateway has answered.
    pub fn answered_by(&self, gateway: usize) -> u64 {
        self.inner.lock().by_gateway.get(&gateway).copied().unwrap_or(0)
    }

    /// From when on the key that is revoked must not be answered; `None`: it may.
    pub fn revoke(&self, since: Option<Instant>) {
        self.inner.lock().revoked = since;
    }

    /// A request that only waited for something: whoever is turned away has a record too.
    pub fn waited(&self, id: &str) {
        self.inner.lock().waited.insert(id.to_owned());
    }

    /// See [`Self::waited`].
    pub fn all_waited(&self) -> HashSet<String> {
        self.inner.lock().waited.clone()
    }

    /// By when streams of the revoked key that are running must have ended, whatever comes then.
    pub fn ends_by(&self, by: Instant) {
        self.inner.lock().ends_by.push(by);
    }

    /// A stream has ended so long after its revocation began.
    pub fn ended_after(&self, took: Duration) {
        self.inner.lock().ended_after.push(took);
    }

    /// See [`Self::ended_after`]; the shortest first.
    pub fn all_ended_after(&self) -> Vec<Duration> {
        let mut all = self.inner.lock().ended_after.clone();
        all.sort();
        all
    }

    /// How all requests ended.
    pub fn turns(&self) -> Vec<Turn> {
        self.inner.lock().turns.clone()
    }

    /// How often each kind ended how.
    pub fn ends(&self) -> BTreeMap<(&'static str, String), u64> {
        self.inner.lock().ends.clone()
    }

    /// A request has ended. A probe that waits for something is not judged.
    pub fn ended(&self, turn: Turn, judged: bool) {
        let why = {
            let mut inner = self.inner.lock();
            *inner.ends.entry((turn.kind.words(), turn.end.words())).or_default() += 1;
            if turn.end == End::Answered {
                *inner.by_gateway.entry(turn.gateway).or_default() += 1;
                self.answered.fetch_add(1, Relaxed);
            }
            let overlapping = |p: &&Phase| p.from <= turn.ended && p.to.is_none_or(|to| turn.began <= to);
            let over: Vec<Phase> = inner.phases.iter().rev().take(8).filter(overlapping).copied().collect();
            let late = inner.revoked.is_some_and(|since| turn.began >= since);
            let why = if !judged {
                None
            } else if late && turn.key == REVOKED && turn.end == End::Answered {
                Some("it was revoked long before".to_owned())
            } else {
                ran_on(&turn, &inner.ends_by).or_else(|| unexplained(&turn, &over))
            };
            inner.turns.push(turn.clone());
            why
        };
        if let Some(why) = why {
            self.finding(&format!("{turn}: {why}"));
        }
    }
}

/// Whether it is a stream that went on after its key was revoked.
fn ran_on(turn: &Turn, ends_by: &[Instant]) -> Option<String> {
    if turn.kind == Kind::Long && turn.end == End::Answered {
        return Some("its key was revoked in its middle".to_owned());
    }
    let by = ends_by.iter().find(|by| turn.began < **by && turn.ended > **by)?;
    let over = turn.ended.duration_since(*by).as_secs_f64();
    let late = turn.key == REVOKED && turn.end.had_begun();
    late.then(|| format!("{over:.2} s later than a revoked key's may"))
}

/// Why nothing that is going on explains how a request ended.
fn unexplained(turn: &Turn, phases: &[Phase]) -> Option<String> {
    if matches!(turn.end, End::Answered | End::HungUp) || always(turn) {
        return missing_retry_after(turn);
    }
    if phases.iter().any(|phase| explains(phase.target, turn)) {
        return missing_retry_after(turn);
    }
    let going_on: Vec<String> = phases.iter().map(|phase| phase.target.words()).collect();
    Some(match going_on.is_empty() {
        true => "nothing is going on that explains it".to_owned(),
        false => format!("not explained by: {}", going_on.join(", ")),
    })
}

/// A client that does not know when to come back comes back at once.
fn missing_retry_after(turn: &Turn) -> Option<String> {
    let ours = matches!(turn.end, End::Refused { status: 429 | 503, retry_after: false, .. });
    ours.then(|| "without retry-after".to_owned())
}

/// What budgets and limits explain at any time.
fn always(turn: &Turn) -> bool {
    match &turn.end {
        End::Refused { status: 402 | 429, words, .. } => turn.tight && ours(words),
        End::ToolFailed(words) => turn.tight && ours(words),
        _ => false,
    }
}

/// Whether words speak of our own limits, and not of a provider's.
fn ours(words: &str) -> bool {
    ["budget", "requests", "tokens", "concurrent", "at the same time"].iter().any(|part| words.contains(part))
}

/// Whether a fault explains how a request ended.
fn explains(target: Target, turn: &Turn) -> bool {
    let here = target.gateway.is_none_or(|gateway| gateway == turn.gateway);
    let model = turn.kind.is_model();
    match (&turn.end, target.fault) {
        (End::Broken { .. } | End::Refused { status: 503, .. } | End::ToolFailed(_), Fault::GatewayKill) => {
            here
        }
        // Nothing that was begun is cut off. A connection that ends while a request is on its way to it is the
        // protocol's race, and clients repeat it.
        (End::Broken { status: None, .. } | End::Refused { status: 503, .. }, Fault::GatewayDrain) => here,
        // What was kept alive for too long ends when it wakes up, a request on its way to it or not.
        (End::Broken { status: None, .. }, Fault::GatewayPause) => here,
        (End::Refused { status: 503, .. } | End::ToolFailed(_), Fault::RedisKill | Fault::RedisPause) => {
            !turn.allow
        }
        // Its own allowance may know less than the ledger.
        (End::Refused { status: 402 | 429, .. }, Fault::RedisKill | Fault::RedisPause) => {
            turn.allow && turn.tight
        }
        (End::Refused { status, .. }, fault) if fault.is_provider() => {
            model && matches!(status, 429 | 500 | 502 | 503 | 504 | 529)
        }
        (End::Broken { status: Some(_), .. } | End::ErrorEvent(_) | End::Garbage(_), fault)
            if fault.is_provider() =>
        {
            model
        }
        (End::ToolFailed(_), Fault::McpKill) => true,
        (End::Refused { status: 403, .. } | End::ErrorEvent(_) | End::Broken { .. }, Fault::KeyRevoke) => {
            turn.key == REVOKED
        }
        (End::Refused { status: 401, .. } | End::ErrorEvent(_) | End::Broken { .. }, Fault::TokenRotate) => {
            turn.key == ROTATED
        }
        (End::Refused { status: 402 | 429, .. }, Fault::BudgetChange) => turn.key == CHANGED,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::keys::STEADY;

    fn ended(kind: Kind, key: &'static str, times: [u64; 2], end: End) -> Turn {
        let [began, ended] = times.map(at);
        let (tight, allow, gateway, id, cost) = (false, false, 0, None, 0);
        Turn { kind, key, tight, allow, gateway, began, ended, id, cost, end }
    }

    fn at(seconds: u64) -> Instant {
        static ZERO: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_stream_that_runs_on_after_a_revocation_is_found() {
        let by = [at(15)];
        let found = |turn: Turn| ran_on(&turn, &by).is_some();
        let broken = || End::ErrorEvent("revoked".to_owned());
        assert!(found(ended(Kind::Long, REVOKED, [5, 16], broken())), "cut, but too late");
        assert!(found(ended(Kind::Slow, REVOKED, [12, 16], End::Answered)));
        assert!(found(ended(Kind::Slow, REVOKED, [5, 100], End::HungUp)), "also when it was allowed again");
        assert!(found(ended(Kind::Long, REVOKED, [5, 14], End::Answered)), "it takes minutes by itself");
        assert!(!found(ended(Kind::Long, REVOKED, [5, 14], broken())));
        assert!(!found(ended(Kind::Slow, REVOKED, [20, 24], End::Answered)), "allowed again");
        assert!(!found(ended(Kind::Slow, STEADY, [5, 16], End::Answered)), "another key");
        let refused = End::Refused { status: 403, retry_after: false, words: String::new() };
        assert!(!found(ended(Kind::Slow, REVOKED, [14, 16], refused)), "nothing ran");
    }
}
