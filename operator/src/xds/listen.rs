//! Connections: plain ones on loopback, else TLS, whose certificate rotates live.

use arc_swap::ArcSwap;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Where a certificate and its key are, as PEM.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate and its key, as PEM. Its `Debug` prints no key.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificatePem {
    /// The certificate, then those that lead to its authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// Where a listener's certificate comes from; a new one is taken while it runs.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// From files, which are read again and again.
    Files(CertificateFiles),
    /// From another part of this process.
    Shared(watch::Receiver<Option<Arc<CertificatePem>>>),
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is none yet.
    #[error("there is no certificate yet")]
    Absent,
    /// It cannot be read as PEM.
    #[error("the certificate cannot be read: {0}")]
    Text(#[source] pem::Error),
    /// A file cannot be read as PEM.
    #[error("cannot read {}: {source}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The certificate and the key do not fit, or are of an unknown kind.
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The protocols of gRPC.
pub const HTTP2: &[&str] = &["h2"];
/// The protocols of a web server.
pub const HTTP: &[&str] = &["h2", "http/1.1"];

/// The certificate in use.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most handshakes at once.
const MAX_HANDSHAKES: usize = 256;
/// How often the certificate's files are looked at.
const ROTATION: Duration = Duration::from_secs(5);
/// The wait after a failure to accept, such as no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections without TLS.
pub fn plain(listener: TcpListener, stop: CancellationToken) -> ReceiverStream<io::Result<TcpStream>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(socket) = accept(&listener, &stop).await {
            if sender.send(Ok(socket)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Connections with TLS and one of these protocols; one that does not shake hands harms no other.
///
/// # Errors
/// When there is no usable certificate now; later the last usable one stays.
pub fn tls(
    listener: TcpListener,
    source: CertificateSource,
    protocols: &[&str],
    stop: CancellationToken,
) -> Result<ReceiverStream<io::Result<TlsStream<TcpStream>>>, CertificateError> {
    let current = Arc::new(Current(ArcSwap::from_pointee(source.load()?)));
    let acceptor = TlsAcceptor::from(Arc::new(config(current.clone(), protocols)?));
    tokio::spawn(rotate(source, current, stop.clone()));
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        while let Some(socket) = accept(&listener, &stop).await {
            let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                match timeout(HANDSHAKE, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                    Ok(Err(error)) => tracing::debug!(%error, "a connection did not speak TLS as it should"),
                    Err(_) => tracing::debug!("a connection did not finish its TLS handshake"),
                }
                drop(permit);
            });
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return None,
        };
        match accepted {
            Ok((socket, _)) => {
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "a socket keeps its delay");
                }
                return Some(socket);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn load(files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Pem { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(at(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(at(&files.key))?;
    Ok(CertifiedKey::from_der(chain, key, &ring::default_provider())?)
}

fn parse(pem: &CertificatePem) -> Result<CertifiedKey, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.certificate)
        .collect::<Result<_, _>>()
        .map_err(CertificateError::Text)?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(CertificateError::Text)?;
    Ok(CertifiedKey::from_der(chain, key, &ring::default_provider())?)
}

fn config(current: Arc<Current>, protocols: &[&str]) -> Result<rustls::ServerConfig, CertificateError> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

/// Takes a new certificate when there is one.
async fn rotate(mut source: CertificateSource, current: Arc<Current>, stop: CancellationToken) {
    let mut told: Option<String> = None;
    while stop.run_until_cancelled(source.changed()).await == Some(true) {
        match source.load() {
            Ok(next) => {
                told = None;
                if next.cert != current.0.load().cert {
                    current.0.store(Arc::new(next));
                    tracing::info!("a new certificate is in use");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the last certificate stays in use");
                    told = Some(error);
                }
            }
        }
    }
}

// === impl CertificateSource ===

impl CertificateSource {
    fn load(&self) -> Result<CertifiedKey, CertificateError> {
        match self {
            CertificateSource::Files(files) => load(files),
            CertificateSource::Shared(shared) => {
                parse(shared.borrow().as_ref().ok_or(CertificateError::Absent)?)
            }
        }
    }

    /// Waits until there may be another one; false: there never will be.
    async fn changed(&mut self) -> bool {
        match self {
            // A mounted Secret is replaced by a link, which gives no notice that could be relied on, so files are read.
            CertificateSource::Files(_) => {
                tokio::time::sleep(ROTATION).await;
                true
            }
            CertificateSource::Shared(shared) => shared.changed().await.is_ok(),
        }
    }
}

impl From<CertificateFiles> for CertificateSource {
    fn from(files: CertificateFiles) -> Self {
        CertificateSource::Files(files)
    }
}

// === impl CertificatePem ===

impl fmt::Debug for CertificatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificatePem").field("bytes", &self.certificate.len()).finish_non_exhaustive()
    }
}

// === impl Current ===

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
