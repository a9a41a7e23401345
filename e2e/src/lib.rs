//! Everything around the gateway that shows that it works: fakes, the demo, scenario tests, benchmarks.
//! Nothing here is part of the product; nothing here talks to anything but loopback.
//!
//! # Layout
//! - [`provider`]: the fake model provider (Anthropic Messages and OpenAI Chat), strict and scriptable
//! - [`mcp_server`]: the fake MCP server (legacy streamable HTTP), scriptable
//! - [`gateway`]: starts and stops the real gateway binary
//! - [`client`]: a small HTTP client with deadlines, and a reader of event streams
//! - [`clients`]: the real clients (Claude Code, the Python SDKs) as hermetic subprocesses
//! - [`cluster`]: a real Kubernetes API server; [`helm`]: the charts on it
//! - [`redis`]: a real Redis
//! - [`memory`]: what a running process holds
//! - [`rbac`]: the operator's rights beside what it used
//! - [`lab`]: a provider and a gateway before it, where most scenarios begin
//! - [`control_plane`]: the real operator and real gateways against a real API server
//! - [`scale`]: a large installation: `make bench-scale`
//! - [`soak`]: a long run with faults: `make soak`
//! - [`http`]: what the fakes share
//! - [`conformance`]: the official MCP suite: `make conformance`
//! - [`demo`]: `make demo`
//! - [`results`]: where long runs write down what they found
//! - [`bench`]: `make bench`; [`floor`]: the reverse proxy that does nothing, its floor

pub mod bench;
pub mod client;
pub mod clients;
pub mod cluster;
pub mod conformance;
pub mod control_plane;
pub mod demo;
pub mod floor;
pub mod gateway;
pub mod helm;
pub mod http;
pub mod lab;
pub mod mcp_server;
pub mod memory;
pub mod postgres;
pub mod provider;
pub mod rbac;
pub mod redis;
pub mod results;
pub mod scale;
pub mod soak;
