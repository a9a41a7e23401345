use super::support::{Installation, Said, key, plugin, until};
use serde_json::json;
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{self, ControlPlane, Options},
    provider::Provider,
    redis::Redis,
};

/// What the chart installs besides the programs, which run here without pods.
const TEMPLATES: [&str; 7] = [
    "templates/operator/deployment.yaml",
    "templates/operator/service.yaml",
    "templates/gateway/deployment.yaml",
    "templates/gateway/service.yaml",
    "templates/redis/statefulset.yaml",
    "templates/postgres/statefulset.yaml",
    "templates/admission/injection.yaml",
];
const WORKLOADS: [&str; 4] = [
    "deployment/tollgate-operator",
    "deployment/tollgate-gateway",
    "statefulset/tollgate-redis",
    "statefulset/tollgate-postgres",
];

/// The chart's objects, with the statuses that controllers would give them.
async fn install(here: &Installation<'_>) {
    let namespace = here.plane.namespace();
    let set = format!("watchNamespaces={{{namespace}}},gateway.autoscaling.enabled=false");
    here.apply(&control_plane::chart(namespace, &[&set], &TEMPLATES).await.unwrap()).await;
    for workload in WORKLOADS {
        has_ready(here, workload, None).await;
    }
    for service in ["tollgate", "tollgate-operator"] {
        endpoint(here, service, true).await;
    }
}

/// What a workload's controller says: so many are ready, all when not told.
async fn has_ready(here: &Installation<'_>, workload: &str, ready: Option<u64>) {
    let text = here.kubectl(&["get", workload, "-o", "json"]).await;
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    let wanted = object["spec"]["replicas"].as_u64().unwrap();
    let ready = ready.unwrap_or(wanted);
    let generation = &object["metadata"]["generation"];
    let status =
        json!({"status": {"observedGeneration": generation, "replicas": wanted, "readyReplicas": ready}});
    here.kubectl(&["patch", workload, "--subresource=status", "--type=merge", "-p", &status.to_string()])
        .await;
}

async fn endpoint(here: &Installation<'_>, service: &str, ready: bool) {
    here.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {service}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: {ready}}}}}]\n"
    ))
    .await;
}

/// A pod of the gateway that waits for an image.
async fn pod_that_waits(here: &Installation<'_>) {
    here.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: tollgate-x, labels: {app.kubernetes.io/name: tollgate, \
         app.kubernetes.io/component: gateway}}\nspec: {containers: [{name: gateway, image: none}]}\n",
    )
    .await;
    let container = json!({"name": "gateway", "image": "none", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}});
    let status = json!({"status": {"phase": "Pending", "containerStatuses": [container]}}).to_string();
    here.kubectl(&["patch", "pod/tollgate-x", "--subresource=status", "--type=merge", "-p", &status]).await;
}

