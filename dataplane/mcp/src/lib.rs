//! MCP aggregation without I/O: what a gateway between one MCP client and many MCP servers must decide, as pure functions and state
//! machines. Time and randomness are passed in; the shell (`tollgate-dataplane`, `mcp`) owns sockets, clocks and configuration.
//!
//! JSON passes through raw: a message is looked at one level deep and changed only by splicing (an id, a name, a progress token), so
//! fields nobody here has heard of, the order of keys and every number's digits stay as they were.
//!
//! # Layout
//! - [`json`]: one level of a JSON object with the places of its values, and splicing; [`message`]: the JSON-RPC envelope; [`error`]: its errors
//! - [`version`]: protocol revisions and the two eras
//! - [`intake`]: what a client's POST asks for, in either era; [`reply`]: the answers the gateway gives itself
//! - [`names`]: tool names as clients see them; [`list`]: walking an upstream's pages; [`merge`]: one list out of many; [`instructions`]
//! - [`upstream`]: the client side: handshake, one exchange, a forwarded call; [`sse`]: the event stream's codec
//! - [`seal`]: tokens that carry state through a client; [`session`]: the session id made of one

pub mod error;
pub mod instructions;
pub mod intake;
pub mod json;
pub mod list;
pub mod merge;
pub mod message;
pub mod names;
pub mod reply;
pub mod seal;
pub mod session;
pub mod sse;
pub mod upstream;
pub mod version;

pub use error::RpcError;
pub use message::Message;
pub use version::{Era, Version};
