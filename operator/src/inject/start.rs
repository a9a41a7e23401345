//! The webhook in a running operator: every replica answers, leader or not.

use super::{Injection, serve::serve};
use crate::{
    context::Context,
    settings::Settings,
    xds::listen::{self, CertificateSource},
};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Serves the webhook on `listener` until the operator stops.
///
/// # Errors
/// When there is no usable certificate, or no image is configured.
pub async fn start(context: Context, listener: TcpListener) -> anyhow::Result<()> {
    let Some(injection) = injection(&context.settings) else {
        anyhow::bail!("without --dataplane-image nothing can be injected");
    };
    let (stop, mut certificate) = (context.stop.clone(), context.certificates.operator.clone());
    if !matches!(stop.run_until_cancelled(certificate.wait_for(Option::is_some)).await, Some(Ok(_))) {
        return Ok(());
    }
    let certificate = CertificateSource::Shared(certificate);
    let connections = listen::tls(listener, certificate, listen::HTTP, stop.clone())?;
    let (sender, receiver) = watch::channel(Arc::new(injection));
    tokio::spawn(follow(context.certificates.bundle, sender, stop.clone()));
    serve(connections, receiver, stop).await;
    Ok(())
}

/// What is injected, by the settings; the authority is not known yet.
fn injection(settings: &Settings) -> Option<Injection> {
    let (gateways, namespace) = (&settings.gateway_service, &settings.namespace);
    Some(Injection {
        image: settings.dataplane_image.clone()?,
        upstream: format!("https://{gateways}-gateway-headless.{namespace}.svc:8443"),
        server_name: format!("{gateways}.{namespace}.svc"),
        audience: settings.audience.clone(),
        ca: String::new(),
    })
}

/// Takes new authorities into what is injected.
async fn follow(
    mut bundle: watch::Receiver<Arc<str>>,
    injection: watch::Sender<Arc<Injection>>,
    stop: CancellationToken,
) {
    loop {
        let ca = bundle.borrow_and_update().to_string();
        injection.send_if_modified(|current| {
            let changed = !ca.is_empty() && current.ca != ca;
            if changed {
                *current = Arc::new(Injection { ca, ..Injection::clone(current) });
            }
            changed
        });
        if !matches!(stop.run_until_cancelled(bundle.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}
