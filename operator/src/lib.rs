//! The control plane, as a library of its parts.
//!
//! # Layout
//! - [`xds`]: what is compiled, served to the data plane as a stream of differences; what the data plane reports
//! - [`manifests`]: a folder as the source of resources

pub mod manifests;
pub mod xds;
