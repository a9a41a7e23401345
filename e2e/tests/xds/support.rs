//! A real operator, real gateways' clients, and a bare client that sees the wire.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tollgate_dataplane::{
    config::xds::{self, Source, Status},
    model::ObjectId,
    snapshot::Snapshot,
};
use tollgate_operator::xds::{
    Nodes, Options, Server, TokenFile,
    listen::CertificateFiles,
    reports,
    server::{ServeError, Server as OperatorServer},
};
use tollgate_proto::{
    Kind, Resource, Resources,
    discovery::v1::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, NodeReport,
        aggregated_discovery_client::AggregatedDiscoveryClient, reports_client::ReportsClient,
    },
    v1,
};

/// The token that every operator here takes.
pub(crate) const TOKEN: &str = "the-token-of-these-tests";
/// How long anything may take before the test fails.
const BOUND: Duration = Duration::from_secs(60);

/// An operator that serves.
pub(crate) struct Operator {
    files: TempDir,
    tls: bool,
    port: u16,
    resources: watch::Sender<Arc<Resources>>,
    nodes: Arc<Nodes>,
    stop: tokio_util::sync::CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// A gateway's files; they stay for as long as the gateway.
pub(crate) struct Place(Arc<TempDir>);

/// A gateway that follows an operator.
pub(crate) struct Gateway(Source, #[expect(dead_code, reason = "held, not read")] Arc<TempDir>);

/// A client that shows what travels; it subscribes to keys.
pub(crate) struct Wire {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: tonic::Streaming<DeltaDiscoveryResponse>,
}

pub(crate) fn key(name: &str, default_route: &str) -> Resource {
    let key = v1::VirtualKey {
        namespace: "n".into(),
        name: name.into(),
        default_route: default_route.into(),
        ..Default::default()
    };
    key.into()
}

/// A key that no gateway takes: its budget has no window.
pub(crate) fn bad_key(name: &str) -> Resource {
    let budgets = vec![v1::Budget { name: "b".into(), ..Default::default() }];
    v1::VirtualKey { namespace: "n".into(), name: name.into(), budgets, ..Default::default() }.into()
}

pub(crate) fn secret(name: &str) -> Resource {
    let data = [("apiKey".to_owned(), b"sk-secret".to_vec())].into();
    v1::Secret { namespace: "n".into(), name: name.into(), data }.into()
}

/// A Secret of so many bytes.
pub(crate) fn large_secret(bytes: usize) -> Resource {
    let data = [("apiKey".to_owned(), vec![b'x'; bytes])].into();
    v1::Secret { namespace: "n".into(), name: "large".into(), data }.into()
}

/// Who has so many bytes to say of itself.
pub(crate) fn node(bytes: usize) -> Node {
    Node { id: "gateway-2".to_owned(), metadata: [("words".to_owned(), "x".repeat(bytes))].into() }
}

/// Sends one report of so many bytes, and ends.
pub(crate) async fn report(operator: &Operator, bytes: usize) -> Result<(), tonic::Status> {
    let report = NodeReport { node: Some(node(bytes)), ..Default::default() };
    let call = authorized(tokio_stream::iter([report]));
    ReportsClient::new(operator.channel().await).report(call).await.map(drop)
}

fn authorized<T>(message: T) -> tonic::Request<T> {
    let mut call = tonic::Request::new(message);
    call.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    call
}

pub(crate) fn route(name: &str, secret: &str) -> Resource {
    let backend = v1::Backend {
        name: "b".into(),
        provider: v1::Provider::Anthropic.into(),
        credentials: Some(v1::SecretRef { name: secret.into(), key: "apiKey".into() }),
        ..Default::default()
    };
    let backends = vec![backend];
    v1::ProviderRoute { namespace: "n".into(), name: name.into(), backends, ..Default::default() }.into()
}

pub(crate) fn resources(all: impl IntoIterator<Item = Resource>) -> Arc<Resources> {
    Arc::new(all.into_iter().collect())
}

pub(crate) fn encoded_len(response: &DeltaDiscoveryResponse) -> usize {
    prost::Message::encoded_len(response)
}

/// An authority, and a certificate of it with its key, as PEM.
pub(crate) fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

/// What comes of serving without TLS on all addresses.
pub(crate) async fn serve_everywhere() -> Result<(), ServeError> {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (_sender, receiver) = watch::channel(Arc::default());
    let stop = tokio_util::sync::CancellationToken::new();
    OperatorServer::new(receiver, Options::default(), stop).serve(listener).await
}

async fn until(what: &str, mut check: impl FnMut() -> bool, show: impl Fn() -> String) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < BOUND, "not within {BOUND:?}: {what}; {}", show());
        sleep(Duration::from_millis(5)).await;
    }
}

// === impl Operator ===

impl Operator {
    pub(crate) async fn start(resources: Arc<Resources>) -> Self {
        Self::start_with(resources, |_| {}).await
    }

    pub(crate) async fn start_on(port: u16, resources: Arc<Resources>) -> Self {
        Self::serve(port, resources, false, |_| {}).await
    }

    pub(crate) async fn start_tls(resources: Arc<Resources>) -> Self {
        Self::serve(0, resources, true, |_| {}).await
    }

