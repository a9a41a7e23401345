//! The API server's audit log: who asked for what.

use anyhow::Context;
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// A request to the API server. Empty where it has none: `resource` for paths that are no resource, `namespace` for
/// what is cluster-wide.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Such as `system:serviceaccount:tollgate-system:tollgate-operator`.
    pub user: String,
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
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

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
            Some(asked) if !new => asked.code = event.response_status.code,
            _ => all.push(event.into()),
        }
    }
    Ok(all)
}

// === impl Asked ===

impl From<Event> for Asked {
    fn from(event: Event) -> Self {
        let Object { api_group: group, resource, subresource, namespace, name } = event.object_ref;
        Asked {
            user: event.user.username,
            verb: event.verb,
            group,
            resource,
            subresource,
            namespace,
            name,
            url: event.url,
            code: event.response_status.code,
            agent: event.user_agent,
        }
    }
}
