//! The cached tool list of one server: fetched by one task at a time, served stale rather than not at all.

use super::{sessions::GATEWAY, upstream::Upstream};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tollgate_mcp::{
    list::{BOUNDS, Listing, Walk},
    upstream::UpstreamError,
};

/// How long a list is good without asking again.
const TTL: Duration = Duration::from_secs(60);
/// How long a server that failed is left alone, and how soon a list is asked for again because a tool is not in it.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// How long a list waits for a server that has answered before: then its last good list does.
const PATIENCE_GOOD: Duration = Duration::from_secs(2);
/// How long it waits for one that failed when it was last asked.
const PATIENCE_FAILED: Duration = Duration::from_secs(1);

/// What a server has.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) listing: Listing,
    pub(super) instructions: Option<String>,
}

/// The last list of a server, and the fetching of the next.
#[derive(Debug, Default)]
pub(super) struct Catalogs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    good: Option<(Arc<Catalog>, Instant)>,
    failed: Option<(UpstreamError, Instant)>,
    /// How often it has failed since it answered.
    failures: u32,
    flight: Option<watch::Receiver<()>>,
}

/// How a server was when it was last asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Its tools, and how long ago they were listed.
    pub(super) good: Option<(usize, Duration)>,
    /// Why it did not answer after that, and how long ago.
    pub(super) failed: Option<(String, Duration)>,
    /// How often it has not answered in a row.
    pub(super) failures: u32,
    /// It is being asked now.
    pub(super) under_way: bool,
}

// === impl Catalogs ===

impl Catalogs {
    /// How the server was when it was last asked.
    pub(super) fn asked(&self) -> Asked {
        let state = self.0.lock();
        Asked {
            good: state.good.as_ref().map(|(c, at)| (c.listing.tools().len(), at.elapsed())),
            failed: state.failed.as_ref().map(|(error, at)| (error.to_string(), at.elapsed())),
            failures: state.failures,
            under_way: state.flight.as_ref().is_some_and(|f| f.has_changed().is_ok()),
        }
    }

    /// The server said that its list changed.
    pub(super) fn invalidate(&self) {
        if let Some((_, at)) = &mut self.0.lock().good
            && let Some(past) = at.checked_sub(TTL)
        {
            *at = past;
        }
    }

    /// The last good list, however old.
    pub(super) fn last(&self) -> Option<Arc<Catalog>> {
        self.0.lock().good.as_ref().map(|(catalog, _)| catalog.clone())
    }

    /// A list younger than `age`; `None`: ask the server.
    fn fresh(&self, age: Duration) -> Option<Result<Arc<Catalog>, UpstreamError>> {
        let state = self.0.lock();
        match (&state.good, &state.failed) {
            (Some((catalog, at)), _) if at.elapsed() < age => Some(Ok(catalog.clone())),
            (Some((catalog, _)), Some((_, at))) if at.elapsed() < PAUSE => Some(Ok(catalog.clone())),
            (None, Some((error, at))) if at.elapsed() < PAUSE => Some(Err(error.clone())),
            _ => None,
        }
    }

    /// How long a caller waits for the list: the fetching goes on without it.
    fn patience(&self, deadline: Duration) -> Duration {
        let state = self.0.lock();
        match (&state.good, &state.failed) {
            (Some(_), None) => deadline.min(PATIENCE_GOOD),
            (_, Some(_)) => deadline.min(PATIENCE_FAILED),
            // The task has the same deadline and ends by itself.
            (None, None) => deadline.saturating_mul(2),
        }
    }

    /// What there is after asking the server: the list, or its last good one, or why there is none.
    fn outcome(&self) -> Result<Arc<Catalog>, UpstreamError> {
        let state = self.0.lock();
        match (&state.good, &state.failed) {
            (Some((catalog, _)), _) => Ok(catalog.clone()),
            (None, Some((error, _))) => Err(error.clone()),
            (None, None) => Err(UpstreamError::Connection("its tools could not be listed".into())),
        }
    }

    fn settle(&self, outcome: Result<Catalog, UpstreamError>) {
        let mut state = self.0.lock();
        state.flight = None;
        match outcome {
            Ok(catalog) => {
                state.good = Some((Arc::new(catalog), Instant::now()));
                (state.failed, state.failures) = (None, 0);
            }
            Err(error) => {
                state.failed = Some((error, Instant::now()));
                state.failures = state.failures.saturating_add(1);
            }
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// The server's list, no older than a minute if it answers.
    pub(super) async fn catalog(self: &Arc<Self>) -> Result<Arc<Catalog>, UpstreamError> {
        self.catalog_within(TTL).await
    }

    /// The server's list, no older than `age` if it answers in time; otherwise its last good one.
    pub(super) async fn catalog_within(
        self: &Arc<Self>,
        age: Duration,
    ) -> Result<Arc<Catalog>, UpstreamError> {
        if let Some(fresh) = self.catalogs.fresh(age) {
            return fresh;
        }
        let patience = self.catalogs.patience(self.server.timeouts.list);
        let mut flight = self.fetch();
        // Done or not, what there is now is the answer; an error only means that the task is done.
        _ = tokio::time::timeout(patience, flight.changed()).await;
        self.catalogs.outcome()
    }

    /// Begins to fetch the list, unless that is going on. The task goes on when those who wait go away.
    pub(super) fn fetch(self: &Arc<Self>) -> watch::Receiver<()> {
        let mut state = self.catalogs.0.lock();
        if let Some(flight) = state.flight.as_ref().filter(|f| f.has_changed().is_ok()) {
            return flight.clone();
        }
        let (done, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        drop(state);
        let upstream = self.clone();
        tokio::spawn(async move {
            let deadline = upstream.server.timeouts.list;
            let walked = tokio::time::timeout(deadline, upstream.walk()).await;
            let outcome = walked.unwrap_or_else(|_| Err(super::wire::timed_out(deadline)));
            upstream.log(&outcome);
            upstream.catalogs.settle(outcome);
            drop(done);
        });
        flight
    }

    async fn walk(self: &Arc<Self>) -> Result<Catalog, UpstreamError> {
        let idle = self.server.timeouts.list;
        let peer = self.peer(GATEWAY).await?;
        let mut walk = Walk::new(self.server.id.name(), BOUNDS);
        let mut more = peer.has_tools;
        while more {
            let id = self.wire.next_id();
            let params = walk.params();
            let page = self.request(GATEWAY, id, idle, |peer| peer.list_tools(id, &params), |_| ()).await?;
            let result = page.outcome().map_err(|e| UpstreamError::Refused("tools/list", e))?;
            more = walk.page(result).map_err(|e| UpstreamError::Malformed(e.to_string()))?;
        }
        Ok(Catalog { listing: walk.finish(), instructions: peer.instructions.clone() })
    }

    fn log(&self, outcome: &Result<Catalog, UpstreamError>) {
        let server = &self.server.id;
        match outcome {
            Ok(catalog) => {
                let (tools, list) = (catalog.listing.tools().len(), &catalog.listing);
                tracing::debug!(%server, tools, "listed an MCP server's tools");
                if list.truncated || !list.dropped.is_empty() {
                    tracing::warn!(%server, truncated = list.truncated, dropped = ?list.dropped, "some of an MCP server's tools were left out");
                }
            }
            Err(error) => tracing::warn!(%server, %error, "an MCP server's tools could not be listed"),
        }
    }
}
