//! The upstream servers in use: one state each, found without a lock.

use super::{catalog::Catalogs, sessions::Sessions, wire::Wire};
use crate::{client::http_client, model::Server};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tollgate_mcp::upstream::{Answer, Incoming, Peer, Post, UpstreamError};

/// A server that nobody used for so long is forgotten, once others come.
const IDLE: Duration = Duration::from_secs(3600);

/// All servers in use. They are looked up by every call and added rarely.
#[derive(Debug, Default)]
pub(super) struct Upstreams(ArcSwap<HashMap<Arc<str>, Arc<Upstream>>>);

/// One server, as it is configured, with all that is known of it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) server: Arc<Server>,
    pub(super) wire: Arc<Wire>,
    pub(super) sessions: Sessions,
    pub(super) catalogs: Catalogs,
}

// === impl Upstreams ===

impl Upstreams {
    /// The state of `server`; a new one when it was not used yet or its address, credentials or deadlines changed.
    pub(super) fn get(&self, server: &Arc<Server>) -> Result<Arc<Upstream>, UpstreamError> {
        if let Some(off) = &server.off {
            return Err(UpstreamError::Connection(format!("it is off: {off}")));
        }
        if let Some(known) = self.0.load().get(server.id.as_str())
            && known.serves(server)
        {
            known.sessions.touch();
            return Ok(known.clone());
        }
        let fresh = Upstream::new(server)?;
        let mut chosen = fresh.clone();
        self.0.rcu(|all| {
            // Two requests may come here at once; both shall take the same one.
            chosen = match all.get(server.id.as_str()) {
                Some(known) if known.serves(server) => known.clone(),
                _ => fresh.clone(),
            };
            let mut all: HashMap<_, _> =
                all.iter().filter(|(_, u)| !u.is_idle()).map(|(k, v)| (k.clone(), v.clone())).collect();
            all.insert(server.id.shared(), chosen.clone());
            all
        });
        Ok(chosen)
    }
}

// === impl Upstream ===

impl Upstream {
    fn new(server: &Arc<Server>) -> Result<Arc<Self>, UpstreamError> {
        let client = http_client(server.timeouts.connect, server.reach)
            .map_err(|e| UpstreamError::Connection(e.to_string()))?;
        Ok(Arc::new(Upstream {
            server: server.clone(),
            wire: Arc::new(Wire::new(client, server.clone())),
            sessions: Sessions::default(),
            catalogs: Catalogs::default(),
        }))
    }

    /// Whether this state is good for `server`: a change of what a key may do with it does not matter here.
    fn serves(&self, server: &Arc<Server>) -> bool {
        let (old, new) = (&self.server, server);
        Arc::ptr_eq(old, new)
            || (old.url == new.url
                && old.reach == new.reach
                && old.auth_header == new.auth_header
                && old.timeouts.connect == new.timeouts.connect
                && old.timeouts.list == new.timeouts.list
                && old.timeouts.call == new.timeouts.call)
    }

    fn is_idle(&self) -> bool {
        self.sessions.unused_for() > IDLE
    }

    /// The session of `owner` with the server, opened when there is none. A server that keeps no sessions is opened once for all.
    pub(super) async fn peer(&self, owner: &str) -> Result<Arc<Peer>, UpstreamError> {
        if let Some(shared) = self.sessions.stateless() {
            return Ok(shared);
        }
        let deadline = self.server.timeouts.connect + self.server.timeouts.list;
        let slot = self.sessions.slot(owner, |old| self.end(old));
        let opened = slot.get_or_try_init(|| super::sessions::open(&self.wire, self.server.timeouts.list));
        match tokio::time::timeout(deadline, opened).await {
            Ok(peer) => peer.cloned(),
            Err(_) => Err(super::wire::timed_out(deadline)),
        }
    }

    /// Sends the request that `post` makes for the session of `owner`; when the server lost the session, once more in a new one: a
    /// request that names a lost session was not executed.
    pub(super) async fn request(
        self: &Arc<Self>,
        owner: &str,
        id: u64,
        idle: Duration,
        post: impl Fn(&Peer) -> Post,
        mut other: impl FnMut(Incoming),
    ) -> Result<Answer, UpstreamError> {
        let mut again = true;
        loop {
            let peer = self.peer(owner).await?;
            let heard = |message| self.hear(&peer, message, &mut other);
            match self.wire.request(id, post(&peer), idle, heard).await {
                Ok((answer, _)) => return Ok(answer),
                Err(UpstreamError::SessionGone) if again => {
                    again = false;
                    tracing::info!(server = %self.server.id, "the MCP server lost a session; opening a new one");
                    self.sessions.forget(owner, &peer);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// What comes beside an answer: requests are answered at once, a changed list is noted, the rest is the caller's.
    fn hear(self: &Arc<Self>, peer: &Arc<Peer>, message: Incoming, other: &mut impl FnMut(Incoming)) {
        match &message {
            Incoming::Request(id, method) => {
                let (wire, post) = (self.wire.clone(), peer.answer_request(id, method));
                let permit = self.sessions.answers.fetch_add(1, Ordering::Relaxed);
                let upstream = self.clone();
                tokio::spawn(async move {
                    // A server that asks without end is answered only so many times at once.
                    if permit < 64
                        && let Err(e) = wire.notify(post).await
                    {
                        tracing::debug!(server = %upstream.server.id, error = %e, "an MCP server took no answer");
                    }
                    upstream.sessions.answers.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Incoming::Notification(method, _) if method == "notifications/tools/list_changed" => {
                self.catalogs.invalidate();
            }
            _ => other(message),
        }
    }

    /// Tells the server that nobody waits for the answer to `id` any more.
    pub(super) fn cancel(&self, peer: &Peer, id: u64) {
        let (wire, post) = (self.wire.clone(), peer.cancel(id));
        tokio::spawn(async move {
            if let Err(e) = wire.notify(post).await {
                tracing::debug!(error = %e, "an MCP server took no cancellation");
            }
        });
    }

    fn end(&self, old: Arc<Peer>) {
        if old.session.is_some() {
            let wire = self.wire.clone();
            tokio::spawn(async move { wire.end_session(old.post(String::new())).await });
        }
    }
}
