//! The Lease as a record: what to do about what stands in it (pure).
//!
//! Clocks of different machines are never compared: a Lease has lapsed when this process has watched it, by its own clock,
//! for the time that stands in it, and nothing in it has changed.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use std::time::{Duration, Instant};
use tollgate_crds::annotations::{GATEWAYS, LEADER_ADDRESS, LEDGER_TROUBLE, MANAGED_BY, OPERATOR, VERSION};

/// The name of the Lease.
pub const NAME: &str = "tollgate-operator";

/// Who wants the Lease, and where it takes reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The name of its pod.
    pub identity: String,
    /// `host:port`, for replicas that do not lead.
    pub address: String,
}

/// What was last seen of the Lease, and since when it has been like that.
#[derive(Debug, Clone)]
pub struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// There is no Lease: make this one.
    Create(Box<Lease>),
    /// Put this in its place; the API server refuses it when somebody else was faster.
    Replace(Box<Lease>),
    /// Somebody else has it.
    Follow(Candidate),
}

// === impl Seen ===

impl Seen {
    /// What is seen now, after what was seen before.
    pub fn update(before: Option<Seen>, lease: &Lease, now: Instant) -> Seen {
        let spec = lease.spec.clone().unwrap_or_default();
        match before {
            Some(seen) if seen.spec == spec => seen,
            _ => Seen { spec, since: now },
        }
    }

    fn has_lapsed(&self, now: Instant) -> bool {
        let seconds = self.spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        now.duration_since(self.since) >= Duration::from_secs(seconds)
    }

    fn is_free(&self) -> bool {
        self.spec.holder_identity.as_deref().unwrap_or_default().is_empty()
    }
}

// === impl Candidate ===

impl Candidate {
    /// What to do about `lease`, of which `seen` is what is known.
    pub fn next(&self, lease: Option<&Lease>, seen: Option<&Seen>, duration: Duration, now: Instant) -> Next {
        let Some(seen) = seen else {
            return Next::Create(Box::new(self.taken(&Lease::default(), duration)));
        };
        let mine = seen.spec.holder_identity.as_deref() == Some(&self.identity);
        match (lease, mine || seen.is_free() || seen.has_lapsed(now)) {
            (Some(lease), true) => Next::Replace(Box::new(self.taken(lease, duration))),
            (Some(lease), false) => Next::Follow(holder(lease)),
            // Somebody has deleted it: whoever held it may not know yet.
            (None, true) => Next::Create(Box::new(self.taken(&Lease::default(), duration))),
            (None, false) => Next::Follow(Candidate {
                identity: seen.spec.holder_identity.clone().unwrap_or_default(),
                address: String::new(),
            }),
        }
    }

    /// `lease`, held by this candidate from now on. It keeps its resource version: the write counts only if nobody else has
    /// written since.
    pub fn taken(&self, lease: &Lease, duration: Duration) -> Lease {
        let old = lease.spec.clone().unwrap_or_default();
        let now = MicroTime(Timestamp::now());
        let mine = old.holder_identity.as_deref() == Some(&self.identity);
        let seconds = i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            acquire_time: if mine { old.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(
                old.lease_transitions
                    .unwrap_or(0)
                    .saturating_add(i32::from(!mine && old.holder_identity.is_some())),
            ),
            ..old
        };
        let mut metadata = ObjectMeta { name: Some(NAME.to_owned()), ..lease.metadata.clone() };
        metadata.managed_fields = None;
        metadata.annotations.get_or_insert_default().insert(LEADER_ADDRESS.to_owned(), self.address.clone());
        metadata.labels.get_or_insert_default().insert(MANAGED_BY.to_owned(), OPERATOR.to_owned());
        Lease { metadata, spec: Some(spec) }
    }
}

