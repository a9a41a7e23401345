//! What the leader keeps besides statuses: the webhook's caBundle, and servers over standard input and output.

use super::support::{Installation, until};
use serde_json::{Value, json};
use tollgate_e2e::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    provider::Provider,
};

/// The configuration of a webhook whose caBundle nobody has written yet.
fn webhook(name: &str, namespace: &str, url: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "inject.tollgate.dev",
            "clientConfig": {"url": url},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "objectSelector": {"matchLabels": {"tollgate.dev/inject": "enabled"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 5, "admissionReviewVersions": ["v1"],
        }],
    })
}

async fn start<'c>(
    cluster: &'c Cluster,
    namespace: &str,
    operators: usize,
    more: &[String],
) -> Installation<'c> {
    let provider = Provider::start().await.unwrap();
    let operator = [&["--dataplane-image=tollgate/dataplane:test".to_owned()], more].concat();
    let options = Options { operators, gateways: 1, operator, ..Options::default() };
    let plane = ControlPlane::start_in(cluster, namespace, options).await.unwrap();
    Installation { cluster, plane, provider }
}

/// Creates a labelled pod: what the API server says, or whether it got the relay.
async fn agent(here: &Installation<'_>, name: &str) -> Result<bool, String> {
    let context = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1000});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"tollgate.dev/inject": "enabled"}},
        "spec": {"serviceAccountName": "default", "containers": [{"name": "a", "image": "a", "securityContext": context}]},
    });
    let create = ["create", "--namespace", here.plane.namespace(), "-o", "json", "-f", "-"];
    let made = here.cluster.kubectl_as(here.cluster.kubeconfig(), create, &pod.to_string()).await;
    let made: Value = serde_json::from_str(&made.map_err(|error| error.to_string())?).unwrap();
    here.kubectl(&["delete", "pod", name, "--force", "--grace-period=0"]).await;
    Ok(made.pointer("/spec/initContainers/0").is_some())
}

async fn injected(here: &Installation<'_>, name: &str) {
    until("the API server calls the operator's webhook", || async {
        match agent(here, name).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_keeps_the_webhooks_authority_and_repairs_it() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let name = format!("tollgate-{namespace}-operator");
    let mut here = start(cluster, &namespace, 2, &[format!("--webhook-configuration={name}")]).await;
    let serves = |n: usize| {
        let line = here.plane.operator(n).unwrap().log().find("the webhook is on https://");
        line.and_then(|line| line.split("the webhook is on ").nth(1).map(|url| url.trim().to_owned()))
    };
    let url = until("the webhook serves", || async { serves(0).ok_or_else(|| "not yet".to_owned()) }).await;
    let made = webhook(&name, &namespace, &url).to_string();
    let create =
        async || cluster.kubectl_as(cluster.kubeconfig(), ["create", "-f", "-"], &made).await.unwrap();
    create().await;
    // It comes without a caBundle, and after the operator: the leader writes it, and the API server can call.
    injected(&here, "first").await;

    // Somebody else's tool writes another authority, or none, or the whole object anew.
    let patch = async |operation: Value| {
        let patch = json!([operation]).to_string();
        here.kubectl(&["patch", "mutatingwebhookconfiguration", &name, "--type=json", "-p", &patch]).await;
    };
    let path = "/webhooks/0/clientConfig/caBundle";
    patch(json!({"op": "replace", "path": path, "value": OTHER})).await;
    injected(&here, "second").await;
    patch(json!({"op": "remove", "path": path})).await;
    injected(&here, "third").await;
    here.kubectl(&["delete", "mutatingwebhookconfiguration", &name]).await;
    create().await;
    injected(&here, "fourth").await;

    // The webhook is every replica's to serve, and its successor's to keep when the leader is gone.
    let leader = here.leader(&[0, 1]).await;
    let other =
        until("the other serves it too", || async { serves(1 - leader).ok_or_else(|| "not yet".to_owned()) })
            .await;
    here.plane.operator_mut(leader).unwrap().kill9().await.unwrap();
    let moved = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": other},
        {"op": "replace", "path": path, "value": OTHER}]);
    here.kubectl(&["patch", "mutatingwebhookconfiguration", &name, "--type=json", "-p", &moved.to_string()])
        .await;
    injected(&here, "fifth").await;
    // Nothing else of the configuration is the leader's.
    let now: Value = serde_json::from_str(
        &here.kubectl(&["get", "mutatingwebhookconfiguration", &name, "-o", "json"]).await,
    )
    .unwrap();
    assert_eq!(
        (&now["webhooks"][0]["failurePolicy"], &now["webhooks"][0]["timeoutSeconds"]),
        (&"Fail".into(), &5.into())
    );
    here.kubectl(&["delete", "mutatingwebhookconfiguration", &name]).await;
}

