//! Where configuration comes from.
//!
//! # Layout
//! - [`folder`]: a folder of manifests, watched (standalone mode)

pub mod folder;
