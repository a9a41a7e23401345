//! The gateways: addresses by name, which of them are in order, whose turn it is.

use super::connect::{GatewayClient, Trust};
use arc_swap::ArcSwap;
use http::{Uri, uri::Authority};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How often names are looked up: pods come and go.
const LOOK_UP: Duration = Duration::from_secs(5);
/// The least time between two look-ups, whatever fails.
const LOOK_UP_LEAST: Duration = Duration::from_millis(250);
/// How long a name server may take.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(5);
/// The most gateways that are kept.
const MAX: usize = 256;
/// How long a gateway that failed is passed over: doubled with each failure in a row.
const EJECT: Duration = Duration::from_secs(1);
const EJECT_MOST: Duration = Duration::from_secs(30);

/// Where gateways are, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    scheme: &'static str,
    authority: Authority,
    port: u16,
}

/// Why an upstream is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpstreamError {
    /// Not a URL of the kind that is wanted.
    #[error("--upstream {0:?}: must be https://HOST[:PORT], without a path")]
    Url(String),
    /// The token would travel in clear.
    #[error(
        "--upstream {0:?}: http:// is for loopback only, because the token would travel in clear; use https://"
    )]
    Clear(String),
}

/// The gateways that are known.
#[derive(Debug)]
pub(super) struct Gateways {
    upstreams: Vec<Upstream>,
    trust: Trust,
    all: ArcSwap<Vec<Arc<Gateway>>>,
    turn: AtomicUsize,
    wanted: Notify,
    started: Instant,
}

/// One gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    upstream: Upstream,
    pub(super) client: GatewayClient,
    under_way: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds since the start of the relay.
    ejected_until: AtomicU64,
}

/// A request under way at a gateway; dropped when its answer has ended.
#[derive(Debug)]
pub(super) struct Turn(pub(super) Arc<Gateway>);

// === impl Upstream ===

