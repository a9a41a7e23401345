//! What the chart's admission policies let only platform namespaces do, for whoever wants to know it before the API server says so.
//!
//! The policies stand in `charts/tollgate/templates/admission/`; the operator has the same rule for exports and anonymous keys, and none
//! for roots: whether a key may be one is decided when it is written.

use crate::{
    api::AllowedNamespaces,
    compile::{Body, Object, Problem},
    conditions::ACCEPTED,
};
use std::collections::BTreeSet;

/// The reason of the API server's answer.
pub const FORBIDDEN: &str = "Forbidden";

/// Why the API server would refuse the object, unless its spec stands there so already.
pub fn refusals(object: &Object, platforms: &BTreeSet<String>) -> Vec<Problem> {
    let namespace = &object.namespace;
    if platforms.contains(namespace) {
        return Vec::new();
    }
    let refused = |field: &str, message: String| Problem {
        condition: ACCEPTED,
        reason: FORBIDDEN,
        field: field.to_owned(),
        message: format!("{namespace} is no platform namespace: {message}"),
    };
    let exported = |to: &AllowedNamespaces| {
        let message = "the object cannot be exported to other namespaces, where it would take a name that is not its own";
        (*to != AllowedNamespaces::Same).then(|| refused("spec.allowedNamespaces", message.to_owned()))
    };
    match &object.body {
        Body::VirtualKey(key) => {
            let root = key.spec.parent_ref.is_none().then(|| {
                refused(
                    "spec.parentRef",
                    "a key needs a parent, a key or team that consents to it".to_owned(),
                )
            });
            let anonymous = key.spec.anonymous.then(|| {
                refused(
                    "spec.anonymous",
                    "a key cannot be anonymous; give it a token or serviceAccounts".to_owned(),
                )
            });
            root.into_iter().chain(anonymous).collect()
        }
        Body::ProviderRoute(route) => exported(&route.spec.allowed_namespaces).into_iter().collect(),
        Body::McpServer(server) => exported(&server.spec.allowed_namespaces).into_iter().collect(),
        _ => Vec::new(),
    }
}