/// What a Deployment's controller says.
async fn says(here: &Installation<'_>, deployment: &str, status: Value) {
    let object = here.get(&format!("deployment/{deployment}")).await;
    let mut status = json!({"status": status});
    status["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
    let name = format!("deployment/{deployment}");
    here.kubectl(&["patch", &name, "--subresource=status", "--type=merge", "-p", &status.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdio_server_that_never_runs_says_why_and_a_new_leader_says_no_less() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("tollgate").await.unwrap();
    let mut here = start(cluster, &namespace, 1, &["--allowed-stdio-image=ghcr.io/acme/*".to_owned()]).await;
    let server = |name: &str| {
        format!(
            "apiVersion: tollgate.dev/v1alpha1\nkind: McpServer\nmetadata: {{name: {name}}}\n\
             spec: {{stdio: {{image: 'ghcr.io/acme/db:1', command: [serve]}}}}\n---\n"
        )
    };
    here.apply(&(server("db") + &server("web"))).await;
    for name in ["db", "web"] {
        here.wait_for(&format!("mcps/{name}"), "Ready", "False/NotRunning").await;
    }
    let failing = json!({"replicas": 1, "unavailableReplicas": 1, "conditions": [
        {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "Deployment does not have minimum availability."},
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet \"mcp-db-1\" has timed out progressing."},
    ]});
    says(&here, "mcp-db", failing).await;
    says(&here, "mcp-web", json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1})).await;
    here.wait_for("mcps/web", "Ready", "True/Ready").await;
    let told = async || {
        let why = here.wait_for("mcps/db", "Ready", "False/NotRunning").await;
        let parts = ["minimum availability", "timed out progressing", "kubectl describe pods"];
        if parts.iter().all(|part| why.contains(part)) { Ok(()) } else { Err(why) }
    };
    until("the Deployment's own words are told", told).await;
    let db = here.get("mcps/db").await;
    assert_eq!(db["status"]["health"], "Unreachable", "{db}");
    let row = here.kubectl(&["get", "mcps"]).await;
    assert!(row.lines().any(|line| line.starts_with("db ") && line.contains("False")), "{row}");

    // A new leader says no less, and changes nothing.
    let before = db["metadata"]["resourceVersion"].clone();
    here.plane.operator_mut(0).unwrap().kill9().await.unwrap();
    here.plane.operator_mut(0).unwrap().restart().unwrap();
    here.plane.wait_ready().await.unwrap();
    // It leads and has looked at Deployments.
    here.apply(&server("later")).await;
    here.wait_for("mcps/later", "Ready", "False/NotRunning").await;
    assert_eq!(here.get("mcps/db").await["metadata"]["resourceVersion"], before);
    // It comes up.
    says(&here, "mcp-db", json!({"readyReplicas": 1, "availableReplicas": 1, "conditions": null})).await;
    here.wait_for("mcps/db", "Ready", "True/Ready").await;
}

/// An authority that is not ours (`openssl req -x509 -newkey ed25519 -subj /CN=other`), in base64.
const OTHER: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJOakNCNmFBREFnRUNBaFEvaE8wRVArT3lJQUQzZll2cnFleUdCWkJpVFRBRkJnTXJaWEF3RURFT01Bd0cKQTFVRUF3d0ZiM1JvWlhJd0lCY05Nall4TVRJek1URXpORFF6V2hnUE1qRXlOakV3TXpBeE1UTTBORE5hTUJBeApEakFNQmdOVkJBTU1CVzkwYUdWeU1Db3dCUVlESzJWd0F5RUE1SEJ3SkZFbDVjejl6VXdsSDlSTnpxTitJSjljCjlWU3ZRSHIxZkxiYlU1aWpVekJSTUIwR0ExVWREZ1FXQkJUMFMvWC9oZ3orbkVYSkdUd05wdkNrSS9nWFZEQWYKQmdOVkhTTUVHREFXZ0JUMFMvWC9oZ3orbkVYSkdUd05wdkNrSS9nWFZEQVBCZ05WSFJNQkFmOEVCVEFEQVFILwpNQVVHQXl0bGNBTkJBUHQrczR2dGtnblBadDVqb2tFMFBZem1BMDB5aUl5R3VRazU0cytUOXpxQ2haYTdjdDZ6CmFIZXphUW42YkJWK0w0RlNQNkRRY3ptOFh6WHZiSmg5ZFF3PQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg==";
