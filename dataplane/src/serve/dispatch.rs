//! From a request to its answer: guard, identity, endpoint.

use super::{
    guard,
    paths::{Endpoint, endpoint, unknown},
};
use crate::{
    body::{Body, empty, full},
    error::GatewayError,
    gateway::Gateway,
    logs::{self, Viewer},
    mcp,
    request::{
        self,
        identify::{by_token, check, hash, identify},
        receive,
    },
    respond,
    snapshot::{KeyNode, Snapshot},
};
use axum::Router;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{fmt, sync::Arc};
use tollgate_translate::Format;
use tower::ServiceExt;
use uuid::Uuid;

/// One listener's service.
#[derive(Clone)]
pub struct Service {
    gateway: Arc<Gateway>,
    mcp: mcp::Endpoint,
    logs: Router,
    loopback: bool,
}

// === impl Service ===

impl Service {
    /// A service for a listener; `loopback`: it is bound to a loopback address.
    pub fn new(gateway: Arc<Gateway>, mcp: mcp::Endpoint, logs: Router, loopback: bool) -> Self {
        Service { gateway, mcp, logs, loopback }
    }

    /// The same on another listener.
    pub fn on(&self, loopback: bool) -> Self {
        Service { loopback, ..self.clone() }
    }

    /// Answers the request `id`. Never fails: errors are answers.
    pub async fn answer(&self, request: Request<Incoming>, id: Uuid) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let endpoint = endpoint(&parts.method, &path);
        let format = format_of(&endpoint);
        if let Err(error) = guard::check(&self.gateway.options, &parts.headers, &parts.uri, self.loopback) {
            return turned_away(body, respond::error(format, &error, id)).await;
        }
        match endpoint {
            Endpoint::Generate(_) | Endpoint::CountTokens | Endpoint::Models(..) => {
                self.model_api(&endpoint, parts, body, id).await
            }
            Endpoint::Mcp(server) => self.mcp(server, Request::from_parts(parts, body), id).await,
            Endpoint::Logs => self.logs(Request::from_parts(parts, body)).await,
            Endpoint::Hello => Response::new(empty()),
            Endpoint::Welcome => text(StatusCode::OK, WELCOME),
            // Readiness is the listener's to say, which knows when it ends.
            Endpoint::Healthz | Endpoint::Readyz => text(StatusCode::OK, "ok\n"),
            Endpoint::WrongMethod(format, allow) => {
                turned_away(body, wrong_method(format, &parts.method, &path, allow, id)).await
            }
            Endpoint::Unknown(format) => {
                let words = unknown(format, &parts.method, &path);
                turned_away(body, respond::error(format, &GatewayError::NoSuchEndpoint(words), id)).await
            }
        }
    }

    async fn model_api(
        &self,
        endpoint: &Endpoint<'_>,
        parts: http::request::Parts,
        body: Incoming,
        id: Uuid,
    ) -> Response<Body> {
        let (snapshot, format) = (self.gateway.snapshot(), format_of(endpoint));
        let node = match self.identify(&snapshot, &parts.headers) {
            Ok(node) => node,
            Err(error) => {
                let agent = request::exchange::user_agent(&parts.headers);
                let status = respond::status(format, &error);
                self.gateway.record_turned_away(id, status, error.to_string(), agent);
                return turned_away(body, respond::error(format, &error, id)).await;
            }
        };
        let gateway = self.gateway.clone();
        match endpoint {
            Endpoint::CountTokens => request::count::count(gateway, node, snapshot, parts, body, id).await,
            Endpoint::Models(_, one) => {
                request::models::models(&snapshot, &node, format, *one, parts.uri.query(), id)
            }
            _ => request::generate(gateway, node, snapshot, format, parts, body, id).await,
        }
    }

    async fn mcp(&self, server: Option<&str>, request: Request<Incoming>, id: Uuid) -> Response<Body> {
        let snapshot = self.gateway.snapshot();
        match self.identify(&snapshot, request.headers()) {
            Ok(node) => self.mcp.handle(snapshot, node, server, request).await,
            Err(error) => {
                let mut response = respond::error(Format::Chat, &error, id);
                if response.status() == StatusCode::UNAUTHORIZED {
                    response
                        .headers_mut()
                        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                turned_away(request.into_body(), response).await
            }
        }
    }

    async fn logs(&self, mut request: Request<Incoming>) -> Response<Body> {
        let viewer = self.viewer(request.headers());
        request.extensions_mut().insert(viewer);
        let request = request.map(axum::body::Body::new);
        match self.logs.clone().oneshot(request).await {
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(never) => match never {},
        }
    }

    /// Who looks at the logs: on loopback of a gateway with its own manifests everyone; else a key sees its own, a team's token its
    /// subtree, an administrator's all. The loopback of a pod is no administrator's: an agent's container shares it.
    fn viewer(&self, headers: &http::HeaderMap) -> Viewer {
        if self.loopback && self.gateway.options.standalone {
            return Viewer::All;
        }
        let (snapshot, now) = (self.gateway.snapshot(), self.gateway.now());
        let by_cookie = || {
            let node = by_token(&snapshot, &hash(logs::credential(headers)?), now)?;
            check(node, now).is_ok().then(|| node.clone())
        };
        match identify(&snapshot, &self.gateway.options.token_issuers, headers, false, now)
            .ok()
            .or_else(by_cookie)
        {
            Some(node) if self.gateway.options.logs_admins.contains(node.id()) => Viewer::All,
            Some(node) => Viewer::Keys([node.id().shared()].into()),
            None => Viewer::Nobody,
        }
    }

    fn identify(&self, snapshot: &Snapshot, headers: &http::HeaderMap) -> Result<Arc<KeyNode>, GatewayError> {
        let anonymous = self.loopback || self.gateway.options.allow_anonymous;
        identify(snapshot, &self.gateway.options.token_issuers, headers, anonymous, self.gateway.now())
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("loopback", &self.loopback).finish_non_exhaustive()
    }
}

