//! Connections to one gateway's address, with TLS in the name of the Service: a pod's certificate has no pod's address in it.

use super::held::Held;
use crate::client::{KEEP_ALIVE, Timed, pool};
use arc_swap::ArcSwap;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem, pem::PemObject},
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tower::Service;

/// How long connecting may take, TLS included: another gateway is a better answer than a long wait.
const CONNECT: Duration = Duration::from_secs(3);
/// The most unused HTTP/1.1 connections that are kept for each gateway; of HTTP/2 there is one.
const MAX_IDLE: usize = 4;

/// A pooled client of one gateway.
pub(super) type GatewayClient = Client<Timed<HttpsConnector<Fixed>>, Held>;

/// Whose certificates are taken, and in which name.
#[derive(Debug)]
pub(super) struct Trust {
    file: Option<PathBuf>,
    server_name: Option<ServerName<'static>>,
    current: ArcSwap<ClientConfig>,
    /// What the file held.
    read: parking_lot::Mutex<Vec<u8>>,
}

/// Why there is no usable authority.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not PEM.
    #[error("it is no PEM: {0}")]
    Pem(pem::Error),
    /// No certificate in it, or none that is an authority.
    #[error("it holds no certificate of an authority")]
    Empty,
    /// The TLS library refuses.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// Not a name.
    #[error("{0:?} is no server name")]
    Name(String),
}

/// Connects to one address, whatever the URI says.
#[derive(Debug, Clone)]
pub(super) struct Fixed(SocketAddr);

// === impl Trust ===

impl Trust {
    /// Trust in the authorities of `file`, or of `pem`, else in the public web's.
    pub(super) fn new(
        file: Option<PathBuf>,
        pem: Option<&str>,
        server_name: Option<&str>,
    ) -> Result<Self, TrustError> {
        let bytes = match (&file, pem) {
            (Some(path), _) => {
                Some(std::fs::read(path).map_err(|source| TrustError::File { path: path.clone(), source })?)
            }
            (None, Some(pem)) => Some(pem.as_bytes().to_vec()),
            (None, None) => None,
        };
        let server_name = server_name
            .map(|name| ServerName::try_from(name.to_owned()).map_err(|_| TrustError::Name(name.to_owned())))
            .transpose()?;
        let config = config(bytes.as_deref())?;
        let read = parking_lot::Mutex::new(bytes.unwrap_or_default());
        Ok(Trust { file, server_name, current: ArcSwap::from_pointee(config), read })
    }

    /// Reads the file again; true when there are other authorities now, so that connections should be made anew.
    pub(super) fn renew(&self) -> bool {
        let Some(path) = &self.file else { return false };
        let bytes = match std::fs::read(path) {
            Ok(bytes) if *self.read.lock() == bytes => return false,
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the last authority stays in use");
                return false;
            }
        };
        match config(Some(&bytes)) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(file = %path.display(), "a new authority is in use");
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the last authority stays in use");
                *self.read.lock() = bytes;
                return false;
            }
        }
        *self.read.lock() = bytes;
        true
    }

    /// A client of the gateway at `address`.
    pub(super) fn client(&self, address: SocketAddr) -> GatewayClient {
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&self.current.load()))
            .https_or_http();
        let builder = match &self.server_name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone())),
            None => builder,
        };
        let connector = builder.enable_http1().enable_http2().wrap_connector(Fixed(address));
        pool(&KEEP_ALIVE).pool_max_idle_per_host(MAX_IDLE).build(Timed::new(connector, CONNECT))
    }
}

fn config(pem: Option<&[u8]>) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(pem) = pem else { return Ok(builder.with_webpki_roots().with_no_client_auth()) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(TrustError::Pem)?)?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty);
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

// === impl Fixed ===

impl Service<Uri> for Fixed {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            KEEP_ALIVE.set_on(&stream)?;
            Ok(TokioIo::new(stream))
        })
    }
}
