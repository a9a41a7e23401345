//! The API server's audit log: who asked for what.

use anyhow::Context;
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// A request to the API server. Empty where it has none: `resource` for paths that are no resource, `namespace` for
/// what is cluster-wide.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Such as `system:serviceaccount:tollgate-system:tollgate-operator`.
    pub user: String,
    /// The pod that the user's token is bound to; empty for others.
    pub pod: String,
    /// When the API server got it, and when it had answered: RFC 3339 with microseconds, as text in the order of time.
    pub received: String,
    /// See `received`.
    pub answered: String,
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// The API group; empty for the core's.
    pub group: String,
    /// Plural, such as `virtualkeys`.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name; empty for lists and for names that the server gives.
    pub name: String,
    /// The path and query.
    pub url: String,
    /// The answer's HTTP status.
    pub code: u16,
    /// Whether its user has no right to it. A 403 may also be a plug-in's of admission.
    pub forbidden: bool,
    /// The client's own name for itself.
    pub agent: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    url: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Answer,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    request_received_timestamp: String,
    #[serde(default)]
    stage_timestamp: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// What the authorizer said, `allow` or `forbid`.
const DECISION: &str = "authorization.k8s.io/decision";
/// Where a bound token's pod stands in the user's extra.
const POD: &str = "authentication.kubernetes.io/pod-name";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    code: u16,
}

/// The requests of a log, in the order of their first answers. A watch counts once, from its beginning.
pub fn read(log: &Path) -> anyhow::Result<Vec<Asked>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut seen = BTreeMap::new();
    let mut all: Vec<Asked> = Vec::new();
    // The last line may be half written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let event: Event = serde_json::from_str(line).with_context(|| format!("no audit event: {line}"))?;
        let new = !seen.contains_key(&event.audit_id);
        let index = *seen.entry(event.audit_id.clone()).or_insert(all.len());
        match all.get_mut(index) {
            Some(asked) if !new => {
                asked.code = event.response_status.code;
                asked.answered = event.stage_timestamp;
            }
            _ => all.push(event.into()),
        }
    }
    Ok(all)
}

// === impl Asked ===

impl Asked {
    /// Whether it was to change something, and did.
    pub fn has_written(&self) -> bool {
        let writes =
            ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str());
        // These ask a question by creating one.
        let asks = self.resource.ends_with("reviews") || self.subresource == "token";
        writes && !asks && (200..300).contains(&self.code)
    }
}

impl From<Event> for Asked {
    fn from(event: Event) -> Self {
        let Object { api_group: group, resource, subresource, namespace, name } = event.object_ref;
        let pod = event.user.extra.get(POD).and_then(|names| names.first());
        Asked {
            pod: pod.cloned().unwrap_or_default(),
            received: event.request_received_timestamp,
            answered: event.stage_timestamp,
            user: event.user.username,
            verb: event.verb,
            group,
            resource,
            subresource,
            namespace,
            name,
            url: event.url,
            code: event.response_status.code,
            forbidden: event.annotations.get(DECISION).is_some_and(|decision| decision == "forbid"),
            agent: event.user_agent,
        }
    }
}
