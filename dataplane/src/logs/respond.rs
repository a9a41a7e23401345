//! Headers that every answer carries, assets, and errors in words.

use super::{Viewer, params::BadParam};
use crate::records;
use askama::Template;
use axum::{
    Json,
    extract::{Path, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// What every page's frame shows.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Changes with the assets: a new version is never hidden by a cache.
    pub(super) version: &'static str,
    /// Which page: `records`, `spend`.
    pub(super) page: &'static str,
    /// Whose records are seen; `None` at the gate.
    pub(super) who: Option<String>,
    /// The viewer signed in by the cookie, so that it can sign out.
    pub(super) signed_in: bool,
}

/// Why a page or an API answer cannot be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The query is not understood.
    #[error(transparent)]
    Bad(#[from] BadParam),
    /// No such record, or none that the viewer may see.
    #[error(
        "There is no such record, or it is not yours to see. Records are deleted when their retention is over."
    )]
    NotFound,
    /// The store cannot be read.
    #[error("The record store cannot be read now. The gateway's own log has the reason.")]
    Store(sqlx::Error),
    /// The records' database is away.
    #[error(
        "The records' database does not answer now, so they cannot be shown. Requests are served all the same; their \
         records wait in the gateways and are delivered when it is back."
    )]
    Away(sqlx::Error),
    /// Not for this viewer.
    #[error("Only an administrator sees this.")]
    Forbidden,
    /// There is nothing to compare, or it cannot be compared now.
    #[error(transparent)]
    Audit(#[from] records::audit::AuditError),
    /// A page cannot be rendered.
    #[error("The page cannot be rendered.")]
    Render(#[from] askama::Error),
}

/// A failure as JSON.
pub(super) struct ApiFailure(pub(super) Failure);

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    title: &'static str,
    words: String,
}

const CSS: &str = include_str!("../../assets/app.css");
const JS: &str = include_str!("../../assets/app.js");
const ICON: &str = include_str!("../../assets/icon.svg");

/// The assets' version: the beginning of their hash.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::new().chain_update(CSS).chain_update(JS).finalize();
    hex::encode(digest).chars().take(12).collect()
});

const GUARDS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::VARY, HeaderValue::from_static("cookie, authorization, x-api-key")),
];

/// Puts the guards on every answer, and forbids caches to keep records.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.extend(GUARDS);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// `/logs/assets/{name}`.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, body) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", CSS),
        "app.js" => ("text/javascript; charset=utf-8", JS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // Pages name the version in the address; a day bounds the age of what is asked for without.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=86400")], body).into_response()
}

/// A rendered template as an answer.
pub(super) fn html(template: &impl Template) -> Result<Html<String>, Failure> {
    Ok(Html(template.render()?))
}

// === impl Frame ===

impl Frame {
    pub(super) fn new(page: &'static str, viewer: &Viewer, headers: &HeaderMap) -> Self {
        let who = match viewer {
            Viewer::All => Some("all keys".to_owned()),
            Viewer::Keys(keys) => Some(keys.iter().map(|k| &**k).collect::<Vec<_>>().join(", ")),
            Viewer::Nobody => None,
        };
        Frame { version: &VERSION, page, who, signed_in: super::credential(headers).is_some() }
    }
}

// === impl Failure ===

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Failure::Bad(_) => StatusCode::BAD_REQUEST,
            Failure::NotFound | Failure::Audit(records::audit::AuditError::NotShared) => {
                StatusCode::NOT_FOUND
            }
            Failure::Forbidden => StatusCode::FORBIDDEN,
            Failure::Away(_) | Failure::Audit(_) => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Store(_) | Failure::Render(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn log(&self) {
        match self {
            Failure::Away(error) => tracing::warn!(%error, "Records cannot be read: their database is away."),
            Failure::Store(error) => tracing::error!(%error, "Records cannot be read."),
            Failure::Render(error) => tracing::error!(%error, "A page cannot be rendered."),
            Failure::Audit(error) => tracing::warn!(%error, "The account cannot be audited."),
            Failure::Bad(_) | Failure::NotFound | Failure::Forbidden => {}
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if records::is_away(&error) { Failure::Away(error) } else { Failure::Store(error) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.log();
        let title = match self {
            Failure::Bad(_) => "That address is not understood",
            Failure::NotFound => "No such record",
            Failure::Forbidden => "Not for this key",
            Failure::Away(_) | Failure::Audit(_) => "Records cannot be shown now",
            Failure::Store(_) | Failure::Render(_) => "Something went wrong here",
        };
        let frame = Frame::new("", &Viewer::Nobody, &HeaderMap::new());
        let page = MessagePage { frame, title, words: self.to_string() };
        (self.status(), Html(page.render().unwrap_or_else(|_| title.to_owned()))).into_response()
    }
}

impl<E: Into<Failure>> From<E> for ApiFailure {
    fn from(error: E) -> Self {
        ApiFailure(error.into())
    }
}

impl IntoResponse for ApiFailure {
    fn into_response(self) -> Response {
        self.0.log();
        let kind = match self.0 {
            Failure::Bad(_) => "invalid_request_error",
            Failure::NotFound => "not_found_error",
            Failure::Forbidden => "permission_error",
            Failure::Away(_) | Failure::Audit(_) => "overloaded_error",
            Failure::Store(_) | Failure::Render(_) => "api_error",
        };
        (self.0.status(), Json(json!({"error": {"type": kind, "message": self.0.to_string()}})))
            .into_response()
    }
}
