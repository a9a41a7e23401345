//! What requests and answers are made of: the body type of the whole gateway, and the HTTP client for upstreams.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every answer and of every request to an upstream.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// A pooled client for HTTP/1.1 and, where TLS negotiates it, HTTP/2. Cloning shares the pool. It follows no redirects.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Body>;

/// How long an unused connection is kept: below the 60 s after which common load balancers drop one silently.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// One TLS configuration for all clients, so that they share the cache of TLS sessions.
static TLS: LazyLock<Result<rustls::ClientConfig, rustls::Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_roots()
        .with_no_client_auth())
});

/// A body that is known whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body without content.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A client that gives up connecting after `connect_timeout` (name resolution and TCP). Trusts the public web's roots; `http` and `https`.
///
/// # Errors
/// When the TLS library was built without the protocol versions it needs.
pub fn http_client(connect_timeout: Duration) -> Result<HttpClient, rustls::Error> {
    let tls = TLS.as_ref().map_err(Clone::clone)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .build(connector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_carry_what_they_were_given() {
        assert_eq!(full("text").collect().await.unwrap().to_bytes(), "text");
        assert!(empty().collect().await.unwrap().to_bytes().is_empty());
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error_and_not_a_panic() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = http_client(Duration::from_secs(5)).unwrap();
        let request = http::Request::get(format!("http://{address}/")).body(empty()).unwrap();
        assert!(client.request(request).await.unwrap_err().is_connect());
    }
}
