//! A certificate from files, or from another part of the process, taken anew while it is in use.

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
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

/// How often the certificate's files are looked at.
const ROTATION: Duration = Duration::from_secs(5);

/// A TLS server's configuration whose certificate follows its source until `stop`. `protocols`: what is spoken, the preferred
/// first. Must be called on a runtime.
///
/// # Errors
/// When there is no usable certificate now; later the last usable one stays.
pub fn server_config(
    source: CertificateSource,
    protocols: &[&str],
    stop: CancellationToken,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let current = Arc::new(Current(ArcSwap::from_pointee(source.load()?)));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    tokio::spawn(rotate(source, current, stop, ROTATION));
    Ok(Arc::new(config))
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

/// Takes a new certificate when there is one.
async fn rotate(
    mut source: CertificateSource,
    current: Arc<Current>,
    stop: CancellationToken,
    every: Duration,
) {
    let mut told: Option<String> = None;
    while stop.run_until_cancelled(source.changed(every)).await == Some(true) {
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
    async fn changed(&mut self, every: Duration) -> bool {
        match self {
            // A mounted Secret is replaced by a link, which gives no notice that could be relied on, so files are read.
            CertificateSource::Files(_) => {
                tokio::time::sleep(every).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &CertificateFiles, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        // The key first: in between the pair does not fit, which must harm nothing.
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    }

    #[tokio::test]
    async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles { certificate: dir.path().join("crt"), key: dir.path().join("key") };
        assert!(server_config(files.clone().into(), HTTP2, CancellationToken::new()).is_err());
        write(&files, "one.example");
        let current = Arc::new(Current(ArcSwap::from_pointee(load(&files).unwrap())));
        let (first, stop) = (current.0.load_full().cert.clone(), CancellationToken::new());
        let task = tokio::spawn(rotate(
            files.clone().into(),
            current.clone(),
            stop.clone(),
            Duration::from_millis(1),
        ));
        std::fs::write(&files.certificate, "no certificate").unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(current.0.load().cert, first);
        write(&files, "two.example");
        let taken = async {
            while current.0.load().cert == first {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), taken).await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }
}
