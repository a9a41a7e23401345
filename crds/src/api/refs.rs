//! Names of other objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of a Secret in the object's own namespace. Secrets are never read across namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Key within the Secret's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Where a secret value stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSource {
    /// The Secret and the key within it that hold the value.
    pub secret_ref: SecretKeyRef,
}

/// An object of the same kind, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ObjectRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Namespace of the object. When left out, the own namespace is looked in first, then the platform namespaces that export an
    /// object of this name to it. An object in another namespace must have agreed by its `allowedNamespaces`, either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
}

/// Names of namespaces.
pub(crate) const DNS_LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Names of objects.
pub(crate) const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// `http` or `https`, host, optional port, optional path; no user, query or fragment.
pub(crate) const URL: &str = concat!(
    r"^https?://([-._0-9A-Za-z]+|\[[0-9A-Fa-f:.]+\])",
    r"(:([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?",
    r"(/[^\p{Z}\p{Cc}?#]*)?$"
);
/// Patterns over names: no blanks, and of all signs that mean something elsewhere only `*`.
pub(crate) const PATTERN: &str = r"^[^\p{Z}\p{Cc}?{}\[\]\\]+$";
/// The name of one model: no pattern, and no slash at its ends.
pub(crate) const MODEL_NAME: &str =
    r"^[^\p{Z}\p{Cc}?*/{}\[\]\\]([^\p{Z}\p{Cc}?*{}\[\]\\]*[^\p{Z}\p{Cc}?*/{}\[\]\\])?$";
/// RFC 3339, of which `format: date-time` lets pass what nobody else can read: any sign before the fraction, a fraction of any length,
/// offsets of more than a day, and the last year, which ends too late for clocks that count from 1970.
pub(crate) const TIME: &str = r"^[0-8][0-9]{3}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$";
