//! Connections: plain ones on loopback, else TLS, whose certificate rotates live.

use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tollgate_process::certificate::server_config;
pub use tollgate_process::certificate::{
    CertificateError, CertificateFiles, CertificatePem, CertificateSource, HTTP, HTTP2,
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most handshakes at once.
const MAX_HANDSHAKES: usize = 256;
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
    let acceptor = TlsAcceptor::from(server_config(source, protocols, stop.clone())?);
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
