//! MCP servers over standard input and output: the leader runs each as a Deployment behind a Service, with the bridge as its
//! first process, and a NetworkPolicy that lets only gateways in.
//!
//! Deleted servers take their objects along by owner reference; a server that is not accepted any more (its image was taken
//! off the list), or that speaks HTTP now, loses them here. What somebody changed is written again; what somebody else made
//! under such a name is neither taken over nor removed: the server's status names it.
//!
//! # Layout
//! - [`objects`]: what a server needs (pure); [`plan`]: what is to be done about what is there (pure)
//! - [`apply`]: looking, writing and removing; [`health`]: what became of a server
//! - [`start`]: the task of the leader

pub mod apply;
pub mod health;
pub mod objects;
pub mod plan;
mod run;

#[cfg(test)]
mod tests;

pub use objects::SERVER_LABEL;
pub use run::start;

/// What objects depend on besides their server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The image of the data plane, which holds the bridge.
    pub dataplane_image: String,
    /// The namespace whose gateways may call.
    pub namespace: String,
}