/// What the leader says of the installation upon the Lease, by annotation; what it has nothing to say of goes.
pub type Notes = Vec<(&'static str, Option<String>)>;

/// Says upon `lease` what the leader knows.
pub fn note(lease: &mut Lease, notes: Notes) {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    for (name, value) in notes {
        match value {
            Some(value) => drop(annotations.insert(name.to_owned(), value)),
            None => drop(annotations.remove(name)),
        }
    }
}

/// `lease`, free for anybody at once.
pub fn released(lease: &Lease) -> Lease {
    let mut released = lease.clone();
    released.metadata.managed_fields = None;
    if let Some(annotations) = &mut released.metadata.annotations {
        for name in [LEADER_ADDRESS, LEDGER_TROUBLE, GATEWAYS, VERSION] {
            annotations.remove(name);
        }
    }
    if let Some(spec) = &mut released.spec {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    released
}

/// Who holds `lease`.
fn holder(lease: &Lease) -> Candidate {
    let identity = lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default();
    let address = lease.metadata.annotations.as_ref().and_then(|a| a.get(LEADER_ADDRESS)).cloned();
    Candidate { identity, address: address.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const DURATION: Duration = Duration::from_secs(15);

    fn candidate(name: &str) -> Candidate {
        Candidate { identity: name.to_owned(), address: format!("{name}:18000") }
    }

    fn replaces(next: &Next) -> bool {
        matches!(next, Next::Replace(lease) if holder(lease) == candidate("b"))
    }

    #[test]
    fn a_lease_is_taken_when_it_did_not_change_for_its_duration_by_the_own_clock() {
        let (a, b, start) = (candidate("a"), candidate("b"), Instant::now());
        let Next::Create(lease) = a.next(None, None, DURATION, start) else { panic!("there is none yet") };
        let seen = Seen::update(None, &lease, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let next =
            |lease: &Lease, seen: &Seen, seconds| b.next(Some(lease), Some(seen), DURATION, at(seconds));
        assert_eq!(next(&lease, &seen, 14), Next::Follow(a.clone()));
        assert!(replaces(&next(&lease, &seen, 15)));
        // Renewed in between: the time begins anew, whatever the holder's clock says.
        let mut renewed = a.taken(&lease, DURATION);
        renewed.spec.as_mut().unwrap().renew_time = Some(MicroTime(Timestamp::from_second(5).unwrap()));
        let seen = Seen::update(Some(seen), &renewed, at(14));
        assert_eq!(next(&renewed, &seen, 28), Next::Follow(a));
        let seen = Seen::update(Some(seen), &renewed, at(28));
        assert!(replaces(&next(&renewed, &seen, 29)));
    }

    #[test]
    fn a_lease_that_was_deleted_is_left_to_its_holder_until_it_would_have_lapsed() {
        let (a, b, now) = (candidate("a"), candidate("b"), Instant::now());
        let lease = a.taken(&Lease::default(), DURATION);
        let seen = Seen::update(None, &lease, now);
        let next = |who: &Candidate, seconds| {
            who.next(None, Some(&seen), DURATION, now + Duration::from_secs(seconds))
        };
        assert!(matches!(next(&b, 14), Next::Follow(holder) if holder.identity == "a"));
        assert!(matches!(next(&b, 15), Next::Create(_)));
        assert!(matches!(next(&a, 1), Next::Create(_)));
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_one_of_ones_own_is_kept() {
        let (a, b, now) = (candidate("a"), candidate("b"), Instant::now());
        let mut lease = a.taken(&Lease::default(), DURATION);
        note(&mut lease, vec![(GATEWAYS, Some("0.1.0=2".to_owned())), (LEDGER_TROUBLE, None)]);
        assert_eq!(lease.metadata.annotations.as_ref().unwrap()[GATEWAYS], "0.1.0=2");
        let free = released(&lease);
        // What its holder knew, nobody knows now.
        assert_eq!(free.metadata.annotations, Some(BTreeMap::new()));
        let seen = Seen::update(None, &free, now);
        let next = b.next(Some(&free), Some(&seen), DURATION, now);
        assert!(replaces(&next));
        let Next::Replace(taken) = next else { panic!("{next:?}") };
        assert_eq!(taken.spec.as_ref().unwrap().lease_transitions, Some(1));
        let again = b.taken(&taken, DURATION);
        let (first, second) = (taken.spec.unwrap(), again.spec.unwrap());
        assert_eq!((first.acquire_time, Some(1)), (second.acquire_time, second.lease_transitions));
    }
}
