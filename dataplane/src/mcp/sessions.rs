//! The gateway's sessions with one server: one for each of its clients, because what one does in a session is not another's to see.

use super::wire::Wire;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;
use tollgate_mcp::upstream::{Handshake, Peer, UpstreamError};

/// Whose session lists are fetched in.
pub(super) const GATEWAY: &str = "";
/// The most sessions with one server; beyond it the one that was idle longest ends.
const MAX: usize = 1000;
/// A session that was idle for so long is ended when others come.
const IDLE: Duration = Duration::from_secs(3600);

/// A session, opened by the first who needs it while the others wait for it.
pub(super) type Slot = Arc<OnceCell<Arc<Peer>>>;

/// The sessions with one server.
#[derive(Debug)]
pub(super) struct Sessions {
    slots: Mutex<HashMap<Box<str>, (Slot, Instant)>>,
    begun: Instant,
    used: AtomicU64,
    /// Answers to the server's own requests that are on their way.
    pub(super) answers: AtomicUsize,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions {
            slots: Mutex::default(),
            begun: Instant::now(),
            used: AtomicU64::new(0),
            answers: AtomicUsize::new(0),
        }
    }
}

// === impl Sessions ===

impl Sessions {
    /// The peer that all share, when the server was opened and keeps no sessions.
    pub(super) fn stateless(&self) -> Option<Arc<Peer>> {
        let slots = self.slots.lock();
        let peer = slots.get(GATEWAY)?.0.get()?;
        peer.session.is_none().then(|| peer.clone())
    }

    /// The session that `owner`'s requests run in, if it is open.
    pub(super) fn known(&self, owner: &str) -> Option<Arc<Peer>> {
        self.stateless().or_else(|| self.slots.lock().get(owner)?.0.get().cloned())
    }

    /// The place of `owner`'s session. Those that are given up for it go to `end`.
    pub(super) fn slot(&self, owner: &str, end: impl Fn(Arc<Peer>)) -> Slot {
        let now = Instant::now();
        let mut slots = self.slots.lock();
        if let Some((slot, used)) = slots.get_mut(owner) {
            *used = now;
            return slot.clone();
        }
        let mut ended = Vec::new();
        slots.retain(|name, (slot, used)| {
            let keep = name.is_empty() || now.duration_since(*used) < IDLE;
            ended.extend(slot.get().filter(|_| !keep).cloned());
            keep
        });
        if slots.len() >= MAX {
            let oldest = slots.iter().filter(|(name, _)| !name.is_empty()).min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(name, _)| name.clone());
            let gone = oldest.and_then(|name| slots.remove(&name));
            ended.extend(gone.and_then(|(slot, _)| slot.get().cloned()));
        }
        let slot = Slot::default();
        slots.insert(owner.into(), (slot.clone(), now));
        drop(slots);
        ended.into_iter().for_each(end);
        slot
    }

    /// Gives up `owner`'s session if it is still this one.
    pub(super) fn forget(&self, owner: &str, peer: &Arc<Peer>) {
        let mut slots = self.slots.lock();
        if slots.get(owner).is_some_and(|(slot, _)| slot.get().is_some_and(|p| Arc::ptr_eq(p, peer))) {
            slots.remove(owner);
        }
    }

    /// Notes that the server is in use.
    pub(super) fn touch(&self) {
        self.used.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Since when it is not.
    pub(super) fn unused_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_secs(self.used.load(Ordering::Relaxed)))
    }
}

/// Opens a session: `initialize`, then `notifications/initialized`.
pub(super) async fn open(wire: &Wire, idle: Duration) -> Result<Arc<Peer>, UpstreamError> {
    let id = wire.next_id();
    let (answer, session) = wire.request(id, Handshake::initialize(id), idle, |_| ()).await?;
    let peer = Handshake::settle(&answer, session.as_deref())?;
    wire.notify(peer.initialized()).await?;
    Ok(Arc::new(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_mcp::Version;

    fn fill(slot: &Slot, session: &str) {
        let peer = Peer {
            version: Version::NEWEST_LEGACY,
            session: Some(session.into()),
            has_tools: true,
            instructions: None,
        };
        slot.set(Arc::new(peer)).unwrap();
    }

    #[test]
    fn the_session_idle_longest_ends_when_there_are_too_many() {
        let sessions = Sessions::default();
        let ended = Mutex::new(Vec::new());
        let end = |peer: Arc<Peer>| ended.lock().push(peer.session.clone().unwrap());
        fill(&sessions.slot(GATEWAY, end), "gateway");
        for n in 1..MAX {
            fill(&sessions.slot(&n.to_string(), end), &n.to_string());
        }
        assert!(sessions.slot("1", end).get().is_some() && ended.lock().is_empty());
        fill(&sessions.slot("one more", end), "one more");
        assert_eq!(*ended.lock(), ["2"], "not the gateway's own, and not the one just used");
        assert!(sessions.stateless().is_none());
    }

    #[test]
    fn only_the_session_that_was_lost_is_forgotten() {
        let sessions = Sessions::default();
        fill(&sessions.slot("a", |_| ()), "old");
        let old = sessions.slot("a", |_| ()).get().unwrap().clone();
        sessions.forget("a", &old);
        fill(&sessions.slot("a", |_| ()), "new");
        sessions.forget("a", &old);
        assert_eq!(sessions.slot("a", |_| ()).get().unwrap().session.as_deref(), Some("new"));
    }
}
