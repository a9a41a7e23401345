//! The charts on real pods: images, installation, and what an uninstallation leaves.

use crate::installed::{Installed, NAMESPACE, TEAM, TOOLS, until, words};
use anyhow::{Context, ensure};
use std::{collections::BTreeSet, path::Path};
use tollgate_e2e::{
    clients::tool,
    cluster::{Cluster, node::Node},
    gateway::beside,
    helm::{self, helm},
};

/// The tag of the images that this packs.
const TAG: &str = "level2";

/// Two operators and two gateways on one small node, with what the fake provider on this machine needs.
const VALUES: &str = r#"
image: {tag: level2, pullPolicy: Never}
platformNamespaces: [tools]
operator:
  allowPrivateEndpoints: true
  allowedStdioImages: ["localhost/*"]
  resources: {requests: {cpu: 50m, memory: 32Mi}}
gateway:
  replicas: 2
  autoscaling: {enabled: false}
  drain: {minSeconds: 3, seconds: 30}
  resources: {requests: {cpu: 200m, memory: 32Mi}}
redis: {bundled: {image: {tag: level2}, persistence: {enabled: false}, resources: {requests: {cpu: 200m, memory: 32Mi}}}}
postgres: {bundled: {image: {tag: level2}, persistence: {enabled: false}, resources: {requests: {cpu: 50m, memory: 64Mi}}}}
"#;

/// Packs the programs beside this test, Debian's Redis and PostgreSQL, Claude Code and a stdio server, and loads all on the node.
pub async fn images(node: &Node) -> anyhow::Result<()> {
    let images = helm::repository().join("deploy/images");
    let folder = node.cluster().folder();
    let (dist, programs) = (folder.join("dist"), tollgate_e2e::gateway::binary()?);
    let programs = programs.parent().context("a program lies in a folder")?;
    helm::run(images.join("stage"), [&dist, programs]).await?;
    helm::run("install", [Path::new("-s"), &beside("fake-mcp")?, &dist]).await?;
    let claude = std::fs::canonicalize(tool("claude/node_modules/.bin/claude")?)?;
    std::os::unix::fs::symlink(claude, dist.join("claude"))?;
    for (name, dockerfile, dist) in [
        ("ghcr.io/tollgate/operator", "deploy/images/operator.Dockerfile", dist.as_path()),
        ("ghcr.io/tollgate/dataplane", "deploy/images/dataplane.Dockerfile", &dist),
        ("docker.io/library/redis", "e2e/images/redis/Dockerfile", Path::new("e2e/images")),
        ("docker.io/library/postgres", "e2e/images/postgres/Dockerfile", Path::new("e2e/images")),
        ("localhost/mcp", "e2e/images/mcp/Dockerfile", &dist),
        ("localhost/agent", "e2e/images/agent/Dockerfile", &dist),
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
        std::fs::remove_file(&archive)?;
    }
    Ok(())
}

/// Installs both charts and waits until every pod is ready.
pub async fn install(node: &Node) -> anyhow::Result<()> {
    let cluster = node.cluster();
    let values = cluster.folder().join("values.yaml");
    std::fs::write(&values, VALUES)?;
    let crds = format!("install tollgate-crds charts/tollgate-crds -n {NAMESPACE} --create-namespace");
    helm(cluster, &crds, &[]).await?;
    // The profile `restricted` is enforced, not only aimed at.
    let label = format!("label namespace {NAMESPACE} pod-security.kubernetes.io/enforce=restricted");
    words(cluster, &label).await?;
    let values = values.display();
    let line =
        format!("install tollgate charts/tollgate -n {NAMESPACE} --wait --timeout 5m --values {values}");
    helm(cluster, &line, &[]).await?;
    Ok(())
}

/// `helm test`.
pub async fn test(node: &Node) -> anyhow::Result<()> {
    helm(node.cluster(), &format!("test tollgate -n {NAMESPACE} --timeout 2m"), &[]).await?;
    Ok(())
}

const KINDS: &str = "deployments,statefulsets,replicasets,pods,services,serviceaccounts,secrets,configmaps,roles,rolebindings,leases,\
                     networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,persistentvolumeclaims";
/// Until their definitions are deleted.
const OUR_KINDS: &str = ",virtualkeys,providerroutes,mcpservers";

