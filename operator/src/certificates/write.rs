//! The leader's writes: Secrets with the version that was seen, the ConfigMap of what to trust, the webhook's caBundle.

use super::{AUTHORITY, BUNDLE, BUNDLE_KEY};
use crate::{
    context::Context,
    leader::{Lead, WRITE},
};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::future::Future;
use tokio::time::{Duration, Instant, timeout};
use tollgate_crds::annotations::{MANAGED_BY, OPERATOR};

/// Writes, while this replica leads.
pub(super) struct Writer {
    client: Client,
    namespace: String,
    webhook: Option<String>,
    lead: Lead,
    /// The bundle that is in the ConfigMap, and when that was last made sure of: others may change it.
    told: Option<(String, Instant)>,
    /// The same of the webhook.
    hooked: Option<(String, Instant)>,
}

/// How often the ConfigMap, which others may have changed, is written again.
const MAP_LOOK: Duration = Duration::from_secs(60);
/// How often the webhook is looked at: while its caBundle is wrong, labelled pods cannot be created.
pub(super) const WEBHOOK_LOOK: Duration = Duration::from_secs(5);
/// The type of a certificate's Secret.
const TLS_TYPE: &str = "kubernetes.io/tls";

// === impl Writer ===

impl Writer {
    pub(super) fn new(context: &Context) -> Self {
        Writer {
            client: context.client.clone(),
            namespace: context.settings.namespace.clone(),
            webhook: context.settings.webhook_configuration.clone(),
            lead: context.lead.clone(),
            told: None,
            hooked: None,
        }
    }

    /// Writes these Secrets, and tells the bundle. What was written is in `written`, also when a later one fails.
    pub(super) async fn write(
        &mut self,
        secrets: Vec<Secret>,
        bundle: &str,
        written: &mut Vec<Secret>,
    ) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        let mut authority = true;
        for secret in secrets {
            let name = secret.metadata.name.clone().unwrap_or_default();
            // What an authority issued that could not be stored is nobody's; the rest does not wait for it.
            if !authority && secret.type_.as_deref() == Some(TLS_TYPE) {
                continue;
            }
            match self.secret(&name, secret).await.with_context(|| format!("cannot write Secret {name}")) {
                Ok(now) => {
                    written.push(now);
                    tracing::info!(secret = name, "written");
                }
                Err(error) => {
                    authority &= name != AUTHORITY;
                    failed.push(error);
                }
            }
        }
        failed.extend(self.tell(bundle).await);
        match failed.is_empty() {
            true => Ok(()),
            false => Err(all(failed)),
        }
    }

    /// Tells the bundle where it is not told yet: one that cannot be written does not keep it from the other.
    async fn tell(&mut self, bundle: &str) -> Vec<anyhow::Error> {
        let mut failed = Vec::new();
        if bundle.is_empty() {
            return failed;
        }
        if is_due(&self.told, bundle, MAP_LOOK) {
            match self.config_map(bundle).await.with_context(|| format!("cannot write ConfigMap {BUNDLE}")) {
                Ok(()) => self.told = Some((bundle.to_owned(), Instant::now())),
                Err(error) => failed.push(error),
            }
        }
        if let Some(webhook) = self.webhook.clone().filter(|_| is_due(&self.hooked, bundle, WEBHOOK_LOOK)) {
            let context = || format!("cannot write caBundle of MutatingWebhookConfiguration {webhook}");
            match self.ca_bundle(&webhook, bundle).await.with_context(context) {
                Ok(()) => self.hooked = Some((bundle.to_owned(), Instant::now())),
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    /// A Secret that was not there is created, else replaced in the version that was seen: when somebody else was first, that
    /// is seen soon, and what is due is found out anew.
    async fn secret(&self, name: &str, secret: Secret) -> anyhow::Result<Secret> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = manager();
        let is_new = secret.metadata.resource_version.is_none();
        let written = self.permitted(async {
            match is_new {
                true => api.create(&params, &secret).await,
                false => api.replace(name, &params, &secret).await,
            }
        });
        written.await
    }

    async fn config_map(&self, bundle: &str) -> anyhow::Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": BUNDLE, "labels": {MANAGED_BY: OPERATOR, "app.kubernetes.io/name": "tollgate"}},
            "data": {BUNDLE_KEY: bundle},
        });
        let params = PatchParams::apply(OPERATOR).force();
        self.permitted(async { api.patch(BUNDLE, &params, &Patch::Apply(map)).await }).await?;
        Ok(())
    }

    /// Each webhook whose caBundle is another one gets this.
    async fn ca_bundle(&self, name: &str, bundle: &str) -> anyhow::Result<()> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let Some(configuration) = timeout(WRITE, api.get_opt(name)).await?? else {
            tracing::debug!(name, "there is no such webhook configuration");
            return Ok(());
        };
        let webhooks = configuration.webhooks.unwrap_or_default();
        let other = webhooks.iter().enumerate().filter(|(_, webhook)| {
            webhook.client_config.ca_bundle.as_ref().is_none_or(|held| held.0 != bundle.as_bytes())
        });
        let operations = other.flat_map(|(i, webhook)| {
            [
                json!({"op": "test", "path": format!("/webhooks/{i}/name"), "value": webhook.name}),
                json!({"op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": STANDARD.encode(bundle)}),
            ]
        });
        let operations: Vec<_> = operations.collect();
        if operations.is_empty() {
            return Ok(());
        }
        let patch = Patch::<()>::Json(serde_json::from_value(operations.into())?);
        let params = PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() };
        self.permitted(async { api.patch(name, &params, &patch).await }).await?;
        Ok(())
    }

    /// One write: by the leader, and bounded, so that its successor's begins after it.
    async fn permitted<T>(&self, write: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
        let _permit = self.lead.permit().context("this replica does not lead any more")?;
        Ok(timeout(WRITE, write).await.context("the API server did not answer in time")??)
    }
}

/// Whether something was made sure of too long ago, or of another bundle.
fn is_due(last: &Option<(String, Instant)>, bundle: &str, look: Duration) -> bool {
    last.as_ref().is_none_or(|(told, since)| told != bundle || since.elapsed() >= look)
}

/// Several errors as one.
fn all(errors: Vec<anyhow::Error>) -> anyhow::Error {
    let words: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    anyhow::anyhow!(words.join("; "))
}

fn manager() -> PostParams {
    PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() }
}