impl Upstream {
    pub(super) fn parse(url: &str) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError::Url(url.to_owned());
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(wrong)?.clone();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let (scheme, port) = match uri.scheme_str() {
            Some("https") => ("https", 443),
            Some("http") => ("http", 80),
            _ => return Err(wrong()),
        };
        let upstream = Upstream { scheme, port: authority.port_u16().unwrap_or(port), authority };
        let local = upstream.host() == "localhost"
            || upstream.host().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if scheme == "http" && !local {
            return Err(UpstreamError::Clear(url.to_owned()));
        }
        Ok(upstream)
    }

    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The addresses behind the name.
    async fn look_up(&self) -> std::io::Result<Vec<SocketAddr>> {
        let found = tokio::time::timeout(LOOK_UP_DEADLINE, tokio::net::lookup_host((self.host(), self.port)));
        let mut all: Vec<_> =
            found.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??.collect();
        all.sort();
        all.dedup();
        Ok(all)
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

// === impl Gateways ===

impl Gateways {
    pub(super) fn new(upstreams: Vec<Upstream>, trust: Trust) -> Self {
        Gateways {
            upstreams,
            trust,
            all: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            wanted: Notify::new(),
            started: Instant::now(),
        }
    }

    /// Where they are, for messages.
    pub(super) fn names(&self) -> String {
        self.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn count(&self) -> usize {
        self.all.load().len()
    }

    /// Whether there is a gateway that is not passed over now.
    pub(super) fn any_healthy(&self) -> bool {
        let now = self.now();
        self.all.load().iter().any(|g| g.healthy(now))
    }

    /// Waits until names should be looked up again.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(LOOK_UP_LEAST).await;
        // The outcome does not matter: either somebody asked, or it is time.
        drop(tokio::time::timeout(LOOK_UP - LOOK_UP_LEAST, self.wanted.notified()).await);
    }

    /// Looks all names up. Gateways that are still there keep their connections; a name that cannot be looked up keeps its
    /// gateways.
    pub(super) async fn resolve(&self) {
        let old = self.all.load_full();
        let mut new: Vec<Arc<Gateway>> = Vec::new();
        for upstream in &self.upstreams {
            let known = || old.iter().filter(|g| g.upstream == *upstream).cloned();
            match upstream.look_up().await {
                Ok(addresses) if !addresses.is_empty() => new.extend(addresses.into_iter().map(|address| {
                    known().find(|g| g.address == address).unwrap_or_else(|| self.gateway(upstream, address))
                })),
                Ok(_) => new.extend(known()),
                Err(error) => {
                    tracing::warn!(%upstream, %error, "the name cannot be looked up; the gateways known by it stay");
                    new.extend(known());
                }
            }
        }
        new.truncate(MAX);
        let same = old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            tracing::info!(gateways = new.len(), "the gateways have changed");
            self.all.store(Arc::new(new));
        }
    }

    /// Takes a new authority when there is one: with new connections.
    pub(super) fn renew_trust(&self) {
        if self.trust.renew() {
            let all = self.all.load();
            self.all.store(Arc::new(all.iter().map(|g| self.gateway(&g.upstream, g.address)).collect()));
        }
    }

    fn gateway(&self, upstream: &Upstream, address: SocketAddr) -> Arc<Gateway> {
        Arc::new(Gateway {
            address,
            upstream: upstream.clone(),
            client: self.trust.client(address),
            under_way: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
        })
    }

    /// The gateway for the next try: of those in order and not `tried` the one with the least under way, in turn. When none is in
    /// order any is better than none.
    pub(super) fn pick(&self, tried: &[SocketAddr]) -> Option<Turn> {
        let (all, now) = (self.all.load(), self.now());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let rotated = all.iter().cycle().skip(turn % all.len().max(1)).take(all.len());
        let order = |g: &&Arc<Gateway>| (!g.healthy(now), g.under_way.load(Ordering::Relaxed));
        let best = rotated.filter(|g| !tried.contains(&g.address)).min_by_key(order)?;
        best.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Turn(best.clone()))
    }

    /// A gateway could not be reached, or broke off.
    pub(super) fn failed(&self, gateway: &Gateway) {
        let failures = gateway.failures.fetch_add(1, Ordering::Relaxed);
        let pause = EJECT.saturating_mul(1 << failures.min(8)).min(EJECT_MOST);
        let until = self.now() + pause.as_millis() as u64;
        gateway.ejected_until.store(until, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    /// A gateway answered.
    pub(super) fn answered(&self, gateway: &Gateway) {
        if gateway.failures.load(Ordering::Relaxed) > 0 {
            gateway.failures.store(0, Ordering::Relaxed);
            gateway.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

// === impl Gateway ===

impl Gateway {
    /// The URI of a request at this gateway.
    pub(super) fn uri(&self, of: &Uri) -> Result<Uri, http::Error> {
        let path = of.path_and_query().map_or("/", |p| p.as_str());
        Uri::builder()
            .scheme(self.upstream.scheme)
            .authority(self.upstream.authority.clone())
            .path_and_query(path)
            .build()
    }

    fn healthy(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) <= now
    }
}

// === impl Turn ===

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(urls: &[&str]) -> Gateways {
        let upstreams = urls.iter().map(|u| Upstream::parse(u).unwrap()).collect();
        Gateways::new(upstreams, Trust::new(None, None, None).unwrap())
    }

    #[test]
    fn upstreams_are_origins_and_tokens_do_not_travel_in_clear() {
        for good in
            ["https://tollgate.tollgate-system:8443", "https://a/", "http://127.0.0.1:1", "http://[::1]:1"]
        {
            Upstream::parse(good).unwrap();
        }
        assert_eq!(Upstream::parse("https://a.b").unwrap().port, 443);
        for bad in ["", "a:1", "ftp://a", "https://a/b", "https://a?b", "https://u@a"] {
            assert!(matches!(Upstream::parse(bad), Err(UpstreamError::Url(_))), "{bad}");
        }
        for clear in ["http://tollgate", "http://10.0.0.1"] {
            assert!(matches!(Upstream::parse(clear), Err(UpstreamError::Clear(_))), "{clear}");
        }
    }

    #[tokio::test]
    async fn the_least_loaded_is_next_and_a_failing_one_is_passed_over() {
        let all = gateways(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]);
        assert!(all.pick(&[]).is_none() && !all.any_healthy());
        all.resolve().await;
        let mut turns: Vec<Turn> = (0..3).map(|_| all.pick(&[]).unwrap()).collect();
        let mut ports: Vec<u16> = turns.iter().map(|t| t.0.address.port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3]);
        let done = turns.remove(1);
        let port = done.0.address.port();
        drop(done);
        assert_eq!(all.pick(&[]).unwrap().0.address.port(), port);
        let bad = all.pick(&[]).unwrap();
        all.failed(&bad.0);
        drop(bad);
        assert!((0..6).all(|_| all.pick(&[]).unwrap().0.address.port() != port));
        for turn in &turns {
            all.failed(&turn.0);
        }
        assert!(!all.any_healthy());
        assert!(all.pick(&[]).is_some(), "any is better than none");
        let tried: Vec<SocketAddr> = all.all.load().iter().map(|g| g.address).collect();
        assert!(all.pick(&tried).is_none());
        all.answered(&turns[0].0);
        assert_eq!(all.pick(&[]).unwrap().0.address, turns[0].0.address);
        // What is known stays known.
        let before = all.all.load_full();
        all.resolve().await;
        assert!(Arc::ptr_eq(&before, &all.all.load_full()));
    }
}
