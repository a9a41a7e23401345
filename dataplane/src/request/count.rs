//! `count_tokens`: asked of an Anthropic upstream, answered by the gateway's own estimate for every other and whenever that fails.
//! It costs nothing and is not recorded; the key's permissions hold. Where an upstream is asked it counts as a request of the key: it is
//! asked with the gateway's credential. Beyond the key's limits the gateway estimates.

use super::{header, plan, receive, resolve, slot};
use crate::{
    body::{Body, full},
    error::GatewayError,
    gateway::Gateway,
    respond,
    snapshot::{KeyNode, Snapshot},
    telemetry,
    upstream::send::{self, Operation},
};
use bytes::Bytes;
use http::{HeaderValue, Response, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::{sync::Arc, time::Duration};
use tollgate_translate::{
    Format,
    head::{self, Splices},
    request::count_tokens,
};
use uuid::Uuid;

/// The most bytes of an upstream's count.
const MAX_ANSWER: usize = 64 << 10;
/// How long it is waited for before the gateway estimates instead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `POST /v1/messages/count_tokens`.
pub async fn count(
    gateway: Arc<Gateway>,
    node: Arc<KeyNode>,
    snapshot: Arc<Snapshot>,
    parts: Parts,
    body: Incoming,
    id: Uuid,
) -> Response<Body> {
    match run(&gateway, &node, &snapshot, &parts, body, id).await {
        Ok(bytes) => {
            let mut response = Response::new(full(bytes));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            respond::identify(response.headers_mut(), Format::Messages, &id.to_string());
            response
        }
        Err(error) => respond::error(Format::Messages, &error, id),
    }
}

async fn run(
    gateway: &Arc<Gateway>,
    node: &Arc<KeyNode>,
    snapshot: &Snapshot,
    parts: &Parts,
    body: Incoming,
    id: Uuid,
) -> Result<Bytes, GatewayError> {
    let body = receive::receive(&parts.headers, body, gateway.options.max_body).await?;
    let bad = |words: String| GatewayError::BadRequest(words);
    let head = head::peek(Format::Messages, &body).map_err(|e| bad(e.to_string()))?;
    let resolved = resolve::resolve(snapshot, node, &head.model)?;
    let (now, draw) = (gateway.now(), id.as_u128() as u64);
    let asked = plan::Asked { format: Format::Messages, head: &head, now, draw };
    let candidates = plan::plan(snapshot, node, &resolved, &gateway.health, asked)?;
    // Only where the request itself would go: another model counts differently.
    if let Some(candidate) = candidates.first().filter(|c| c.format == Format::Messages)
        && let Ok(_slot) = slot::enter(gateway, node, 2 * PATIENCE).await
    {
        let splices = Splices { model: Some(candidate.upstream_model()), ..Splices::default() };
        let spliced = head::splice(Format::Messages, &body, &head, &splices).into();
        if let Some(bytes) = ask(gateway, candidate, parts, spliced).await {
            return Ok(bytes);
        }
    }
    let tokens = count_tokens(Format::Messages, &body).map_err(|e| bad(e.to_string()))?;
    Ok(format!("{{\"input_tokens\":{tokens}}}").into())
}

/// The upstream's own count, when it gives one.
async fn ask(gateway: &Gateway, candidate: &plan::Candidate, parts: &Parts, body: Bytes) -> Option<Bytes> {
    let backend = candidate.backend()?;
    let timeouts = candidate.route().timeouts;
    let client = gateway.client(timeouts.connect, candidate.route().reach).ok()?;
    let mut headers = send::headers(&parts.headers, backend, true);
    telemetry::outbound::inject(tollgate_process::trace::current().as_deref(), &mut headers);
    let query = parts.uri.query();
    let deadline = timeouts.first_byte.min(PATIENCE);
    let sent = send::send(&client, backend, Operation::CountTokens, query, headers, body, deadline).await;
    let response = sent.ok().filter(|r| r.status().is_success())?;
    let json = header(response.headers(), "content-type").is_some_and(|t| t.starts_with("application/json"));
    let collecting = Limited::new(response.into_body(), MAX_ANSWER).collect();
    let bytes = tokio::time::timeout(PATIENCE, collecting).await.ok()?.ok()?.to_bytes();
    (json && !bytes.is_empty()).then_some(bytes)
}
