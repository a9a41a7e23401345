//! The objects of one server: pure functions from its spec. Written by server-side apply, so each says all that it wants and
//! nothing else.

use super::Runtime;
use serde_json::{Map, Value, json};
use tollgate_crds::{
    api::{McpServer, mcp_server::Stdio},
    stdio::{PORT, child_name},
};

/// The label that names the server an object is of.
pub const SERVER_LABEL: &str = "tollgate.dev/mcp-server";
/// The user that the server's process runs as: no image gets root, whatever it says.
const USER: u32 = 65_532;
/// Where the bridge is copied to.
const BRIDGE: &str = "/tollgate/tollgate-dataplane";

/// The Deployment, the Service and the NetworkPolicy of `server`; none when it runs nothing or has no identity yet.
pub fn objects(server: &McpServer, runtime: &Runtime) -> Vec<Value> {
    let meta = &server.metadata;
    let (Some(stdio), Some(name), Some(namespace), Some(uid)) =
        (&server.spec.stdio, &meta.name, &meta.namespace, &meta.uid)
    else {
        return Vec::new();
    };
    let head = |api_version: &str, kind: &str| {
        let metadata = json!({
            "name": child_name(name),
            "namespace": namespace,
            "labels": labels(name),
            "ownerReferences": [{
                "apiVersion": tollgate_crds::api::API_VERSION,
                "kind": "McpServer",
                "name": name,
                "uid": uid,
                "controller": true,
                "blockOwnerDeletion": false,
            }],
        });
        Map::from_iter([
            ("apiVersion".to_owned(), json!(api_version)),
            ("kind".to_owned(), json!(kind)),
            ("metadata".to_owned(), metadata),
        ])
    };
    let with_spec = |mut object: Map<String, Value>, spec: Value| {
        object.insert("spec".to_owned(), spec);
        Value::Object(object)
    };
    vec![
        with_spec(head("apps/v1", "Deployment"), deployment(name, stdio, runtime)),
        with_spec(head("v1", "Service"), service(name)),
        with_spec(head("networking.k8s.io/v1", "NetworkPolicy"), network_policy(name, runtime)),
    ]
}

fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "tollgate-mcp-server",
        "app.kubernetes.io/instance": child_name(name),
        "app.kubernetes.io/component": "mcp-server",
        "app.kubernetes.io/managed-by": "tollgate-operator",
        SERVER_LABEL: name,
    })
}

fn deployment(name: &str, stdio: &Stdio, runtime: &Runtime) -> Value {
    json!({
        // Sessions live in the pod: a second one would not know them.
        "replicas": 1,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": {SERVER_LABEL: name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels(name)}, "spec": pod(stdio, runtime)},
    })
}

fn pod(stdio: &Stdio, runtime: &Runtime) -> Value {
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [{
            "name": "bridge",
            "image": runtime.dataplane_image,
            "imagePullPolicy": "IfNotPresent",
            // The image holds the program alone: it copies itself.
            "command": ["/tollgate-dataplane"],
            "args": ["bridge", "--copy-to", BRIDGE],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
            "securityContext": restricted(),
            "volumeMounts": [{"name": "bridge", "mountPath": "/tollgate"}],
        }],
        "containers": [container(stdio)],
        "volumes": [
            {"name": "bridge", "emptyDir": {"sizeLimit": "512Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    })
}

fn container(stdio: &Stdio) -> Value {
    let mut args =
        vec!["bridge".to_owned(), "--listen".to_owned(), format!("0.0.0.0:{PORT}"), "--log-json".to_owned()];
    if stdio.shared {
        args.push("--shared".to_owned());
    }
    args.push("--".to_owned());
    args.extend(stdio.command.iter().chain(&stdio.args).map(|word| literal(word)));
    let probe = |path: &str, period: u32, failures: u32| json!({"httpGet": {"path": path, "port": "mcp"}, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5});
    json!({
        "name": "server",
        "image": stdio.image,
        "command": [BRIDGE],
        "args": args,
        "env": env(stdio),
        "ports": [{"name": "mcp", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": probe("/readyz", 1, 120),
        "readinessProbe": probe("/readyz", 5, 2),
        "livenessProbe": probe("/healthz", 20, 3),
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": restricted(),
        "volumeMounts": [
            {"name": "bridge", "mountPath": "/tollgate", "readOnly": true},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    })
}

/// Kubernetes expands `$(NAME)` in arguments; what a user wrote is meant as it stands.
fn literal(word: &str) -> String {
    word.replace("$(", "$$(")
}

/// The server's own variables; besides, a home that can be written to, because the root file system cannot.
fn env(stdio: &Stdio) -> Value {
    let mut all: Vec<Value> = ["HOME", "TMPDIR"]
        .into_iter()
        .filter(|name| stdio.env.iter().all(|e| e.name != *name))
        .map(|name| json!({"name": name, "value": "/tmp"}))
        .collect();
    all.extend(stdio.env.iter().map(|variable| match &variable.secret_ref {
        Some(secret) => json!({
            "name": variable.name,
            "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}},
        }),
        None => {
            json!({"name": variable.name, "value": literal(variable.value.as_deref().unwrap_or_default())})
        }
    }));
    Value::Array(all)
}

/// What the Pod Security Standard `restricted` wants of a container, and a root file system that cannot be written to.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn service(name: &str) -> Value {
    json!({
        "type": "ClusterIP",
        "selector": {SERVER_LABEL: name},
        "ports": [{"name": "mcp", "port": PORT, "targetPort": "mcp", "protocol": "TCP", "appProtocol": "http"}],
    })
}

/// Only gateways get in: the bridge asks nobody who they are.
fn network_policy(name: &str, runtime: &Runtime) -> Value {
    json!({
        "podSelector": {"matchLabels": {SERVER_LABEL: name}},
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": runtime.namespace}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}},
            }],
            "ports": [{"port": PORT, "protocol": "TCP"}],
        }],
    })
}
