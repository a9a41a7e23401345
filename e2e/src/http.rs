//! What the fakes share: a loopback HTTP/1.1 server and bodies that pause, break off or hang on purpose.

use anyhow::Context;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

/// The body of a fake's answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The largest request body a fake reads (the gateway's own limit is 32 MB).
pub const MAX_BODY: usize = 64 << 20;

/// A running fake; dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

/// One step of a streamed answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// These bytes, flushed.
    Send(Bytes),
    /// Silence.
    Pause(Duration),
    /// The connection breaks off here.
    Break,
}

/// Set once the whole answer has been handed to the connection; stays false when the client went away first.
#[derive(Debug, Clone, Default)]
pub struct Finished(Arc<AtomicBool>);

// === impl Server ===

impl Server {
    /// Listens and answers with `handler` until dropped. A handler's error closes the connection without an answer.
    pub async fn start<H, F>(listen: SocketAddr, handler: H) -> anyhow::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = io::Result<Response<Body>>> + Send + 'static,
    {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}; is another demo running?"))?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, handler));
        Ok(Server { addr, task })
    }

    /// Runs until the process ends.
    pub async fn forever(mut self) {
        if (&mut self.task).await.is_err() {
            eprintln!("the server's task ended");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<Response<Body>>> + Send + 'static,
{
    // Dropped with this task, which closes every connection.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let handler = handler.clone();
        connections.spawn(async move {
            let service = service_fn(handler);
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(served); // a client that breaks off is no fault of the fake
        });
    }
}

// === impl Finished ===

impl Finished {
    /// Whether the answer's body still exists: neither handed over whole nor given up. The body has the second handle.
    pub fn open(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether the whole answer went out.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Marks it so.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Reads a whole request body, at most [`MAX_BODY`] bytes.
pub async fn read_body(body: Incoming) -> io::Result<Bytes> {
    let limited = http_body_util::Limited::new(body, MAX_BODY);
    Ok(limited.collect().await.map_err(io::Error::other)?.to_bytes())
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    raw(status, "application/json", value.to_string())
}

/// An answer with any body.
pub fn raw(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
    }
    response
}

/// A body that takes these steps, each flushed on its own, and then marks `finished`.
pub fn steps(steps: Vec<Step>, finished: Finished) -> Body {
    StreamBody::new(play(steps, finished)).boxed_unsync()
}

fn play(steps: Vec<Step>, finished: Finished) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    stream::unfold((steps.into_iter(), finished), |(mut steps, finished)| async move {
        loop {
            match steps.next() {
                Some(Step::Send(bytes)) => {
                    // Yielding first makes hyper flush what went before: one write an event, as providers do.
                    tokio::task::yield_now().await;
                    return Some((Ok(Frame::data(bytes)), (steps, finished)));
                }
                Some(Step::Pause(time)) => tokio::time::sleep(time).await,
                Some(Step::Break) => {
                    tokio::task::yield_now().await;
                    let reset = io::Error::new(io::ErrorKind::ConnectionReset, "broken off on purpose");
                    return Some((Err(reset), (Vec::new().into_iter(), Finished::default())));
                }
                None => {
                    finished.set();
                    return None;
                }
            }
        }
    })
}