    pub(crate) async fn start_with(resources: Arc<Resources>, set: impl FnOnce(&mut Options)) -> Self {
        Self::serve(0, resources, false, set).await
    }

    async fn serve(port: u16, first: Arc<Resources>, tls: bool, set: impl FnOnce(&mut Options)) -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("tokens"), TOKEN).unwrap();
        let certificate = tls.then(|| write_certificates(&files).into());
        let auth = Arc::new(TokenFile::new(files.path().join("tokens")));
        let mut options = Options { certificate, auth, ..Options::default() };
        set(&mut options);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (resources, receiver) = watch::channel(first);
        let stop = tokio_util::sync::CancellationToken::new();
        let server = Server::new(receiver, options, stop.clone());
        let nodes = server.nodes().clone();
        let serving = tokio::spawn(server.serve(listener));
        Operator { files, tls, port, resources, nodes, stop, serving }
    }

    pub(crate) fn set(&self, resources: Arc<Resources>) {
        self.resources.send_replace(resources);
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    async fn channel(&self) -> tonic::transport::Channel {
        tonic::transport::Endpoint::from_shared(self.url()).unwrap().connect().await.unwrap()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<reports::Node>> {
        self.nodes.all()
    }

    /// Puts a certificate of another authority into the files.
    pub(crate) fn rotate(&self) {
        write_certificates(&self.files);
    }

    /// A gateway that knows this operator's authority, unless its place has another.
    pub(crate) fn gateway(&self, place: &Place) -> Gateway {
        if self.tls {
            place.write_ca(&fs::read_to_string(self.files.path().join("ca.pem")).unwrap());
        }
        place.gateway(&self.url())
    }

    pub(crate) async fn until_reported(&self, what: &str, check: impl Fn(&reports::Node) -> bool) {
        let reported = || self.nodes().iter().any(|node| check(node));
        until(what, reported, || format!("{:?}", self.nodes())).await;
    }

    /// Stops as a program does; returns its port.
    pub(crate) async fn stop(self) -> u16 {
        self.stop.cancel();
        timeout(BOUND, self.serving).await.expect("it stops").unwrap().unwrap();
        self.port
    }
}

fn write_certificates(files: &TempDir) -> CertificateFiles {
    let (authority, certificate, key) = certificates();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    write("ca.pem", &authority);
    CertificateFiles { certificate: write("tls.crt", &certificate), key: write("tls.key", &key) }
}

// === impl Place ===

/// A gateway's files, with the right token.
pub(crate) fn place() -> Place {
    let place = Place(Arc::new(tempfile::tempdir().unwrap()));
    place.write_token(TOKEN);
    place
}

impl Place {
    pub(crate) fn write_token(&self, token: &str) {
        fs::write(self.file("token"), format!("{token}\n")).unwrap();
    }

    pub(crate) fn write_ca(&self, pem: &str) {
        fs::write(self.file("ca.pem"), pem).unwrap();
    }

    pub(crate) fn saved(&self) -> PathBuf {
        self.file("state")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn gateway(&self, url: &str) -> Gateway {
        Gateway(self.start(url).unwrap(), self.0.clone())
    }

    pub(crate) fn start(&self, url: &str) -> std::io::Result<Source> {
        let options = xds::Options {
            url: url.to_owned(),
            token_file: self.file("token"),
            ca_file: Some(self.file("ca.pem")),
            node: "gateway-1".to_owned(),
            saved: Some(self.saved()),
        };
        xds::start(options)
    }
}

// === impl Gateway ===

impl Gateway {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshots.borrow().clone()
    }

    pub(crate) fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    pub(crate) fn default_route(&self, name: &str) -> Option<String> {
        self.snapshot().key(&ObjectId::new("n", name))?.key().default_route.as_deref().map(str::to_owned)
    }

    pub(crate) async fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        until(what, || check(self), || format!("{:?}", self.status())).await;
    }
}

// === impl Wire ===

impl Wire {
    pub(crate) async fn open(operator: &Operator) -> Self {
        Self::open_with(operator, Node::default()).await
    }

    /// The same, by a client that says this of itself.
    pub(crate) async fn open_with(operator: &Operator, node: Node) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let type_url = Kind::VirtualKey.type_url();
        let subscribe = DeltaDiscoveryRequest { type_url, node: Some(node), ..Default::default() };
        requests.send(subscribe).await.unwrap();
        let call = authorized(ReceiverStream::new(receiver));
        let mut client = AggregatedDiscoveryClient::new(operator.channel().await);
        let responses = client.delta_resources(call).await.unwrap();
        Wire { requests, responses: responses.into_inner() }
    }

    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        timeout(BOUND, self.responses.message()).await.expect("a response").unwrap().expect("no end")
    }

    /// Why the stream ended.
    pub(crate) async fn end(&mut self) -> Option<tonic::Status> {
        loop {
            match timeout(BOUND, self.responses.message()).await.expect("an end") {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    pub(crate) async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.requests.send(answer).await.unwrap();
    }

    /// Takes and answers responses until the type is complete.
    pub(crate) async fn sync(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let mut all = Vec::new();
        loop {
            let response = self.next().await;
            self.ack(&response).await;
            let more = response.more;
            all.push(response);
            if !more {
                return all;
            }
        }
    }
}
