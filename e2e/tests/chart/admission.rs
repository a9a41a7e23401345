//! Who may make keys without a parent.

use crate::support::{helm, kubectl, until};
use tollgate_e2e::cluster::Cluster;

fn key(namespace: &str, name: &str, spec: &str) -> String {
    // Block style: kubectl takes a document that begins with a brace for JSON.
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// Whether the API server would take it: an object that is there already is another question.
async fn create(cluster: &Cluster, key: &str) -> anyhow::Result<String> {
    cluster.kubectl_as(cluster.kubeconfig(), ["create", "--dry-run=server", "-f", "-"], key).await
}

#[tokio::test]
async fn a_key_without_a_parent_is_for_platform_namespaces() {
    let cluster = Cluster::shared().await.unwrap();
    let [home, platform, team] = [
        cluster.namespace("keys-home").await,
        cluster.namespace("keys-platform").await,
        cluster.namespace("keys-team").await,
    ]
    .map(Result::unwrap);
    cluster.apply(&key(&team, "older-than-the-rule", "disabled: false")).await.unwrap();
    // Other tests' namespaces are none of this policy's business.
    let watched = format!("watchNamespaces={{{platform},{team}}}");
    let platforms = format!("platformNamespaces={{{platform}}}");
    helm(
        cluster,
        &format!("install keys charts/tollgate -n {home}"),
        &["--set", &watched, "--set", &platforms],
    )
    .await
    .unwrap();

    // The API server reads new policies now and then.
    let root = key(&team, "mint", "budgets: [{name: month, usd: \"1000000\", period: Month}]");
    until("the policy is in force", || async { create(cluster, &root).await.is_err() }).await;
    let refused = format!("{:#}", create(cluster, &root).await.unwrap_err());
    for word in
        [team.as_str(), "is no platform namespace", "VirtualKey mint", "spec.parentRef", "allowedNamespaces"]
    {
        assert!(refused.contains(word), "{word:?} is not in: {refused}");
    }
    cluster
        .apply(&key(&team, "child", &format!("parentRef: {{name: root, namespace: {platform}}}")))
        .await
        .unwrap();
    cluster.apply(&key(&platform, "root", "disabled: false")).await.unwrap();
    cluster.apply(&key(&home, "root", "disabled: false")).await.unwrap();

    let orphaned = cluster.apply(&key(&team, "child", "disabled: false")).await.unwrap_err();
    assert!(format!("{orphaned:#}").contains("is no platform namespace"), "{orphaned:#}");
    kubectl(cluster, &format!("label virtualkey older-than-the-rule -n {team} a=b"))
        .await
        .expect("no change of its spec");
    kubectl(cluster, &format!("delete virtualkey older-than-the-rule -n {team}")).await.unwrap();
    helm(cluster, &format!("uninstall keys -n {home}"), &[]).await.unwrap();
    until("the policy is gone", || async { create(cluster, &root).await.is_ok() }).await;
}
