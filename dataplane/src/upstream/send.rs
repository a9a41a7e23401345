//! One attempt at one backend: URL, headers, the request, the wait for the answer's head.

use crate::{
    body::{Body, full},
    client::{HttpClient, NotPublic, caused_by},
    model::route::Backend,
    names,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use hyper::body::Incoming;
use std::time::Duration;
use tollgate_translate::Format;

/// Which operation of the upstream's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An answer.
    Generate,
    /// Anthropic's `count_tokens`.
    CountTokens,
}

/// Why an attempt gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection, or one that the request never left on.
    #[error("could not reach {backend}: {cause}")]
    Connect {
        /// The backend.
        backend: String,
        /// The cause, without the request's content.
        cause: String,
    },
    /// The connection broke before the answer's head. The provider may have the request, and bill it.
    #[error("the connection to {backend} broke before its answer: {cause}")]
    Broke {
        /// The backend.
        backend: String,
        /// The cause, without the request's content.
        cause: String,
    },
    /// Its name leads to an address that it must not have.
    #[error("{backend} is not asked: {cause}")]
    NotPublic {
        /// The backend.
        backend: String,
        /// Which name.
        cause: NotPublic,
    },
    /// No answer within the route's deadline.
    #[error("{backend} did not answer within {} s", .after.as_secs_f32())]
    Timeout {
        /// The backend.
        backend: String,
        /// The deadline.
        after: Duration,
    },
    /// The URL cannot be built (a configuration error).
    #[error("backend {backend} has an unusable endpoint")]
    Endpoint {
        /// The backend.
        backend: String,
    },
}

/// Sends `body` and waits for the answer's head, at most `deadline`.
pub async fn send(
    client: &HttpClient,
    backend: &Backend,
    operation: Operation,
    query: Option<&str>,
    headers: HeaderMap,
    body: Bytes,
    deadline: Duration,
) -> Result<Response<Incoming>, SendError> {
    let name = || backend.name.clone();
    let uri = url(backend, operation, query).ok_or_else(|| SendError::Endpoint { backend: name() })?;
    let mut request: Request<Body> = Request::new(full(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    match tokio::time::timeout(deadline, client.request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(match (caused_by::<NotPublic>(&error), never_left(&error)) {
            (Some(cause), _) => SendError::NotPublic { backend: name(), cause: cause.clone() },
            (None, true) => SendError::Connect { backend: name(), cause: root_cause(&error) },
            (None, false) => SendError::Broke { backend: name(), cause: root_cause(&error) },
        }),
        Err(_) => Err(SendError::Timeout { backend: name(), after: deadline }),
    }
}

/// Whether the upstream certainly has not begun to work on the request: there was no connection, the one in the pool was closed before
/// it was used, or the upstream says so by HTTP/2's own signs (RFC 9113 §8.7).
fn never_left(error: &hyper_util::client::legacy::Error) -> bool {
    let unused = caused_by::<hyper::Error>(error).is_some_and(|e| e.is_canceled() || e.is_closed());
    let turned_away = caused_by::<h2::Error>(error).is_some_and(|e| {
        e.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (e.is_go_away() && e.is_remote() && e.reason() == Some(h2::Reason::NO_ERROR))
    });
    error.is_connect() || unused || turned_away
}

/// The last cause of a chain: `Connection refused`, not `client error (Connect)`.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn url(backend: &Backend, operation: Operation, query: Option<&str>) -> Option<Uri> {
    let tail = match (backend.format()?, operation) {
        (Format::Messages, Operation::Generate) => "/v1/messages",
        (Format::Messages, Operation::CountTokens) => "/v1/messages/count_tokens",
        (Format::Chat, _) => "/chat/completions",
    };
    let base = backend.endpoint.path().trim_end_matches('/');
    let path = match query {
        Some(query) => format!("{base}{tail}?{query}"),
        None => format!("{base}{tail}"),
    };
    let mut parts = backend.endpoint.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// The headers for an upstream. Of the client's own only the provider's open lists pass, and only to the same format.
pub fn headers(client: &HeaderMap, backend: &Backend, same_format: bool) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(24);
    for (name, value) in client {
        if forwarded(name, same_format) {
            out.append(name.clone(), value.clone());
        }
    }
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A compressed stream could not be read on its way.
    out.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if backend.format() == Some(Format::Messages) && !out.contains_key(names::ANTHROPIC_VERSION) {
        out.insert(names::ANTHROPIC_VERSION, HeaderValue::from_static(names::ANTHROPIC_VERSION_DEFAULT));
    }
    if let Some((name, value)) = credential(backend) {
        out.insert(name, value);
    }
    out
}

fn forwarded(name: &HeaderName, same_format: bool) -> bool {
    let text = name.as_str();
    if !same_format {
        return text == "user-agent";
    }
    !names::NEVER_FORWARD.contains(&text)
        && (names::FORWARD.contains(&text) || names::FORWARD_PREFIXES.iter().any(|p| text.starts_with(p)))
}

fn credential(backend: &Backend) -> Option<(HeaderName, HeaderValue)> {
    let secret = backend.credential.as_ref()?.expose();
    let (name, text) = match backend.format()? {
        Format::Messages => (names::API_KEY, HeaderValue::from_str(secret)),
        Format::Chat => (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}"))),
    };
    let mut value = text.ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// The upstream's answer headers that reach a client of the same format.
pub fn returned(upstream: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(12);
    for (name, value) in upstream {
        let text = name.as_str();
        let open =
            names::RETURN.contains(&text) || names::RETURN_PREFIXES.iter().any(|p| text.starts_with(p));
        if open && !names::NEVER_RETURN.contains(&text) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}
