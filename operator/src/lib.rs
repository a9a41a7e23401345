//! The control plane, as a library of its parts.
//!
//! # Layout
//! - [`xds`]: what is compiled, served to the data plane as a stream of differences; what the data plane reports
//! - [`kubernetes`]: a cluster as the source of resources; [`manifests`]: a folder as one
//! - [`telemetry`]: metrics and spans, their names
//! - [`settings`], [`context`]: what a running operator was told, and what each of its parts is given
//! - [`leader`]: who leads

pub mod context;
pub mod kubernetes;
pub mod leader;
pub mod manifests;
pub mod settings;
pub mod telemetry;
pub mod xds;
