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
    /// It failed when it was looked at last.
    ill: bool,
    spare_until: Option<Instant>,
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

    /// A tree was looked at.
    pub(super) fn note(&mut self, root: &Arc<str>, fine: bool) {
        let tree = self.trees.entry(root.clone()).or_default();
        tree.ill = !fine;
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
