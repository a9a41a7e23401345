//! The programs: operator, gateways, bundled stores; their Services; the leader.

use super::outcome::{Outcome, Report};
use crate::{
    cluster::{Cluster, is_ready},
    words::said,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        coordination::v1::Lease,
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tollgate_crds::annotations::LEDGER_TROUBLE;

/// The label of everything that the chart installs.
pub(super) const CHART: &str = "app.kubernetes.io/name=tollgate";
/// The version of what the chart installs.
const VERSION: &str = "app.kubernetes.io/version";
const SECTION: &str = "Programs";
/// The operator's Lease.
const LEASE: &str = "tollgate-operator";
/// A lease that was not renewed for this long has no holder that works.
const STALE: SignedDuration = SignedDuration::from_secs(60);
/// Of pods that are not ready, so many are told of.
const PODS: usize = 3;

/// What is the same of Deployments and StatefulSets.
#[derive(Debug, Default)]
struct Workload {
    /// `deployment/tollgate`.
    name: String,
    wanted: i32,
    ready: i32,
    /// Its controller has seen its newest form.
    seen: bool,
    /// Why its rollout does not go on.
    stuck: Option<String>,
    version: Option<String>,
}

/// All of them.
pub(super) async fn all(cluster: &Cluster, namespace: &str, report: &mut Report) {
    let mut versions = Vec::new();
    for (component, what) in [("operator", "the operator"), ("gateway", "the gateway")] {
        versions.extend(deployment(cluster, namespace, component, what, report).await);
    }
    stores(cluster, namespace, report).await;
    for component in ["gateway", "operator"] {
        endpoints(cluster, namespace, component, report).await;
    }
    leader(cluster, namespace, report).await;
    if !versions.is_empty() {
        report.note(SECTION, "operator, gateway and this plugin are of one version", same(&versions));
    }
}

/// The objects of a namespace with these labels.
pub(super) async fn listed<K>(cluster: &Cluster, namespace: &str, labels: &str) -> Result<Vec<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    Ok(api.list(&ListParams::default().labels(labels)).await?.items)
}

fn of(component: &str) -> String {
    format!("{CHART},app.kubernetes.io/component={component}")
}

/// Checks a Deployment of the chart; its version.
async fn deployment(
    cluster: &Cluster,
    namespace: &str,
    component: &str,
    what: &str,
    report: &mut Report,
) -> Option<(String, String)> {
    let labels = of(component);
    let mut version = None;
    let outcome = match listed::<Deployment>(cluster, namespace, &labels).await {
        Err(error) => Outcome::failed(said(&error), format!("may you list deployments in {namespace}?")),
        Ok(found) => match found.first().map(Workload::from) {
            None => Outcome::failed(
                format!("there is no deployment with the labels {labels} in namespace {namespace}"),
                "helm install tollgate charts/tollgate; another namespace is named with --tollgate-namespace",
            ),
            Some(workload) => {
                version.clone_from(&workload.version);
                replicas(cluster, namespace, &labels, &workload).await
            }
        },
    };
    report.note(SECTION, format!("{what} runs, all replicas ready"), outcome);
    Some((what.to_owned(), version?))
}

/// The stores that came with the chart; others are somebody else's to check.
async fn stores(cluster: &Cluster, namespace: &str, report: &mut Report) {
    for (component, what) in [("redis", "the bundled Redis"), ("postgres", "the bundled PostgreSQL")] {
        let labels = of(component);
        let outcome = match listed::<StatefulSet>(cluster, namespace, &labels).await {
            Err(error) => Outcome::warned(said(&error), format!("may you list statefulsets in {namespace}?")),
            Ok(found) => match found.first().map(Workload::from) {
                None => continue,
                Some(workload) => replicas(cluster, namespace, &labels, &workload).await,
            },
        };
        report.note(SECTION, format!("{what} runs"), outcome);
    }
}

