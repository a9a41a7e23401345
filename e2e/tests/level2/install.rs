//! The charts on real pods: installed, tested, used, upgraded under load, uninstalled.

use anyhow::{Context, ensure};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tollgate_e2e::{
    client::Http,
    cluster::{
        Cluster,
        node::{Node, SLOW, within},
    },
    helm::{self, helm},
    provider::{DEFAULT_KEY, Options, Provider},
};

/// This machine, as pods reach it.
const HOST: &str = "10.243.0.1";
const NAMESPACE: &str = "tollgate-system";
/// The tag of the images that this packs.
const TAG: &str = "level2";

/// Two operators and two gateways on one small node, with what the fake provider on this machine needs.
const VALUES: &str = r#"
image: {tag: level2, pullPolicy: Never}
operator: {allowPrivateEndpoints: true, allowedStdioImages: ["ghcr.io/tollgate/*", "localhost/*"], resources: {requests: {cpu: 10m, memory: 32Mi}}}
gateway:
  replicas: 2
  autoscaling: {enabled: false}
  drain: {minSeconds: 3, seconds: 30}
  extraArgs: [--redis-timeout=3000] # programs built for debugging on two processors: 250 ms are not enough
  resources: {requests: {cpu: 10m, memory: 32Mi}}
redis: {bundled: {image: {tag: level2}, persistence: {enabled: false}, resources: {requests: {cpu: 10m, memory: 32Mi}}}}
postgres: {bundled: {image: {tag: level2}, persistence: {enabled: false}, resources: {requests: {cpu: 10m, memory: 64Mi}}}}
"#;

/// A route to the fake provider and a key whose token the operator makes.
fn policy(provider: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: anthropic, namespace: {NAMESPACE}}}
stringData: {{apiKey: {DEFAULT_KEY}}}
---
apiVersion: tollgate.dev/v1alpha1
kind: ProviderRoute
metadata: {{name: anthropic, namespace: {NAMESPACE}}}
spec:
  allowedNamespaces: All
  models: [{{name: "claude-*"}}]
  backends: [{{name: main, anthropic: {{}}, endpoint: "{provider}", credentials: {{secretRef: {{name: anthropic, key: apiKey}}}}}}]
---
apiVersion: tollgate.dev/v1alpha1
kind: VirtualKey
metadata: {{name: me, namespace: {NAMESPACE}}}
spec:
  token: {{secretRef: {{name: vk-me, key: token}}}}
  defaultRoute: anthropic
  models: {{allow: ["anthropic/*"]}}
  budgets: [{{name: day, usd: "1000", period: Day}}]
"#
    )
}

/// Packs the programs beside this test, Debian's Redis and PostgreSQL, and loads all on the node.
pub async fn images(node: &Node) -> anyhow::Result<()> {
    let images = helm::repository().join("deploy/images");
    let folder = node.cluster().folder();
    let (dist, programs) = (folder.join("dist"), tollgate_e2e::gateway::binary()?);
    let programs = programs.parent().context("a program lies in a folder")?;
    helm::run(images.join("stage"), [&dist, programs]).await?;
    for (name, dockerfile, dist) in [
        ("ghcr.io/tollgate/operator", "deploy/images/operator.Dockerfile", dist.as_path()),
        ("ghcr.io/tollgate/dataplane", "deploy/images/dataplane.Dockerfile", &dist),
        ("docker.io/library/redis", "e2e/images/redis/Dockerfile", Path::new("e2e/images")),
        ("docker.io/library/postgres", "e2e/images/postgres/Dockerfile", Path::new("e2e/images")),
    ] {
        let (archive, tag) = (folder.join("packed.tar"), format!("{name}:{TAG}"));
        let words = [
            Path::new(dockerfile),
            "--dist".as_ref(),
            dist,
            "--tag".as_ref(),
            tag.as_ref(),
            "-o".as_ref(),
            &archive,
        ];
        helm::run(images.join("pack"), words).await?;
        node.load(&archive).await?;
    }
    Ok(())
}

/// Installs both charts and waits until every pod is ready.
pub async fn install(node: &Node) -> anyhow::Result<()> {
    let cluster = node.cluster();
    let values = cluster.folder().join("values.yaml");
    std::fs::write(&values, VALUES)?;
    helm(
        cluster,
        &format!("install tollgate-crds charts/tollgate-crds -n {NAMESPACE} --create-namespace"),
        &[],
    )
    .await?;
    // The profile `restricted` is enforced, not only aimed at.
    let label = ["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"];
    cluster.kubectl(label).await?;
    let line = format!(
        "install tollgate charts/tollgate -n {NAMESPACE} --wait --timeout 5m --values {}",
        values.display()
    );
    let installed = helm(cluster, &line, &[]).await;
    if installed.is_err() {
        eprintln!("{}", state(cluster).await);
    }
    installed.map(drop)
}

/// What pods say, for a test that failed.
pub async fn state(cluster: &Cluster) -> String {
    let mut said = String::new();
    for line in [
        format!("get pods,events -n {NAMESPACE} -o wide"),
        format!(
            "logs -n {NAMESPACE} -l app.kubernetes.io/part-of=tollgate --prefix --tail=40 --all-containers"
        ),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        said += &cluster.kubectl(words).await.unwrap_or_else(|error| format!("{error:#}"));
    }
    said
}

