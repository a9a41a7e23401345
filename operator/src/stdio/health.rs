//! What became of a server's pod, in words for its status.

use super::objects::SERVER_LABEL;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// Whether a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its pod is ready.
    pub ready: bool,
    /// Why not; empty when it is.
    pub message: String,
}

/// The health of all servers, by namespace and name.
pub type Healths = BTreeMap<(String, String), Health>;

/// What a Deployment says of its pod.
pub fn health(deployment: &Deployment) -> Health {
    let status = deployment.status.as_ref();
    // A pod that serves does so until it is replaced: a changed Deployment that nobody has looked at yet is no outage.
    if status.and_then(|s| s.available_replicas).unwrap_or(0) > 0 {
        return Health { ready: true, message: String::new() };
    }
    let seen = status.and_then(|s| s.observed_generation) >= deployment.metadata.generation;
    if !seen {
        return Health { ready: false, message: "the Deployment has not been looked at yet".to_owned() };
    }
    let conditions = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten();
    let failing = conditions.filter(|c| match c.type_.as_str() {
        "ReplicaFailure" => c.status == "True",
        "Available" | "Progressing" => c.status == "False",
        _ => false,
    });
    let words: Vec<&str> = failing.filter_map(|c| c.message.as_deref()).collect();
    // Pods are not the operator's to read: whoever looks is told where.
    let server = deployment.labels().get(SERVER_LABEL).map_or("", String::as_str);
    let told: String = words.join("; ").chars().take(500).collect();
    let words = if told.is_empty() { String::new() } else { format!(": {told}") };
    let message =
        format!("its pod is not ready{words} (kubectl describe pods -l {SERVER_LABEL}={server} says more)");
    Health { ready: false, message }
}
