//! The TLS listener for relays: HTTP/2 and HTTP/1.1, and a certificate that rotates while connections stay.

use crate::support::Operated;
use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::json;
use std::{path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tollgate_e2e::{
    client::eventually,
    gateway::{Home, Manifests},
    lab::{KEY, KEY_SPEC},
    provider::Provider,
};

/// A new self-signed certificate in `dir`; returns it as the only root to trust.
fn certificate(dir: &Path) -> anyhow::Result<RootCertStore> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    // As a mounted Secret changes: each file at once.
    for (name, text) in [("tls.key", made.signing_key.serialize_pem()), ("tls.crt", made.cert.pem())] {
        let partial = dir.join("partial");
        std::fs::write(&partial, text)?;
        std::fs::rename(partial, dir.join(name))?;
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes())?)?;
    Ok(roots)
}

async fn connect(url: &str, roots: &RootCertStore, alpn: &[u8]) -> anyhow::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let socket = TcpStream::connect(url.trim_start_matches("https://")).await?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, socket).await?)
}

type Sender = http2::SendRequest<Full<Bytes>>;

async fn http2(url: &str, roots: &RootCertStore) -> anyhow::Result<Sender> {
    let stream = connect(url, roots, b"h2").await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut Sender) -> anyhow::Result<u16> {
    let body = json!({"model": "anthropic/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let request = Request::post("https://localhost/v1/messages").header("x-api-key", KEY);
    let response = sender.send_request(request.body(Full::from(body.to_string()))?).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await?;
    Ok(status)
}

#[tokio::test]
async fn relays_speak_http2_and_the_certificate_rotates_under_them() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let home = Home::new(&Manifests::routes(&provider.url()).key(KEY, KEY_SPEC))?;
    let dir = tempfile::tempdir()?;
    let first = certificate(dir.path())?;
    let (crt, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let (crt, key) = (crt.display().to_string(), key.display().to_string());
    let args = ["--listen-tls", "127.0.0.1:0", "--tls-cert", &crt, "--tls-key", &key, "--min-drain", "1"];
    let mut gateway = Operated::start(&home, &args, &[]).await?;
    let url = gateway.process.url("listening on https://").await?;

    let mut kept = http2(&url, &first).await?;
    assert_eq!(ask(&mut kept).await?, 200);
    let plain = connect(&url, &first, b"http/1.1").await?;
    assert_eq!(plain.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut old, connection) = hyper::client::conn::http1::handshake(TokioIo::new(plain)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header("host", "localhost").body(Full::<Bytes>::default())?;
    assert_eq!(old.send_request(request).await?.status(), 200);

    // A broken file harms nothing; a new certificate is in use soon, and the old connection stays.
    std::fs::write(dir.path().join("tls.crt"), "no certificate")?;
    eventually("the broken file is told", || async {
        Ok(gateway.process.log.find("the last certificate stays in use").map(|_| ()))
    })
    .await?;
    http2(&url, &first).await.context("the last good certificate stays in use")?;
    let second = certificate(dir.path())?;
    let mut new =
        eventually("the new certificate is in use", || async { Ok(http2(&url, &second).await.ok()) }).await?;
    assert_eq!(ask(&mut new).await?, 200);
    assert!(http2(&url, &first).await.is_err(), "the old certificate is gone");
    assert_eq!(ask(&mut kept).await?, 200, "a connection outlives its certificate");

    // The end: the client is told by GOAWAY, after the time in which others learn of it.
    gateway.process.signal("-TERM").await?;
    eventually("it drains", || async { Ok((gateway.probe("/readyz").await?.0 == 503).then_some(())) })
        .await?;
    assert_eq!(ask(&mut new).await?, 200, "still served");
    assert!(gateway.process.ended().await?.success());
    assert!(new.is_closed() || ask(&mut new).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_said_at_once() -> anyhow::Result<()> {
    let home = Home::new(&Manifests::new())?;
    let (manifests, data) = (home.manifests().display().to_string(), home.data().display().to_string());
    let args = [
        "--manifests",
        &manifests,
        "--data",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--listen-tls",
        "127.0.0.1:0",
        "--tls-cert",
        "/nowhere/tls.crt",
        "--tls-key",
        "/nowhere/tls.key",
    ];
    let mut process = crate::support::Process::start("tollgate-dataplane", &args, &[])?;
    assert!(!process.ended().await?.success());
    let told = || async { Ok(process.log.find("/nowhere/tls.crt").map(|_| ())) };
    eventually("it says which file", told).await.with_context(|| process.log.text())?;
    Ok(())
}
