//! Definitions, certificates, policies.

use super::{
    outcome::{Outcome, Report},
    programs::{self, CHART},
};
use crate::{cluster::Cluster, words::said};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{
            MutatingWebhook, MutatingWebhookConfiguration, ValidatingAdmissionPolicy,
        },
        core::v1::{ConfigMap, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, ResourceExt, api::ListParams};
use tollgate_crds::{annotations::NOT_AFTER, manifests};

/// Where the operator tells which authorities are to be trusted.
const BUNDLE: (&str, &str) = ("tollgate-ca", "ca.crt");
/// A certificate that ends within this time should have been renewed long ago.
const SOON: SignedDuration = SignedDuration::from_hours(24);

/// All of it.
pub async fn all(cluster: &Cluster, namespace: &str, report: &mut Report) {
    definitions(cluster, report).await;
    programs::all(cluster, namespace, report).await;
    for name in ["tollgate-operator-tls", "tollgate-gateway-tls"] {
        certificate(cluster, namespace, name, report).await;
    }
    webhook(cluster, namespace, report).await;
    root_keys(cluster, report).await;
}

async fn definitions(cluster: &Cluster, report: &mut Report) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for ours in manifests::definitions().unwrap_or_default() {
        let Ok(ours) = serde_json::from_value::<CustomResourceDefinition>(ours) else { continue };
        let name = ours.name_any();
        let outcome = match api.get(&name).await {
            Ok(found) => definition(&ours, &found),
            Err(error) => Outcome::failed(
                said(&error),
                "helm install tollgate-crds charts/tollgate-crds, before charts/tollgate",
            ),
        };
        report.note("Definitions", format!("{name} is established, and as this version knows it"), outcome);
    }
}

fn definition(ours: &CustomResourceDefinition, found: &CustomResourceDefinition) -> Outcome {
    let conditions = found.status.as_ref().and_then(|status| status.conditions.as_ref());
    let established =
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Established" && c.status == "True"));
    if !established {
        return Outcome::failed("it is not established", "kubectl describe crd says why");
    }
    let fields = |crd: &CustomResourceDefinition| {
        let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        let spec = schema.properties.as_ref()?.get("spec")?;
        Some(spec.properties.as_ref()?.keys().cloned().collect::<Vec<String>>())
    };
    let (ours, theirs) = (fields(ours).unwrap_or_default(), fields(found).unwrap_or_default());
    let missing: Vec<&String> = ours.iter().filter(|field| !theirs.contains(field)).collect();
    match missing.is_empty() {
        true => Outcome::Passed,
        false => Outcome::warned(
            format!("the cluster's has no spec fields {missing:?}"),
            "it is older than this plugin: helm upgrade tollgate-crds",
        ),
    }
}

async fn certificate(cluster: &Cluster, namespace: &str, name: &str, report: &mut Report) {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let outcome = match api.get_metadata(name).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Outcome::warned("you may not read it", "an administrator's account can check it")
        }
        Err(error) => {
            Outcome::failed(said(&error), "the operator's leader makes it: see the operator's logs")
        }
        Ok(found) => {
            let ends = found.annotations().get(NOT_AFTER).and_then(|at| at.parse::<Timestamp>().ok());
            // A certificate of somebody else's making says nothing of its end here.
            ends.map_or(Outcome::Passed, |ends| valid_until(ends, Timestamp::now()))
        }
    };
    report.note("Certificates", format!("Secret {name} is there and does not end soon"), outcome);
}

fn valid_until(ends: Timestamp, now: Timestamp) -> Outcome {
    let hint = "the operator's leader renews it long before: see its logs";
    let left = ends.duration_since(now);
    match () {
        () if left <= SignedDuration::ZERO => Outcome::failed(format!("it ended on {ends}"), hint),
        () if left < SOON => Outcome::failed(format!("it ends in {} h, on {ends}", left.as_hours()), hint),
        () => Outcome::Passed,
    }
}

/// The injection webhook of this release trusts what the operator serves with.
async fn webhook(cluster: &Cluster, namespace: &str, report: &mut Report) {
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let outcome = match webhooks.list(&ListParams::default().labels(CHART)).await {
        Err(error) => Outcome::warned(said(&error), "an administrator's account can check it"),
        Ok(found) => {
            let all = found.items.iter().flat_map(|c| c.webhooks.iter().flatten());
            let ours: Vec<_> = all.filter(|webhook| is_of(webhook, namespace)).collect();
            match ours.is_empty() {
                true => Outcome::warned(
                    "there is none",
                    "pods get no relay; set injection.enabled if they should",
                ),
                false => trusts(cluster, namespace, &ours).await,
            }
        }
    };
    report.note("Policies", "the injection webhook can be called", outcome);
}

fn is_of(webhook: &MutatingWebhook, namespace: &str) -> bool {
    webhook.client_config.service.as_ref().is_none_or(|service| service.namespace == namespace)
}

async fn trusts(cluster: &Cluster, namespace: &str, webhooks: &[&MutatingWebhook]) -> Outcome {
    let hint = "the operator's leader sets it within seconds: see its logs; labelled pods cannot be created meanwhile";
    let held =
        |webhook: &MutatingWebhook| webhook.client_config.ca_bundle.clone().filter(|b| !b.0.is_empty());
    if let Some(webhook) = webhooks.iter().find(|webhook| held(webhook).is_none()) {
        let found = format!("the caBundle of {} is empty, so the API server cannot call it", webhook.name);
        return Outcome::failed(found, hint);
    }
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let Ok(map) = maps.get(BUNDLE.0).await else {
        // Whoever may not read it sees at least that there is one.
        return Outcome::Passed;
    };
    let Some(bundle) = map.data.and_then(|mut data| data.remove(BUNDLE.1)) else { return Outcome::Passed };
    match webhooks.iter().find(|webhook| held(webhook).is_some_and(|held| held.0 != bundle.as_bytes())) {
        None => Outcome::Passed,
        Some(webhook) => Outcome::failed(
            format!("the caBundle of {} is not the authority in ConfigMap {}", webhook.name, BUNDLE.0),
            hint,
        ),
    }
}

async fn root_keys(cluster: &Cluster, report: &mut Report) {
    let api: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let outcome = match api.list(&ListParams::default().labels(CHART)).await {
        Err(error) => Outcome::warned(said(&error), "an administrator's account can check it"),
        Ok(found) if found.items.is_empty() => Outcome::warned(
            "there is none: whoever may create a VirtualKey can give himself a budget",
            "set rootKeyPolicy.enabled in the chart's values",
        ),
        Ok(_) => Outcome::Passed,
    };
    report.note("Policies", "root keys are for the platform's namespaces", outcome);
}
