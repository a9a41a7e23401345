//! The HTTP client for providers and MCP servers: to which addresses it connects, and how it notices that nobody is there any more.

use crate::body::Body;
use http::{Request, Uri, uri::Scheme};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Builder, Client, ResponseFuture,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    error::Error,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::{BoxError, Service};

/// A pooled client for HTTP/1.1 and, where TLS negotiates it, HTTP/2. Cloning shares the pools. It follows no redirects.
#[derive(Debug, Clone)]
pub struct HttpClient {
    secure: Pool,
    plain: Pool,
}

/// The connections of one scheme.
type Pool = Client<Timed<HttpsConnector<Guarded>>, Body>;

/// Which addresses an upstream may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reach {
    /// Of the public internet only: whoever writes the manifest is not trusted with this network.
    #[default]
    Public,
    /// Any.
    Private,
}

/// When a connection counts as dead. Without this a connection that a NAT or a load balancer has forgotten takes requests until
/// the kernel gives up on it, a quarter of an hour later.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// HTTP/2: how long the peer may be silent, while an answer is waited for, before it is asked whether it is there.
    pub ping: Duration,
    /// HTTP/2: how long it may take to say so.
    pub pong: Duration,
    /// TCP: how long the peer may be silent before its kernel is asked.
    pub tcp_idle: Duration,
    /// TCP: how long until it is asked again, [`KeepAlive::tcp_probes`] times in all.
    pub tcp_interval: Duration,
    /// TCP: after how many questions without an answer the connection is dead.
    pub tcp_probes: u32,
    /// TCP: how long what was sent may stay unacknowledged. Linux only.
    pub tcp_unacknowledged: Duration,
}

/// How connections to upstreams, and those of a relay to its gateways, are kept alive.
pub const KEEP_ALIVE: KeepAlive = KeepAlive {
    ping: Duration::from_secs(15),
    pong: Duration::from_secs(10),
    tcp_idle: Duration::from_secs(30),
    tcp_interval: Duration::from_secs(10),
    tcp_probes: 3,
    tcp_unacknowledged: Duration::from_secs(30),
};

/// How long an unused connection is kept: below the 60 s after which common load balancers drop one silently.
pub const POOL_IDLE: Duration = Duration::from_secs(50);
/// The same without TLS, where no load balancer stands between, but servers that close an unused connection after 5 s (uvicorn, and so
/// vLLM and most MCP servers in Python; Node.js): a request that meets the closing may have been worked on, and cannot be sent again.
const POOL_IDLE_PLAIN: Duration = Duration::from_secs(4);

/// A name that leads to no address of the public internet, asked for by somebody who may reach only these. The address is not told:
/// it would be a way to read this network's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} leads to a private or cluster address, which the operator's configuration does not allow")]
pub struct NotPublic {
    /// The host of the URL.
    pub host: String,
}

/// Looks names up, and leaves out the addresses that must not be reached. It is asked for each new connection, and what it says is
/// what is connected to: a name that changes its address in between gains nothing.
#[derive(Debug, Clone)]
pub struct Resolver {
    inner: GaiResolver,
    reach: Reach,
}

/// Connects, within [`Reach`]: names by the [`Resolver`], addresses in URLs here.
#[derive(Debug, Clone)]
pub struct Guarded {
    tcp: HttpConnector<Resolver>,
    reach: Reach,
}

/// Connects within a time: name resolution, TCP and TLS together. A server that accepts and then says nothing is one that cannot be
/// connected to.
#[derive(Clone)]
pub struct Timed<C> {
    inner: C,
    limit: Duration,
}

/// How many names are looked up at once, each by a thread of the runtime's that nothing can call back: a name server that says
/// nothing must leave some for files. A lookup that nobody waits for any more counts until it ends.
static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MOST_LOOKUPS)));
/// Half of the threads that tokio makes for such work.
const MOST_LOOKUPS: usize = 256;

/// One TLS configuration for all clients, so that they share the cache of TLS sessions.
static TLS: LazyLock<Result<rustls::ClientConfig, rustls::Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_roots()
        .with_no_client_auth())
});

/// A client that gives up connecting after `connect_timeout` (name resolution, TCP and TLS) and connects only within `reach`. Trusts the
/// public web's roots; `http` and `https`.
///
/// # Errors
/// When the TLS library was built without the protocol versions it needs.
pub fn http_client(connect_timeout: Duration, reach: Reach) -> Result<HttpClient, rustls::Error> {
    let tls = TLS.as_ref().map_err(Clone::clone)?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(Guarded::new(connect_timeout, reach, &KEEP_ALIVE));
    let connector = Timed::new(connector, connect_timeout);
    Ok(HttpClient::new(connector, POOL_IDLE, POOL_IDLE_PLAIN))
}

