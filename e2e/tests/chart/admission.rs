//! Who may make keys without a parent.

use crate::support::{helm, kubectl, until};
use tollgate_e2e::{cluster::Cluster, helm::repository};

fn key(namespace: &str, name: &str, spec: &str) -> String {
    // Block style: kubectl takes a document that begins with a brace for JSON.
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

fn route(namespace: &str, export: &str) -> String {
    format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: ProviderRoute\nmetadata: {{name: main, namespace: {namespace}}}\nspec: {{allowedNamespaces: {export}, backends: [{{name: a, anthropic: {{}}}}]}}\n"
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

    // Nor does a team take names that others use, or callers that are nobody's.
    let anonymous =
        key(&team, "anyone", &format!("parentRef: {{name: root, namespace: {platform}}}, anonymous: true"));
    let refused = format!("{:#}", create(cluster, &anonymous).await.unwrap_err());
    assert!(refused.contains("VirtualKey anyone cannot be anonymous"), "{refused}");
    until("the other policy is in force", || async { create(cluster, &route(&team, "All")).await.is_err() })
        .await;
    for export in ["All", "{selector: {}}"] {
        let refused = format!("{:#}", create(cluster, &route(&team, export)).await.unwrap_err());
        assert!(refused.contains("ProviderRoute main cannot be exported to other namespaces"), "{refused}");
        create(cluster, &route(&platform, export)).await.unwrap();
    }
    create(cluster, &route(&team, "Same")).await.unwrap();

    let orphaned = cluster.apply(&key(&team, "child", "disabled: false")).await.unwrap_err();
    assert!(format!("{orphaned:#}").contains("is no platform namespace"), "{orphaned:#}");
    kubectl(cluster, &format!("label virtualkey older-than-the-rule -n {team} a=b"))
        .await
        .expect("no change of its spec");
    kubectl(cluster, &format!("delete virtualkey older-than-the-rule -n {team}")).await.unwrap();
    helm(cluster, &format!("uninstall keys -n {home}"), &[]).await.unwrap();
    until("the policy is gone", || async { create(cluster, &root).await.is_ok() }).await;
}

/// What `deploy/samples/README.md` says to type in a cluster, typed.
#[tokio::test]
async fn the_samples_are_applied_as_their_page_says() {
    let cluster = Cluster::shared().await.unwrap();
    let home = cluster.namespace("samples-home").await.unwrap();
    let install = format!("install samples charts/tollgate -n {home} --set watchNamespaces={{{home}}}");
    helm(cluster, &install, &[]).await.unwrap();
    let page = std::fs::read_to_string(repository().join("deploy/samples/README.md")).unwrap();
    let script = page.split_once("```sh\n").unwrap().1.split_once("\n```").unwrap().0;
    let script = format!("set -euo pipefail\n{}", script.replace("tollgate-system", &home));
    // The same environment as kubectl's own: its folder on the PATH, its configuration.
    let kubectl_command = cluster.kubectl_command(cluster.kubeconfig()).unwrap();
    let folder = std::path::Path::new(kubectl_command.as_std().get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = tokio::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(repository())
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("PATH", path)
        .env("ANTHROPIC_API_KEY", "a")
        .env("OPENAI_API_KEY", "b")
        .output()
        .await
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for object in ["providerroute.tollgate.dev/openai", "virtualkey.tollgate.dev/vk-engineering-main"] {
        assert!(text.contains(&format!("{object} created")), "{text}");
    }
    helm(cluster, &format!("uninstall samples -n {home}"), &[]).await.unwrap();
}
