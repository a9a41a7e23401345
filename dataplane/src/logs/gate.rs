//! Who is let in: the viewer that the listener found, or a page that says how to get in.

use super::{
    Viewer,
    respond::{Frame, html},
};
use askama::Template;
use axum::{
    Json,
    body::Bytes,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

/// The cookie that keeps a browser's virtual key.
pub const COOKIE: &str = "tollgate_key";
/// The longest key a cookie takes.
const KEY_MAX: usize = 1024;

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    frame: Frame,
    problem: Option<&'static str>,
}

#[derive(Deserialize)]
struct SignIn {
    #[serde(default)]
    key: String,
}

/// The virtual key in a browser's cookie: for the listener, which looks it up like one from a header.
pub fn credential(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let named = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    named.filter(|(name, value)| *name == COOKIE && !value.is_empty()).map(|(_, value)| value).next()
}

/// Lets a known viewer pass; others get 401 and how to get in.
pub(super) async fn admit(mut request: Request, next: Next) -> Response {
    let viewer = request.extensions().get::<Viewer>().cloned().unwrap_or_default();
    if viewer != Viewer::Nobody {
        request.extensions_mut().insert(viewer);
        return next.run(request).await;
    }
    let unknown = credential(request.headers()).is_some();
    if request.uri().path().starts_with("/logs/api/") {
        let words = "no known virtual key: send one as x-api-key or Authorization: Bearer";
        let body = Json(json!({"error": {"type": "authentication_error", "message": words}}));
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response();
    }
    let problem = unknown.then_some("That key is not known here, has expired, or is disabled.");
    sign_in_page(StatusCode::UNAUTHORIZED, problem)
}

/// Puts the key into the cookie; the page that follows tells whether it is known.
pub(super) async fn sign_in(uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let form: Option<SignIn> = (body.len() <= 4 * KEY_MAX).then(|| read_form(&body)).flatten();
    let key = form.map(|f| f.key.trim().to_owned()).unwrap_or_default();
    // The characters that a cookie's value may have (RFC 6265), which those of keys are among.
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    if key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(fits) {
        return sign_in_page(StatusCode::BAD_REQUEST, Some("That is not a virtual key."));
    }
    let forwarded = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if forwarded || uri.scheme_str() == Some("https") { "; Secure" } else { "" };
    set_cookie(&format!("{COOKIE}={key}; Path=/logs; HttpOnly; SameSite=Strict{secure}"))
}

/// Forgets the key.
pub(super) async fn sign_out() -> Response {
    set_cookie(&format!("{COOKIE}=; Path=/logs; HttpOnly; SameSite=Strict; Max-Age=0"))
}

fn set_cookie(cookie: &str) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/logs")]).into_response();
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

fn sign_in_page(status: StatusCode, problem: Option<&'static str>) -> Response {
    let frame = Frame::new("", &Viewer::Nobody, &HeaderMap::new());
    (status, html(&SignInPage { frame, problem })).into_response()
}

/// An `application/x-www-form-urlencoded` body. Reuses the reader of queries, which has the same form.
fn read_form<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(body).ok()?;
    let uri: Uri = format!("/?{text}").parse().ok()?;
    axum::extract::Query::try_from_uri(&uri).ok().map(|query| query.0)
}