const WELCOME: &str = "Tollgate, the gateway for coding agents.

  Anthropic API   POST /anthropic/v1/messages    (ANTHROPIC_BASE_URL=http://<this address>/anthropic)
  OpenAI API      POST /openai/v1/chat/completions
  Models          GET  /v1/models
  MCP             POST /mcp                      (claude mcp add --transport http tollgate http://<this address>/mcp)
  What happened   GET  /logs
";

/// An answer to a request whose body nobody reads.
async fn turned_away(body: Incoming, response: Response<Body>) -> Response<Body> {
    receive::discard(body).await;
    response
}

pub(super) fn format_of(endpoint: &Endpoint<'_>) -> Format {
    match endpoint {
        Endpoint::Generate(f)
        | Endpoint::Models(f, _)
        | Endpoint::WrongMethod(f, _)
        | Endpoint::Unknown(f) => *f,
        Endpoint::CountTokens => Format::Messages,
        _ => Format::Chat,
    }
}

pub(super) fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(full(words));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn wrong_method(
    format: Format,
    method: &Method,
    path: &str,
    allow: &'static str,
    id: Uuid,
) -> Response<Body> {
    let words = format!("{method} is not possible on {path}; use {allow}");
    let mut response = respond::error(format, &GatewayError::BadRequest(words), id);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gateway::Options, model::fixtures::key};
    use tollgate_ledger::memory::MemoryStore;

    fn service(standalone: bool, loopback: bool) -> Service {
        let snapshot = Snapshot::build(1, vec![Arc::new(key("dev"))], Vec::new(), Vec::new());
        let options = Options { standalone, ..Options::default() };
        let sink: crate::records::Sink = Arc::new(|_| {});
        let ledger = MemoryStore::new().into();
        let gateway = Arc::new(Gateway::new(options, Arc::new(snapshot), ledger, sink.clone()));
        let endpoint = mcp::Endpoint::new(sink, &[[7; 32]]).unwrap();
        Service::new(gateway, endpoint, Router::new(), loopback)
    }

    #[test]
    fn all_records_are_shown_on_the_loopback_of_a_gateway_with_its_own_manifests_only() {
        let none = http::HeaderMap::new();
        assert_eq!(service(true, true).viewer(&none), Viewer::All);
        assert_eq!(service(true, false).viewer(&none), Viewer::Nobody);
        // A sidecar's listener: the agent beside it may connect.
        assert_eq!(service(false, true).viewer(&none), Viewer::Nobody);
        let mut dev = none;
        dev.insert("x-api-key", HeaderValue::from_static("dev"));
        assert_eq!(service(false, true).viewer(&dev), Viewer::Keys([Arc::from("default/dev")].into()));
    }
}
