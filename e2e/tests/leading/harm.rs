//! One bad object harms nothing else: what cannot be decoded, what names a Secret that is not there, what lost its parent.

use super::support::{Installation, key, until};
use serde_json::{Value, json};
use tollgate_e2e::cluster::Cluster;

const KINDS: [&str; 3] = ["virtualkeys", "providerroutes", "mcpservers"];

/// Lets the API server take any spec of the three kinds; returns the definitions as they were.
async fn relax(cluster: &Cluster) -> Vec<(String, Value)> {
    let mut before = Vec::new();
    for kind in KINDS {
        let name = format!("crd/{kind}.tollgate.dev");
        let definition = cluster.kubectl(["get", &name, "-o", "json"]).await.unwrap();
        let definition: Value = serde_json::from_str(&definition).unwrap();
        let version = definition.pointer("/spec/versions/0").unwrap().clone();
        let mut loose = version.clone();
        loose.as_object_mut().unwrap().remove("selectableFields");
        let schema = &mut loose["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        schema.as_object_mut().unwrap().remove("x-kubernetes-validations");
        set(cluster, &name, &loose).await;
        before.push((name, version));
    }
    before
}

async fn set(cluster: &Cluster, definition: &str, version: &Value) {
    let patch = json!([{"op": "replace", "path": "/spec/versions/0", "value": version}]).to_string();
    cluster.kubectl(["patch", definition, "--type=json", "-p", &patch]).await.unwrap();
}

/// A kind, the name of an object of it, a spec that no version of ours has, and the field that is wrong.
const BROKEN: [(&str, &str, &str, &str); 3] = [
    (
        "VirtualKey",
        "vk/broken",
        "budgets: [{name: month, usd: '1', period: Fortnight}]",
        "spec.budgets[0].period",
    ),
    ("ProviderRoute", "proutes/broken", "backends: many", "spec.backends"),
    ("McpServer", "mcps/broken", "streamableHttp: {url: [1]}", "spec.streamableHttp.url"),
];

async fn write_broken(here: &Installation<'_>) {
    for (kind, object, spec, _) in BROKEN {
        let manifest = format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: broken}}\nspec: {{{spec}}}\n"
        );
        // A new schema takes a moment to be in force.
        until(&format!("{object} is taken"), || async {
            let apply = ["apply", "--validate=false", "--namespace", here.plane.namespace(), "-f", "-"];
            let applied = here.cluster.kubectl_as(here.cluster.kubeconfig(), apply, &manifest).await;
            applied.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

const TOKEN: &str = "good-0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_decoded_says_which_field_it_is_and_harms_no_other() {
    let cluster = Cluster::start_own().await.unwrap();
    cluster.install_crds().await.unwrap();
    let mut here = Installation::start(&cluster, 1, 1).await;
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: k}}\nstringData: {{token: {TOKEN}}}\n---\n");
    let good = key("good", "models: {allow: ['main/*']}, token: {secretRef: {name: k, key: token}}");
    here.apply(&(here.route() + &secret + &good)).await;
    here.answers(0, TOKEN, 200).await;

    let strict = relax(&cluster).await;
    write_broken(&here).await;
    for (name, version) in &strict {
        set(&cluster, name, version).await;
    }
    told_of_all(&here).await;
    // An operator that starts with them in its first lists is no worse off.
    here.plane.operator_mut(0).unwrap().kill9().await.unwrap();
    here.plane.operator_mut(0).unwrap().restart().unwrap();
    here.plane.wait_ready().await.unwrap();
    here.apply(&key("later", "models: {allow: ['main/*']}")).await;
    here.wait_for("vk/later", "Ready", "True/Ready").await;
    told_of_all(&here).await;
    here.answers(0, TOKEN, 200).await;

    // It is written once: what stands there is right, however often it is looked at.
    let versions = async || {
        let mut versions = Vec::new();
        for (_, object, ..) in BROKEN {
            versions.push(here.get(object).await["metadata"]["resourceVersion"].clone());
        }
        versions
    };
    let before = versions().await;
    here.apply(&key("more", "limits: {concurrent: 1}")).await;
    here.wait_for("vk/more", "Ready", "True/Ready").await;
    assert_eq!(versions().await, before);
    // Corrected, each counts.
    here.kubectl(&["patch", "vk/broken", "--type=merge", "-p", r#"{"spec":{"budgets":null}}"#]).await;
    here.wait_for("vk/broken", "Ready", "True/Ready").await;
}

async fn told_of_all(here: &Installation<'_>) {
    for (_, object, _, field) in BROKEN {
        let said = here.wait_for(object, "Accepted", "False/Invalid").await;
        assert!(said.contains(field) && said.contains("cannot read"), "{object}: {said}");
        here.wait_for(object, "Ready", "False/Invalid").await;
    }
    for object in ["vk/good", "proutes/main"] {
        here.wait_for(object, "Ready", "True/Ready").await;
    }
    until("each is told of by an Event", || async {
        let events = here.kubectl(&["get", "events.events.k8s.io", "-o", "wide"]).await;
        let kinds = ["virtualkey/broken", "providerroute/broken", "mcpserver/broken"];
        let told = |kind: &str| events.lines().any(|line| line.contains(kind) && line.contains("Invalid"));
        if kinds.into_iter().all(told) { Ok(()) } else { Err(events) }
    })
    .await;
    let log = here.plane.operator(0).unwrap().log().text();
    assert!(log.contains("an object cannot be read") && log.contains("spec.budgets[0].period"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_and_a_deleted_parent_concern_those_alone_that_name_them() {
    let cluster = Cluster::shared().await.unwrap();
    let here = Installation::start(cluster, 1, 2).await;
    let secrets = ["good", "child"].map(|name| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{token: {name}-{TOKEN}}}\n---\n")
    });
    let with = |name: &str, more: &str| {
        key(
            name,
            &format!("models: {{allow: ['*']}}, token: {{secretRef: {{name: {name}, key: token}}}}{more}"),
        )
    };
    let other = here.route().replace("metadata: {name: main}\nspec", "metadata: {name: other}\nspec");
    let objects = secrets.concat()
        + &here.route()
        + &other.replace("secretRef: {name: main,", "secretRef: {name: gone,")
        + &key("team", "models: {allow: ['*']}")
        + &with("good", "")
        + &with("child", ", parentRef: {name: team}");
    here.apply(&objects).await;
    let (good, child) = (format!("good-{TOKEN}"), format!("child-{TOKEN}"));
    for gateway in 0..2 {
        here.answers(gateway, &good, 200).await;
        here.answers(gateway, &child, 200).await;
    }
    let said = here.wait_for("proutes/other", "ResolvedRefs", "False/SecretNotFound").await;
    assert!(said.contains("gone"), "{said}");

    // The parent goes: its children are denied, and say whose fault it is. Nobody else notices.
    here.kubectl(&["delete", "vk/team"]).await;
    let said = here.wait_for("vk/child", "Ready", "False/ParentNotFound").await;
    assert!(said.contains("team"), "{said}");
    for gateway in 0..2 {
        here.answers(gateway, &child, 403).await;
        here.answers(gateway, &good, 200).await;
    }
    // A Secret that was there goes: its route has no credential any more; the other has.
    let renamed = "apiVersion: v1\nkind: Secret\nmetadata: {name: gone}\nstringData: {apiKey: later}\n";
    here.apply(renamed).await;
    here.wait_for("proutes/other", "Ready", "True/Ready").await;
    here.kubectl(&["delete", "secret/gone"]).await;
    here.wait_for("proutes/other", "ResolvedRefs", "False/SecretNotFound").await;
    for object in ["vk/good", "proutes/main"] {
        here.wait_for(object, "Ready", "True/Ready").await;
    }
    here.answers(0, &good, 200).await;
    // And back: the child counts again.
    here.apply(&key("team", "models: {allow: ['*']}")).await;
    here.wait_for("vk/child", "Ready", "True/Ready").await;
    here.answers(0, &child, 200).await;
}
