//! The harness itself: what other tests rely on.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::Value;
use std::process::Stdio;
use tollgate_e2e::{client::eventually, cluster::Cluster};

#[tokio::test]
async fn an_api_server_can_go_and_come_back_with_everything() -> anyhow::Result<()> {
    let cluster = Cluster::start_own().await?;
    let folder = cluster.folder().to_owned();
    let maps = Api::<ConfigMap>::namespaced(cluster.client().await?, "default");
    let mut map = ConfigMap::default();
    map.metadata.name = Some("kept".into());
    maps.create(&PostParams::default(), &map).await?;
    let token = cluster.kubeconfig_for("default", "somebody").await?;

    cluster.stop_api_server()?;
    assert!(maps.get("kept").await.is_err(), "it is stopped");
    cluster.start_api_server().await?;
    // The same client, address, certificate and tokens.
    eventually("the old client works again", || async { Ok(maps.get("kept").await.ok()) }).await?;
    cluster.kubectl_as(&token, ["auth", "whoami"], "").await?;
    assert!(cluster.audit()?.iter().any(|asked| asked.verb == "create" && asked.name == "kept"));

    drop(cluster);
    assert!(maps.list(&ListParams::default()).await.is_err(), "the processes are gone");
    assert!(!folder.exists(), "and so is their folder");
    Ok(())
}

#[tokio::test]
async fn kubectl_says_what_was_wrong() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let error = cluster.kubectl(["get", "nothing"]).await.unwrap_err().to_string();
    assert!(error.contains("the server doesn't have a resource type \"nothing\""), "{error}");
    let error = cluster.apply("kind: [").await.unwrap_err().to_string();
    assert!(error.contains("error"), "{error}");
    Ok(())
}

/// The definitions as they are in force.
async fn definitions(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let names =
        ["virtualkeys", "mcpservers", "providerroutes"].map(|kind| format!("crd/{kind}.tollgate.dev"));
    let mut all = Vec::new();
    for name in names {
        let definition: Value = serde_json::from_str(&cluster.kubectl(["get", &name, "-o", "json"]).await?)?;
        all.push(definition["spec"].clone());
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_of_kubeconfig_is_used_and_stays_as_it_is() -> anyhow::Result<()> {
    // Somebody's: to the tests below it is one that they have not started.
    let theirs = Cluster::start_own().await?;
    theirs.install_crds().await?;
    let before = definitions(&theirs).await?;
    // These very tests, as a process of their own, with and without what needs an own cluster.
    let mut tests = tokio::process::Command::new(std::env::current_exe()?);
    tests.args(["crds::", "identity::", "harness::what_may_harm", "harness::kubectl"]);
    tests.env("KUBECONFIG", theirs.kubeconfig()).stdin(Stdio::null()).kill_on_drop(true);
    let folder = theirs.kubectl_program().parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    tests.env("PATH", std::env::join_paths(path)?);
    let output = tests.output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = said.lines().find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    let passed: usize = passed.and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(output.status.success() && passed >= 10, "{said}");
    // They were in that cluster, which answers, and whose definitions are what they were.
    let namespaces = theirs.kubectl(["get", "namespaces", "-o", "name"]).await?;
    for prefix in ["namespace/samples-", "namespace/status-", "namespace/audience-", "namespace/lease-"] {
        assert!(namespaces.contains(prefix), "no {prefix}: {namespaces}");
    }
    assert!(!namespaces.contains("namespace/rbac-"), "what needs an audit log ran there: {namespaces}");
    assert_eq!(definitions(&theirs).await?, before);
    let wrong =
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {name: a}\nspec: {bugdets: []}\n";
    let refused = theirs.apply(wrong).await.unwrap_err().to_string();
    assert!(refused.contains("unknown field \"spec.bugdets\""), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_harm_a_cluster_has_an_own_one() -> anyhow::Result<()> {
    let given = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
    let shared = Cluster::shared().await?;
    assert_eq!(shared.is_own(), given.is_none());
    let own = Cluster::start_own().await?;
    assert!(own.is_own() && Cluster::shared_own().await?.is_own());
    if let Some(given) = given {
        assert_eq!(shared.kubeconfig(), given);
        assert!(own.kubeconfig() != given && Cluster::shared_own().await?.kubeconfig() != given);
        assert!(shared.stop_api_server().is_err(), "somebody's cluster is not ours to stop");
    }
    own.stop_api_server()?;
    assert!(own.kubectl(["get", "--raw", "/readyz"]).await.is_err());
    shared.kubectl(["get", "--raw", "/readyz"]).await?;
    Ok(())
}
