//! The services, their bounds and their end.

use super::{
    auth::{Authenticate, DenyAll, Identity, identify},
    diff::Limits,
    listen::{self, CertificateSource},
    places::{Place, Places},
    publish::{Pace, Published, publish},
    reports::{Entry, Nodes, Passed, TooMany, believed},
    stream::{Heard, Stream},
    view::{Everything, View},
};
use futures_util::StreamExt as _;
use std::{hash::BuildHasher, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tollgate_proto::{
    Kind, Resources,
    discovery::{
        MAX_MESSAGE, MAX_NODE_ID,
        v1::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, NodeReport, ReportEnd,
            aggregated_discovery_server::{AggregatedDiscovery, AggregatedDiscoveryServer},
            reports_server::{Reports, ReportsServer},
        },
    },
};
use tonic::{Code, Request, Response, Status, Streaming, transport};

/// How the streams are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The certificate. `None`: no TLS, which is allowed on loopback only: secrets and tokens travel here.
    pub certificate: Option<CertificateSource>,
    /// Who may connect. The default is nobody.
    pub auth: Arc<dyn Authenticate>,
    /// What each may see.
    pub view: Arc<dyn View>,
    /// When changes are published.
    pub pace: Pace,
    /// The size of responses.
    pub limits: Limits,
    /// A stream ends after about this long (nine to eleven tenths of it): gateways spread over replicas again, and their
    /// tokens are checked again.
    pub max_age: Duration,
    /// A response must be answered within this time, and a stream begin with a subscription.
    pub patience: Duration,
    /// A connection that says nothing is asked this often whether it is there.
    pub keepalive: Duration,
    /// The most streams, of both services together.
    pub max_streams: usize,
    /// The ServiceAccount (namespace and name) of the operator itself: its replicas pass on reports, and get no resources.
    pub replicas: Option<(String, String)>,
}

/// Why the streams cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No TLS where others can listen.
    #[error("{0} is not a loopback address: there the stream needs TLS (--tls-cert, --tls-key)")]
    Plaintext(SocketAddr),
    /// No usable certificate.
    #[error(transparent)]
    Certificate(#[from] listen::CertificateError),
    /// The socket failed.
    #[error("the listener failed: {0}")]
    Socket(#[from] std::io::Error),
    /// The server failed.
    #[error("the server failed: {0}")]
    Transport(#[from] transport::Error),
}

/// Serves resources to gateways, and takes their reports.
#[derive(Debug, Clone)]
pub struct Server {
    published: watch::Receiver<Arc<Published>>,
    nodes: Arc<Nodes>,
    options: Arc<Options>,
    places: Arc<Places>,
    stop: CancellationToken,
}

/// One gateway's stream, while it runs.
struct Session {
    server: Server,
    identity: Identity,
    state: Stream,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    _place: Place,
}

/// Who reports on one stream.
enum Reporter {
    Gateway(Entry),
    /// A gateway in a tenant's pod.
    Workload(Entry, Server, Identity),
    Replica(Passed),
}

/// Why a stream ends.
enum End {
    /// The client is gone, or it is told by a proper end: the stream is old, or the server stops.
    Quiet,
    /// The client is told why.
    Told(Status),
}

impl Default for Options {
    fn default() -> Self {
        Options {
            certificate: None,
            auth: Arc::new(DenyAll),
            view: Arc::new(Everything),
            pace: Pace::default(),
            limits: Limits::default(),
            max_age: Duration::from_secs(30 * 60),
            patience: Duration::from_secs(30),
            keepalive: Duration::from_secs(20),
            max_streams: 4096,
            replicas: None,
        }
    }
}

// === impl Server ===

impl Server {
    /// Serves what `resources` holds, until `stop`. Must be called within a runtime.
    pub fn new(
        resources: watch::Receiver<Arc<Resources>>,
        options: Options,
        stop: CancellationToken,
    ) -> Self {
        Self::with_nodes(resources, Arc::default(), options, stop)
    }

    /// The same, with a table of gateways that others hold already.
    pub fn with_nodes(
        resources: watch::Receiver<Arc<Resources>>,
        nodes: Arc<Nodes>,
        options: Options,
        stop: CancellationToken,
    ) -> Self {
        Server {
            published: publish(resources, options.pace),
            nodes,
            places: Places::new(options.max_streams),
            options: Arc::new(options),
            stop,
        }
    }

    /// The gateways that report to this server.
    pub fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// Serves on `listener`.
    ///
    /// # Errors
    /// When the address needs TLS and there is no usable certificate, or the socket fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        let (stop, keepalive) = (self.stop.clone(), self.options.keepalive);
        let discovery = AggregatedDiscoveryServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE);
        let reports = ReportsServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE);
        let router = transport::Server::builder()
            .http2_keepalive_interval(Some(keepalive))
            .http2_keepalive_timeout(Some(keepalive / 2))
            .max_concurrent_streams(16)
            .add_service(discovery)
            .add_service(reports);
        let stopped = stop.clone().cancelled_owned();
        match self.options.certificate.clone() {
            Some(source) => {
                let connections = listen::tls(listener, source, listen::HTTP2, stop)?;
                router.serve_with_incoming_shutdown(connections, stopped).await?;
            }
            None if address.ip().is_loopback() => {
                let connections = listen::plain(listener, stop);
                router.serve_with_incoming_shutdown(connections, stopped).await?;
            }
            None => return Err(ServeError::Plaintext(address)),
        }
        Ok(())
    }

    /// Who calls, and the right to one more stream.
    async fn admit<T>(&self, request: &Request<T>) -> Result<(Identity, Place), Status> {
        let check = identify(&*self.options.auth, request.metadata());
        let checked = timeout(self.options.patience, check).await;
        let identity = checked
            .unwrap_or_else(|_| Err(Status::unavailable("the token could not be checked in time")))
            .inspect_err(|status| {
                tracing::warn!(peer = ?request.remote_addr(), reason = status.message(), "a gateway is refused");
            })?;
        let view = &self.options.view;
        let admitted = match self.is_replica(&identity) {
            true => Ok(()),
            false => view.admit(&identity, &self.published.borrow()),
        };
        if let Err(reason) = admitted {
            tracing::warn!(gateway = %identity, peer = ?request.remote_addr(), %reason, "a stranger is refused");
            return Err(Status::permission_denied(reason));
        }
        let place = match self.is_replica(&identity) || view.is_whole(&identity) {
            true => self.places.whole(),
            false => self.places.partial(&identity),
        };
        let place = place.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        Ok((identity, place))
    }

    /// What `identity` sees now.
    fn view_of(&self, identity: &Identity) -> Arc<Published> {
        let all = self.published.borrow().clone();
        self.options.view.view(identity, &all)
    }

    /// Whether it is a replica of the operator.
    fn is_replica(&self, identity: &Identity) -> bool {
        self.options.replicas.as_ref().is_some_and(|(namespace, service_account)| {
            *namespace == identity.namespace && *service_account == identity.service_account
        })
    }

    /// When a stream that begins now ends.
    fn end(&self) -> Instant {
        // A hasher with random keys is randomness enough to spread ends in time.
        let random = std::hash::RandomState::new().hash_one(0_u8);
        Instant::now() + age(self.options.max_age, random)
    }
}