/// The address of the gateways' Service and the token of the key, once requests are answered.
pub async fn first_answer(node: &Node, provider: &Provider) -> anyhow::Result<(String, String)> {
    let cluster = node.cluster();
    cluster.apply(&policy(&provider.url())).await?;
    let get = ["get", "service", "tollgate", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"];
    let url = format!("http://{}:8080/anthropic/v1/messages", cluster.kubectl(get).await?);
    let http = Http::new();
    let token = within(SLOW, "the key's token is made", || async {
        let get =
            ["get", "secret", "vk-me", "-n", NAMESPACE, "-o", "go-template={{.data.token | base64decode}}"];
        Ok(cluster.kubectl(get).await.ok().filter(|token| token.len() >= 32))
    })
    .await?;
    within(SLOW, "the first answer", || async {
        let answer = http.post(&url, &[("x-api-key", &token)], &message()).await;
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .await?;
    Ok((url, token))
}

fn message() -> serde_json::Value {
    serde_json::json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]})
}

pub async fn helm_installs_upgrades_under_load_and_leaves_what_it_says(node: &Node) -> anyhow::Result<()> {
    let cluster = node.cluster();
    images(node).await?;
    install(node).await?;
    let tested = helm(cluster, &format!("test tollgate -n {NAMESPACE} --timeout 2m"), &[]).await;
    if tested.is_err() {
        eprintln!("{}", state(cluster).await);
    }
    tested?;

    let provider =
        Provider::with(Options { listen: format!("{HOST}:0").parse()?, ..Options::default() }).await?;
    let (url, token) = first_answer(node, &provider).await?;
    upgrade_under_load(cluster, &url, &token).await?;
    uninstall(cluster).await
}

/// Every pod is replaced while four clients ask without a pause: no request may fail.
async fn upgrade_under_load(cluster: &Cluster, url: &str, token: &str) -> anyhow::Result<()> {
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, asked, url, token) = (stop.clone(), asked.clone(), url.to_owned(), token.to_owned());
            tokio::spawn(async move {
                let http = Http::new();
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match http.post(&url, &[("x-api-key", &token)], &message()).await {
                        Ok(answer) if answer.status == 200 => (),
                        Ok(answer) => failed.push(format!("{}: {}", answer.status, answer.text())),
                        Err(error) => failed.push(format!("{error:#}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await; // the node has few processors
                }
                failed
            })
        })
        .collect();
    let change =
        "--reuse-values --set gateway.podAnnotations.turn=second --set operator.podAnnotations.turn=second";
    let line = format!("upgrade tollgate charts/tollgate -n {NAMESPACE} --wait --timeout 5m {change}");
    let upgraded = helm(cluster, &line, &[]).await;
    let old = within(SLOW, "the old pods are gone", || async {
        let get = ["get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=gateway", "-o", "name"];
        Ok((cluster.kubectl(get).await?.lines().count() == 2).then_some(()))
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for client in clients {
        failed.extend(client.await?);
    }
    upgraded?;
    old?;
    let asked = asked.load(Ordering::Relaxed);
    ensure!(
        failed.is_empty(),
        "{} of {asked} requests failed during the upgrade: {:?}",
        failed.len(),
        failed.first()
    );
    ensure!(asked > 100, "only {asked} requests: that shows little");
    Ok(())
}

/// What is left is what docs/operations.md says.
async fn uninstall(cluster: &Cluster) -> anyhow::Result<()> {
    helm(cluster, &format!("uninstall tollgate -n {NAMESPACE} --wait --timeout 3m"), &[]).await?;
    let kinds = "deployments,statefulsets,replicasets,pods,services,serviceaccounts,secrets,configmaps,roles,rolebindings,leases,\
                 networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,persistentvolumeclaims,virtualkeys,providerroutes";
    let says: BTreeSet<&str> = [
        "configmap/kube-root-ca.crt", // every namespace's
        "configmap/tollgate-ca",      // the operator's
        "lease.coordination.k8s.io/tollgate-operator",
        "providerroute.tollgate.dev/anthropic", // the user's
        "secret/anthropic",
        "secret/sh.helm.release.v1.tollgate-crds.v1", // the other chart's
        "secret/tollgate-ca",
        "secret/tollgate-gateway-tls",
        "secret/tollgate-operator-tls",
        "secret/tollgate-postgres", // the data's passwords
        "secret/tollgate-redis",
        "secret/tollgate-sealing",
        "secret/vk-me",
        "serviceaccount/default",
        "virtualkey.tollgate.dev/me",
    ]
    .into();
    within(SLOW, "only what it says is left", || async {
        let left = cluster.kubectl(["get", kinds, "-n", NAMESPACE, "-o", "name"]).await?;
        let left: BTreeSet<&str> = left.lines().collect();
        let more: Vec<_> = left.difference(&says).collect();
        if !more.is_empty() {
            eprintln!("still there: {more:?}");
        }
        Ok(more.is_empty().then_some(()))
    })
    .await?;
    let beyond = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let left =
        cluster.kubectl(["get", beyond, "-l", "app.kubernetes.io/part-of=tollgate", "-o", "name"]).await?;
    ensure!(left.is_empty(), "left in the cluster: {left}");
    cluster.kubectl(["get", "crd", "virtualkeys.tollgate.dev"]).await?;
    Ok(())
}
