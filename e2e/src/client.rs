//! A small HTTP client for tests: every call has a deadline, streams are read event by event.

pub mod mcp;
pub mod sse;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use std::{future::Future, time::Duration};

pub use mcp::Mcp;
pub use sse::Event;

/// The longest that any single call may take.
pub const CALL: Duration = Duration::from_secs(30);

/// The longest that a condition is waited for.
pub const WAIT: Duration = Duration::from_secs(60);

/// A client with kept-alive connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer that is being streamed.
#[derive(Debug)]
pub struct Streaming {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    reader: sse::Reader,
}

// === impl Http ===

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A client.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Http { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// `GET`.
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, url, &[], Bytes::new()).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, url: &str, headers: &[(&str, &str)], body: &Value) -> anyhow::Result<Answer> {
        self.call(Method::POST, url, headers, body.to_string().into()).await
    }

    /// Any call with a whole answer. Content type JSON unless a header says otherwise.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let whole = async {
            let response = self.send(method, url, headers, body).await?;
            let (head, body) = response.into_parts();
            let body =
                body.collect().await.with_context(|| format!("the body of {url} broke off"))?.to_bytes();
            anyhow::Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(CALL, whole).await.with_context(|| format!("{url} took over {CALL:?}"))?
    }

    /// `POST` of JSON whose answer is read event by event.
    pub async fn stream(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Streaming> {
        let sent = self.send(Method::POST, url, headers, body.to_string().into());
        let response =
            tokio::time::timeout(CALL, sent).await.with_context(|| format!("{url}: no answer"))??;
        let (head, body) = response.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(Streaming { status, headers, body, reader: sse::Reader::default() })
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(url);
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        self.client.request(request).await.with_context(|| format!("cannot reach {url}"))
    }
}

// === impl Answer ===

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// This answer when it has the status, else an error with its words.
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        anyhow::ensure!(self.status == status, "status {} instead of {status}: {}", self.status, self.text());
        Ok(self)
    }
}

// === impl Streaming ===

impl Streaming {
    /// The next event; `None` at a clean end; an error when the stream broke off or fell silent for [`CALL`].
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.reader.complete() {
                return Ok(Some(event));
            }
            let frame =
                tokio::time::timeout(CALL, self.body.frame()).await.context("the stream fell silent")?;
            match frame {
                None => return Ok(None),
                Some(Err(e)) => bail!("the stream broke off: {e}"),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.reader.push(data);
                    }
                }
            }
        }
    }

    /// All of it that has not been read as events.
    pub async fn whole(self) -> anyhow::Result<Bytes> {
        let whole =
            tokio::time::timeout(CALL, self.body.collect()).await.context("the stream fell silent")?;
        Ok(whole.context("the stream broke off")?.to_bytes())
    }

    /// All further events up to the end, and whether it was a clean one.
    pub async fn rest(&mut self) -> (Vec<Event>, bool) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, true),
                Err(_) => return (events, false),
            }
        }
    }
}

/// Asks `check` again and again until it answers something, at most for [`WAIT`].
pub async fn eventually<T, F, Fut>(what: &str, mut check: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = tokio::time::Instant::now() + WAIT;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = check().await? {
            return Ok(found);
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("waited {WAIT:?} in vain: {what}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(40));
    }
}
