//! The way of a model request, in named phases with one context ([`exchange::Exchange`]):
//! identify → decode → resolve and authorise → plan → reserve → translate → send → answer → settle → record.
//!
//! # Layout
//! - [`identify`]: whose request
//! - [`receive`]: the body, bounded in size and time
//! - [`resolve`]: which model, and whether it is allowed
//! - [`plan`]: which backends, in which order
//! - [`reserve`]: the hold on the money and the rates
//! - `outgoing`: the request in the upstream's format
//! - [`attempt`]: send, retry and fail over until the first byte; `failure`: what a failure means for that
//! - [`answer`]: the stream back
//! - [`exchange`]: the context; settles and records
//! - [`count`], [`models`]: the small endpoints; `slot`: requests that cost no money, among the limits

pub mod answer;
pub mod attempt;
pub mod count;
pub mod exchange;
mod failure;
pub mod identify;
pub mod models;
mod outgoing;
pub mod plan;
pub mod receive;
pub mod reserve;
pub mod resolve;
pub(crate) mod slot;

use crate::{
    body::Body,
    error::GatewayError,
    gateway::Gateway,
    respond,
    snapshot::{KeyNode, Snapshot},
};
use bytes::Bytes;
use exchange::Exchange;
use http::{HeaderMap, Response, request::Parts};
use hyper::body::Incoming;
use std::sync::Arc;
use tokio::time::Instant;
use tollgate_translate::{
    Format,
    answer::Summary,
    head::{self, Head},
};
use uuid::Uuid;

/// What the phases after decoding work on.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The configuration of this request, to its end.
    pub snapshot: &'a Snapshot,
    /// The client's request head.
    pub parts: &'a Parts,
    /// The body as it came.
    pub body: &'a Bytes,
    /// What was read of it.
    pub head: &'a Head,
    /// When the body was complete.
    pub at: Instant,
}

/// Serves a model request of `format`.
pub async fn generate(
    gateway: Arc<Gateway>,
    node: Arc<KeyNode>,
    snapshot: Arc<Snapshot>,
    format: Format,
    parts: Parts,
    body: Incoming,
    id: Uuid,
) -> Response<Body> {
    let now = gateway.now();
    let mut exchange = Exchange::new(gateway, id, format, node, &parts.headers, now);
    exchange.generation = snapshot.generation;
    match run(&mut exchange, &snapshot, &parts, body).await {
        Ok(Answered::Whole(response)) => response,
        Ok(Answered::Stream(ready)) => ready.into_response(exchange),
        Err(error) => {
            exchange.outcome(respond::status(format, &error), Some(error.to_string()));
            exchange.finish(Summary::default());
            respond::error(format, &error, id)
        }
    }
}

/// An answer that is there, or one whose beginning is there.
#[derive(Debug)]
pub enum Answered {
    /// Settled and recorded.
    Whole(Response<Body>),
    /// To be settled when it ends.
    Stream(Box<attempt::Streaming>),
}

async fn run(
    exchange: &mut Exchange,
    snapshot: &Snapshot,
    parts: &Parts,
    body: Incoming,
) -> Result<Answered, GatewayError> {
    let body = receive::receive(&parts.headers, body, exchange.gateway.options.max_body).await?;
    let at = Instant::now();
    if exchange.node.logging().content == crate::model::key::Content::Full {
        exchange.record.request = Some(body.clone());
    }
    let head = decode(exchange, &body)?;
    let decoded = Decoded { snapshot, parts, body: &body, head: &head, at };
    let resolved = resolve::resolve(snapshot, &exchange.node, &head.model)?;
    exchange.record.model = Some(resolved.qualified.to_string());
    exchange.record.route = Some(resolved.route.id.shared());
    let (now, draw) = (exchange.gateway.now(), exchange.id.as_u128() as u64);
    let asked = plan::Asked { format: exchange.format, head: &head, now, draw };
    let mut candidates = plan::plan(snapshot, &exchange.node, &resolved, &exchange.gateway.health, asked)?;
    let cap = reserve::reserve(exchange, &decoded, &mut candidates).await?;
    attempt::attempt(exchange, &decoded, candidates, cap).await
}

fn decode(exchange: &mut Exchange, body: &Bytes) -> Result<Head, GatewayError> {
    let head = head::peek(exchange.format, body).map_err(|e| GatewayError::BadRequest(e.to_string()))?;
    exchange.record.stream = head.stream;
    exchange.record.model_asked = exchange::cut(&head.model, resolve::MAX_NAME);
    Ok(head)
}

/// The value of a header as text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
