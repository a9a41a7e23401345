//! The control plane, as a library of its parts.
//!
//! # Layout
//! - [`xds`]: what is compiled, served to the data plane as a stream of differences; what the data plane reports
//! - [`kubernetes`]: a cluster as the source of resources; [`manifests`]: a folder as one
//! - [`inject`]: the webhook that puts the relay into pods; [`stdio`]: MCP servers that the leader runs
//! - [`telemetry`]: metrics and spans, their names
//! - [`settings`], [`context`]: what a running operator was told, and what each of its parts is given
//! - [`leader`]: who leads; [`lead`]: what only the leader does: [`status`], [`events`], [`tokens`]; [`passing`]: what others do for it

pub mod context;
pub mod events;
pub mod inject;
pub mod kubernetes;
pub mod lead;
pub mod leader;
pub mod manifests;
pub mod passing;
pub mod settings;
pub mod status;
pub mod stdio;
pub mod telemetry;
pub mod tokens;
pub mod xds;