/// Waits until `check` ends with this code and has one line with these words; what it said.
async fn said(here: &Installation<'_>, code: i32, words: &str) -> Said {
    until(words, async || {
        let said = here.plugin(&["check"]).await;
        if said.code == code && said.out.contains(words) { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_installation_is_green_and_a_broken_one_says_what_is_broken() {
    let cluster = Cluster::start_own().await.unwrap();
    cluster.install_crds().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let webhook = format!("tollgate-{namespace}-operator");
    let arguments = ["--dataplane-image=none".to_owned(), format!("--webhook-configuration={webhook}")];
    let mut here = Installation::start_in(&cluster, &namespace, 2, arguments.into()).await;
    install(&here).await;
    here.apply(&(here.route() + &key("team", "budgets: [{name: month, usd: '10', period: Month}]"))).await;

    let green = said(&here, 0, " 0 to look at, 0 failed").await;
    green.has(&[
        "√ virtualkeys.tollgate.dev",
        "√ the operator runs",
        "√ the bundled Redis runs",
        "√ an operator leads",
    ]);
    green.has(&["√ the injection webhook can be called", "√ root keys are for the platform's namespaces"]);
    green.has(&["√ exports are for the platform's namespaces", "√ the gateways' ledger answers"]);
    green.has(&["√ operator, gateways and this plugin are of one version"]);
    let json = here.plugin(&["check", "-o", "json"]).await;
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert!(
        report["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "passed"),
        "{report}"
    );

    objects_and_programs(&here).await;
    policies_that_refuse_nothing(&here).await;
    gateways_that_are_not_heard(&mut here).await;
    what_only_the_operator_repairs(&mut here, &webhook).await;
    somebody_without_rights(&here).await;
}

async fn objects_and_programs(here: &Installation<'_>) {
    let namespace = here.plane.namespace();
    here.apply(&key("orphan", "parentRef: {name: nobody}")).await;
    let red = said(here, 1, "ParentNotFound").await;
    assert!(
        red.line("ParentNotFound").contains(&format!("{namespace}/orphan: ParentNotFound")),
        "{}",
        red.out
    );
    red.has(&[
        "× all 2 virtualkeys find what they name",
        "→ create what is missing, or correct the name",
        " 1 failed",
    ]);
    here.kubectl(&["delete", "vk/orphan"]).await;

    pod_that_waits(here).await;
    has_ready(here, "deployment/tollgate-gateway", Some(1)).await;
    let yellow = said(here, 0, "1 of 2 are ready").await;
    yellow.has(&[
        "‼ the gateway runs",
        "1 of 2 are ready: tollgate-x ImagePullBackOff: no such image",
        " 1 to look at",
    ]);
    has_ready(here, "deployment/tollgate-gateway", Some(0)).await;
    said(here, 1, "0 of 2 are ready: tollgate-x ImagePullBackOff").await.has(&["× the gateway runs"]);
    here.kubectl(&["delete", "pod/tollgate-x", "--force", "--grace-period=0"]).await;
    has_ready(here, "deployment/tollgate-gateway", None).await;

    endpoint(here, "tollgate", false).await;
    said(here, 1, "none of its 1 endpoints is ready").await.has(&["× service tollgate has endpoints"]);
    endpoint(here, "tollgate", true).await;
    has_ready(here, "statefulset/tollgate-redis", Some(0)).await;
    said(here, 1, "× the bundled Redis runs").await;
    has_ready(here, "statefulset/tollgate-redis", None).await;
    here.kubectl(&["scale", "deployment/tollgate-operator", "--replicas=0"]).await;
    said(here, 1, "deployment/tollgate-operator is scaled to 0")
        .await
        .has(&["scale deployment/tollgate-operator"]);
    here.kubectl(&["scale", "deployment/tollgate-operator", "--replicas=2"]).await;
    has_ready(here, "deployment/tollgate-operator", None).await;

    let label = ["label", "deployment/tollgate-gateway", "--overwrite"];
    here.kubectl(&[&label[..], &["app.kubernetes.io/version=9.9.9"]].concat()).await;
    has_ready(here, "deployment/tollgate-gateway", None).await;
    said(here, 0, "the chart of the gateway is 9.9.9")
        .await
        .has(&["‼ operator, gateways and this plugin are of one version"]);
    here.kubectl(&[&label[..], &["app.kubernetes.io/version=0.1.0"]].concat()).await;
    said(here, 0, " 0 to look at, 0 failed").await;
}

/// The policy is there, and does nothing.
async fn policies_that_refuse_nothing(here: &Installation<'_>) {
    let namespace = here.plane.namespace();
    let (policy, binding) = (
        format!("tollgate-{namespace}-root-keys"),
        format!("validatingadmissionpolicybinding/tollgate-{namespace}-root-keys"),
    );
    let actions = |action: &str| json!({"spec": {"validationActions": [action]}}).to_string();
    here.kubectl(&["patch", &binding, "--type=merge", "-p", &actions("Audit")]).await;
    said(here, 0, &format!("the policy {policy} refuses nothing, its binding says Audit")).await.has(&[
        "‼ root keys are for",
        "√ exports are for",
        " 1 to look at",
    ]);
    let saved = here.kubectl(&["get", &binding, "-o", "yaml"]).await;
    here.kubectl(&["delete", &binding]).await;
    said(here, 0, &format!("the policy {policy} has no binding")).await.has(&["‼ root keys are for"]);
    // Another's, of the same labels, is not this one's.
    let other = saved.replace(&policy, "another-root-keys");
    here.apply(
        &other
            .lines()
            .filter(|l| !l.contains("resourceVersion") && !l.contains("uid:"))
            .collect::<Vec<_>>()
            .join("\n"),
    )
    .await;
    said(here, 0, &format!("the policy {policy} has no binding")).await;
    here.kubectl(&["delete", "validatingadmissionpolicybinding/another-root-keys"]).await;
    let mine = saved.lines().filter(|l| !l.contains("resourceVersion") && !l.contains("uid:"));
    here.apply(&mine.collect::<Vec<_>>().join("\n")).await;
    here.kubectl(&["patch", &binding, "--type=merge", "-p", &actions("Deny")]).await;
    said(here, 0, " 0 to look at, 0 failed").await;
}

/// What is not known is not well.
async fn gateways_that_are_not_heard(here: &mut Installation<'_>) {
    for gateway in 0..2 {
        here.plane.gateway_mut(gateway).unwrap().stop().await.unwrap();
    }
    // Whether objects count as in force meanwhile is another matter.
    let yellow = until("nobody is heard", async || {
        let said = here.plugin(&["check"]).await;
        let told = said.out.contains("has heard 0 gateways, and 2 are ready");
        if told { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await;
    yellow.has(&["‼ the gateways' ledger answers", "no gateway has said which version it is"]);
    for gateway in 0..2 {
        here.plane.gateway_mut(gateway).unwrap().restart().unwrap();
    }
    here.plane.wait_ready().await.unwrap();
    said(here, 0, " 0 to look at, 0 failed").await;
}

/// The operator would repair these at once: it is stopped.
async fn what_only_the_operator_repairs(here: &mut Installation<'_>, webhook: &str) {
    here.plane.operator_mut(0).unwrap().stop().await.unwrap();
    said(here, 1, "nobody holds the lease")
        .await
        .has(&["× an operator leads", "→ without a leader gateways go on"]);
    let old = json!({"spec": {"holderIdentity": "operator-0", "renewTime": "2026-01-01T00:00:00.000000Z"}})
        .to_string();
    here.kubectl(&["patch", "lease/tollgate-operator", "--type=merge", "-p", &old]).await;
    said(here, 1, "operator-0 has not renewed its lease for").await;

    let other = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": CERTIFICATE}])
        .to_string();
    let patch = ["patch", "mutatingwebhookconfiguration", webhook, "--type=json", "-p", &other];
    here.kubectl(&patch).await;
    said(here, 1, "is not the authority in ConfigMap tollgate-ca").await;
    let none = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]).to_string();
    here.kubectl(&["patch", "mutatingwebhookconfiguration", webhook, "--type=json", "-p", &none]).await;
    said(here, 1, "the caBundle of inject.tollgate.dev is empty").await;

    let soon = "tollgate.dev/not-after=2026-01-01T00:00:00Z";
    here.kubectl(&["annotate", "secret/tollgate-gateway-tls", soon, "--overwrite"]).await;
    said(here, 1, "it ended on 2026-01-01").await.has(&["× Secret tollgate-gateway-tls"]);
    here.kubectl(&["delete", "secret/tollgate-gateway-tls"]).await;
    said(here, 1, "× Secret tollgate-gateway-tls").await.has(&["not found"]);
    here.kubectl(&["delete", "validatingadmissionpolicies", "-l", "app.kubernetes.io/name=tollgate"]).await;
    said(here, 1, "can give himself a budget").await;

    here.plane.operator_mut(0).unwrap().restart().unwrap();
    here.plane.wait_ready().await.unwrap();
    // All of it is repaired but the policies, which are Helm's.
    said(here, 0, " 2 to look at, 0 failed").await;
}

/// A gateway's gauge of its ledger.
async fn ledger_is_up(here: &Installation<'_>, gateway: usize, up: f64) {
    until("tollgate_ledger_up", async || {
        let http = tollgate_e2e::client::Http::new();
        let told = here.plane.gateway(gateway).unwrap().metric(&http, "tollgate_ledger_up").await;
        told.map_err(|e| e.to_string())
            .and_then(|told| if told == up { Ok(()) } else { Err(told.to_string()) })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_away_is_told_by_check_and_by_every_gateways_gauge() {
    let (cluster, redis) = (Cluster::shared().await.unwrap(), Redis::start(&[]).unwrap());
    let url = redis.url();
    let dataplane = tollgate_e2e::gateway::beside("tollgate-dataplane").unwrap();
    tollgate_e2e::helm::run(dataplane, ["ledger", "found", "--redis", &url]).await.unwrap();
    let gateway = vec![format!("--redis={url}")];
    // The first gateway reports to one operator, the other to the next: one of them passes it on to the leader.
    let options = Options { operators: 2, gateways: 2, gateway, ..Options::default() };
    let plane = ControlPlane::start(cluster, options).await.unwrap();
    let here = Installation { cluster, plane, provider: Provider::start().await.unwrap() };
    said(&here, 1, "√ the gateways' ledger answers").await;

    redis.pause().unwrap();
    let red = said(&here, 1, " (and 1 more): ").await;
    red.has(&["× the gateways' ledger answers", "onStoreFailure", "ledger status"]);
    for gateway in 0..2 {
        ledger_is_up(&here, gateway, 0.0).await;
    }
    redis.resume().unwrap();
    said(&here, 1, "√ the gateways' ledger answers").await;
    for gateway in 0..2 {
        ledger_is_up(&here, gateway, 1.0).await;
    }
}

async fn somebody_without_rights(here: &Installation<'_>) {
    let stranger = here.cluster.kubeconfig_for(here.plane.namespace(), "stranger").await.unwrap();
    let variables = [("TOLLGATE_NAMESPACE", here.plane.namespace())];
    let said = plugin(here.cluster, &stranger, &variables, &["check"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    said.has(&[
        "√ the API server answers",
        "may you list deployments in",
        "may you list virtualkeys in all namespaces?",
    ]);
}

/// An authority that is not ours (`openssl req -x509 -newkey ed25519 -subj /CN=other`), in base64.
const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJOakNCNmFBREFnRUNBaFEvaE8wRVArT3lJQUQzZll2cnFleUdCWkJpVFRBRkJnTXJaWEF3RURFT01Bd0cKQTFVRUF3d0ZiM1JvWlhJd0lCY05Nall4TVRJek1URXpORFF6V2hnUE1qRXlOakV3TXpBeE1UTTBORE5hTUJBeApEakFNQmdOVkJBTU1CVzkwYUdWeU1Db3dCUVlESzJWd0F5RUE1SEJ3SkZFbDVjejl6VXdsSDlSTnpxTitJSjljCjlWU3ZRSHIxZkxiYlU1aWpVekJSTUIwR0ExVWREZ1FXQkJUMFMvWC9oZ3orbkVYSkdUd05wdkNrSS9nWFZEQWYKQmdOVkhTTUVHREFXZ0JUMFMvWC9oZ3orbkVYSkdUd05wdkNrSS9nWFZEQVBCZ05WSFJNQkFmOEVCVEFEQVFILwpNQVVHQXl0bGNBTkJBUHQrczR2dGtnblBadDVqb2tFMFBZem1BMDB5aUl5R3VRazU0cytUOXpxQ2haYTdjdDZ6CmFIZXphUW42YkJWK0w0RlNQNkRRY3ptOFh6WHZiSmg5ZFF3PQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg==";