/// How long a stream may live: nine to eleven tenths of `max_age`, by a random number.
fn age(max_age: Duration, random: u64) -> Duration {
    let spread = max_age / 5;
    max_age - spread / 2 + spread * ((random % 1024) as u32) / 1024
}

#[tonic::async_trait]
impl AggregatedDiscovery for Server {
    type DeltaResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaResourcesStream>, Status> {
        let (identity, place) = self.admit(&request).await?;
        if self.is_replica(&identity) {
            return Err(Status::permission_denied("the operator's own ServiceAccount is not a gateway's"));
        }
        let (responses, receiver) = mpsc::channel(4);
        let session = Session {
            server: self.clone(),
            identity,
            state: Stream::new(self.options.limits),
            requests: request.into_inner(),
            responses,
            _place: place,
        };
        tokio::spawn(session.run());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Reports for Server {
    async fn report(&self, request: Request<Streaming<NodeReport>>) -> Result<Response<ReportEnd>, Status> {
        let (identity, _place) = self.admit(&request).await?;
        let mut reporter = match self.is_replica(&identity) {
            true => Reporter::Replica(self.nodes.pass(identity)),
            false if self.options.view.is_whole(&identity) => Reporter::Gateway(self.nodes.enter(identity)),
            false => Reporter::Workload(self.nodes.enter_bounded(identity.clone()), self.clone(), identity),
        };
        let mut reports = request.into_inner();
        let end = self.end();
        loop {
            tokio::select! {
                report = reports.message() => match report? {
                    Some(report) => reporter.take(report).map_err(|e| Status::resource_exhausted(e.to_string()))?,
                    None => return Ok(Response::new(ReportEnd {})),
                },
                () = sleep_until(end) => return Ok(Response::new(ReportEnd {})),
                () = self.stop.cancelled() => return Ok(Response::new(ReportEnd {})),
            }
        }
    }
}

// === impl Reporter ===

impl Reporter {
    fn take(&mut self, report: NodeReport) -> Result<(), TooMany> {
        match self {
            Reporter::Gateway(entry) => entry.take(report),
            Reporter::Workload(entry, server, identity) => {
                entry.take(believed(report, identity, &server.view_of(identity)))
            }
            Reporter::Replica(passed) => passed.take(report),
        }
    }
}

// === impl Session ===

impl Session {
    async fn run(mut self) {
        tracing::debug!(gateway = %self.identity, "a gateway's stream begins");
        if let End::Told(status) = self.serve().await {
            tracing::warn!(gateway = %self.identity, reason = status.message(), "a gateway's stream is ended");
            // When the client does not read, it learns it from the end of the stream.
            drop(self.responses.try_send(Err(status)));
        }
    }

    async fn serve(&mut self) -> End {
        let mut published = self.server.published.clone();
        let mut want = self.see(&mut published);
        let end = self.server.end();
        let patience = self.server.options.patience;
        let mut deadline = Instant::now() + patience;
        let whole = self.server.options.view.is_whole(&self.identity);
        loop {
            while let Some(response) = self.state.next(&want) {
                let response = DeltaDiscoveryResponse { whole, ..response };
                deadline = Instant::now() + patience;
                self.tell(&response);
                match timeout(patience, self.responses.send(Ok(response))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return End::Quiet,
                    Err(_) => return End::Told(Status::deadline_exceeded("responses are not read")),
                }
            }
            let owed = self.state.is_waiting() || !self.state.is_subscribed();
            tokio::select! {
                request = self.requests.next() => match request {
                    Some(Ok(request)) => {
                        deadline = Instant::now() + patience;
                        if let Err(status) = self.hear(request) {
                            return End::Told(status);
                        }
                    }
                    // More than a message may be; other errors are those of a client that has gone.
                    Some(Err(status)) if status.code() == Code::OutOfRange => return End::Told(status),
                    Some(Err(_)) | None => return End::Quiet,
                },
                changed = published.changed() => match changed {
                    Ok(()) => want = self.see(&mut published),
                    // The source is gone: the operator is about to end.
                    Err(_) => return End::Quiet,
                },
                () = sleep_until(deadline), if owed => {
                    return End::Told(Status::deadline_exceeded("a response was not answered in time"));
                }
                () = sleep_until(end) => return End::Quiet,
                () = self.server.stop.cancelled() => return End::Quiet,
            }
        }
    }

    fn tell(&self, response: &DeltaDiscoveryResponse) {
        tracing::debug!(
            gateway = %self.identity,
            resources = response.resources.len(),
            removed = response.removed_resources.len(),
            bytes = prost::Message::encoded_len(response),
            kind = Kind::of_type_url(&response.type_url).map_or("unknown", Kind::as_str),
            "resources are sent"
        );
    }

    fn see(&self, published: &mut watch::Receiver<Arc<Published>>) -> Arc<Published> {
        let all = published.borrow_and_update().clone();
        self.server.options.view.view(&self.identity, &all)
    }

    fn hear(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if let Some(node) = &request.node {
            let id: String = node.id.chars().take(MAX_NODE_ID).collect();
            tracing::info!(gateway = %self.identity, id, "a gateway connected");
        }
        let heard = self.state.hear(request).map_err(|e| Status::invalid_argument(e.to_string()))?;
        if let Heard::Nack(rejected) = heard {
            for rejected in rejected {
                let (name, reason) = (rejected.name, rejected.error);
                tracing::warn!(gateway = %self.identity, %name, %reason, "a gateway rejected a resource");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_end_at_different_times_around_the_age() {
        let most = Duration::from_secs(1000);
        let ages = (0..1024).map(|random| age(most, random));
        let (least, longest) = (ages.clone().min().unwrap(), ages.clone().max().unwrap());
        assert_eq!(least, most * 9 / 10);
        assert!(longest > most * 109 / 100 && longest < most * 11 / 10, "{longest:?}");
        // Evenly: a tenth of them in each tenth of the time.
        let early = ages.filter(|age| *age < most * 92 / 100).count();
        assert!((100..=105).contains(&early), "{early}");
    }

    #[tokio::test]
    async fn each_stream_has_an_end_of_its_own() {
        let (_sender, resources) = watch::channel(Arc::default());
        let server = Server::new(resources, Options::default(), CancellationToken::new());
        let (begin, most) = (Instant::now(), Options::default().max_age);
        let mut ends: Vec<_> = (0..200).map(|_| server.end().duration_since(begin)).collect();
        assert!(ends.iter().all(|end| *end >= most * 9 / 10 && *end < most * 12 / 10), "{ends:?}");
        ends.sort();
        // In each half of the time some: they do not come back together.
        assert!(ends[20] < most && ends[180] > most, "{ends:?}");
    }
}