/// What docs/operations.md says that stays, in the release's namespace (PersistentVolumeClaims: this installation has none).
const STAYS: [&str; 15] = [
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
    "secret/vk-engineering",
    "serviceaccount/default",
    "virtualkey.tollgate.dev/engineering",
];

/// Where a stdio server runs: it runs on.
const STAYS_WITH_TOOLS: [&str; 6] = [
    "configmap/kube-root-ca.crt",
    "deployment.apps/mcp-staging-db",
    "mcpserver.tollgate.dev/staging-db",
    "networkpolicy.networking.k8s.io/mcp-staging-db",
    "service/mcp-staging-db",
    "serviceaccount/default",
];

/// And in the users' namespace.
const STAYS_WITH_USERS: [&str; 5] = [
    "configmap/kube-root-ca.crt",
    "secret/agents-own",
    "serviceaccount/default",
    "serviceaccount/devbox",
    "virtualkey.tollgate.dev/devbox",
];

/// Exactly what docs/operations.md says is left; and nothing, after what it says to delete is deleted.
pub async fn uninstall(installed: &Installed<'_>) -> anyhow::Result<()> {
    let cluster = installed.cluster();
    installed.kubectl(&format!("create secret generic agents-own -n {TEAM}")).await?;
    helm(cluster, &format!("uninstall tollgate -n {NAMESPACE} --wait --timeout 3m"), &[]).await?;
    until_left(cluster, NAMESPACE, &STAYS).await?;
    until_left(cluster, TOOLS, &STAYS_WITH_TOOLS).await?;
    until_left(cluster, TEAM, &STAYS_WITH_USERS).await?;
    let beyond = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingadmissionpolicies,\
                  validatingadmissionpolicybindings";
    let left = words(cluster, &format!("get {beyond} -l app.kubernetes.io/part-of=tollgate -o name")).await?;
    ensure!(left.is_empty(), "left in the cluster: {left}");

    helm(cluster, &format!("uninstall tollgate-crds -n {NAMESPACE} --wait"), &[]).await?;
    let crds = ["virtualkeys", "providerroutes", "mcpservers"].map(|kind| format!("{kind}.tollgate.dev"));
    words(cluster, &format!("get crd {}", crds.join(" ")))
        .await
        .context("uninstalling took definitions along")?;
    let delete = "delete -n tollgate-system secret/tollgate-redis secret/tollgate-postgres secret/tollgate-ca \
                  secret/tollgate-operator-tls secret/tollgate-gateway-tls secret/tollgate-sealing configmap/tollgate-ca \
                  lease/tollgate-operator";
    words(cluster, delete).await?;
    words(cluster, &format!("delete crd {}", crds.join(" "))).await?;
    let users = ["configmap/kube-root-ca.crt", "serviceaccount/default", "secret/anthropic"];
    until_left(cluster, NAMESPACE, &users).await?;
    until_left(cluster, TOOLS, &["configmap/kube-root-ca.crt", "serviceaccount/default"]).await?;
    let users = [
        "configmap/kube-root-ca.crt",
        "serviceaccount/default",
        "secret/agents-own",
        "serviceaccount/devbox",
    ];
    until_left(cluster, TEAM, &users).await
}

/// Waits until exactly these objects are left in a namespace: pods take their time to end, owned objects to be collected.
async fn until_left(cluster: &Cluster, namespace: &str, expected: &[&str]) -> anyhow::Result<()> {
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    until("exactly what it says is left", async || {
        let served = words(cluster, "api-resources --api-group=tollgate.dev -o name").await?;
        let ours = if served.is_empty() { "" } else { OUR_KINDS };
        let left = words(cluster, &format!("get {KINDS}{ours} -n {namespace} -o name")).await?;
        // What a controller made for an object that stays.
        let made = |name: &&str| ["replicaset.apps/mcp-", "pod/mcp-"].iter().any(|p| name.starts_with(p));
        let left: BTreeSet<&str> = left.lines().filter(|name| !made(name)).collect();
        let [more, less] = [left.difference(&expected), expected.difference(&left)].map(Vec::from_iter);
        Ok(if left == expected {
            Ok(())
        } else {
            Err(format!("{namespace}: too much {more:?}, missing {less:?}"))
        })
    })
    .await
}
