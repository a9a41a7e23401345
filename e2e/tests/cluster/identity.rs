//! Service account tokens, TokenReview, RBAC, and leases: what the operator's security stands on.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
    coordination::v1::Lease,
    core::v1::{Pod, Secret},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use tollgate_e2e::{client::eventually, cluster::Cluster};

async fn review(client: &Client, token: &str, audience: &str) -> anyhow::Result<TokenReviewStatus> {
    let spec = TokenReviewSpec { token: Some(token.into()), audiences: Some(vec![audience.into()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let answer = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.unwrap())
}

#[tokio::test]
async fn a_token_is_good_for_its_audience_alone() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("audience").await?;
    let client = cluster.client().await?;
    let token = cluster.token(&namespace, "gateway", "tollgate").await?;

    let good = review(&client, &token, "tollgate").await?;
    assert_eq!((good.authenticated, good.audiences), (Some(true), Some(vec!["tollgate".to_owned()])));
    let user = good.user.unwrap();
    assert_eq!(user.username, Some(format!("system:serviceaccount:{namespace}:gateway")));

    let other = review(&client, &token, "vault").await?;
    assert_ne!(other.authenticated, Some(true), "{other:?}");
    // It does not open the API server either.
    let kubeconfig = cluster.kubeconfig_with(&token, "wrong-audience")?;
    let refused = cluster.kubectl_as(&kubeconfig, ["auth", "whoami"], "").await.unwrap_err().to_string();
    assert!(refused.contains("Unauthorized") || refused.contains("must be logged in"), "{refused}");
    // One letter changed.
    let mut forged = token.into_bytes();
    let last = forged.len() - 10;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = review(&client, &String::from_utf8(forged)?, "tollgate").await?;
    assert_ne!(forged.authenticated, Some(true), "{forged:?}");
    Ok(())
}

#[tokio::test]
async fn a_pods_token_names_the_pod_and_dies_with_it() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("bound").await?;
    let client = cluster.client().await?;
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gateway-1"},
        "spec": {"serviceAccountName": "gateway", "containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let token = cluster.token_for_pod(&namespace, "gateway-1", "tollgate").await?;

    let good = review(&client, &token, "tollgate").await?;
    let extra = good.user.unwrap().extra.unwrap();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["gateway-1"]);

    pods.delete("gateway-1", &DeleteParams::default().grace_period(0)).await?;
    // The API server remembers a verdict for some seconds.
    eventually("the token is refused", || async {
        let now = review(&client, &token, "tollgate").await?;
        Ok((now.authenticated != Some(true)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn nothing_is_allowed_that_no_role_grants() -> anyhow::Result<()> {
    let cluster = Cluster::shared_own().await?;
    let namespace = cluster.namespace("rbac").await?;
    let client = cluster.client_for(&namespace, "operator").await?;
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let denied = secrets.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(denied.contains("cannot list resource \"secrets\""), "{denied}");

    cluster.kubectl(["create", "role", "r", "-n", &namespace, "--verb=list", "--resource=secrets"]).await?;
    let account = format!("--serviceaccount={namespace}:operator");
    cluster.kubectl(["create", "rolebinding", "r", "-n", &namespace, "--role=r", &account]).await?;
    eventually("the role is in force", || async { Ok(secrets.list(&ListParams::default()).await.ok()) })
        .await?;

    let user = format!("system:serviceaccount:{namespace}:operator");
    let audit = cluster.audit()?;
    let mine: Vec<_> = audit.iter().filter(|asked| asked.user == user).collect();
    assert!(mine.iter().all(|asked| asked.verb == "list" && asked.resource == "secrets"), "{mine:?}");
    assert_eq!((mine[0].code, mine[0].namespace.as_str()), (403, namespace.as_str()));
    assert_eq!(mine.last().unwrap().code, 200);
    Ok(())
}

#[tokio::test]
async fn one_of_two_writers_takes_a_lease() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("lease").await?;
    let leases = Api::<Lease>::namespaced(cluster.client().await?, &namespace);
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "tollgate-operator"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}});
    let read = leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    let take = |by: &str| {
        let mut mine = read.clone();
        mine.spec.as_mut().unwrap().holder_identity = Some(by.to_owned());
        mine
    };
    leases.replace("tollgate-operator", &PostParams::default(), &take("b")).await?;
    let late = leases.replace("tollgate-operator", &PostParams::default(), &take("c")).await.unwrap_err();
    assert!(late.to_string().contains("the object has been modified"), "{late}");
    Ok(())
}
