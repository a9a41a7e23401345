//! The gateway process: composes translation, ledger and MCP into the way of a request.
//!
//! # Layout
//! - [`args`], [`run`]: command line and wiring
//! - [`serve`]: listening, the guard against web pages, paths, drain
//! - [`request`]: the way of a model request in named phases
//! - [`relay`], [`bridge`]: the other programs: beside an agent, and in front of a stdio MCP server; [`listen`]: their listener
//! - [`check`]: the program of `helm test`
//! - [`identity`]: workloads by their ServiceAccount tokens
//! - [`upstream`]: one attempt at a provider; health of backends
//! - [`money`]: levels, holds and refusals of the request path; [`ledger`]: the account, in this process or in Redis
//! - [`error`], [`respond`]: what can go wrong, and how each client is told
//! - [`model`]: validated configuration; [`snapshot`]: the immutable whole of it behind one atomic pointer
//! - [`config`]: where configuration comes from (a folder; the control plane's stream later)
//! - [`observe`]: what this gateway sees of backends and MCP servers, for the operator
//! - [`records`]: what is recorded, and the stores
//! - [`mcp`]: the endpoint `/mcp`
//! - [`logs`]: the pages `/logs` and `/logs/api`
//! - [`telemetry`]: metrics, traces, the line of the log for each request
//! - [`names`], [`body`], [`client`], [`gateway`]: header names, bodies, the HTTP client for upstreams, what all requests share

pub mod args;
pub mod body;
pub mod bridge;
pub mod check;
pub mod client;
pub mod config;
pub mod error;
pub mod gateway;
pub mod identity;
pub mod ledger;
pub mod listen;
pub mod logs;
pub mod mcp;
pub mod model;
pub mod money;
pub mod names;
pub mod observe;
pub mod records;
pub mod relay;
pub mod request;
pub mod respond;
pub mod run;
pub mod serve;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