async fn replicas(cluster: &Cluster, namespace: &str, labels: &str, workload: &Workload) -> Outcome {
    let Workload { name, wanted, ready, seen, stuck, .. } = workload;
    let hint = format!(
        "kubectl -n {namespace} describe pods -l {labels}; a gateway's or operator's /readyz says why"
    );
    match (ready, wanted) {
        (_, 0) => Outcome::failed(
            format!("{name} is scaled to 0"),
            format!("kubectl -n {namespace} scale {name} --replicas=2"),
        ),
        _ if !seen => Outcome::warned(
            format!("{name} was changed and its controller has not looked at it yet"),
            "try again in a moment; if it stays so, kube-controller-manager does not work",
        ),
        (ready, wanted) if ready >= wanted => match stuck {
            Some(why) => Outcome::warned(format!("{name} serves, but its rollout is stuck: {why}"), hint),
            None => Outcome::Passed,
        },
        _ => {
            let why = pods(cluster, namespace, labels).await;
            let found = format!("{ready} of {wanted} are ready{why}");
            if *ready == 0 { Outcome::failed(found, hint) } else { Outcome::warned(found, hint) }
        }
    }
}

/// Why pods are not ready, in words that follow a count.
async fn pods(cluster: &Cluster, namespace: &str, labels: &str) -> String {
    let Ok(pods) = listed::<Pod>(cluster, namespace, labels).await else {
        return " (and you may not list pods)".to_owned();
    };
    if pods.is_empty() {
        return ": there are no pods (a quota, an admission policy, or no controller)".to_owned();
    }
    let waiting: Vec<String> = pods.iter().filter(|pod| !is_ready(pod)).map(why).collect();
    match waiting.get(..PODS) {
        Some(first) => format!(": {} and {} more", first.join("; "), waiting.len() - PODS),
        None => format!(": {}", waiting.join("; ")),
    }
}

/// Why a pod is not ready: what a container waits for or ended with, else what its conditions say.
fn why(pod: &Pod) -> String {
    let name = pod.name_any();
    let Some(status) = &pod.status else { return format!("{name} has no status yet") };
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let said = containers.filter(|c| !c.ready).find_map(|container| {
        let state = container.state.as_ref()?;
        let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        let waiting = state.waiting.as_ref().filter(|w| w.reason.as_deref() != Some("PodInitializing"));
        match (waiting, state.terminated.as_ref().or(last)) {
            (Some(waiting), ended) => {
                let reason = waiting.reason.as_deref().unwrap_or("waiting");
                let message = waiting.message.as_deref().or_else(|| ended?.message.as_deref());
                Some(format!("{reason}{}", message.map(|m| format!(": {m}")).unwrap_or_default()))
            }
            (None, Some(ended)) => Some(format!("ended with exit code {}", ended.exit_code)),
            (None, None) => None,
        }
    });
    let conditions = status.conditions.iter().flatten().filter(|c| c.status == "False");
    let condition = || conditions.clone().find_map(|c| c.message.clone());
    let phase = || status.phase.clone().unwrap_or_else(|| "not ready".to_owned());
    format!("{name} {}", said.or_else(condition).unwrap_or_else(phase).trim())
}

/// The Service of a component, by its labels, has pods behind it.
async fn endpoints(cluster: &Cluster, namespace: &str, component: &str, report: &mut Report) {
    let services = listed::<Service>(cluster, namespace, &of(component)).await;
    let (name, outcome) = match services.map(|found| found.into_iter().next()) {
        Err(error) => (None, Outcome::failed(said(&error), format!("may you list services in {namespace}?"))),
        Ok(None) => (None, Outcome::failed("there is none", "helm upgrade brings it back")),
        Ok(Some(service)) => {
            let name = service.name_any();
            let outcome = reached(cluster, namespace, &name).await;
            (Some(name), outcome)
        }
    };
    let name = name.unwrap_or_else(|| format!("of the {component}"));
    report.note(SECTION, format!("service {name} has endpoints"), outcome);
}

