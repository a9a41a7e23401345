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
            ValidatingAdmissionPolicyBinding,
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
    let release = programs::all(cluster, namespace, report).await;
    for name in ["tollgate-operator-tls", "tollgate-gateway-tls"] {
        certificate(cluster, namespace, name, report).await;
    }
    webhook(cluster, namespace, report).await;
    policies(cluster, namespace, release.as_deref(), report).await;
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

/// The chart's admission policies: the end of their names, what holds by them, and what happens without.
const POLICIES: [(&str, &str, &str); 2] = [
    (
        "root-keys",
        "root keys are for the platform's namespaces",
        "whoever may create a VirtualKey can give himself a budget",
    ),
    (
        "exports",
        "exports are for the platform's namespaces",
        "what others export counts for nothing, and nobody tells them",
    ),
];

/// The policies of this release are there, and refuse.
async fn policies(cluster: &Cluster, namespace: &str, release: Option<&str>, report: &mut Report) {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    let all = ListParams::default();
    let found = (policies.list(&ListParams::default().labels(CHART)).await, bindings.list(&all).await);
    for (end, what, danger) in POLICIES {
        let outcome = match (&found, release) {
            ((Err(error), _) | (_, Err(error)), _) => {
                Outcome::warned(said(error), "an administrator's account can check it")
            }
            (_, None) => Outcome::warned(
                "nobody knows: the policy has the name of the operator's deployment, which is not seen",
                "see the operator above",
            ),
            ((Ok(policies), Ok(bindings)), Some(release)) => {
                let name = format!("{}-{end}", cluster_name(release, namespace));
                enforced(&policies.items, &bindings.items, &name, danger)
            }
        };
        report.note("Policies", what, outcome);
    }
}

/// What the chart's names of cluster-scoped objects begin with.
fn cluster_name(release: &str, namespace: &str) -> String {
    if namespace == "tollgate-system" {
        return release.to_owned();
    }
    let whole = format!("{release}-{namespace}");
    whole.get(..80).unwrap_or(&whole).trim_end_matches('-').to_owned()
}

fn enforced(
    policies: &[ValidatingAdmissionPolicy],
    bindings: &[ValidatingAdmissionPolicyBinding],
    name: &str,
    danger: &str,
) -> Outcome {
    if !policies.iter().any(|policy| policy.name_any() == name) {
        let found = format!("there is no admission policy {name}: {danger}");
        return Outcome::warned(found, "set rootKeyPolicy.enabled in the chart's values");
    }
    let specs = bindings.iter().filter_map(|binding| binding.spec.as_ref());
    let bound: Vec<_> = specs.filter(|spec| spec.policy_name.as_deref() == Some(name)).collect();
    let actions: Vec<&str> =
        bound.iter().flat_map(|spec| spec.validation_actions.iter().flatten()).map(String::as_str).collect();
    match () {
        () if actions.contains(&"Deny") => Outcome::Passed,
        () if bound.is_empty() => Outcome::warned(
            format!("the policy {name} has no binding, so that it refuses nothing: {danger}"),
            "helm upgrade brings it back",
        ),
        () => Outcome::warned(
            format!("the policy {name} refuses nothing, its binding says {}: {danger}", actions.join(", ")),
            "set rootKeyPolicy.validationActions to [Deny] in the chart's values",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_that_refuses_nothing_is_none() {
        let policy = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let bound = |name: &str, action: &str| {
            let spec = json!({"policyName": name, "validationActions": [action]});
            serde_json::from_value(json!({"metadata": {"name": "any"}, "spec": spec})).unwrap()
        };
        let name = format!("{}-root-keys", cluster_name("blue-tollgate", "ai"));
        let ours = || vec![policy("blue-tollgate-ai-root-keys")];
        let of = |policies: Vec<_>, bindings: Vec<_>| enforced(&policies, &bindings, &name, "danger");
        assert_eq!(of(ours(), vec![bound(&name, "Audit"), bound(&name, "Deny")]), Outcome::Passed);
        for (outcome, words) in [
            (of(vec![], vec![]), "there is no admission policy blue-tollgate-ai-root-keys: danger"),
            // Another installation's, or the other policy of this one.
            (
                of(vec![policy("tollgate-root-keys")], vec![bound("tollgate-root-keys", "Deny")]),
                "there is no",
            ),
            (of(vec![policy("blue-tollgate-ai-exports")], vec![]), "there is no admission policy"),
            (of(ours(), vec![bound("tollgate-root-keys", "Deny")]), "has no binding"),
            (of(ours(), vec![bound(&name, "Audit")]), "refuses nothing, its binding says Audit: danger"),
        ] {
            assert!(
                matches!(&outcome, Outcome::Warned { found, .. } if found.contains(words)),
                "{outcome:?}"
            );
        }
        assert_eq!(cluster_name("tollgate", "tollgate-system"), "tollgate");
        assert_eq!(cluster_name("r", &"n".repeat(100)).len(), 80);
    }
}
