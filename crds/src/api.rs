//! The three kinds of `tollgate.dev/v1alpha1`.
//!
//! Every doc comment on a field is that field's description in the CRD, so it is written for the person who writes the manifest.
//!
//! Specs refuse unknown fields when they are read: a misspelt `deny` must be an error and not a permission. For the same
//! reason a new field never gets a default in the schema in the version that adds it: an operator one version older would
//! otherwise refuse every object that the API server has just defaulted. Statuses accept unknown fields, because replicas of
//! two versions read each other's during a rollout.
//!
//! # Layout
//! - [`virtual_key`][]: who may use what, and for how much.
//! - [`provider_route`][]: models and the upstreams that serve them.
//! - [`mcp_server`][]: tools.
//! - [`quantity`][]: durations and money as manifests write them.
//! - [`export`][]: `allowedNamespaces`.
//! - [`refs`][]: names of other objects.

// KubeSchema copies each struct, with its `pub`, into a function body.
#![allow(unreachable_pub)]
// Each printer column has a type; clippy takes the second one for a repetition.
#![allow(clippy::duplicated_attributes)]

pub mod export;
pub mod mcp_server;
pub mod provider_route;
pub mod quantity;
pub mod refs;
pub mod virtual_key;

pub use export::AllowedNamespaces;
pub use mcp_server::{McpServer, McpServerSpec, McpServerStatus};
pub use provider_route::{ProviderKind, ProviderRoute, ProviderRouteSpec, ProviderRouteStatus};
pub use quantity::{Span, Usd};
pub use refs::{ObjectRef, SecretKeyRef, SecretSource};
pub use virtual_key::{VirtualKey, VirtualKeySpec, VirtualKeyStatus};

/// The API group.
pub const GROUP: &str = "tollgate.dev";
/// The version of all three kinds.
pub const VERSION: &str = "v1alpha1";
/// `group/version` as it stands in manifests.
pub const API_VERSION: &str = "tollgate.dev/v1alpha1";

/// For `skip_serializing_if`: whether a value is its type's default.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
