//! What a listener answers: nothing but that it waits, before there is a configuration; then what the service says. Keeps the
//! account of each request: how many are under way, its span, its line in the log.

use super::{
    dispatch::{Service, format_of, text},
    guard,
    paths::{Endpoint, endpoint},
};
use crate::{
    body::{Body, BodyError},
    error::GatewayError,
    gateway::Options,
    request::receive,
    respond,
    telemetry::inbound::Inbound,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use std::{
    fmt,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};
use tollgate_process::{admin, readiness::Readiness, trace};
use uuid::Uuid;

/// What one listener answers.
pub struct Front {
    readiness: Readiness,
    options: Options,
    loopback: bool,
    service: OnceLock<Service>,
    /// How old the configuration is, where it can be too old.
    age: OnceLock<Age>,
}

/// Says how old the configuration may be by now.
pub type Age = Box<dyn Fn() -> Duration + Send + Sync>;

/// An answer's body with the account of its request, which is closed when the body is let go of.
#[derive(Debug)]
pub struct Watched {
    // Before the account: a request settles as its body is let go of.
    body: Body,
    account: Inbound,
}

// === impl Front ===

impl Front {
    /// A listener that has no service yet; `loopback`: it is bound to a loopback address.
    pub fn new(readiness: Readiness, options: Options, loopback: bool) -> Self {
        Front { readiness, options, loopback, service: OnceLock::new(), age: OnceLock::new() }
    }

    /// There is something to serve, from now on.
    pub fn open(&self, service: &Service) {
        self.service.get_or_init(|| service.on(self.loopback));
    }

    /// The configuration can be too old ([`Options::max_config_age`]), by what `age` says.
    pub fn watch_age(&self, age: Age) {
        self.age.get_or_init(|| age);
    }

    /// Whether the configuration is older than it may be: then nothing is served by it.
    fn is_stale(&self) -> bool {
        let (most, age) = (self.options.max_config_age, self.age.get());
        most.zip(age).is_some_and(|(most, age)| age() > most)
    }

    /// Whether the process ends: a client does well to go elsewhere.
    pub fn is_draining(&self) -> bool {
        self.readiness.is_draining()
    }

    /// Not ready any more.
    pub(super) fn drain(&self) {
        self.readiness.drain();
    }

    /// Answers one request. Never fails: errors are answers.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Watched> {
        let id = Uuid::now_v7();
        let mut account = Inbound::begin(&request, id);
        let answering = async {
            match self.service.get() {
                Some(_) if request.uri().path() == admin::READYZ => {
                    self.without_service(request, id, WAITING).await
                }
                Some(_) if self.is_stale() => self.without_service(request, id, STALE).await,
                Some(service) => service.answer(request, id).await,
                None => self.without_service(request, id, WAITING).await,
            }
        };
        let response = match account.place() {
            Some(place) => trace::scope(Some(place), answering).await,
            None => answering.await,
        };
        account.answered(response.status());
        response.map(|body| Watched { body, account })
    }

    /// Readiness, and all that can be said before there is a configuration.
    async fn without_service(
        &self,
        request: Request<Incoming>,
        id: Uuid,
        words: &'static str,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let endpoint = endpoint(&parts.method, parts.uri.path());
        let format = format_of(&endpoint);
        let response = match guard::check(&self.options, &parts.headers, &parts.uri, self.loopback) {
            Err(error) => respond::error(format, &error, id),
            Ok(()) => match endpoint {
                Endpoint::Healthz => text(StatusCode::OK, "ok\n"),
                Endpoint::Readyz => admin::readyz(&self.readiness)
                    .map(|body: Full<Bytes>| body.map_err(|never| match never {}).boxed_unsync()),
                Endpoint::Hello => text(StatusCode::OK, ""),
                Endpoint::Logs | Endpoint::Welcome => text(StatusCode::SERVICE_UNAVAILABLE, words),
                _ => respond::error(format, &GatewayError::NoBackend(words.trim_end().to_owned()), id),
            },
        };
        receive::discard(body).await;
        response
    }
}

/// What clients are told meanwhile; `/readyz` has the reasons, which are not theirs.
const WAITING: &str = "this gateway has no configuration yet and is not ready: try again in a moment\n";
/// What they are told when the operator has not been reached for too long.
const STALE: &str = "this gateway's configuration is too old to be served (--max-config-age): the operator has not been reached for \
                     too long; try again later\n";

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match this.account.place() {
            Some(place) => trace::within(place, || Pin::new(&mut this.body).poll_frame(cx)),
            None => Pin::new(&mut this.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
