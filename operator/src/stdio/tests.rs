//! A server's objects, field by field where a mistake would be a hole.

use super::{Runtime, health::health, objects::objects};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use tollgate_crds::api::McpServer;

fn server(stdio: Value) -> McpServer {
    serde_json::from_value(json!({
        "apiVersion": "tollgate.dev/v1alpha1",
        "kind": "McpServer",
        "metadata": {"name": "db", "namespace": "team-a", "uid": "u-1"},
        "spec": {"stdio": stdio},
    }))
    .unwrap()
}

fn made(stdio: Value) -> Vec<Value> {
    let runtime = Runtime { dataplane_image: "dataplane:1".into(), namespace: "tollgate-system".into() };
    objects(&server(stdio), &runtime)
}

#[test]
fn a_server_is_a_deployment_a_service_and_a_policy_that_it_owns() {
    let all = made(json!({"image": "db:1", "command": ["serve"]}));
    let kinds: Vec<_> = all.iter().map(|o| o["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Deployment", "Service", "NetworkPolicy"]);
    for object in &all {
        assert_eq!(object["metadata"]["name"], "mcp-db");
        assert_eq!(object["metadata"]["namespace"], "team-a");
        assert_eq!(object["metadata"]["labels"]["tollgate.dev/mcp-server"], "db");
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["uid"], &owner["controller"]),
            (&json!("McpServer"), &json!("u-1"), &json!(true))
        );
    }
    assert_eq!(all[1]["spec"]["ports"][0]["port"], tollgate_crds::stdio::PORT);
    let from = &all[2]["spec"]["ingress"][0]["from"][0];
    assert_eq!(from["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "tollgate-system");
    assert_eq!(from["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "gateway");
    // Typed as the API server reads it: no field is misspelt.
    let typed: Deployment = serde_json::from_value(all[0].clone()).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap()["spec"]["template"], all[0]["spec"]["template"]);
}

#[test]
fn its_pod_can_do_nothing_but_serve() {
    let all = made(json!({"image": "db:1", "command": ["serve"]}));
    let pod = &all[0]["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], json!(false));
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(context["readOnlyRootFilesystem"], json!(true));
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
    assert!(!all[0].to_string().contains("hostPath"));
}

#[test]
fn what_the_user_wrote_is_run_as_it_stands() {
    let stdio = json!({
        "image": "db:1", "command": ["npx", "server"], "args": ["--token=$(TOKEN)", "--", "-x"], "shared": true,
        "env": [{"name": "HOME", "value": "/data"}, {"name": "TOKEN", "secretRef": {"name": "s", "key": "k"}}, {"name": "A", "value": "$(B)"}]
    });
    let all = made(stdio);
    let container = &all[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        json!([
            "bridge",
            "--listen",
            "0.0.0.0:8081",
            "--log-json",
            "--shared",
            "--",
            "npx",
            "server",
            "--token=$$(TOKEN)",
            "--",
            "-x"
        ])
    );
    assert_eq!(
        container["env"],
        json!([
            {"name": "TMPDIR", "value": "/tmp"},
            {"name": "HOME", "value": "/data"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "A", "value": "$$(B)"},
        ])
    );
}

#[test]
fn a_server_over_http_needs_nothing() {
    let runtime = Runtime { dataplane_image: "d".into(), namespace: "n".into() };
    let mut server = server(json!({"image": "a"}));
    server.spec.stdio = None;
    assert!(objects(&server, &runtime).is_empty());
}

#[test]
fn health_is_told_in_words() {
    let deployment = |status: Value| -> Deployment {
        serde_json::from_value(json!({"metadata": {"generation": 2, "labels": {"tollgate.dev/mcp-server": "db"}}, "status": status})).unwrap()
    };
    assert!(health(&deployment(json!({"observedGeneration": 2, "availableReplicas": 1}))).ready);
    let old = health(&deployment(json!({"observedGeneration": 1, "availableReplicas": 1})));
    assert!(!old.ready && old.message.contains("not been looked at"));
    let failing = json!([{"type": "ReplicaFailure", "status": "True", "message": "quota exceeded"}]);
    let failed = health(&deployment(json!({"observedGeneration": 2, "conditions": failing})));
    let more = "(kubectl describe pods -l tollgate.dev/mcp-server=db says more)";
    assert_eq!(failed.message, format!("its pod is not ready: quota exceeded {more}"));
    let silent = health(&deployment(json!({"observedGeneration": 2})));
    assert_eq!(silent.message, format!("its pod is not ready {more}"));
}
