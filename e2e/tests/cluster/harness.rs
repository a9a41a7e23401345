//! The harness itself: what other tests rely on.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use tollgate_e2e::{client::eventually, cluster::Cluster};

#[tokio::test]
async fn an_api_server_can_go_and_come_back_with_everything() -> anyhow::Result<()> {
    if std::env::var_os("KUBECONFIG").is_some() {
        return Ok(()); // somebody's cluster is not ours to stop
    }
    let cluster = Cluster::start().await?;
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
