//! Who wrote, by the API server's own audit log: each operator is a pod of its own there.

use super::support::Installation;
use std::collections::BTreeMap;
use tollgate_e2e::cluster::Asked;

/// The Lease that says who leads.
const LEASE: &str = "leases";

/// What the operators of an installation did, by the moment at which the API server got it.
pub(crate) struct Writes {
    /// Successful writes of the Lease: who held it from then on.
    terms: Vec<Asked>,
    /// All other successful writes.
    others: Vec<Asked>,
}

// === impl Writes ===

impl Writes {
    /// Of all operators of an installation so far.
    pub(crate) fn of(here: &Installation<'_>) -> Self {
        let account = format!("system:serviceaccount:{}:tollgate-operator", here.plane.namespace());
        let mut all = here.cluster.audit().unwrap();
        all.retain(|asked| asked.user == account && asked.has_written());
        all.sort_by(|a, b| a.received.cmp(&b.received));
        assert!(
            all.iter().all(|asked| asked.pod.starts_with("operator-")),
            "every write names its pod: {all:#?}"
        );
        let (terms, others) = all.into_iter().partition(|asked| asked.resource == LEASE);
        Writes { terms, others }
    }

    /// Between two leaders' terms no two wrote: what a pod wrote came in after it had taken the Lease, and before another pod took
    /// it. Returns how many writes of each pod were looked at.
    pub(crate) fn no_second_writer(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        // Where the Lease was taken: what follows of the same pod are renewals.
        let mut taken: Vec<&Asked> = Vec::new();
        for term in &self.terms {
            if taken.last().is_none_or(|last| last.pod != term.pod) {
                taken.push(term);
            }
        }
        for write in &self.others {
            let holder = taken.iter().rfind(|term| term.received < write.received);
            let holder = holder.unwrap_or_else(|| panic!("nobody held the Lease yet: {write:#?}"));
            assert_eq!(holder.pod, write.pod, "{} held the Lease: {write:#?}\n{holder:#?}", holder.pod);
            assert!(
                holder.answered <= write.received,
                "the Lease was not taken yet: {write:#?}\n{holder:#?}"
            );
            *counts.entry(write.pod.clone()).or_default() += 1;
        }
        counts
    }

    /// How often the Lease went from one pod to another.
    pub(crate) fn moves(&self) -> usize {
        self.terms.windows(2).filter(|pair| pair[0].pod != pair[1].pod).count()
    }
}

/// The check is a check: writes as a broken pair of operators would make them are found.
mod tests {
    use super::*;

    fn asked(pod: &str, resource: &str, at: &str) -> Asked {
        Asked {
            pod: pod.into(),
            resource: resource.into(),
            received: format!("2026-01-01T00:00:{at}.000000Z"),
            answered: format!("2026-01-01T00:00:{at}.500000Z"),
            verb: "patch".into(),
            code: 200,
            ..Asked::default()
        }
    }

    fn writes(others: Vec<Asked>) -> Writes {
        let terms = vec![asked("operator-0", LEASE, "01"), asked("operator-1", LEASE, "10")];
        Writes { terms, others }
    }

    #[test]
    fn a_write_outside_of_the_own_term_is_found() {
        let good =
            || vec![asked("operator-0", "virtualkeys", "02"), asked("operator-1", "virtualkeys", "11")];
        assert_eq!((writes(good()).no_second_writer().len(), writes(good()).moves()), (2, 1));
        for wrong in [
            asked("operator-0", "virtualkeys", "12"),
            asked("operator-1", "secrets", "05"),
            asked("operator-0", "events", "00"),
        ] {
            let mut all = good();
            all.push(wrong);
            let checked = std::panic::catch_unwind(|| writes(all).no_second_writer());
            assert!(checked.is_err());
        }
    }
}