async fn reached(cluster: &Cluster, namespace: &str, service: &str) -> Outcome {
    let labels = format!("kubernetes.io/service-name={service}");
    let slices = match listed::<EndpointSlice>(cluster, namespace, &labels).await {
        Err(error) => {
            return Outcome::failed(said(&error), format!("may you list endpointslices in {namespace}?"));
        }
        Ok(slices) => slices,
    };
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let (ready, waiting): (Vec<_>, Vec<_>) =
        endpoints.partition(|e| e.conditions.as_ref().is_none_or(|c| c.ready.unwrap_or(true)));
    match (ready.is_empty(), waiting.len()) {
        (false, _) => Outcome::Passed,
        (true, 0) => Outcome::failed("it has no endpoint", "no pod has the labels that it selects"),
        (true, some) => {
            Outcome::failed(format!("none of its {some} endpoints is ready"), "see the pods above")
        }
    }
}

async fn leader(cluster: &Cluster, namespace: &str, report: &mut Report) {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let hint = "without a leader gateways go on, but no status is written and no token is made: see the operator's logs";
    let mut trouble = None;
    let outcome = match api.get(LEASE).await {
        Err(error) => Outcome::failed(said(&error), hint),
        Ok(lease) => {
            trouble = lease.annotations().get(LEDGER_TROUBLE).cloned();
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
    let leads = outcome == Outcome::Passed;
    report.note(SECTION, "an operator leads", outcome);
    if leads {
        report.note(SECTION, "the gateways' ledger answers", ledger(namespace, trouble));
    }
}

/// What the leader heard from gateways.
fn ledger(namespace: &str, trouble: Option<String>) -> Outcome {
    let Some(trouble) = trouble else { return Outcome::Passed };
    Outcome::failed(
        trouble,
        format!(
            "keys' spending.onStoreFailure decides what is served; kubectl -n {namespace} exec deployment/tollgate-gateway -- \
             /tollgate-dataplane ledger status; docs/operations.md, \"Redis\""
        ),
    )
}

/// All of these versions are this plugin's.
fn same(versions: &[(String, String)]) -> Outcome {
    let own = env!("CARGO_PKG_VERSION");
    if versions.iter().all(|(_, version)| version == own) {
        return Outcome::Passed;
    }
    let mut words: Vec<_> = versions.iter().map(|(what, version)| format!("{what} is {version}")).collect();
    words.push(format!("this plugin is {own}"));
    Outcome::warned(
        words.join(", "),
        "helm upgrade, and the plugin of the same release: what they mean by a field may differ",
    )
}

// === impl Workload ===

impl From<&Deployment> for Workload {
    fn from(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let stuck = conditions.into_iter().find(|c| c.type_ == "Progressing" && c.status == "False");
        Workload {
            name: format!("deployment/{}", deployment.name_any()),
            wanted: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            ready: status.ready_replicas.unwrap_or(0),
            seen: status.observed_generation >= deployment.metadata.generation,
            stuck: stuck.map(|c| c.message.or(c.reason).unwrap_or_default()),
            version: deployment.labels().get(VERSION).cloned(),
        }
    }
}

impl From<&StatefulSet> for Workload {
    fn from(set: &StatefulSet) -> Self {
        let status = set.status.clone().unwrap_or_default();
        Workload {
            name: format!("statefulset/{}", set.name_any()),
            wanted: set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            ready: status.ready_replicas.unwrap_or(0),
            seen: status.observed_generation >= set.metadata.generation,
            ..Workload::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let container = |state: serde_json::Value| json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3, "state": state});
        let pulling = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        for (status, words) in [
            (json!({"containerStatuses": [container(pulling)]}), "p ImagePullBackOff: no such image"),
            (
                json!({"containerStatuses": [container(json!({"terminated": {"exitCode": 2}}))]}),
                "p ended with exit code 2",
            ),
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]}),
                "p 0/3 nodes are available",
            ),
            (json!({"phase": "Pending"}), "p Pending"),
        ] {
            assert_eq!(why(&pod(status)), words);
        }
    }

    #[test]
    fn versions_that_differ_are_told() {
        let own = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(same(&[("the operator".into(), own.clone())]), Outcome::Passed);
        let other = same(&[("the operator".into(), own), ("the gateway".into(), "9.9.9".into())]);
        assert!(matches!(other, Outcome::Warned { found, .. } if found.contains("the gateway is 9.9.9")));
    }
}
