//! How an attempt fails: what the client is told, whether another try may help, and whether it may be billed all the same.

use super::header;
use crate::{
    model::route::{Backend, Retry},
    telemetry::outbound::class_of,
    upstream::send::SendError,
};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::{borrow::Cow, time::Duration};
use tollgate_translate::{
    Format, Usage,
    error::{self, Kind, UpstreamError},
};

/// The most bytes read of an error's body.
const MAX_ERROR: usize = 256 << 10;

/// How one attempt failed.
pub(super) struct Failed {
    pub(super) error: UpstreamError,
    /// The upstream's own body and headers, to be passed on as they are to a client of the same format.
    pub(super) raw: Option<(StatusCode, HeaderMap, Bytes)>,
    /// Another try may help: at the same backend, or only at another.
    pub(super) again: Again,
    /// What the provider may bill for the attempt although it gave no answer.
    pub(super) used: Option<Usage>,
    /// The words are the gateway's own. An upstream's are the caller's only: they may repeat the request, or a key.
    pub(super) own_words: bool,
    /// It tells nothing of the backend's health: the gateway waited less than the route lets it.
    pub(super) cut_short: bool,
}

/// Where another try may help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Elsewhere,
    Anywhere,
}

// === impl Failed ===

impl Failed {
    pub(super) fn new(error: UpstreamError, again: Again) -> Self {
        Failed { error, raw: None, again, used: None, own_words: false, cut_short: false }
    }

    /// Something went wrong that only another backend may do better.
    pub(super) fn elsewhere(kind: Kind, message: impl Into<String>, used: Option<Usage>) -> Self {
        let error = UpstreamError { kind, message: message.into(), ..UpstreamError::default() };
        Failed { used, own_words: true, ..Failed::new(error, Again::Elsewhere) }
    }

    /// What may be told to others than the caller: the gateway's own words, or the upstream's status and the error's class.
    pub(super) fn in_public(&self) -> Cow<'_, str> {
        let (status, class) = (self.error.status, class_of(self.error.kind));
        match status {
            _ if self.own_words => Cow::Borrowed(&self.error.message),
            0 => Cow::Borrowed(class),
            status => Cow::Owned(format!("HTTP {status} ({class})")),
        }
    }

    /// The gateway itself cannot send.
    pub(super) fn ours(error: &dyn std::error::Error) -> Self {
        let error = UpstreamError { kind: Kind::Api, message: error.to_string(), ..UpstreamError::default() };
        Failed { own_words: true, ..Failed::new(error, Again::Never) }
    }

    /// No answer came. After a deadline, or when the connection broke under the request, the provider has the request and may go on
    /// working on it: `input` counts, and it is not sent there again. Who could not be reached bills nothing. `whole`: the route's
    /// deadline, of which a client's own patience may have left less.
    pub(super) fn unreachable(error: &SendError, retry: &Retry, input: Usage, whole: Duration) -> Self {
        let words = error.to_string();
        match error {
            SendError::Timeout { after, .. } => {
                Failed { cut_short: *after < whole, ..Failed::elsewhere(Kind::Timeout, words, Some(input)) }
            }
            SendError::Broke { .. } => Failed::elsewhere(Kind::Api, words, Some(input)),
            SendError::Connect { .. } if retry.on_connect => {
                Failed { again: Again::Anywhere, ..Failed::elsewhere(Kind::Api, words, None) }
            }
            SendError::Connect { .. } | SendError::NotPublic { .. } | SendError::Endpoint { .. } => {
                Failed::elsewhere(Kind::Api, words, None)
            }
        }
    }
}

/// An answer that is no success: read (bounded), understood, and judged for another try.
pub(super) async fn refused(
    response: Response<Incoming>,
    format: Format,
    backend: &Backend,
    retry: &Retry,
) -> Failed {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    if !(parts.status.is_client_error() || parts.status.is_server_error()) {
        tracing::warn!(backend = %backend.name, status, "the upstream redirects; redirects are not followed");
        let words = format!(
            "the upstream answered with a redirect (HTTP {status}), which the gateway does not follow: the endpoint of backend \
             {} must be corrected",
            backend.name
        );
        return Failed::elsewhere(Kind::Api, words, None);
    }
    let body = Limited::new(body, MAX_ERROR).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let error = error::understand(format, status, &|name| header(&parts.headers, name), &body);
    let credential = matches!(status, 401 | 403);
    if credential {
        tracing::warn!(backend = %backend.name, status, "the upstream refused the gateway's credential");
    }
    let again = another_try(status, &error, retry);
    // What is not in the API's shape (a proxy's page) is told in words instead.
    let json = header(&parts.headers, "content-type").is_some_and(|kind| kind.contains("json"));
    let raw = (!credential && json && !body.is_empty()).then_some((parts.status, parts.headers, body));
    Failed { raw, ..Failed::new(error, again) }
}

fn another_try(status: u16, error: &UpstreamError, retry: &Retry) -> Again {
    let here = error.should_retry != Some(false);
    match status {
        429 if retry.on_rate_limited && here => Again::Anywhere,
        500.. if retry.on_server_error && here => Again::Anywhere,
        401..=404 | 408 | 429 | 500.. => Again::Elsewhere,
        // The provider's account has no money left, which some say with a 400: another's may have.
        _ if error.kind == Kind::Billing => Again::Elsewhere,
        _ => Again::Never,
    }
}