/// A client's settings: its pool, and HTTP/2's questions to a silent peer.
pub(crate) fn pool(keep: &KeepAlive) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(keep.ping)
        .http2_keep_alive_timeout(keep.pong);
    builder
}

/// The error of type `E` that is behind `error`, if there is one.
pub fn caused_by<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(found) = this.downcast_ref() {
            return Some(found);
        }
        error = this.source();
    }
    None
}

// === impl HttpClient ===

impl HttpClient {
    fn new(connector: Timed<HttpsConnector<Guarded>>, secure: Duration, plain: Duration) -> Self {
        let pool = |idle| pool(&KEEP_ALIVE).pool_idle_timeout(idle).build(connector.clone());
        HttpClient { secure: pool(secure), plain: pool(plain) }
    }

    /// Sends a request, and waits for the head of the answer.
    pub fn request(&self, request: Request<Body>) -> ResponseFuture {
        let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
        if secure { &self.secure } else { &self.plain }.request(request)
    }
}

// === impl KeepAlive ===

impl KeepAlive {
    /// Sets TCP's part on a socket that is connected already.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn set_on(&self, stream: &tokio::net::TcpStream) -> std::io::Result<()> {
        let socket = socket2::SockRef::from(stream);
        let probes = socket2::TcpKeepalive::new()
            .with_time(self.tcp_idle)
            .with_interval(self.tcp_interval)
            .with_retries(self.tcp_probes);
        socket.set_tcp_keepalive(&probes)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.tcp_unacknowledged))?;
        Ok(())
    }
}

// === impl Reach ===

impl Reach {
    /// Private addresses too, if `allowed`.
    pub fn private_if(allowed: bool) -> Self {
        if allowed { Reach::Private } else { Reach::Public }
    }

    fn allows(self, address: IpAddr) -> bool {
        self == Reach::Private || !tollgate_proto::address::is_private(address)
    }
}

// === impl Resolver ===

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (mut inner, reach) = (self.inner.clone(), self.reach);
        Box::pin(async move {
            let host = name.clone();
            let permit = LOOKUPS.clone().acquire_owned().await?;
            let asked = tokio::spawn(async move {
                let found = inner.call(name).await;
                drop(permit);
                found
            });
            Ok(within(reach, host.as_str(), asked.await??)?.into_iter())
        })
    }
}

/// Those of `found` that may be reached. A name that has none left is refused; one that has no address at all is not this
/// function's to tell.
fn within(
    reach: Reach,
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, NotPublic> {
    let mut refused = false;
    let allowed = found.filter(|address| {
        let allowed = reach.allows(address.ip());
        refused |= !allowed;
        allowed
    });
    let allowed: Vec<_> = allowed.collect();
    if allowed.is_empty() && refused {
        tracing::warn!(host, "an upstream's name leads to a private address only; refused");
        return Err(NotPublic { host: host.to_owned() });
    }
    Ok(allowed)
}

// === impl Guarded ===

impl Guarded {
    pub(crate) fn new(connect_timeout: Duration, reach: Reach, keep: &KeepAlive) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver { inner: GaiResolver::new(), reach });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out among the addresses of a name: one that does not answer leaves time for the next. `Timed` bounds the whole.
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(keep.tcp_idle));
        tcp.set_keepalive_interval(Some(keep.tcp_interval));
        tcp.set_keepalive_retries(Some(keep.tcp_probes));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(keep.tcp_unacknowledged));
        Guarded { tcp, reach }
    }
}

impl Service<Uri> for Guarded {
    type Response = <HttpConnector<Resolver> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        // The resolver is not asked about these.
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|address| !self.reach.allows(address)) {
            let refused = NotPublic { host: host.to_owned() };
            return Box::pin(async move { Err(refused.into()) });
        }
        let connecting = self.tcp.call(uri);
        Box::pin(async move { Ok(connecting.await?) })
    }
}

// === impl Timed ===

impl<C> Timed<C> {
    /// `inner`, given up after `limit`.
    pub(crate) fn new(inner: C, limit: Duration) -> Self {
        Timed { inner, limit }
    }
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(uri), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {limit:?}").into()),
            }
        })
    }
}

impl<C> std::fmt::Debug for Timed<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
