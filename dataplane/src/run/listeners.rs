//! The addresses that are listened on.

use crate::{
    args::Args,
    gateway::Options,
    serve::{Listener, front::Front},
};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate_process::{
    certificate::{CertificateFiles, HTTP, server_config},
    readiness::Readiness,
};

/// Listens on all addresses of the command line. `stop`: certificates are no longer followed.
///
/// # Errors
/// When an address is taken or not ours, or the certificate cannot be used.
pub(super) async fn bind(
    args: &Args,
    options: &Options,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Listener>> {
    let listen = async |address: SocketAddr, tls| {
        let socket =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let loopback = socket.local_addr()?.ip().is_loopback();
        let front = Arc::new(Front::new(readiness.clone(), options.clone(), loopback));
        anyhow::Ok(Listener { socket, tls, front })
    };
    let plain = listen(args.listen, None).await?;
    tracing::info!("listening on http://{}", plain.address()?);
    let mut all = vec![plain];
    let tls = &args.operations;
    if let (Some(address), Some(certificate), Some(key)) = (tls.listen_tls, &tls.tls_cert, &tls.tls_key) {
        let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        let config = server_config(files.into(), HTTP, stop.clone())
            .with_context(|| format!("no TLS on {address}: --tls-cert, --tls-key"))?;
        let listener = listen(address, Some(config)).await?;
        tracing::info!("listening on https://{}", listener.address()?);
        all.push(listener);
    }
    Ok(all)
}
