//! A gateway and its upstream in one process: the real listener, client, ledger and translation; only the provider is scripted.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tollgate_dataplane::{
    body,
    client::{Reach, http_client},
    gateway::{Gateway, Options},
    mcp,
    model::{
        Export, Globs, Key, ObjectId, Route, Secret,
        key::{Content, KeyBudget},
        route::{Backend, Health, Retry, RouteModel, Timeouts},
    },
    records::Record,
    request::identify,
    serve::{self, Drain, Listener, Stop, dispatch::Service, front::Front},
    snapshot::Snapshot,
};
use tollgate_ledger::{
    budget::{Budget, Limit, Period},
    memory::MemoryStore,
};
use tollgate_process::readiness::Readiness;
use tollgate_translate::{Provider, price::Price};

/// One nano-USD a token of input, two of output: costs can be counted by hand.
pub fn price() -> Price {
    Price { input: 1, cache_read: 1, cache_write: 1, cache_write_1h: 1, output: 2, ..Price::default() }
}

/// What an upstream got.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What an upstream answers.
pub enum Reply {
    Whole(u16, &'static str, Vec<(&'static str, &'static str)>),
    /// Pieces of an event stream; the sender's end ends it, an `Err` breaks it.
    Stream(mpsc::Receiver<Result<Bytes, std::io::Error>>),
    /// Nothing, ever.
    Never,
    /// The connection breaks.
    Break,
}

pub type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A scripted upstream.
pub struct Upstream {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

/// The gateway under test.
pub struct World {
    pub address: SocketAddr,
    pub gateway: Arc<Gateway>,
    pub records: Arc<Mutex<Vec<Record>>>,
    stop: Stop,
    served: JoinHandle<std::io::Result<tokio::time::Instant>>,
}

pub async fn upstream(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let (script, log): (Script, _) = (Arc::new(script), seen.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, log) = (script.clone(), log.clone());
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (script, log) = (script.clone(), log.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let Ok(body) = body.collect().await else { return Err("the request broke off") };
                    let path = parts.uri.path_and_query().unwrap().to_string();
                    let seen = Seen { path, headers: parts.headers, body: body.to_bytes() };
                    log.lock().push(seen.clone());
                    match script(&seen) {
                        Reply::Break => Err("broken"),
                        reply => Ok(answer(reply).await),
                    }
                }
            });
            tokio::spawn(async move {
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    Upstream { address, seen }
}

async fn answer(reply: Reply) -> Response<BoxBody<Bytes, std::io::Error>> {
    match reply {
        Reply::Whole(status, text, headers) => {
            let whole =
                Full::new(Bytes::from_static(text.as_bytes())).map_err(|n: Infallible| match n {}).boxed();
            let mut response = Response::new(whole);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Reply::Never | Reply::Break => std::future::pending().await,
        Reply::Stream(pieces) => {
            let frames = futures_util::stream::unfold(pieces, |mut pieces| async move {
                let piece = pieces.recv().await?;
                Some((piece.map(Frame::data), pieces))
            });
            let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            response
        }
    }
}

/// A stream that is there at once.
pub fn stream(pieces: &[&'static str]) -> Reply {
    let (send, receive) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        send.try_send(Ok(Bytes::from_static(piece.as_bytes()))).unwrap();
    }
    Reply::Stream(receive)
}

/// A key with the token of its name, that may use everything.
pub fn key(name: &str) -> Key {
    let mut key = Key::new(ObjectId::new("default", name));
    key.token_hashes.push(identify::hash(name));
    key.models.allow = Some(Globs::new(["*"]));
    key.logging.content = Content::Full;
    key
}

/// A budget of `nano` nano-USD a month for every model.
pub fn budget(nano: u64) -> KeyBudget {
    let zone = jiff::tz::TimeZone::UTC;
    KeyBudget {
        budget: Budget::new("month", Limit::NanoUsd(nano), Period::Month, zone),
        models: Globs::new(["*"]),
    }
}

/// A route with one backend per address, in order of priority.
pub fn route(name: &str, provider: Provider, upstreams: &[&Upstream]) -> Route {
    let backend = |(index, upstream): (usize, &&Upstream)| Backend {
        name: format!("b{index}"),
        models: Globs::default(),
        provider,
        endpoint: format!("http://{}", upstream.address).parse().unwrap(),
        region: None,
        credential: Some(Secret::new("provider-secret")),
        off: None,
        weight: 1,
        priority: u32::try_from(index).unwrap(),
    };
    Route {
        id: ObjectId::new("default", name),
        export: Export::Same,
        models: vec![RouteModel {
            name: "*".into(),
            pattern: Globs::new(["*"]),
            upstream_name: None,
            price: Some(price()),
            max_output: None,
            context: None,
        }],
        backends: upstreams.iter().enumerate().map(backend).collect(),
        retry: Retry { attempts: 0, on_connect: true, on_rate_limited: true, on_server_error: true },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(10),
            idle: Duration::from_secs(10),
        },
        health: Health { consecutive_failures: 100, eject_for: Duration::from_secs(1) },
        fallbacks: Vec::new(),
        strict: false,
        reach: Reach::Private,
        off: None,
    }
}

pub fn snapshot(generation: u64, keys: Vec<Key>, routes: Vec<Route>) -> Arc<Snapshot> {
    let keys = keys.into_iter().map(Arc::new).collect();
    Arc::new(Snapshot::build(generation, keys, routes.into_iter().map(Arc::new).collect(), Vec::new()))
}

pub async fn world(keys: Vec<Key>, routes: Vec<Route>) -> World {
    world_with(keys, routes, |_| {}).await
}

/// A gateway whose records pass by `look` first.
pub async fn world_with(
    keys: Vec<Key>,
    routes: Vec<Route>,
    look: impl Fn(&Record) + Send + Sync + 'static,
) -> World {
    let records: Arc<Mutex<Vec<Record>>> = Arc::default();
    let log = records.clone();
    let sink: tollgate_dataplane::records::Sink = Arc::new(move |record| {
        look(&record);
        log.lock().push(record);
    });
    let first = snapshot(1, keys, routes);
    let gateway = Arc::new(Gateway::new(Options::default(), first, MemoryStore::new().into(), sink.clone()));
    let endpoint = mcp::Endpoint::new(sink, &[[7; 32]]).unwrap();
    let service = Service::new(gateway.clone(), endpoint, axum::Router::new(), true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Arc::new(Front::new(Readiness::default(), Options::default(), true));
    front.open(&service);
    let stop = Stop::default();
    let listeners = vec![Listener { socket: listener, tls: None, front }];
    let served = tokio::spawn(serve::serve(listeners, stop.clone(), Drain::default()));
    World { address, gateway, records, stop, served }
}

impl World {
    /// Ends the gateway without patience; returns the records it leaves.
    pub async fn stop(self) -> Vec<Record> {
        self.stop.drain.cancel();
        self.served.await.unwrap().unwrap();
        std::mem::take(&mut self.records.lock())
    }

    /// Posts `body` as `key` and returns the answer's head and body stream.
    pub async fn send(&self, path: &str, key: Option<&str>, body: &str) -> Response<hyper::body::Incoming> {
        self.send_with(path, key, body, &[]).await
    }

    /// The same with more headers.
    pub async fn send_with(
        &self,
        path: &str,
        key: Option<&str>,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Response<hyper::body::Incoming> {
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .header("anthropic-beta", "some-beta-2026")
            .header("cookie", "session=1");
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = http_client(Duration::from_secs(2), Reach::Private).unwrap();
        client.request(request.body(body::full(body.to_owned())).unwrap()).await.unwrap()
    }

    /// Sends a request whose answer nobody waits for any more once the upstream has it.
    pub async fn send_and_leave(&self, up: &Upstream, path: &str, key: &str, body: &str) {
        let before = up.seen.lock().len();
        tokio::select! {
            _ = self.send(path, Some(key), body) => panic!("an answer came"),
            () = eventually(|| (up.seen.lock().len() > before).then_some(())) => {}
        }
    }

    /// Posts and reads the whole answer.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &str) -> (u16, HeaderMap, String) {
        let (parts, body) = self.send(path, key, body).await.into_parts();
        let bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        (parts.status.as_u16(), parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Waits for the `n`th record.
    pub async fn record(&self, n: usize) -> Record {
        eventually(|| self.records.lock().get(n).cloned()).await
    }

    /// What the key's first budget says: (committed, held).
    pub fn spent(&self, name: &str) -> (u64, u64) {
        let snapshot = self.gateway.snapshot();
        let node = snapshot.key(&ObjectId::new("default", name)).unwrap();
        let states = self.gateway.ledger.states(std::slice::from_ref(node), self.gateway.now());
        let states = futures_util::FutureExt::now_or_never(states).unwrap().known;
        (states[0].budgets[0].committed, states[0].budgets[0].held)
    }
}

/// Polls until `found` gives something; fails after ten seconds.
pub async fn eventually<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited ten seconds in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
