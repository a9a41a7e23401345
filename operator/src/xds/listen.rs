//! Connections: plain ones on loopback, else TLS, whose certificate rotates live.

use arc_swap::ArcSwap;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
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

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
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

/// Connections with TLS; one that does not shake hands harms no other.
///
/// # Errors
/// When there is no usable certificate now; later the last usable one stays.
pub fn tls(
    listener: TcpListener,
    files: CertificateFiles,
    stop: CancellationToken,
) -> Result<ReceiverStream<io::Result<TlsStream<TcpStream>>>, CertificateError> {
    let current = Arc::new(Current(ArcSwap::from_pointee(load(&files)?)));
    let acceptor = TlsAcceptor::from(Arc::new(config(current.clone())?));
    tokio::spawn(rotate(files, current, stop.clone()));
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

fn config(current: Arc<Current>) -> Result<rustls::ServerConfig, CertificateError> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Takes a new certificate when the files have one. A mounted Secret is replaced by a link, which gives no notice that could
/// be relied on, so the files are read.
async fn rotate(files: CertificateFiles, current: Arc<Current>, stop: CancellationToken) {
    let mut told: Option<String> = None;
    while stop.run_until_cancelled(tokio::time::sleep(ROTATION)).await.is_some() {
        match load(&files) {
            Ok(next) => {
                told = None;
                if next.cert != current.0.load().cert {
                    current.0.store(Arc::new(next));
                    tracing::info!(file = %files.certificate.display(), "a new certificate is in use");
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

// === impl Current ===

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
