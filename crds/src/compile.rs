//! The compiler: manifests and Secrets to resources, with what there is to say of each object.
//!
//! A pure function: no I/O, no clock, no memory. The same objects give the same resources in every operator and in
//! standalone mode, whatever their order; so a dangling reference has a fixed outcome instead of a remembered one:
//! no Secret: that backend (or server, or token) is off; no parent: the key is denied; no server: no tools of it.
//! An object that is not `Accepted` has no effect and touches no other object, except that whoever needs it does
//! not find it, nor another of its name that a namespace exports: a route or server of it travels as one that is off, with
//! the reason. A key makes no resource; only one whose parents form a cycle or are too deep still does, that denies, so that
//! its users are told why.
//!
//! # Layout
//! - [`input`]: objects, where they were read, and the options
//! - [`status`]: problems, and the conditions made of them
//! - [`references`]: which Secrets an object needs
//! - `index`: objects by name, exports, Secrets
//! - `check`: rules of single values: names, patterns, URLs, durations, prices
//! - `keys`, `tree`, `routes`, `servers`: one kind each; the tree is what keys are to each other

mod check;
mod index;
pub mod input;
mod keys;
pub mod references;
mod routes;
mod servers;
pub mod status;
mod tree;

pub use crate::stdio::StdioRules;
pub use input::{Body, Input, Mode, Object, Options, SecretData, Source};
pub use status::{Problem, Status};
pub use tree::MAX_DEPTH;

use crate::api::{ProviderKind, SecretKeyRef};
use index::Index;
use std::collections::BTreeMap;
use tollgate_proto::{Kind, Resources, v1};

/// The outcome of a compilation.
#[derive(Debug, Clone, Default)]
pub struct Compiled {
    /// What the data plane gets.
    pub resources: Resources,
    /// What there is to say of each object: one status an object of the input, by kind, namespace, name and source.
    pub statuses: Vec<Status>,
}

/// Compiles all objects.
pub fn compile(input: &Input) -> Compiled {
    let mut statuses = Vec::with_capacity(input.objects.len());
    let mut index = Index::new(input, &mut statuses);
    let mut resources = Resources::default();

    let routes = routes::compile(&index, &mut resources);
    let servers = servers::compile(&index, &mut resources);
    index.refuse(routes.iter().chain(&servers));
    for status in statuses.iter().chain(&routes).chain(&servers) {
        add_tombstone(&index, status, &mut resources);
    }
    statuses.extend(routes::fallbacks(&index, routes));
    statuses.extend(servers);
    statuses.extend(keys::compile(&mut index, &mut resources));

    add_secrets(&index, &mut resources);
    statuses.sort_by_cached_key(Status::order);
    Compiled { resources, statuses }
}

/// What is not accepted keeps its name wherever it had it, so that no other object is used in its place.
fn add_tombstone(index: &Index<'_>, status: &Status, resources: &mut Resources) {
    // A duplicate's name is the first one's; what is no name could not be asked for.
    if status.is_accepted() || status.problems.iter().any(|p| p.field.starts_with("metadata.")) {
        return;
    }
    let export = index.export_of_refused(&status.id());
    match status.kind {
        Kind::ProviderRoute => drop(resources.insert(routes::tombstone(status, export))),
        Kind::McpServer => drop(resources.insert(servers::tombstone(status, export))),
        Kind::VirtualKey | Kind::Secret | Kind::TokenIssuer | Kind::SealingKeys => {}
    }
}

/// Adds the entries of Secrets that some resource refers to: nothing else of a Secret leaves the operator.
fn add_secrets(index: &Index<'_>, resources: &mut Resources) {
    let of_routes = resources.routes().flat_map(|route| {
        route.backends.iter().filter_map(|b| Some((&route.namespace, b.credentials.as_ref()?)))
    });
    let of_servers = resources
        .servers()
        .filter_map(|server| Some((&server.namespace, server.auth.as_ref()?.secret_ref.as_ref()?)));
    let mut secrets: BTreeMap<(String, String), v1::Secret> = BTreeMap::new();
    for (namespace, v1::SecretRef { name, key }) in of_routes.chain(of_servers) {
        let entry = SecretKeyRef { name: name.clone(), key: key.clone() };
        let Ok(value) = index.secret(namespace, &entry) else { continue };
        let secret = secrets.entry((namespace.clone(), name.clone())).or_default();
        secret.data.insert(entry.key, value.to_vec());
    }
    for ((namespace, name), secret) in secrets {
        resources.insert(v1::Secret { namespace, name, ..secret });
    }
}

/// A kind and an object's name, as messages write them: `VirtualKey default/k`.
fn shown(kind: Kind, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

/// A provider kind on the wire.
fn provider(kind: ProviderKind) -> v1::Provider {
    match kind {
        ProviderKind::Anthropic => v1::Provider::Anthropic,
        ProviderKind::OpenAi => v1::Provider::OpenAi,
        ProviderKind::AzureOpenAi => v1::Provider::AzureOpenAi,
        ProviderKind::AzureFoundry => v1::Provider::AzureFoundry,
        ProviderKind::VertexAi => v1::Provider::VertexAi,
        ProviderKind::Gemini => v1::Provider::Gemini,
        ProviderKind::Bedrock => v1::Provider::Bedrock,
        ProviderKind::OpenAiCompatible => v1::Provider::OpenAiCompatible,
    }
}
