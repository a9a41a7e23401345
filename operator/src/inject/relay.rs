//! The relay's container and its volume.

use super::{Injection, annotations::Wishes};
use serde_json::{Value, json};

/// The container's name.
pub(super) const NAME: &str = "tollgate-relay";
/// The volume of its token.
pub(super) const VOLUME: &str = "tollgate-token";
/// Where the token is mounted.
const MOUNT: &str = "/var/run/secrets/tollgate";
/// How long a token lives; kubelet replaces it after four fifths of that.
const TOKEN_SECONDS: u32 = 3600;
/// The user that the image's files are for.
const USER: u32 = 65_532;

/// A native sidecar: an init container that keeps running, so that it is there before the agent and ends after it, and a Job's
/// pod completes all the same.
pub(super) fn container(injection: &Injection, wishes: &Wishes) -> Value {
    let address = format!("127.0.0.1:{}", wishes.port);
    // The relay listens on loopback only, where kubelet's own HTTP probes do not reach it.
    let probe = json!({"command": ["/tollgate-dataplane", "relay", "--probe", "--listen", address]});
    let mut env = Vec::new();
    if !injection.ca.is_empty() {
        env.push(json!({"name": "TOLLGATE_CA_PEM", "value": injection.ca}));
    }
    json!({
        "name": NAME,
        "image": injection.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": ["/tollgate-dataplane"],
        "args": [
            "relay",
            "--upstream", injection.upstream,
            "--server-name", injection.server_name,
            "--token-file", format!("{MOUNT}/token"),
            "--listen", address,
            "--log-json",
        ],
        "env": env,
        "startupProbe": {"exec": probe, "periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 5},
        "livenessProbe": {"exec": probe, "periodSeconds": 20, "failureThreshold": 3, "timeoutSeconds": 5},
        "resources": {
            "requests": {"cpu": wishes.cpu_request, "memory": "16Mi"},
            "limits": {"memory": wishes.memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT, "readOnly": true}],
    })
}

/// The pod's own ServiceAccount's token, for gateways only: the API server refuses it.
pub(super) fn volume(injection: &Injection) -> Value {
    let token = json!({"audience": injection.audience, "expirationSeconds": TOKEN_SECONDS, "path": "token"});
    json!({"name": VOLUME, "projected": {"defaultMode": 0o444, "sources": [{"serviceAccountToken": token}]}})
}
