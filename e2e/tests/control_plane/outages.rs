//! The operator, the API server and gateways go and come back; requests go on.

use crate::support::{Installation, ask, key, route, token, until};
use tollgate_e2e::{
    client::Http,
    cluster::Cluster,
    control_plane::{AUDIENCE, ControlPlane, Options, chart},
    provider::Provider,
};

const MODEL: &str = "main/claude-sonnet-4-5";

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_without_an_operator_and_changes_arrive_when_it_is_back() {
    let mut installation = Installation::start_with(Options { gateways: 1, ..Options::default() }).await;
    installation.basics().await;
    let snapshot = saved(&installation.plane);
    until("the configuration is saved", || async { snapshot().ok_or_else(|| "no file".to_owned()) }).await;
    installation.plane.operator_mut(0).unwrap().kill9().await.unwrap();
    // What was applied meanwhile is not known to anybody, and nothing else changes.
    installation.apply(&key("late", "models: {allow: [main/*]}")).await;
    installation.every_gateway("k", MODEL, 200).await;
    installation.every_gateway("late", MODEL, 401).await;
    // A gateway that is started again serves what it had.
    installation.plane.gateway_mut(0).unwrap().kill9().await.unwrap();
    installation.plane.gateway_mut(0).unwrap().restart().unwrap();
    installation.every_gateway("k", MODEL, 200).await;
    installation.plane.operator_mut(0).unwrap().restart().unwrap();
    installation.every_gateway("late", MODEL, 200).await;
    // Nothing was taken away in between: an operator that has just started says nothing before it has seen everything.
    never_empty(&installation);
}

/// The first gateway had no configuration without keys after one with keys.
fn never_empty(installation: &Installation) {
    let log = installation.plane.gateway(0).unwrap().log().text();
    let mut counts = log.lines().filter(|line| line.contains("a configuration is in force"));
    let first = counts.find(|line| !line.contains("keys=0 ")).unwrap_or_default();
    assert!(!first.is_empty() && !counts.any(|line| line.contains("keys=0 ")), "{log}");
}

/// Whether a gateway has saved its configuration.
fn saved(plane: &ControlPlane) -> impl Fn() -> Option<()> + use<> {
    let log = plane.gateway(0).map(|g| g.log().clone());
    move || log.as_ref().ok()?.find("a configuration is in force").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_operators_is_enough() {
    let options = Options { operators: 2, gateways: 2, ..Options::default() };
    let mut installation = Installation::start_with(options).await;
    installation.basics().await;
    installation.plane.operator_mut(0).unwrap().kill9().await.unwrap();
    installation.apply(&key("second", "models: {allow: [main/*]}")).await;
    installation.every_gateway("second", MODEL, 200).await;
    installation.plane.operator_mut(0).unwrap().restart().unwrap();
    installation.plane.wait_ready().await.unwrap();
    installation.plane.operator_mut(1).unwrap().stop().await.unwrap();
    installation.apply(&key("third", "models: {allow: [main/*]}")).await;
    installation.every_gateway("third", MODEL, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_takes_nothing_away() {
    // A cluster of its own: the others need theirs.
    let cluster = Box::leak(Box::new(Cluster::start_own().await.unwrap()));
    cluster.install_crds().await.unwrap();
    let installation = Installation::start_on(cluster, Options { gateways: 1, ..Options::default() }).await;
    installation.basics().await;
    // A workload's key, which the gateway has; nobody has shown it a ServiceAccount's token yet.
    let workload = key("devbox", "serviceAccounts: [{name: devbox}], models: {allow: [main/*]}");
    installation.apply(&workload).await;
    installation.every_gateway("devbox", MODEL, 200).await;
    let namespace = installation.plane.namespace();
    let shown = cluster.token(namespace, "devbox", AUDIENCE).await.unwrap();
    let wrong = cluster.token(namespace, "devbox", "other").await.unwrap();

    installation.cluster.stop_api_server().unwrap();
    installation.every_gateway("k", MODEL, 200).await;
    // The keys that it is verified with were pushed: the API server is not asked.
    let gateway = installation.plane.gateway(0).unwrap();
    gateway.message(&shown, &ask(MODEL)).await.unwrap().expect(200).unwrap();
    let refused = gateway.message(&wrong, &ask(MODEL)).await.unwrap().expect(401).unwrap();
    assert!(refused.text().contains("audience"), "{}", refused.text());
    installation.cluster.start_api_server().await.unwrap();
    installation.apply(&key("after", "models: {allow: [main/*]}")).await;
    installation.every_gateway("after", MODEL, 200).await;
    installation.every_gateway("k", MODEL, 200).await;
    never_empty(&installation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_namespace_that_is_not_there_stops_no_start_and_counts_when_it_comes() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let later = format!("{namespace}-later");
    let operator = vec![format!("--watch-namespace={later}")];
    let options = Options { gateways: 1, operator, ..Options::default() };
    // It starts, and becomes ready.
    let plane = ControlPlane::start_in(cluster, &namespace, options).await.unwrap();
    let provider = Provider::start().await.unwrap();
    let installation = Installation { cluster, plane, provider, http: Http::new() };
    installation.basics().await;
    installation.operator_says(&["WARN", "it counts as empty", &later]).await;
    installation.operator_metric("tollgate_operator_watches_refused", 4.0).await;
    // It comes, and the Role in it.
    cluster.kubectl(["create", "namespace", &later]).await.unwrap();
    let set = format!("watchNamespaces={{{namespace},{later}}}");
    let roles = chart(&namespace, &[&set], &["templates/rbac/operator.yaml"]).await.unwrap();
    cluster.apply(&roles).await.unwrap();
    let parent = key("parent", "models: {allow: [main/*]}, allowedNamespaces: All");
    installation.apply(&parent).await;
    let there = route("main", &installation.provider.url(), "")
        + &key(
            "late",
            &format!("models: {{allow: [main/*]}}, parentRef: {{name: parent, namespace: {namespace}}}"),
        );
    installation.apply_in(&later, &there).await.unwrap();
    installation.every_gateway("late", MODEL, 200).await;
    installation.operator_metric("tollgate_operator_watches_refused", 0.0).await;
    installation.every_gateway("k", MODEL, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_gateway_without_an_operator_says_why_it_does_not_serve() {
    let mut installation = Installation::start_with(Options { gateways: 0, ..Options::default() }).await;
    let namespace = installation.plane.namespace().to_owned();
    let shown = installation.cluster.token(&namespace, "tollgate-gateway", "tollgate").await.unwrap();
    let cluster = installation.cluster;
    installation.plane.authority(cluster).await.unwrap();
    installation.plane.operator_mut(0).unwrap().kill9().await.unwrap();
    let n = installation.plane.add_gateway_with(cluster, "fresh", &shown, &[]).await.unwrap();
    let log = installation.plane.gateway(n).unwrap().log().clone();
    until("it says why", || async { log.find("no configuration").map(drop).ok_or_else(|| log.text()) }).await;
    let answer = installation.plane.gateway(n).unwrap().message(&token("k"), &ask(MODEL)).await;
    assert!(answer.is_err() || answer.unwrap().status == 503);
    installation.plane.operator_mut(0).unwrap().restart().unwrap();
    installation.plane.gateway(n).unwrap().wait_ready(&Http::new()).await.unwrap();
    drop(Provider::start().await.unwrap());
}
