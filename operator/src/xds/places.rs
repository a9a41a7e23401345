//! How many streams run at once, and whose: one tenant's workload must not take the places of the gateways.

use super::auth::Identity;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// The streams that may run at once, of both services together.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    partial: usize,
    of: HashMap<Identity, usize>,
}

/// A stream's place; free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    /// Whose it is, where that is counted.
    partial: Option<Identity>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// For nobody.
    #[error("too many streams on this replica")]
    Replica,
    /// For nobody but the gateways of the installation.
    #[error("too many streams of workloads on this replica")]
    Workloads,
    /// For this one.
    #[error("this pod has {EACH} streams already: it needs two")]
    Pod,
}

/// The most streams of one pod (or of all tokens without one of a ServiceAccount), if it is no gateway of the installation: two,
/// and as many again that it does not know to be broken.
const EACH: usize = 4;
/// All of these together have one of so many places.
const SHARE: usize = 4;

// === impl Places ===

impl Places {
    /// So many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Places { most, taken: Mutex::default() })
    }

    /// A place for a gateway of the installation.
    ///
    /// # Errors
    /// When there is none.
    pub fn whole(self: &Arc<Self>) -> Result<Place, Full> {
        self.take(None)
    }

    /// A place for somebody who sees a part only.
    ///
    /// # Errors
    /// When there is none for it.
    pub fn partial(self: &Arc<Self>, identity: &Identity) -> Result<Place, Full> {
        self.take(Some(identity))
    }

    fn take(self: &Arc<Self>, partial: Option<&Identity>) -> Result<Place, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return Err(Full::Replica);
        }
        if let Some(identity) = partial {
            if taken.of.get(identity).is_some_and(|of| *of >= EACH) {
                return Err(Full::Pod);
            }
            if taken.partial >= self.most.div_ceil(SHARE) {
                return Err(Full::Workloads);
            }
            *taken.of.entry(identity.clone()).or_default() += 1;
            taken.partial += 1;
        }
        taken.all += 1;
        Ok(Place { places: self.clone(), partial: partial.cloned() })
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(identity) = &self.partial {
            taken.partial = taken.partial.saturating_sub(1);
            match taken.of.get_mut(identity) {
                Some(of) if *of > 1 => *of -= 1,
                _ => drop(taken.of.remove(identity)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Identity {
        Identity { namespace: "n".into(), service_account: "sa".into(), pod: name.into() }
    }

    #[test]
    fn a_pod_has_a_few_places_and_they_are_free_again() {
        let places = Places::new(100);
        let mut held: Vec<_> = (0..EACH).map(|_| places.partial(&pod("a")).unwrap()).collect();
        assert_eq!(places.partial(&pod("a")).unwrap_err(), Full::Pod);
        held.push(places.partial(&pod("b")).unwrap());
        held.remove(0);
        held.push(places.partial(&pod("a")).unwrap());
        assert_eq!(places.partial(&pod("a")).unwrap_err(), Full::Pod);
        drop(held);
        let taken = places.taken.lock();
        assert_eq!((taken.all, taken.partial, taken.of.len()), (0, 0, 0));
    }

    #[test]
    fn workloads_leave_the_gateways_their_places() {
        let places = Places::new(8);
        let held: Vec<_> = (0..2).map(|n| places.partial(&pod(&n.to_string())).unwrap()).collect();
        assert_eq!(places.partial(&pod("more")).unwrap_err(), Full::Workloads);
        let gateways: Vec<_> = (0..6).map(|_| places.whole().unwrap()).collect();
        assert_eq!(places.whole().unwrap_err(), Full::Replica);
        drop((held, gateways));
    }
}
