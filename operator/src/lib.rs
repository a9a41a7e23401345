//! The control plane, as a library of its parts.
//!
//! # Layout
//! - [`kubernetes`]: a cluster as the source of resources; [`manifests`]: a folder as one
//! - [`pushed`]: resources that come from no user's object
//! - [`xds`]: what is compiled, served to the data plane as a stream of differences; what the data plane reports
//! - [`leader`]: who leads; [`lead`]: what only the leader does: [`status`], [`events`], [`tokens`]; [`passing`]: what others do for it
//! - [`certificates`]: the operator's own authority, what it issues, and sealing keys
//! - [`inject`]: the webhook that puts the relay into pods; [`stdio`]: MCP servers that the leader runs
//! - [`telemetry`]: metrics and spans, their names
//! - [`settings`], [`context`]: what a running operator was told, and what each of its parts is given

pub mod certificates;
pub mod context;
pub mod events;
pub mod inject;
pub mod kubernetes;
pub mod lead;
pub mod leader;
pub mod manifests;
pub mod passing;
pub mod pushed;
pub mod settings;
pub mod status;
pub mod stdio;
pub mod telemetry;
pub mod tokens;
pub mod xds;
