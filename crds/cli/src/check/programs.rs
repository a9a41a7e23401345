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
use std::{collections::BTreeMap, fmt::Debug};
use tollgate_crds::annotations::{GATEWAYS, LEDGER_TROUBLE, VERSION as LEADS, gateways_said};

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

/// What the leader says of the installation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// What is wrong with the gateways' ledger.
    trouble: Option<String>,
    /// Its own version.
    version: Option<String>,
    /// How many gateways have reported, by version.
    gateways: Option<BTreeMap<String, usize>>,
}

/// All of them. Returns what the names of the release's objects begin with, where that can be seen.
pub(super) async fn all(cluster: &Cluster, namespace: &str, report: &mut Report) -> Option<String> {
    let operator = deployment(cluster, namespace, "operator", "the operator", report).await;
    let gateway = deployment(cluster, namespace, "gateway", "the gateway", report).await;
    stores(cluster, namespace, report).await;
    for component in ["gateway", "operator"] {
        endpoints(cluster, namespace, component, report).await;
    }
    let heard = leader(cluster, namespace, report).await;
    if let Some(heard) = &heard {
        report.note(SECTION, "the gateways' ledger answers", ledger(namespace, gateway.as_ref(), heard));
    }
    let charts = [("the chart of the operator", &operator), ("the chart of the gateway", &gateway)];
    let charts =
        charts.into_iter().filter_map(|(what, of)| Some((what.to_owned(), of.as_ref()?.version.clone()?)));
    let charts: Vec<_> = charts.collect();
    if !charts.is_empty() {
        let outcome = same(charts, heard.as_ref());
        report.note(SECTION, "operator, gateways and this plugin are of one version", outcome);
    }
    let operator = operator?.name;
    Some(operator.strip_prefix("deployment/")?.strip_suffix("-operator")?.to_owned())
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

/// Checks a Deployment of the chart; what it is.
async fn deployment(
    cluster: &Cluster,
    namespace: &str,
    component: &str,
    what: &str,
    report: &mut Report,
) -> Option<Workload> {
    let labels = of(component);
    let mut known = None;
    let outcome = match listed::<Deployment>(cluster, namespace, &labels).await {
        Err(error) => Outcome::failed(said(&error), format!("may you list deployments in {namespace}?")),
        Ok(found) => match found.first().map(Workload::from) {
            None => Outcome::failed(
                format!("there is no deployment with the labels {labels} in namespace {namespace}"),
                "helm install tollgate charts/tollgate; another namespace is named with --tollgate-namespace",
            ),
            Some(workload) => {
                let outcome = replicas(cluster, namespace, &labels, &workload).await;
                known = Some(workload);
                outcome
            }
        },
    };
    report.note(SECTION, format!("{what} runs, all replicas ready"), outcome);
    known
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
    some(&waiting)
}

/// The first few of them.
fn some(waiting: &[String]) -> String {
    let first = waiting.get(..PODS).unwrap_or(waiting).join("; ");
    match waiting.len().saturating_sub(PODS) {
        0 => format!(": {first}"),
        more => format!(": {first} and {more} more"),
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

/// Checks the Lease; what its holder says, where there is one.
async fn leader(cluster: &Cluster, namespace: &str, report: &mut Report) -> Option<Heard> {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let hint = "without a leader gateways go on, but no status is written and no token is made: see the operator's logs";
    let mut heard = Heard::default();
    let outcome = match api.get(LEASE).await {
        Err(error) => Outcome::failed(said(&error), hint),
        Ok(lease) => {
            heard = Heard::from(&lease);
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
    leads.then_some(heard)
}

/// What the leader heard from gateways. Of those that it has not heard nobody knows.
fn ledger(namespace: &str, gateway: Option<&Workload>, heard: &Heard) -> Outcome {
    let name = gateway.map_or("deployment/tollgate-gateway", |gateway| gateway.name.as_str());
    if let Some(trouble) = &heard.trouble {
        return Outcome::failed(
            trouble,
            format!(
                "keys' spending.onStoreFailure decides what is served; kubectl -n {namespace} exec {name} -- \
                 /tollgate-dataplane ledger status says what is there; when Redis came back empty: … ledger restore \
                 (docs/operations.md, \"Backup and restore\")"
            ),
        );
    }
    let ready = gateway.and_then(|gateway| usize::try_from(gateway.ready).ok()).unwrap_or(0);
    match heard.gateways.as_ref().map(|versions| versions.values().sum::<usize>()) {
        None => {
            Outcome::warned("the operator that leads does not say of how many gateways it heard", UPGRADE)
        }
        Some(number) if number == 0 || number < ready => Outcome::warned(
            format!(
                "nobody knows: the operator that leads has heard {number} gateways, and {ready} are ready"
            ),
            format!("they report within seconds; kubectl -n {namespace} logs {name} says why one does not"),
        ),
        Some(_) => Outcome::Passed,
    }
}

/// The charts, the operator that leads and all gateways that it heard are of this plugin's version.
fn same(mut versions: Vec<(String, String)>, heard: Option<&Heard>) -> Outcome {
    let own = env!("CARGO_PKG_VERSION");
    let (mut gateways, mut unknown) = (0, "");
    if let Some(version) = heard.and_then(|heard| heard.version.clone()) {
        versions.push(("the operator".to_owned(), version));
    } else {
        unknown = "no operator that leads says which version it is";
    }
    for (version, number) in heard.and_then(|heard| heard.gateways.as_ref()).into_iter().flatten() {
        gateways += number;
        match (version.as_str(), number) {
            ("", _) => unknown = "a gateway does not say which version it is",
            (version, 1) => versions.push(("a gateway".to_owned(), version.to_owned())),
            (version, number) => versions.push((format!("each of {number} gateways"), version.to_owned())),
        }
    }
    if gateways == 0 && unknown.is_empty() {
        unknown = "no gateway has said which version it is";
    }
    let differing = versions.iter().any(|(_, version)| version != own);
    if !differing && unknown.is_empty() {
        return Outcome::Passed;
    }
    let mut words: Vec<_> = versions.iter().map(|(what, version)| format!("{what} is {version}")).collect();
    words.push(format!("this plugin is {own}"));
    words.extend((!unknown.is_empty()).then(|| unknown.to_owned()));
    Outcome::warned(words.join(", "), UPGRADE)
}

/// What to do about versions.
const UPGRADE: &str =
    "helm upgrade, and the plugin of the same release: what they mean by a field may differ";

// === impl Heard ===

impl From<&Lease> for Heard {
    fn from(lease: &Lease) -> Self {
        let said = |name: &str| lease.annotations().get(name).cloned();
        let gateways = said(GATEWAYS).map(|value| {
            gateways_said(&value).into_iter().map(|(version, number)| (version.to_owned(), number)).collect()
        });
        Heard { trouble: said(LEDGER_TROUBLE), version: said(LEADS), gateways }
    }
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
    fn of_many_pods_some_are_told() {
        let pods: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!(some(&pods[..3]), ": a; b; c");
        assert_eq!(some(&pods), ": a; b; c and 1 more");
        assert_eq!(some(&pods[..1]), ": a");
    }

    /// What a Lease with these annotations says.
    fn heard(annotations: &[(&str, &str)]) -> Heard {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let lease = json!({"metadata": {"name": LEASE, "annotations": annotations}});
        Heard::from(&serde_json::from_value::<Lease>(lease).unwrap())
    }

    fn gateway(ready: i32) -> Workload {
        Workload { name: "deployment/blue-gateway".to_owned(), ready, ..Workload::default() }
    }

    #[test]
    fn a_ledger_of_which_nobody_has_heard_is_not_said_to_answer() {
        let of = |gateways: &str| ledger("ns", Some(&gateway(2)), &heard(&[(GATEWAYS, gateways)]));
        assert_eq!(of("0.1.0=2"), Outcome::Passed);
        assert_eq!(of("0.1.0=1,0.2.0=1"), Outcome::Passed);
        for (gateways, words) in
            [("", "has heard 0 gateways, and 2 are ready"), ("0.1.0=1", "heard 1 gateways")]
        {
            let outcome = of(gateways);
            assert!(
                matches!(&outcome, Outcome::Warned { found, .. } if found.contains(words)),
                "{outcome:?}"
            );
        }
        // A leader of an older version.
        let older = ledger("ns", Some(&gateway(2)), &heard(&[]));
        assert!(matches!(older, Outcome::Warned { found, .. } if found.contains("does not say")));
        let trouble = [(LEDGER_TROUBLE, "g: no route"), (GATEWAYS, "0.1.0=2")];
        let red = ledger("ns", Some(&gateway(2)), &heard(&trouble));
        assert!(
            matches!(red, Outcome::Failed { hint, .. } if hint.contains("exec deployment/blue-gateway --"))
        );
    }

    #[test]
    fn versions_that_differ_or_that_nobody_tells_are_told() {
        let own = env!("CARGO_PKG_VERSION");
        let (ours, theirs) = (format!("{own}=2"), format!("{own}=1,0.0.1=1"));
        let of = |chart: &str, leads: &str, gateways: &str| {
            let heard = heard(&[(LEADS, leads), (GATEWAYS, gateways)]);
            same(vec![("the chart of the operator".to_owned(), chart.to_owned())], Some(&heard))
        };
        assert_eq!(of(own, own, &ours), Outcome::Passed);
        for (outcome, words) in [
            (of("9.9.9", own, &ours), "the chart of the operator is 9.9.9"),
            (of(own, "9.9.9", &ours), "the operator is 9.9.9"),
            // Pinned by its tag or digest below a chart that is newer.
            (of(own, own, &theirs), "a gateway is 0.0.1"),
            (of(own, own, ""), "no gateway has said"),
            (of(own, own, "=1"), "a gateway does not say"),
            (same(vec![("it".to_owned(), own.to_owned())], None), "no operator that leads says"),
        ] {
            assert!(
                matches!(&outcome, Outcome::Warned { found, .. } if found.contains(words)),
                "{outcome:?}"
            );
        }
    }
}
