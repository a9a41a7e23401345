//! One connection to the control plane.

use super::Options;
use std::{io, path::Path, path::PathBuf, time::Duration};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};

/// A connection, with the token to show on it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection.
    pub channel: Channel,
    authorization: MetadataValue<Ascii>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("{0:?} is not an address such as https://tollgate-operator:18000")]
    Url(String),
    /// The token would travel in clear.
    #[error("{0} is not on loopback: use https://, for secrets and the token travel there")]
    Plaintext(String),
    /// TLS without an authority.
    #[error("https:// needs the file of the authority of the operator's certificate (--xds-ca)")]
    NoAuthority,
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token's file holds none.
    #[error("{} holds no token", .0.display())]
    NoToken(PathBuf),
    /// The connection failed.
    #[error("{0}")]
    Transport(String),
}

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is there, and how long the answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Finds what cannot work whatever the control plane does.
///
/// # Errors
/// The address is none, the token would travel in clear, or there is no authority for TLS.
pub fn check(options: &Options) -> Result<(), ConnectError> {
    let uri: Uri = options.url.parse().map_err(|_| ConnectError::Url(options.url.clone()))?;
    let host = uri.host().ok_or_else(|| ConnectError::Url(options.url.clone()))?;
    match uri.scheme_str() {
        Some("https") if options.ca_file.is_none() => Err(ConnectError::NoAuthority),
        Some("https") => Ok(()),
        Some("http") if is_loopback(host) => Ok(()),
        Some("http") => Err(ConnectError::Plaintext(options.url.clone())),
        _ => Err(ConnectError::Url(options.url.clone())),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
}

/// Connects, with the token and the authority as their files are now.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(options: &Options) -> Result<Connection, ConnectError> {
    let token = read(&options.token_file).await?;
    let token = std::str::from_utf8(&token).unwrap_or_default().trim();
    let no_token = || ConnectError::NoToken(options.token_file.clone());
    if token.is_empty() {
        return Err(no_token());
    }
    let mut authorization: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| no_token())?;
    authorization.set_sensitive(true);
    let channel = endpoint(options).await?.connect().await.map_err(transport)?;
    Ok(Connection { channel, authorization })
}

async fn endpoint(options: &Options) -> Result<Endpoint, ConnectError> {
    let endpoint = Endpoint::from_shared(options.url.clone())
        .and_then(|e| e.user_agent(concat!("tollgate-dataplane/", env!("CARGO_PKG_VERSION"))))
        .map_err(transport)?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true);
    match &options.ca_file {
        Some(path) if options.url.starts_with("https:") => {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path).await?));
            endpoint.tls_config(tls.timeout(CONNECT)).map_err(transport)
        }
        _ => Ok(endpoint),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path).await.map_err(|source| ConnectError::File { path: path.to_owned(), source })
}

/// The transport's own words are "transport error": what happened stands in its causes.
fn transport(error: tonic::transport::Error) -> ConnectError {
    let mut words = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    ConnectError::Transport(words)
}

// === impl Connection ===

impl Connection {
    /// A call on this connection, with the token.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_travel_in_clear() {
        let options = |url: &str, ca: Option<&str>| Options {
            url: url.to_owned(),
            token_file: "token".into(),
            ca_file: ca.map(Into::into),
            node: String::new(),
            saved: None,
        };
        for good in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert!(check(&options(good, None)).is_ok(), "{good}");
        }
        assert!(check(&options("https://operator:1", Some("ca"))).is_ok());
        assert!(matches!(check(&options("https://operator:1", None)), Err(ConnectError::NoAuthority)));
        for clear in ["http://operator:1", "http://10.0.0.1:1", "http://127.0.0.1.evil:1"] {
            assert!(matches!(check(&options(clear, None)), Err(ConnectError::Plaintext(_))), "{clear}");
        }
        for bad in ["operator:1", "ftp://x", ""] {
            assert!(matches!(check(&options(bad, None)), Err(ConnectError::Url(_))), "{bad}");
        }
    }
}
