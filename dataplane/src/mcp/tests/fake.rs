//! A scriptable MCP server on loopback.

use crate::body::{Body, empty, full};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// A request that the server got.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// A server and what it saw.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    /// Raw tools by page.
    pub(super) pages: Mutex<Vec<Vec<String>>>,
    /// It keeps sessions; this is the number of the newest, and those below `lost_below` are gone.
    pub(super) sessions: bool,
    pub(super) last_session: Mutex<(u32, u32)>,
    /// `slow` and a slow list wait for a permit.
    pub(super) gate: Semaphore,
    pub(super) slow_list: Mutex<bool>,
    seen: Mutex<Vec<Seen>>,
}

// === impl Fake ===

impl Fake {
    pub(super) async fn start(sessions: bool, pages: &[&[&str]]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = pages.iter().map(|p| p.iter().map(|t| (*t).to_owned()).collect()).collect();
        let fake = Arc::new(Fake {
            address: listener.local_addr().unwrap(),
            pages: Mutex::new(pages),
            sessions,
            last_session: Mutex::default(),
            gate: Semaphore::new(0),
            slow_list: Mutex::new(false),
            seen: Mutex::default(),
        });
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move {
                        let response = server.answer(request).await;
                        // 599: the connection breaks instead.
                        if response.status() == 599 {
                            Err(std::io::Error::other("broken"))
                        } else {
                            Ok(response)
                        }
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        fake
    }

    /// What was posted with this method in the body.
    pub(super) fn posted(&self, method: &str) -> Vec<Seen> {
        let wanted = format!("\"method\":\"{method}\"");
        self.seen.lock().iter().filter(|s| s.body.contains(&wanted)).cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Forgets all sessions, as a restart would.
    pub(super) fn lose_sessions(&self) {
        let mut sessions = self.last_session.lock();
        sessions.1 = sessions.0 + 1;
    }

    async fn answer(self: Arc<Self>, request: Request<hyper::body::Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        self.seen.lock().push(Seen { headers: head.headers.clone(), body: body.clone() });
        let message: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        if self.sessions && method != "initialize" {
            let number =
                head.headers.get("mcp-session-id").and_then(|v| v.to_str().ok()?.parse::<u32>().ok());
            let lost = self.last_session.lock().1;
            match number {
                None => return status(400, "Bad Request: no session"),
                Some(number) if number < lost => return status(404, "Session not found"),
                Some(_) => {}
            }
        }
        let id = message["id"].to_string();
        match method.as_str() {
            "initialize" => self.initialize(&id),
            "tools/list" => self.list(&id, message["params"]["cursor"].as_str()).await,
            "tools/call" => self.call(&id, &message["params"], &body).await,
            _ => status(202, ""),
        }
    }

    fn initialize(&self, id: &str) -> Response<Body> {
        let result = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"},"instructions":"Ask nicely."}"#;
        let mut response = answer(id, result);
        if self.sessions {
            let mut sessions = self.last_session.lock();
            sessions.0 += 1;
            response.headers_mut().insert("mcp-session-id", sessions.0.to_string().parse().unwrap());
        }
        response
    }

    async fn list(&self, id: &str, cursor: Option<&str>) -> Response<Body> {
        if *self.slow_list.lock() {
            self.gate.acquire().await.unwrap().forget();
        }
        let at: usize = cursor.map_or(0, |c| c.parse().unwrap());
        let pages = self.pages.lock();
        let next =
            if at + 1 < pages.len() { format!(",\"nextCursor\":\"{}\"", at + 1) } else { String::new() };
        answer(id, &format!("{{\"tools\":[{}]{next}}}", pages[at].join(",")))
    }

    async fn call(&self, id: &str, params: &serde_json::Value, body: &str) -> Response<Body> {
        match params["name"].as_str().unwrap_or_default() {
            "slow" => {
                self.gate.acquire().await.unwrap().forget();
                answer(id, r#"{"content":[],"slept":true}"#)
            }
            "stream" => {
                let token = params["_meta"]["progressToken"].to_string();
                let progress = |n: u32| {
                    format!(
                        "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":{n}.50,\"more\":[ ]}}}}\n\n"
                    )
                };
                let done =
                    format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[]}}}}\n\n");
                let ping = "data: {\"jsonrpc\":\"2.0\",\"id\":\"ping-1\",\"method\":\"ping\"}\n\n".to_owned();
                let changed =
                    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n"
                        .to_owned();
                events(vec![": hello\n\n".into(), ping, changed, progress(1), progress(2), done])
            }
            "broken" => events(vec!["data: {\"jsonrpc\"".into()]),
            "vanish" => status(599, ""),
            "refuse" => json(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"bad arguments","data":[1.0]}}}}"#
            )),
            "fail" => answer(id, r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#),
            // What came, as a result with a strange form.
            _ => json(&format!(
                r#"{{ "result":{{"content":[ ],"got":{body},"n":1.0e2}}, "id":{id} ,"jsonrpc":"2.0"}}"#
            )),
        }
    }
}

fn answer(id: &str, result: &str) -> Response<Body> {
    json(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

fn json(text: &str) -> Response<Body> {
    Response::builder().header("content-type", "application/json").body(full(text.to_owned())).unwrap()
}

fn status(code: u16, text: &str) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(if text.is_empty() { empty() } else { full(text.to_owned()) })
        .unwrap()
}

fn events(parts: Vec<String>) -> Response<Body> {
    let frames = parts.into_iter().map(|p| Ok(Frame::data(Bytes::from(p))));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

/// Waits until a condition holds; fails after a while.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
