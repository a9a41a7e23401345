//! The gateway process: composes translation, ledger and MCP into the way of a request.
//!
//! # Layout
//! - [`model`]: validated configuration; [`snapshot`]: the immutable whole of it behind one atomic pointer
//! - [`config`]: where configuration comes from (a folder; the control plane's stream later)
//! - [`records`]: what is recorded, and the stores
//! - [`body`]: bodies, and the HTTP client for upstreams
//! - [`mcp`]: the `/mcp` endpoint
//! - [`logs`]: `/logs` and `/logs/api`

pub mod body;
pub mod config;
pub mod logs;
pub mod mcp;
pub mod model;
pub mod records;
pub mod snapshot;
