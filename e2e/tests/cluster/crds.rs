//! The CRDs as a real API server serves them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tollgate_crds::api::{ProviderRoute, VirtualKey};
use tollgate_e2e::cluster::Cluster;

const OPERATOR: &str = "tollgate-operator";

fn key(spec: &Value) -> VirtualKey {
    let object = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "VirtualKey",
        "metadata": {"name": "a"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn status(percent: u32, ready: &str) -> Value {
    let budget = json!({"name": "month", "unit": "USD", "spent": "84.5", "limit": "200", "percent": percent,
        "resetsAt": "2026-12-01T00:00:00Z"});
    json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "VirtualKey", "status": {
        "observedGeneration": 1, "budgets": [budget], "tightest": budget,
        "conditions": [{"type": "Ready", "status": ready, "reason": "Programmed", "message": "",
            "lastTransitionTime": "2026-11-23T00:00:00Z", "observedGeneration": 1}]}})
}

#[tokio::test]
async fn they_are_established_and_structural() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let crds = Api::<CustomResourceDefinition>::all(cluster.client().await?);
    for name in ["virtualkeys.tollgate.dev", "mcpservers.tollgate.dev", "providerroutes.tollgate.dev"] {
        let conditions = crds.get(name).await?.status.unwrap().conditions.unwrap_or_default();
        let is = |kind: &str| conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str());
        assert_eq!(is("Established"), Some("True"), "{name}: {conditions:?}");
        assert_eq!(is("NamesAccepted"), Some("True"), "{name}: {conditions:?}");
        assert_eq!(is("NonStructuralSchema"), None, "{name}: {conditions:?}");
    }
    // Every field is documented where people look it up.
    let explained = cluster.kubectl(["explain", "virtualkeys.spec.budgets.usd"]).await?;
    assert!(explained.contains("FIELD: usd <string>"), "{explained}");
    Ok(())
}

#[tokio::test]
async fn the_samples_are_accepted() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("samples").await?;
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples");
    let applied = cluster.kubectl(["apply", "-n", &namespace, "-R", "-f", samples]).await?;
    for kind in ["virtualkey.tollgate.dev/", "providerroute.tollgate.dev/", "mcpserver.tollgate.dev/"] {
        assert!(applied.contains(kind), "{applied}");
    }
    // The API server reads the same object a second time.
    cluster.kubectl(["apply", "-n", &namespace, "-R", "-f", samples]).await?;
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,GENERATION:.metadata.generation";
    let all = cluster.kubectl(["get", "-n", &namespace, "tollgate", "--no-headers", "-o", columns]).await?;
    let changed = all.lines().find(|line| line.split_whitespace().last() != Some("1"));
    assert_eq!(changed, None, "{all}");
    Ok(())
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_refused_by_name() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("typo").await?;
    let yaml = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: VirtualKey\nmetadata: {{name: a, namespace: {namespace}}}\n\
         spec: {{bugdets: []}}\n"
    );
    let refused = cluster.apply(&yaml).await.unwrap_err().to_string();
    assert!(refused.contains("unknown field \"spec.bugdets\""), "{refused}");
    Ok(())
}

#[tokio::test]
async fn status_is_the_operators_and_spec_the_users() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("status").await?;
    let keys = Api::<VirtualKey>::namespaced(cluster.client().await?, &namespace);
    keys.create(&PostParams::default(), &key(&json!({"defaultRoute": "a"}))).await?;

    let operator = PatchParams::apply(OPERATOR).force();
    let written = keys.patch_status("a", &operator, &Patch::Apply(status(42, "True"))).await?;
    assert_eq!(written.status.as_ref().unwrap().tightest.as_ref().unwrap().percent, 42);
    assert_eq!(written.metadata.generation, Some(1), "a status is no new generation");
    let version = written.metadata.resource_version;

    // The same status again writes nothing, so it wakes nobody.
    let same = keys.patch_status("a", &operator, &Patch::Apply(status(42, "True"))).await?;
    assert_eq!(same.metadata.resource_version, version);

    // A user who replaces the whole object cannot touch the status, nor a status the spec.
    let mut mine = key(&json!({"defaultRoute": "b"}));
    mine.metadata.resource_version = version;
    mine.status = None;
    let replaced = keys.replace("a", &PostParams::default(), &mine).await?;
    assert_eq!((replaced.metadata.generation, replaced.status.is_some()), (Some(2), true));
    let mut both = status(43, "True");
    both["spec"] = json!({"defaultRoute": "c"});
    let written = keys.patch_status("a", &operator, &Patch::Apply(both)).await?;
    assert_eq!(written.spec.default_route.as_deref(), Some("b"));

    // A second writer is told who owns the field.
    let other = PatchParams::apply("somebody-else");
    let conflict = keys.patch_status("a", &other, &Patch::Apply(status(99, "False"))).await.unwrap_err();
    assert!(conflict.to_string().contains(OPERATOR), "{conflict}");
    Ok(())
}

#[tokio::test]
async fn kubectl_get_tells_spend_and_health() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("columns").await?;
    let keys = Api::<VirtualKey>::namespaced(cluster.client().await?, &namespace);
    keys.create(&PostParams::default(), &key(&json!({"parentRef": {"name": "team"}}))).await?;
    keys.patch_status("a", &PatchParams::apply(OPERATOR), &Patch::Apply(status(42, "True"))).await?;
    let table = cluster.kubectl(["get", "-n", &namespace, "vk"]).await?;
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["NAME", "PARENT", "SPENT", "LIMIT", "UNIT", "USED%", "RESETS", "READY", "AGE"]);
    assert_eq!(cells[1][..8], ["a", "team", "84.5", "200", "USD", "42", "2026-12-01T00:00:00Z", "True"]);

    let route = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "ProviderRoute",
        "metadata": {"name": "r"}, "spec": {"backends": [{"name": "b", "anthropic": {}}]}});
    let routes = Api::<ProviderRoute>::namespaced(cluster.client().await?, &namespace);
    routes.create(&PostParams::default(), &serde_json::from_value(route)?).await?;
    let yaml = format!(
        "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: m, namespace: {namespace}}}\n\
         spec: {{sse: {{url: 'http://a/sse'}}}}\n"
    );
    cluster.apply(&yaml).await?;
    let table = cluster.kubectl(["get", "-n", &namespace, "proutes"]).await?;
    assert!(table.starts_with("NAME   BACKENDS   READY   AGE"), "{table}");
    let table = cluster.kubectl(["get", "-n", &namespace, "mcps"]).await?;
    assert!(table.starts_with("NAME   HEALTH   TOOLS   READY   AGE"), "{table}");
    // One word for all three, and a selector that needs no client-side filter.
    let all = cluster.kubectl(["get", "-n", &namespace, "tollgate", "-o", "name"]).await?;
    assert_eq!(all.lines().count(), 3, "{all}");
    let of_team = ["get", "-n", &namespace, "vk", "--field-selector=spec.parentRef.name=team", "-o", "name"];
    assert_eq!(cluster.kubectl(of_team).await?.trim(), "virtualkey.tollgate.dev/a");
    Ok(())
}
