//! An endpoint with configuration, as a client sees it.

use super::fake::Fake;
use crate::{
    body::{Body, full},
    gateway::{Gateway, Options},
    mcp::Endpoint,
    model::{
        Export, Globs, Key, ObjectId, Secret, Server,
        key::{Content, ToolRule},
        server::ServerTimeouts,
    },
    records::{Record, record::RecordKind, record::ToolRecord},
    snapshot::Snapshot,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tollgate_ledger::memory::MemoryStore;

pub(super) const SEALING: [u8; 32] = [9; 32];

/// An endpoint, its configuration, and its records.
pub(super) struct World {
    pub(super) endpoint: Endpoint,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) records: Arc<Mutex<Vec<Record>>>,
}

/// A client with its headers.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) key: ObjectId,
    pub(super) server: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, String)>,
}

pub(super) fn id(name: &str) -> ObjectId {
    ObjectId::new("ns", name)
}

pub(super) fn server(name: &str, address: std::net::SocketAddr) -> Server {
    Server {
        id: id(name),
        export: Export::Same,
        url: format!("http://{address}/mcp").parse().unwrap(),
        auth_header: Some((http::header::AUTHORIZATION, Secret::new("Bearer upstream"))),
        off: None,
        tools: Globs::new(["*"]),
        description: Some(format!("The {name} server")),
        timeouts: ServerTimeouts {
            connect: Duration::from_secs(5),
            list: Duration::from_secs(5),
            call: Duration::from_secs(30),
        },
        fail_open: true,
        reach: crate::client::Reach::Private,
        prefix: true,
    }
}

pub(super) fn rule(server: &str, allow: &[&str], deny: &[&str]) -> ToolRule {
    ToolRule { server: server.into(), allow: Globs::new(allow), deny: Globs::new(deny) }
}

pub(super) fn key(name: &str, tools: Vec<ToolRule>) -> Key {
    let mut key = Key::new(id(name));
    key.tools = tools;
    key.logging.content = Content::Full;
    key
}

/// A key `dev` that may use everything of these servers.
pub(super) fn everything(fakes: &[(&str, &Arc<Fake>)]) -> World {
    let servers = fakes.iter().map(|(name, fake)| server(name, fake.address)).collect();
    World::new(vec![key("dev", fakes.iter().map(|(name, _)| rule(name, &["*"], &[])).collect())], servers)
}

// === impl World ===

impl World {
    pub(super) fn new(keys: Vec<Key>, servers: Vec<Server>) -> Self {
        let keys = keys.into_iter().map(Arc::new).collect();
        let servers = servers.into_iter().map(Arc::new).collect();
        let records = Arc::new(Mutex::new(Vec::new()));
        let sink = records.clone();
        World {
            endpoint: Endpoint::new(Arc::new(move |r| sink.lock().push(r)), &[SEALING]).unwrap(),
            snapshot: Arc::new(Snapshot::build(1, keys, Vec::new(), servers)),
            records,
        }
    }

    /// The same, with a ledger that counts calls.
    pub(super) fn counted(mut self) -> Self {
        let sink = self.records.clone();
        let gateway = Gateway::new(
            Options::default(),
            self.snapshot.clone(),
            MemoryStore::new().into(),
            Arc::new(move |r| sink.lock().push(r)),
        );
        self.endpoint = self.endpoint.counted(Arc::new(gateway));
        self
    }

    pub(super) async fn send(&self, client: &Client, request: Request<Body>) -> Response<Body> {
        let caller = self.snapshot.key(&client.key).unwrap().clone();
        self.endpoint.handle(self.snapshot.clone(), caller, client.server, request).await
    }

    pub(super) async fn post(&self, client: &Client, body: &str) -> Response<Body> {
        self.send(client, client.request(body)).await
    }

    /// The status and the JSON of an answer.
    pub(super) async fn ask(&self, client: &Client, body: &str) -> (u16, String) {
        let response = self.post(client, body).await;
        (response.status().as_u16(), text(response).await)
    }

    pub(super) async fn call(&self, client: &Client, tool: &str) -> String {
        let (status, body) = self.ask(client, &call(tool)).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The names of the tools that a client sees.
    pub(super) async fn names(&self, client: &Client) -> Vec<String> {
        let (status, body) = self.ask(client, LIST).await;
        assert_eq!(status, 200, "{body}");
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        let tools = list["result"]["tools"].as_array().unwrap();
        tools.iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Initialises and returns the client with its session.
    pub(super) async fn open(&self, client: &Client) -> Client {
        let response = self.post(client, INITIALIZE).await;
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        client.clone().with("mcp-session-id", &session)
    }

    /// The only record there is, once it is there.
    pub(super) async fn record(&self) -> (Record, ToolRecord) {
        super::fake::until("a record", || !self.records.lock().is_empty()).await;
        let records = self.records.lock();
        assert_eq!(records.len(), 1);
        let RecordKind::Tool(tool) = &records[0].kind else { panic!("not a tool's record") };
        (records[0].clone(), tool.as_ref().clone())
    }
}

// === impl Client ===

impl Client {
    pub(super) fn of(key: &str) -> Self {
        let accept = ("accept", "application/json, text/event-stream".to_owned());
        Client {
            key: id(key),
            server: None,
            headers: vec![accept, ("content-type", "application/json".into())],
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn request(&self, body: &str) -> Request<Body> {
        let mut request = Request::post("/mcp");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(full(body.to_owned())).unwrap()
    }
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub(super) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"elicitation":{}},"clientInfo":{"name":"claude-code","version":"2.1.197"}}}"#;
pub(super) const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

pub(super) fn call(tool: &str) -> String {
    format!(
        r#"{{"method":"tools/call","params":{{"name":"{tool}","arguments":{{"b":1,"a":2.0}},"_meta":{{"claudecode/toolUseId":"toolu_1","progressToken":4}},"future":[ ]}},"jsonrpc":"2.0","id":"c-1"}}"#
    )
}
