//! The user's API: `VirtualKey`, `McpServer`, `ProviderRoute`, and the pure compiler from manifests to resources.
//!
//! # Layout
//! - [`annotations`][]: annotations and labels, and what their values say.
//! - [`api`][]: the three kinds, field by field; their doc comments are the descriptions of the CRDs.
//! - [`conditions`][]: what a status says of an object: types, reasons, and how they are merged.
//! - [`platforms`][]: what only platform namespaces may do.
//! - [`stdio`][]: servers over standard input and output: which may run, and where they are found.
//! - [`support`][]: the fields that this version knows but does not yet enforce; they are refused, never ignored.
//! - [`guard`][]: an object of the API server, or what is known of one that this version cannot decode.
//! - [`manifest`][]: reads YAML with positions, one file or a folder.
//! - [`mod@compile`]: the pure compiler.
//! - [`manifests`][]: the CustomResourceDefinitions as `crds/manifests/` holds them (bin `crdgen` writes them).

pub mod annotations;
pub mod api;
pub mod compile;
pub mod conditions;
pub mod guard;
pub mod manifest;
pub mod manifests;
pub mod platforms;
pub mod stdio;
pub mod support;
