//! What the operator and gateways may do.

use crate::support::{helm, kubectl};
use tollgate_e2e::cluster::Cluster;

/// Whether a ServiceAccount of the release may, by the API server itself.
async fn may(cluster: &Cluster, home: &str, account: &str, what: &str) -> bool {
    let line = format!("auth can-i {what} --as=system:serviceaccount:{home}:{account}");
    kubectl(cluster, &line).await.is_ok_and(|answer| answer.trim() == "yes")
}

#[tokio::test]
async fn named_namespaces_bound_what_the_operator_reads() {
    let cluster = Cluster::shared().await.unwrap();
    let [home, team, stranger] = [
        cluster.namespace("rights").await,
        cluster.namespace("rights-team").await,
        cluster.namespace("rights-other").await,
    ]
    .map(Result::unwrap);
    let watched = format!("watchNamespaces={{{team}}}");
    helm(cluster, &format!("install tollgate charts/tollgate -n {home}"), &["--set", &watched])
        .await
        .unwrap();
    let operator = "tollgate-operator";
    for namespace in [&home, &team] {
        for what in [
            "watch virtualkeys.tollgate.dev",
            "list secrets",
            "patch virtualkeys.tollgate.dev --subresource=status",
            "create deployments.apps",
        ] {
            assert!(
                may(cluster, &home, operator, &format!("{what} -n {namespace}")).await,
                "{what} in {namespace}"
            );
        }
    }
    for what in [
        "list virtualkeys.tollgate.dev",
        "get secrets",
        "list secrets",
        "create deployments.apps",
        "create events.events.k8s.io",
    ] {
        assert!(
            !may(cluster, &home, operator, &format!("{what} -n {stranger}")).await,
            "{what} in a namespace that is not named"
        );
    }
    for what in [
        "list secrets -A",
        "list virtualkeys.tollgate.dev -A",
        "get nodes",
        "create clusterroles.rbac.authorization.k8s.io",
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "create pods --subresource=exec",
        "impersonate users",
    ] {
        assert!(!may(cluster, &home, operator, what).await, "{what}");
    }
    let hook = format!("mutatingwebhookconfigurations.admissionregistration.k8s.io/tollgate-{home}-operator");
    assert!(may(cluster, &home, operator, &format!("patch {hook}")).await, "its own webhook, by name");
    assert!(may(cluster, &home, operator, "create tokenreviews.authentication.k8s.io").await);
    for what in [
        "get secrets",
        "list virtualkeys.tollgate.dev",
        "get configmaps",
        "create leases.coordination.k8s.io",
    ] {
        assert!(
            !may(cluster, &home, "tollgate-gateway", &format!("{what} -n {home}")).await,
            "a gateway: {what}"
        );
    }
    helm(cluster, &format!("uninstall tollgate -n {home}"), &[]).await.unwrap();
}
