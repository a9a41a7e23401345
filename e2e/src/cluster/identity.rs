//! Service accounts, and what a pod of theirs would hold.

use super::{Cluster, client, control};
use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    config::Kubeconfig,
};
use serde_json::json;
use std::path::PathBuf;

/// How long tokens live: the shortest that the API server gives is ten minutes.
const LIFETIME: i64 = 3600;

// === impl Cluster ===

impl Cluster {
    /// Makes a service account, unless it is there.
    pub async fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        accounts.patch(name, &PatchParams::apply("tollgate-e2e"), &Patch::Apply(account)).await?;
        Ok(())
    }

    /// A token of a service account (made when absent) for an audience, by TokenRequest.
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
    ) -> anyhow::Result<String> {
        self.service_account(namespace, service_account).await?;
        self.request_token(namespace, service_account, &[audience], None).await
    }

    /// The token that a projected volume would give a pod: of the pod's service account, bound to the pod. It is no
    /// longer valid once the pod is gone.
    pub async fn token_for_pod(&self, namespace: &str, pod: &str, audience: &str) -> anyhow::Result<String> {
        self.pod_token(namespace, pod, &[audience]).await
    }

    async fn pod_token(&self, namespace: &str, pod: &str, audiences: &[&str]) -> anyhow::Result<String> {
        let found = Api::<Pod>::namespaced(self.client().await?, namespace).get(pod).await?;
        let account = found.spec.and_then(|spec| spec.service_account_name);
        let account = account.with_context(|| format!("pod {namespace}/{pod} names no service account"))?;
        let bound = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(pod.into()),
            uid: found.metadata.uid,
        };
        self.service_account(namespace, &account).await?;
        self.request_token(namespace, &account, audiences, Some(bound)).await
    }

    /// A kubeconfig of a service account (made when absent), for the API server itself.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> anyhow::Result<PathBuf> {
        self.service_account(namespace, service_account).await?;
        let token = self.request_token(namespace, service_account, &[], None).await?;
        self.kubeconfig_with(&token, &format!("{namespace}.{service_account}"))
    }

    /// The kubeconfig that a pod has: of its service account, bound to it, so that the audit log names the pod.
    pub async fn kubeconfig_for_pod(&self, namespace: &str, pod: &str) -> anyhow::Result<PathBuf> {
        let token = self.pod_token(namespace, pod, &[]).await?;
        self.kubeconfig_with(&token, &format!("{namespace}.pod.{pod}"))
    }

    /// A client with the rights of a service account (made when absent).
    pub async fn client_for(&self, namespace: &str, service_account: &str) -> anyhow::Result<Client> {
        client(&self.kubeconfig_for(namespace, service_account).await?).await
    }

    /// A kubeconfig with any bearer token, forged ones included.
    pub fn kubeconfig_with(&self, token: &str, name: &str) -> anyhow::Result<PathBuf> {
        let admin = Kubeconfig::read_from(self.kubeconfig())?;
        let context = admin.current_context.as_deref();
        let context = admin.contexts.iter().find(|c| context == Some(c.name.as_str()));
        let cluster = context.and_then(|c| c.context.as_ref()).map(|c| c.cluster.as_str());
        let cluster = admin.clusters.iter().find(|c| cluster == Some(c.name.as_str()));
        let cluster =
            cluster.and_then(|c| c.cluster.as_ref()).context("the kubeconfig has no current cluster")?;
        let url = cluster.server.as_deref().context("the kubeconfig's cluster has no server")?;
        let authority = self.folder().join("authority.crt");
        if let Some(data) = &cluster.certificate_authority_data {
            use base64::Engine;
            std::fs::write(&authority, base64::engine::general_purpose::STANDARD.decode(data)?)?;
        } else if let Some(file) = &cluster.certificate_authority {
            std::fs::copy(file, &authority)?;
        }
        let path = self.folder().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, control::kubeconfig(url, &authority, token))?;
        Ok(path)
    }

    async fn request_token(
        &self,
        namespace: &str,
        service_account: &str,
        audiences: &[&str],
        bound_object_ref: Option<BoundObjectReference>,
    ) -> anyhow::Result<String> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let audiences = audiences.iter().map(|&a| a.to_owned()).collect();
        let spec = TokenRequestSpec { audiences, expiration_seconds: Some(LIFETIME), bound_object_ref };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request(service_account, &PostParams::default(), &request).await?;
        Ok(answer.status.context("the API server gave no token")?.token)
    }
}
