//! What is published: the user's objects and what became of them.

use std::{collections::BTreeMap, sync::Arc};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    compile::Compiled,
    guard::Unreadable,
};
use tollgate_proto::ResourceId;

/// Namespace and name.
pub type ObjectName = (String, String);

/// Objects by name, shared until they change.
pub type Objects<K> = Arc<BTreeMap<ObjectName, Arc<K>>>;

/// One state of the cluster. Its parts are shared with the states before it.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What the objects compile to, and what there is to say of each.
    pub compiled: Arc<Compiled>,
    /// The virtual keys as the API server has them, status and metadata included.
    pub keys: Objects<VirtualKey>,
    /// The provider routes.
    pub routes: Objects<ProviderRoute>,
    /// The MCP servers.
    pub servers: Objects<McpServer>,
    /// What is known of objects that cannot be decoded.
    pub unreadable: Arc<BTreeMap<ResourceId, Arc<Unreadable>>>,
    /// Labels of namespaces.
    pub namespaces: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    /// Every watch has had its first list. What is not synced says nothing: an object that is missing may well exist.
    pub synced: bool,
}
