//! Installed, upgraded, uninstalled.

use crate::support::{helm, kubectl};
use tollgate_e2e::{
    cluster::Cluster,
    gateway,
    helm::{self, repository},
};

/// Everything of a release in its namespace and beyond, as `kind/name`.
async fn objects(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let kinds = "deployments,statefulsets,services,serviceaccounts,secrets,configmaps,roles,rolebindings,networkpolicies,\
                 poddisruptionbudgets,horizontalpodautoscalers,ingresses,clusterroles,clusterrolebindings,\
                 mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let line = format!(
        "get {kinds} -n {namespace} -l app.kubernetes.io/part-of=tollgate,app.kubernetes.io/instance={namespace}-a -o name"
    );
    let text = kubectl(cluster, &line).await.unwrap();
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_api_server_takes_every_value_set() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("chart-values").await.unwrap();
    let (other, another) =
        (cluster.namespace("chart-values").await.unwrap(), cluster.namespace("chart-values").await.unwrap());
    let watched = format!("watchNamespaces={{{other},{another}}},platformNamespaces={{{other}}}");
    // Kinds of others' CRDs, which this API server does not know; kubeconform checks those (e2e/tools/charts).
    let ours =
        ["--set", "monitoring.prometheusRule.enabled=false,httpRoute.enabled=false", "--set", &watched];
    for values in [
        "ci/default-values.yaml",
        "ci/production-values.yaml",
        "ci/small-values.yaml",
        "ci/additions-values.yaml",
        "../../deploy/gitops/values.yaml",
    ] {
        let line =
            format!("template tollgate charts/tollgate -n {namespace} --values charts/tollgate/{values}");
        let rendered = helm(cluster, &line, &ours).await.unwrap();
        let args =
            ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-"];
        let taken = cluster.kubectl_as(cluster.kubeconfig(), args, &rendered).await;
        let taken = taken.unwrap_or_else(|error| panic!("{values}: {error:#}"));
        assert_eq!(taken.lines().count(), rendered.matches("\nkind: ").count(), "{values}");
    }
}

#[tokio::test]
async fn an_upgrade_keeps_passwords_and_an_uninstallation_leaves_what_it_says() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("chart-life").await.unwrap();
    let release = format!("{namespace}-a");
    let secrets = || async {
        let line =
            format!("get secret life-redis life-postgres -n {namespace} -o jsonpath={{.items[*].data}}");
        kubectl(cluster, &line).await.unwrap()
    };
    let install = format!(
        "install {release} charts/tollgate -n {namespace} --set fullnameOverride=life,watchNamespaces={{{namespace}}}"
    );
    let notes = helm(cluster, &install, &[]).await.unwrap();
    assert!(notes.contains(&format!("helm test {release} --namespace {namespace}")), "{notes}");
    let example = notes.split_once("<<'EOF'\n").unwrap().1.split_once("\nEOF\n").unwrap().0;
    let apply = ["apply", "--dry-run=server", "-n", namespace.as_str(), "-f", "-"];
    let applied = cluster.kubectl_as(cluster.kubeconfig(), apply, example).await.unwrap();
    assert_eq!(applied.lines().count(), 2, "what it tells to type works: {applied}");
    let first = secrets().await;
    assert!(first.len() > 100, "both have a password: {first}");

    let upgrade = format!(
        "upgrade {release} charts/tollgate -n {namespace} --reuse-values --set gateway.drain.seconds=60"
    );
    helm(cluster, &upgrade, &[]).await.unwrap();
    assert_eq!(secrets().await, first, "an upgrade makes no new passwords");

    helm(cluster, &format!("uninstall {release} -n {namespace}"), &[]).await.unwrap();
    let left = ["secret/life-postgres".to_owned(), "secret/life-redis".to_owned()];
    assert_eq!(objects(cluster, &namespace).await, left, "what NOTES.txt and docs/operations.md say");

    helm(cluster, &install, &[]).await.unwrap();
    assert_eq!(secrets().await, first, "a new installation finds the old data's passwords");
    helm(cluster, &format!("uninstall {release} -n {namespace}"), &[]).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_does_not_touch_what_the_leader_wrote_into_the_webhook() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("chart-hook").await.unwrap();
    helm(
        cluster,
        &format!("install hook charts/tollgate -n {namespace} --set watchNamespaces={{{namespace}}}"),
        &[],
    )
    .await
    .unwrap();
    let name = format!("hook-tollgate-{namespace}-operator");
    let patch = r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","metadata":{"name":"NAME"},"webhooks":[{"name":"inject.tollgate.dev","clientConfig":{"caBundle":"BUNDLE"}}]}"#;
    let certificate = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            "/CN=t",
        ])
        .output()
        .unwrap();
    use base64::Engine;
    let bundle = base64::engine::general_purpose::STANDARD.encode(certificate.stdout);
    let patch = patch.replace("NAME", &name).replace("BUNDLE", &bundle);
    let args = ["patch", "mutatingwebhookconfiguration", &name, "--type=strategic", "-p", &patch];
    cluster.kubectl(args).await.unwrap();
    helm(
        cluster,
        &format!(
            "upgrade hook charts/tollgate -n {namespace} --reuse-values --set injection.timeoutSeconds=7"
        ),
        &[],
    )
    .await
    .unwrap();
    let webhook =
        kubectl(cluster, &format!("get mutatingwebhookconfiguration {name} -o json")).await.unwrap();
    assert!(webhook.contains(&bundle) && webhook.contains("\"timeoutSeconds\": 7"), "{webhook}");
    helm(cluster, &format!("uninstall hook -n {namespace}"), &[]).await.unwrap();
}

#[tokio::test]
async fn definitions_stay_when_their_chart_goes() {
    let cluster = Cluster::start_own().await.unwrap();
    let crds = "charts/tollgate-crds -n default";
    helm(&cluster, &format!("install tollgate-crds {crds}"), &[]).await.unwrap();
    helm(&cluster, &format!("upgrade tollgate-crds {crds}"), &[]).await.unwrap();
    let line = "wait --for=condition=Established --timeout=30s crd/virtualkeys.tollgate.dev crd/mcpservers.tollgate.dev crd/providerroutes.tollgate.dev";
    kubectl(&cluster, line).await.unwrap();
    let samples = format!("apply --dry-run=server -f {}", repository().join("deploy/samples").display());
    let applied = kubectl(&cluster, &samples).await.unwrap();
    assert!(applied.contains("virtualkey.tollgate.dev/vk-engineering-main"));
    helm(&cluster, "uninstall tollgate-crds -n default", &[]).await.unwrap();
    kubectl(&cluster, "get crd virtualkeys.tollgate.dev").await.unwrap();
}

#[tokio::test]
async fn the_policy_of_the_gitops_examples_compiles() {
    let operator = gateway::beside("tollgate-operator").unwrap();
    let said = helm::run(operator, ["check", "deploy/gitops/policy"]).await.unwrap();
    assert!(said.contains("VirtualKey team-engineering/ada"), "{said}");
}
