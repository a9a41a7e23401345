//! When trees answered last, and until when no hold in them is given up as dead: after an outage, in which no gateway could
//! renew its own, each must have the time to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All of this gateway's, and each tree's.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    any: Contact,
    trees: HashMap<Arc<str>, Contact>,
}

#[derive(Debug, Default)]
struct Contact {
    last: Option<Instant>,
    /// When it was looked at last, whatever came of it.
    looked: Option<Instant>,
    /// It failed when it was looked at last.
    ill: bool,
    spare_until: Option<Instant>,
    /// The run of the server on which it was seen last.
    run: Option<Arc<str>>,
}

// === impl Contacts ===

impl Contacts {
    /// A round begins. A gateway that starts, or stood still, knows nothing of an outage that may have been.
    pub(super) fn begin(&mut self, hold: Duration) {
        self.any.arm(hold);
    }

    /// A round found nothing wrong, be it that there was nothing to look at.
    pub(super) fn all_is_well(&mut self) {
        self.any.last = Some(Instant::now());
    }

    /// Whether dead holds of a tree are left alone for now.
    pub(super) fn spares(&mut self, root: &str, hold: Duration) -> bool {
        let of_tree = self.trees.get_mut(root).is_some_and(|tree| {
            if tree.ill {
                tree.arm(hold);
            }
            tree.is_spared()
        });
        of_tree || self.any.is_spared()
    }

    /// Whether a tree failed when it was looked at last.
    pub(super) fn is_ill(&self, root: &str) -> bool {
        self.trees.get(root).is_some_and(|tree| tree.ill)
    }

    /// On which run of a server a tree was seen last; empty if that is not known.
    pub(super) fn run(&self, root: &str) -> Arc<str> {
        self.trees.get(root).and_then(|tree| tree.run.clone()).unwrap_or_default()
    }

    /// A tree is on this run of a server. On another than last time nothing is given up as dead for a while: what it knows may be
    /// older than what the gateways told the last one.
    pub(super) fn is_on(&mut self, root: &Arc<str>, run: &str, hold: Duration) {
        let tree = self.trees.entry(root.clone()).or_default();
        if tree.run.as_deref() == Some(run) {
            return;
        }
        if tree.run.replace(Arc::from(run)).is_some() {
            tree.spare_until = Some(Instant::now() + hold / 3);
        }
    }

    /// When a tree was looked at last.
    pub(super) fn looked_at(&self, root: &str) -> Option<Instant> {
        self.trees.get(root).and_then(|tree| tree.looked)
    }

    /// A tree was looked at.
    pub(super) fn note(&mut self, root: &Arc<str>, fine: bool) {
        let tree = self.trees.entry(root.clone()).or_default();
        (tree.ill, tree.looked) = (!fine, Some(Instant::now()));
        if fine {
            (tree.last, self.any.last) = (Some(Instant::now()), Some(Instant::now()));
        }
    }
}

// === impl Contact ===

impl Contact {
    fn arm(&mut self, hold: Duration) {
        if self.last.is_none_or(|last| last.elapsed() > hold / 2) {
            self.spare_until = Some(Instant::now() + hold / 3);
        }
    }

    fn is_spared(&self) -> bool {
        self.spare_until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(60);

    /// As if a tree had answered last so long ago.
    fn answered(contacts: &mut Contacts, root: &Arc<str>, ago: Duration) {
        contacts.trees.get_mut(root).unwrap().last = Instant::now().checked_sub(ago);
    }

    #[test]
    fn a_tree_that_was_away_for_long_is_spared_and_no_other() {
        let (mut contacts, [lost, well, blinked]) =
            (Contacts::default(), ["a/a", "a/b", "a/c"].map(Arc::from));
        [&lost, &well, &blinked].iter().for_each(|root| contacts.note(root, true));
        contacts.begin(HOLD);
        contacts.note(&lost, false);
        contacts.note(&blinked, false);
        answered(&mut contacts, &lost, HOLD);
        assert!(contacts.spares(&lost, HOLD));
        assert!(!contacts.spares(&well, HOLD), "its gateways could renew their holds all the while");
        assert!(!contacts.spares(&blinked, HOLD), "too short for a hold to die of");
        contacts.note(&lost, true);
        assert!(contacts.spares(&lost, HOLD), "now its gateways may renew them");
    }

    #[test]
    fn a_tree_on_another_server_is_spared() {
        let (mut contacts, root) = (Contacts::default(), Arc::from("a/a"));
        contacts.all_is_well();
        contacts.is_on(&root, "one", HOLD);
        contacts.is_on(&root, "one", HOLD);
        assert!(!contacts.spares(&root, HOLD));
        contacts.is_on(&root, "two", HOLD);
        assert!(contacts.spares(&root, HOLD), "its gateways may have to tell it what it lost");
    }

    #[test]
    fn a_gateway_that_starts_or_stood_still_spares_all() {
        let (mut contacts, root) = (Contacts::default(), Arc::from("a/a"));
        contacts.begin(HOLD);
        assert!(contacts.spares(&root, HOLD));
        let mut contacts = Contacts::default();
        contacts.all_is_well();
        contacts.begin(HOLD);
        assert!(!contacts.spares(&root, HOLD));
        contacts.any.last = Instant::now().checked_sub(HOLD);
        contacts.begin(HOLD);
        assert!(contacts.spares(&root, HOLD));
    }
}
