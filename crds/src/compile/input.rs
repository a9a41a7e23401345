//! What is compiled: objects, where they were read, and the options.

use super::status::Problem;
use crate::{
    api::{AllowedNamespaces, McpServer, ProviderRoute, VirtualKey},
    stdio::StdioRules,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};
use tollgate_proto::Kind;

/// Everything a compilation depends on.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The objects, in any order.
    pub objects: Vec<Object>,
    /// Labels of namespaces, for `allowedNamespaces` selectors. A namespace that only objects name has its own name as a
    /// label all the same, as every namespace in Kubernetes has.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The options.
    pub options: Options,
    /// What may be run for `spec.stdio`.
    pub stdio: StdioRules,
    /// The namespaces whose exports count, and whose keys may be anonymous. `None`: all, as where one person writes all manifests.
    pub platforms: Option<BTreeSet<String>>,
}

/// What the operator's or the gateway's own configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Where the configuration will run.
    pub mode: Mode,
    /// Endpoints may lead to loopback, private and cluster addresses. Off in a cluster: a tenant's route must be no way in.
    pub allow_private_endpoints: bool,
}

/// Where a configuration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One process with a folder: short tokens are taken, content is logged by default.
    Standalone,
    /// A cluster of many users.
    #[default]
    Cluster,
}

/// One object of the user's, or a Secret. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    /// Where it was read; `None` for objects of an API server.
    pub source: Option<Source>,
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created, Unix seconds: of two objects that claim the same thing, the older has it.
    pub created: Option<i64>,
    /// What it says.
    pub body: Body,
}

/// Where an object was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file, as it is shown.
    pub file: Arc<str>,
    /// Which of its objects, from 0.
    pub index: usize,
    /// The line its document begins at, from 1.
    pub line: usize,
}

/// What an object says.
#[derive(Debug, Clone)]
pub enum Body {
    /// A virtual key.
    VirtualKey(Arc<VirtualKey>),
    /// A provider route.
    ProviderRoute(Arc<ProviderRoute>),
    /// An MCP server.
    McpServer(Arc<McpServer>),
    /// A Secret.
    Secret(Arc<SecretData>),
    /// It could not be read, and why; its export, where that alone could be.
    Unreadable(Vec<Problem>, AllowedNamespaces),
}

/// The entries of a Secret. Its `Debug` prints no content.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretData(pub BTreeMap<String, Vec<u8>>);

// === impl Options ===

impl Options {
    /// Standalone: one's own machine, where short tokens and local upstreams are everyday.
    pub const STANDALONE: Options = Options { mode: Mode::Standalone, allow_private_endpoints: true };
    /// A cluster of many users.
    pub const CLUSTER: Options = Options { mode: Mode::Cluster, allow_private_endpoints: false };
}

impl Default for Options {
    /// The stricter ones.
    fn default() -> Self {
        Options::CLUSTER
    }
}

// === impl Object ===

impl Object {
    /// The order in which objects have what they both claim: the older first; of equally old ones the one that was read
    /// first; then by name.
    pub(super) fn precedence(&self) -> (i64, Option<&Source>, Kind, &str, &str) {
        (
            self.created.unwrap_or(i64::MAX),
            self.source.as_ref(),
            self.kind,
            self.namespace.as_str(),
            self.name.as_str(),
        )
    }
}

// === impl Body ===

impl Body {
    /// To whom the object is exported.
    pub(super) fn export(&self) -> &AllowedNamespaces {
        match self {
            Body::VirtualKey(key) => &key.spec.allowed_namespaces,
            Body::ProviderRoute(route) => &route.spec.allowed_namespaces,
            Body::McpServer(server) => &server.spec.allowed_namespaces,
            Body::Unreadable(_, export) => export,
            Body::Secret(_) => &AllowedNamespaces::Same,
        }
    }
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

// === impl SecretData ===

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
