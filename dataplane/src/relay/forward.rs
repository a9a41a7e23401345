//! A request and its answer.

use super::{
    Relay,
    gateways::{Gateway, Turn},
    held::Held,
};
use crate::{
    body::{Body, full},
    error::GatewayError,
    names,
    request::receive,
    respond,
    serve::{
        guard,
        paths::{Endpoint, endpoint},
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tollgate_translate::{
    Format,
    error::{Kind, UpstreamError},
};
use uuid::Uuid;

/// The most gateways that one request tries.
const MAX_TRIES: usize = 4;

/// What an agent may have sent to identify itself; the workload's token takes its place.
const CREDENTIALS: [HeaderName; 6] = [
    names::KEY,
    names::KEY_BIFROST,
    names::API_KEY,
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];

/// Headers about one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// An answer's body, with the turn that ends when it does.
struct Answer {
    body: Incoming,
    _turn: Turn,
}

// === impl Relay ===

impl Relay {
    /// Answers one request. Never fails: errors are answers, in the shape of the API that the client speaks.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let format = format(&parts);
        if let Some(own) = self.own(&parts) {
            return own;
        }
        if let Err(error) = guard::check(&self.guard, &parts.headers, &parts.uri, self.loopback) {
            return refuse(body, format, &error).await;
        }
        let Some(bearer) = self.token.bearer() else {
            let words = format!(
                "the relay has no ServiceAccount token: {} cannot be read; mount a projected token with audience tollgate there",
                self.token.path()
            );
            return refuse(body, format, &GatewayError::NoBackend(words)).await;
        };
        prepare(&mut parts.headers, &bearer);
        match self.send(&parts, body).await {
            Ok(response) => {
                if response.status() == StatusCode::UNAUTHORIZED {
                    self.token.read();
                }
                response
            }
            Err((error, body)) => match body {
                Some(body) => refuse(body, format, &error).await,
                None => respond::error(format, &error, Uuid::now_v7()),
            },
        }
    }

    /// The relay's own endpoints.
    fn own(&self, parts: &Parts) -> Option<Response<Body>> {
        let (status, words) = match parts.uri.path() {
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if self.token.bearer().is_none() => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("no token in {}\n", self.token.path()))
            }
            "/readyz" if !self.gateways.any_healthy() => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("no gateway in order at {}\n", self.gateways.names()),
            ),
            "/readyz" => (StatusCode::OK, "ready\n".to_owned()),
            _ => return None,
        };
        let mut response = Response::new(full(words));
        *response.status_mut() = status;
        Some(response)
    }

    /// Sends the request to one gateway, or, while nothing of it was sent, to another.
    async fn send(
        &self,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, (GatewayError, Option<Incoming>)> {
        let held = Held::new(body);
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut last = "there is none".to_owned();
        while tried.len() < MAX_TRIES
            && let Some(turn) = self.gateways.pick(&tried)
        {
            tried.push(turn.0.address);
            let request = match outgoing(&turn.0, parts, held.clone()) {
                Ok(request) => request,
                Err(e) => return Err((GatewayError::BadRequest(e.to_string()), held.take())),
            };
            match turn.0.client.request(request).await {
                Ok(response) => {
                    self.gateways.answered(&turn.0);
                    return Ok(incoming(response, turn));
                }
                Err(error) => {
                    self.gateways.failed(&turn.0);
                    let (gateway, why) = (turn.0.address, innermost(&error));
                    tracing::warn!(%gateway, error = %why, connecting = error.is_connect(), "a gateway failed");
                    if !(error.is_connect() && held.untouched()) {
                        return Err((broke_off(gateway, &why), None));
                    }
                    last = format!("{gateway}: {why}");
                }
            }
        }
        let words = format!("the relay cannot reach any gateway at {}: {last}", self.gateways.names());
        Err((GatewayError::NoBackend(words), held.take()))
    }
}

/// The gateway may have begun: whether to ask again is the client's to decide.
fn broke_off(gateway: SocketAddr, why: &str) -> GatewayError {
    UpstreamError {
        status: 0,
        kind: Kind::Api,
        message: format!(
            "gateway {gateway} broke off before it answered: {why}; the request may have been carried out"
        ),
        retry_after: None,
        should_retry: None,
    }
    .into()
}

fn outgoing(gateway: &Gateway, parts: &Parts, body: Held) -> Result<Request<Held>, http::Error> {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = gateway.uri(&parts.uri)?;
    *request.headers_mut() = parts.headers.clone();
    Ok(request)
}

/// Headers as the gateway gets them: the workload's token instead of what the agent sent, nothing about the agent's connection.
fn prepare(headers: &mut HeaderMap, bearer: &HeaderValue) {
    hop_by_hop(headers);
    // The relay has checked Host and Origin; at the gateway they would mean something else.
    for name in CREDENTIALS.iter().chain([&header::HOST, &header::ORIGIN]) {
        headers.remove(name);
    }
    headers.insert(header::AUTHORIZATION, bearer.clone());
}

fn hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn incoming(response: Response<Incoming>, turn: Turn) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    hop_by_hop(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, Answer { body, _turn: turn }.map_err(Into::into).boxed_unsync())
}

async fn refuse(body: Incoming, format: Format, error: &GatewayError) -> Response<Body> {
    receive::discard(body).await;
    respond::error(format, error, Uuid::now_v7())
}

fn format(parts: &Parts) -> Format {
    match endpoint(&parts.method, parts.uri.path()) {
        Endpoint::Generate(f)
        | Endpoint::Models(f, _)
        | Endpoint::WrongMethod(f, _)
        | Endpoint::Unknown(f) => f,
        Endpoint::CountTokens => Format::Messages,
        _ => Format::Chat,
    }
}

/// The error that says why; those around it only say what for.
fn innermost(error: &hyper_util::client::legacy::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

// === impl Answer ===

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_replaced_and_metadata_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-api-key", "dummy"),
            ("authorization", "Bearer dummy"),
            ("x-tollgate-key", "dummy"),
            ("x-bf-vk", "dummy"),
            ("cookie", "a=b"),
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
            ("connection", "keep-alive, X-Of-This-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-of-this-hop", "1"),
            ("x-tollgate-meta-project", "apollo"),
            ("anthropic-beta", "a"),
            ("content-length", "3"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        prepare(&mut headers, &HeaderValue::from_static("Bearer token"));
        let mut left: Vec<(&str, &str)> =
            headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                ("anthropic-beta", "a"),
                ("authorization", "Bearer token"),
                ("content-length", "3"),
                ("x-tollgate-meta-project", "apollo")
            ]
        );
    }
}
