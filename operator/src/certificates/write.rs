//! The leader's writes: Secrets with the version that was seen, the ConfigMap of what to trust, the webhook's caBundle.

use super::{BUNDLE, BUNDLE_KEY};
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
    /// The bundle that is in the ConfigMap and the webhook, and since when: others may change them.
    told: Option<(String, Instant)>,
}

/// How often what others may have changed is looked at.
const LOOK: Duration = Duration::from_secs(60);

// === impl Writer ===

impl Writer {
    pub(super) fn new(context: &Context) -> Self {
        Writer {
            client: context.client.clone(),
            namespace: context.settings.namespace.clone(),
            webhook: context.settings.webhook_configuration.clone(),
            lead: context.lead.clone(),
            told: None,
        }
    }

    /// Writes these Secrets, and tells the bundle. What was written is in `written`, also when a later one fails.
    pub(super) async fn write(
        &mut self,
        secrets: Vec<Secret>,
        bundle: &str,
        written: &mut Vec<Secret>,
    ) -> anyhow::Result<()> {
        for secret in secrets {
            let name = secret.metadata.name.clone().unwrap_or_default();
            let now = self.secret(&name, secret).await;
            written.push(now.with_context(|| format!("cannot write Secret {name}"))?);
            tracing::info!(secret = name, "written");
        }
        let fresh = |(told, since): &(String, Instant)| told == bundle && since.elapsed() < LOOK;
        if bundle.is_empty() || self.told.as_ref().is_some_and(fresh) {
            return Ok(());
        }
        self.config_map(bundle).await.with_context(|| format!("cannot write ConfigMap {BUNDLE}"))?;
        if let Some(webhook) = &self.webhook {
            let context = || format!("cannot write caBundle of MutatingWebhookConfiguration {webhook}");
            self.ca_bundle(webhook, bundle).await.with_context(context)?;
        }
        self.told = Some((bundle.to_owned(), Instant::now()));
        Ok(())
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

fn manager() -> PostParams {
    PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() }
}
