//! Connections: plain ones on loopback, else TLS, whose certificate rotates live.

use parking_lot::Mutex;
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
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
/// How the first message of a TLS connection begins: a record of a handshake.
const TLS_RECORD: u8 = 0x16;
/// How HTTP/2 without TLS begins.
const PREFACE: &[u8] = b"PRI ";
/// What a client without TLS is told.
const TLS_ONLY: &str = "this port speaks TLS only: use https://";
/// INADEQUATE_SECURITY, the error of HTTP/2 (RFC 9113) for a transport that is not good enough.
const INADEQUATE_SECURITY: u8 = 0xc;
/// When the log was told last of a connection without TLS, and how often it is.
static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
const TELL_EVERY: Duration = Duration::from_secs(60);
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
                match timeout(HANDSHAKE, handshake(acceptor, socket)).await {
                    Ok(Ok(Some(stream))) => drop(sender.send(Ok(stream)).await),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a connection did not speak TLS as it should"),
                    Err(_) => tracing::debug!("a connection did not finish its TLS handshake"),
                }
                drop(permit);
            });
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// A connection with TLS; one without is told why it is refused.
async fn handshake(acceptor: TlsAcceptor, socket: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 1 && first != [TLS_RECORD] {
        let peer = socket.peer_addr()?;
        tell_refused(peer);
        refuse(socket).await?;
        return Ok(None);
    }
    acceptor.accept(socket).await.map(Some)
}

/// Tells the log, no more than a line a minute: whoever connects is unknown.
fn tell_refused(peer: SocketAddr) {
    let mut told = TOLD.lock();
    if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
        *told = Some(Instant::now());
        tracing::warn!(%peer, "a connection without TLS is refused; further ones are told of at level debug");
    } else {
        tracing::debug!(%peer, "a connection without TLS is refused");
    }
}

/// Tells a client why it is refused, in its own protocol, and waits until it has gone: what it has sent and nobody reads would
/// else take the answer away.
async fn refuse(mut socket: TcpStream) -> io::Result<()> {
    let mut begin = [0; PREFACE.len()];
    socket.read_exact(&mut begin).await?;
    socket.write_all(&if begin == PREFACE { go_away() } else { bad_request() }).await?;
    socket.shutdown().await?;
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}

/// The frames SETTINGS and GOAWAY of HTTP/2 (RFC 9113, 6.5 and 6.8).
fn go_away() -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = 8 + TLS_ONLY.len() as u8;
    let head = [0, 0, length, 7, 0, 0, 0, 0, 0];
    // No stream was looked at.
    let error = [0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY];
    [&settings[..], &head, &error, TLS_ONLY.as_bytes()].concat()
}

fn bad_request() -> Vec<u8> {
    let length = TLS_ONLY.len();
    format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{TLS_ONLY}")
        .into_bytes()
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
