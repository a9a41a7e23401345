//! What a watch tells of.

use super::world::ObjectName;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use std::{fmt, sync::Arc};
use tollgate_crds::{
    api::{McpServer, ProviderRoute, VirtualKey},
    guard::Guarded,
};

/// What a watch watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// Virtual keys.
    Keys,
    /// Provider routes.
    Routes,
    /// MCP servers.
    Servers,
    /// Namespaces, for their labels.
    Namespaces,
    /// The metadata of Secrets.
    Secrets,
}

/// One watch: of a namespace, or of all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What it watches.
    pub watched: Watched,
    /// Where; `None`: everywhere.
    pub namespace: Option<Arc<str>>,
}

/// An object as a watch saw it.
#[derive(Debug)]
pub enum Observed {
    /// A virtual key, or one that cannot be read.
    Key(Guarded<VirtualKey>),
    /// A provider route, or one that cannot be read.
    Route(Guarded<ProviderRoute>),
    /// An MCP server, or one that cannot be read.
    Server(Guarded<McpServer>),
    /// A namespace's metadata.
    Namespace(Box<PartialObjectMeta<Namespace>>),
    /// A Secret's metadata.
    Secret(Box<PartialObjectMeta<Secret>>),
}

// === impl Observed ===

impl Observed {
    /// Its namespace and name; the namespace of a namespace is empty.
    pub fn name(&self) -> ObjectName {
        let metadata = match self {
            Observed::Key(object) => kube::Resource::meta(object),
            Observed::Route(object) => kube::Resource::meta(object),
            Observed::Server(object) => kube::Resource::meta(object),
            Observed::Namespace(object) => &object.metadata,
            Observed::Secret(object) => &object.metadata,
        };
        (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    }
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.watched {
            Watched::Keys => "virtualkeys",
            Watched::Routes => "providerroutes",
            Watched::Servers => "mcpservers",
            Watched::Namespaces => "namespaces",
            Watched::Secrets => "secrets",
        };
        match &self.namespace {
            Some(namespace) => write!(f, "{what} of namespace {namespace}"),
            None => f.write_str(what),
        }
    }
}
