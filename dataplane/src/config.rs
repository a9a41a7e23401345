//! Where configuration comes from.
//!
//! # Layout
//! - [`folder`]: a folder of manifests, watched (standalone mode)
//! - [`xds`]: the control plane's stream (in a cluster)

pub mod folder;
pub mod xds;
