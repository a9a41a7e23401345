//! Definitions, programs, certificates, policies.

use super::outcome::{Outcome, Report};
use crate::cluster::Cluster;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingAdmissionPolicy},
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::Secret,
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tollgate_crds::manifests;

/// The label of everything that the chart installs.
const CHART: &str = "app.kubernetes.io/name=tollgate";
/// The operator's Lease.
const LEASE: &str = "tollgate-operator";
/// A lease that was not renewed for this long has no holder that works.
const STALE: SignedDuration = SignedDuration::from_secs(60);
/// A certificate that ends within this time should have been renewed long ago.
const SOON: SignedDuration = SignedDuration::from_hours(24);

/// All of it.
pub async fn all(cluster: &Cluster, namespace: &str, report: &mut Report) {
    definitions(cluster, report).await;
    for (component, what) in [("operator", "the operator"), ("gateway", "the gateway")] {
        deployment(cluster, namespace, component, what, report).await;
    }
    endpoints(cluster, namespace, report).await;
    leader(cluster, namespace, report).await;
    for name in ["tollgate-operator-tls", "tollgate-gateway-tls"] {
        certificate(cluster, namespace, name, report).await;
    }
    policies(cluster, report).await;
}

async fn definitions(cluster: &Cluster, report: &mut Report) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for ours in manifests::definitions().unwrap_or_default() {
        let Ok(ours) = serde_json::from_value::<CustomResourceDefinition>(ours) else { continue };
        let name = ours.name_any();
        let outcome = match api.get(&name).await {
            Ok(found) => definition(&ours, &found),
            Err(error) => Outcome::failed(
                error,
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

async fn listed<K>(cluster: &Cluster, namespace: &str, labels: &str) -> Result<Vec<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    Ok(api.list(&ListParams::default().labels(labels)).await?.items)
}

async fn deployment(cluster: &Cluster, namespace: &str, component: &str, what: &str, report: &mut Report) {
    let labels = format!("{CHART},app.kubernetes.io/component={component}");
    let outcome = match listed::<Deployment>(cluster, namespace, &labels).await {
        Err(error) => Outcome::failed(error, format!("may you list deployments in {namespace}?")),
        Ok(found) => match found.first() {
            None => Outcome::failed(
                format!("there is no deployment with the labels {labels} in {namespace}"),
                "helm install tollgate charts/tollgate; another namespace is named with --tollgate-namespace",
            ),
            Some(deployment) => replicas(deployment, namespace, component),
        },
    };
    report.note("Programs", format!("{what} runs, all replicas ready"), outcome);
}

fn replicas(deployment: &Deployment, namespace: &str, component: &str) -> Outcome {
    let status = deployment.status.clone().unwrap_or_default();
    let (wanted, ready) = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
    let hint = format!(
        "kubectl -n {namespace} get pods -l app.kubernetes.io/component={component}; /readyz says why"
    );
    match ready {
        0 => Outcome::failed(format!("0 of {wanted} are ready"), hint),
        _ if ready < wanted => Outcome::warned(format!("{ready} of {wanted} are ready"), hint),
        _ => Outcome::Passed,
    }
}

async fn endpoints(cluster: &Cluster, namespace: &str, report: &mut Report) {
    for service in ["tollgate", "tollgate-operator"] {
        let labels = format!("kubernetes.io/service-name={service}");
        let outcome = match listed::<EndpointSlice>(cluster, namespace, &labels).await {
            Err(error) => Outcome::failed(error, format!("may you list endpointslices in {namespace}?")),
            Ok(slices) => {
                let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
                    e.conditions.as_ref().is_some_and(|c| c.ready.unwrap_or(true))
                };
                let number: usize =
                    slices.iter().map(|slice| slice.endpoints.iter().filter(ready).count()).sum();
                match number {
                    0 => Outcome::failed(
                        "it has no ready endpoint",
                        "its pods are not ready, or its selector is wrong",
                    ),
                    _ => Outcome::Passed,
                }
            }
        };
        report.note("Programs", format!("service {service} has endpoints"), outcome);
    }
}

async fn leader(cluster: &Cluster, namespace: &str, report: &mut Report) {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let hint = "without a leader gateways go on, but no status is written and no token is made: see the operator's logs";
    let outcome = match api.get(LEASE).await {
        Err(error) => Outcome::failed(error, hint),
        Ok(lease) => {
            let spec = lease.spec.unwrap_or_default();
            let age = spec.renew_time.map(|renewed| Timestamp::now().duration_since(renewed.0));
            match (spec.holder_identity.filter(|holder| !holder.is_empty()), age) {
                (Some(_), Some(age)) if age < STALE => Outcome::Passed,
                (Some(holder), Some(age)) => Outcome::failed(
                    format!("{holder} has not renewed its lease for {} s", age.as_secs()),
                    hint,
                ),
                _ => Outcome::failed("nobody holds the lease", hint),
            }
        }
    };
    report.note("Programs", "an operator leads", outcome);
}

async fn certificate(cluster: &Cluster, namespace: &str, name: &str, report: &mut Report) {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let outcome = match api.get_metadata(name).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Outcome::warned("you may not read it", "an administrator's account can check it")
        }
        Err(error) => Outcome::failed(error, "the operator's leader makes it: see the operator's logs"),
        Ok(found) => {
            let ends =
                found.annotations().get("tollgate.dev/not-after").and_then(|at| at.parse::<Timestamp>().ok());
            match ends.map(|at| at.duration_since(Timestamp::now())) {
                Some(left) if left < SOON => Outcome::failed(
                    format!("it ends in {} h", left.as_hours()),
                    "the operator's leader renews it long before: see its logs",
                ),
                // A certificate of somebody else's making says nothing of its end here.
                _ => Outcome::Passed,
            }
        }
    };
    report.note("Certificates", format!("Secret {name} is there and does not end soon"), outcome);
}

async fn policies(cluster: &Cluster, report: &mut Report) {
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let outcome = match webhooks.list(&ListParams::default().labels(CHART)).await {
        Err(error) => Outcome::warned(error, "an administrator's account can check it"),
        Ok(found) => match found.items.first() {
            None => {
                Outcome::warned("there is none", "pods get no relay; set injection.enabled if they should")
            }
            Some(found) if found.webhooks.iter().flatten().all(|w| w.client_config.ca_bundle.is_some()) => {
                Outcome::Passed
            }
            Some(_) => Outcome::failed(
                "its caBundle is empty, so the API server cannot call it",
                "the operator's leader sets it: see its logs",
            ),
        },
    };
    report.note("Policies", "the injection webhook can be called", outcome);
    let api: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let outcome = match api.list(&ListParams::default().labels(CHART)).await {
        Err(error) => Outcome::warned(error, "an administrator's account can check it"),
        Ok(found) if found.items.is_empty() => Outcome::warned(
            "there is none: whoever may create a VirtualKey can give himself a budget",
            "set rootKeyPolicy.enabled in the chart's values",
        ),
        Ok(_) => Outcome::Passed,
    };
    report.note("Policies", "root keys are for the platform's namespaces", outcome);
}
